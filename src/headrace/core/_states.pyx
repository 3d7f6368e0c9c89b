# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What the next record of each shard of a lane gets: a dense table by shard number.

Cost: 24 bytes a shard number, made when the lane is first written.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

import struct


cdef class ShardStates:
    """What the next record of each shard gets: its index and the earliest arrival time, by shard number.

    Snapshot (little-endian): u32 rows, then for each shard u32 shard, u32 flags, u64 next index,
    i64 last arrival ms.
    """

    def __cinit__(self):
        self.states = NULL
        self.capacity = 0

    def __dealloc__(self):
        free(self.states)

    cdef int reserve(self, Py_ssize_t shard) except -1:
        cdef Py_ssize_t wanted = self.capacity or 4
        cdef Py_ssize_t at
        cdef shard_state *grown
        if shard < self.capacity:
            return 0
        if shard >= 1 << 31:
            raise ValueError(f"shard number {shard} is above 2**31 - 1")
        while wanted <= shard:
            wanted *= 2
        grown = <shard_state *>realloc(self.states, wanted * sizeof(shard_state))
        if grown == NULL:
            raise MemoryError()
        memset(grown + self.capacity, 0, (wanted - self.capacity) * sizeof(shard_state))
        for at in range(self.capacity, wanted):
            grown[at].next_index = self.start
        self.states = grown
        self.capacity = wanted
        return 0

    def get(self, Py_ssize_t shard):
        """(next index, last arrival ms, flags) of a shard; the first index and zeroes for one never seen."""
        if not 0 <= shard < self.capacity:
            return (self.start, 0, 0)
        return (self.states[shard].next_index, self.states[shard].last_arrival_ms, self.states[shard].flags)

    def set(self, Py_ssize_t shard, uint64_t next_index, int64_t last_arrival_ms, uint32_t flags):
        self.reserve(shard)
        self.states[shard] = shard_state(next_index, last_arrival_ms, flags, 1)

    def shards(self):
        """The numbers of all shards seen so far."""
        return [i for i in range(self.capacity) if self.states[i].known]

    def advance(self, uint64_t step):
        """Move every shard's next index ahead, so that no number is used twice after a lost tail."""
        cdef Py_ssize_t i
        for i in range(self.capacity):
            if self.states[i].known:
                self.states[i].next_index += step

    def start_at(self, uint64_t index):
        """Shards that were never seen begin at this index."""
        cdef Py_ssize_t i
        self.start = index
        for i in range(self.capacity):
            if not self.states[i].known:
                self.states[i].next_index = index

    def dump(self):
        """The snapshot's bytes."""
        parts = [struct.pack("<IIQq", i, self.states[i].flags, self.states[i].next_index,
                             self.states[i].last_arrival_ms)
                 for i in range(self.capacity) if self.states[i].known]
        return struct.pack("<I", len(parts)) + b"".join(parts)

    def load(self, bytes data):
        """Take over a snapshot; returns how many of its bytes were used. ValueError if it is malformed."""
        if len(data) < 4:
            raise ValueError("the shard snapshot is cut short")
        (count,) = struct.unpack_from("<I", data)
        if len(data) < 4 + 24 * count:
            raise ValueError("the shard snapshot is cut short")
        for shard, flags, next_index, arrival in struct.iter_unpack("<IIQq", data[4:4 + 24 * count]):
            self.set(shard, next_index, arrival, flags)
        return 4 + 24 * count

    def copy(self):
        other = ShardStates()
        other.start = self.start
        if self.capacity:
            other.reserve(self.capacity - 1)
            memcpy(other.states, self.states, self.capacity * sizeof(shard_state))
        return other
