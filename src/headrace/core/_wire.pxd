# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The scan of put requests as native rooms see it: a reusable scanner with its arena and entries."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from headrace.core._entries cimport Entries
from headrace.core._simd cimport hr_simd


cdef extern from "wire_write.h" nogil:
    ctypedef struct hr_write_records_from:
        const uint8_t *base
        size_t count
        const int64_t *offset
        const uint32_t *length
        const int64_t *key_offset
        const uint32_t *key_length
        const uint64_t *ordinal
        const int64_t *arrival_ms
        uint32_t shard
        uint64_t created_s
        const char *encryption


cdef size_t records_size(const hr_write_records_from *records, hr_simd simd) noexcept nogil
cdef void write_records(const hr_write_records_from *records, uint8_t *target, hr_simd simd) noexcept nogil


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
