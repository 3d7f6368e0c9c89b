# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The state of each shard of a lane, as native rooms see it."""

from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef struct shard_state:
    uint64_t next_index
    int64_t last_arrival_ms
    uint32_t flags
    uint32_t known


cdef class ShardStates:
    cdef shard_state *states
    cdef readonly Py_ssize_t capacity
    cdef readonly uint64_t start
    cdef int reserve(self, Py_ssize_t shard) except -1
