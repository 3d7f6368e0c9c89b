# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The scan of put requests as native rooms see it: a reusable scanner with its arena and entries."""

from libc.stdint cimport uint8_t

from headrace.core._entries cimport Entries
from headrace.core._simd cimport hr_simd


cdef class Arena:
    cdef uint8_t *start
    cdef size_t size


cdef class PutScan:
    cdef readonly Entries entries
    cdef readonly str stream_name
    cdef readonly str stream_arn
    cdef readonly str sequence_number_for_ordering
    cdef readonly bint dry_run
    cdef readonly Py_ssize_t total_size
    cdef readonly Py_ssize_t record_size_largest
    cdef Arena arena
    cdef hr_simd simd
    cdef size_t recent_need         # the most arena any request of the present round needed
    cdef int round_left             # requests until the arena may shrink
    cdef int clear(self) except -1
    cdef int fit_arena(self, size_t need) except -1
    cdef bint scan(self, int kind, object body, size_t count_max, size_t record_size_max,
                   size_t total_size_max) except -1
