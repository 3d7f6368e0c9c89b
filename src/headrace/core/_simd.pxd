# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The SIMD level as Cython modules take it: detected once at import, or named by a test."""


cdef extern from "simd.h" nogil:
    ctypedef enum hr_simd:
        HR_SIMD_SCALAR
        HR_SIMD_AVX2
        HR_SIMD_AVX512
    hr_simd hr_simd_processor()
    hr_simd hr_simd_detect()


cdef inline int simd_level(object name, hr_simd detected) except -1:
    """The level called `name` ("scalar", "avx2", "avx512"; None: `detected`), if this processor has it."""
    cdef int level
    if name is None:
        return <int>detected
    if name == "scalar":
        level = HR_SIMD_SCALAR
    elif name == "avx2":
        level = HR_SIMD_AVX2
    elif name == "avx512":
        level = HR_SIMD_AVX512
    else:
        raise ValueError(f"simd is {name!r}; expected 'scalar', 'avx2', 'avx512' or None")
    if level > <int>hr_simd_processor():
        raise ValueError(f"simd is {name!r}, which this processor does not have")
    return level
