# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Arrow arrays of binary or text taken in by the C data interface."""

from libc.stdint cimport int64_t, uint8_t, uint32_t


cdef extern from "arrow_values.h" nogil:
    ctypedef struct ArrowArray:
        int64_t length
        void (*release)(ArrowArray *) noexcept
    ctypedef enum hr_arrow_layout:
        HR_ARROW_OTHER


cdef class ArrowChunk:
    cdef ArrowArray array             # ours: released with the object


cdef class ArrowValues:
    cdef readonly Py_ssize_t count    # values in all chunks
    cdef hr_arrow_layout layout
    cdef int64_t width
    cdef list chunks
    cdef str what                     # how messages name the array
    cdef int take_layout(self, object schema) except -1
    cdef int take_array(self, object capsule) except -1
    cdef int take_stream(self, object capsule) except -1
    # Write where each value lies: data[i] and size[i] at `stride` bytes from one to the next; data of a
    # null value is NULL. The addresses stay good as long as this object.
    cdef int locate(self, const uint8_t **data, uint32_t *size, size_t stride) except -1
