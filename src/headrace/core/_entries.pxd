# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Entries (records on their way in) and Router (which open shard a hash key belongs to)."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


cdef extern from "entry.h" nogil:
    const uint32_t HR_ENTRY_EXPLICIT_HASH
    const uint32_t HR_ENTRY_ANY_SHARD
    ctypedef struct hr_entry:
        const uint8_t *key
        const uint8_t *data
        uint32_t key_size
        uint32_t data_size
        uint64_t hash_high
        uint64_t hash_low
        uint32_t slot
        uint32_t flags
        uint64_t index
        int64_t arrival_ms


cdef class Entries:
    cdef hr_entry *entry              # `count` entries in the order of the request
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t capacity
    cdef uint32_t *order              # after Router.route: positions in `entry`, grouped by lane, then by
                                      # shard; request order is kept within a shard
    cdef uint32_t *lane_start         # after Router.route: lane l owns order[lane_start[l]:lane_start[l + 1]]
    cdef Py_ssize_t lane_count
    cdef list owners                  # Python objects that keep the bytes alive
    cdef int reserve(self, Py_ssize_t capacity) except -1
    cdef void clear(self) noexcept


cdef class Router:
    cdef readonly Py_ssize_t count    # open shards, sorted by hash range
    cdef readonly Py_ssize_t lane_count
    cdef uint64_t *end_high           # inclusive ends of the ranges
    cdef uint64_t *end_low
    cdef uint32_t *shard              # shard number of each slot
    cdef uint32_t *lane               # lane ordinal (0 … lane_count − 1) of each slot
    cdef uint64_t *created_s          # creation time of the shard, epoch seconds, for sequence numbers
    cdef uint64_t turn                # where the next entry without a key goes
    cpdef int route(self, Entries entries) except -1
