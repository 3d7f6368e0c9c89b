# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Entries (records on their way in) and Router (which open shard a hash key belongs to)."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from headrace.core._simd cimport hr_simd


cdef extern from "entry.h" nogil:
    const uint32_t HR_ENTRY_EXPLICIT_HASH
    const uint32_t HR_ENTRY_ANY_SHARD
    const uint32_t HR_ENTRY_HASHED
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


cdef extern from "route.h" nogil:
    ctypedef struct hr_routes:
        const uint64_t *end_high
        const uint64_t *end_low
        const uint32_t *lane
        const uint32_t *rank
        uint32_t count
        uint32_t lane_count


cdef class Entries:
    cdef hr_entry *entry              # `count` entries in the order of the request
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t capacity
    cdef uint32_t *order              # after Router.route: positions in `entry`, grouped by lane, then by
                                      # shard; request order is kept within a shard
    cdef uint32_t *lane_start         # after Router.route: lane l owns order[lane_start[l]:lane_start[l + 1]]
    cdef Py_ssize_t lane_count        # 0 until routed
    cdef list owners                  # Python objects that keep the bytes alive
    cdef Py_ssize_t order_capacity    # `order` and the sort's scratch behind it: 3 numbers an entry
    cdef Py_ssize_t lane_capacity
    cdef int reserve(self, Py_ssize_t capacity) except -1
    cpdef void clear(self) noexcept
    cdef int order_reserve(self, Py_ssize_t lane_count) except -1
    cdef int take_data(self, hr_entry *entry, object item, Py_ssize_t position, Py_ssize_t limit) except -1
    cdef int take_other(self, hr_entry *entry, object item, Py_ssize_t position, Py_ssize_t limit) except -1
    cdef int extend_sequence(self, tuple items, object keys, Py_ssize_t limit) except -1
    cdef int take_pair(self, hr_entry *entry, tuple pair, object keys, Py_ssize_t position,
                       Py_ssize_t limit) except -1
    cdef int extend_array(self, object array, Py_ssize_t limit) except -1
    cdef int extend_arrow(self, object data, Py_ssize_t limit) except -1
    cdef int extend_keys(self, object keys, Py_ssize_t first, Py_ssize_t limit) except -1
    cdef int keys_numpy(self, object keys, Py_ssize_t first, Py_ssize_t limit) except -1
    cdef int keys_arrow(self, object keys, Py_ssize_t first, Py_ssize_t limit) except -1
    cdef int one_key(self, str key, Py_ssize_t first, Py_ssize_t limit) except -1
    cdef object field(self, int kind, void *first)


cdef class Router:
    cdef readonly Py_ssize_t count    # open shards, sorted by hash range
    cdef readonly Py_ssize_t lane_count
    cdef uint64_t *end_high           # inclusive ends of the ranges
    cdef uint64_t *end_low
    cdef uint32_t *shard              # shard number of each slot
    cdef uint32_t *lane               # lane ordinal (0 … lane_count − 1) of each slot
    cdef uint64_t *created_s          # creation time of the shard, epoch seconds, for sequence numbers
    cdef uint64_t turn                # where the next entry without a key goes
    cdef uint32_t *rank               # place of each slot among all, by lane, then by slot
    cdef hr_routes routes             # the same arrays as the kernel takes them
    cpdef int route(self, Entries entries) except -1
    cdef void route_with(self, Entries entries, hr_simd simd) noexcept nogil
