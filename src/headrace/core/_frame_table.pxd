# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The table of where each shard's frames stand in a segment."""

from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "frame_table.h" nogil:
    const uint32_t HR_NO_ROW
    ctypedef struct hr_frame_row:
        uint64_t first_index
        int64_t arrival_ms
        uint32_t offset
        uint32_t stride
        uint32_t shard
        uint32_t count
        uint32_t previous
        uint32_t jump
        uint32_t next
        uint32_t depth
    ctypedef struct hr_frame_table:
        hr_frame_row *rows
        uint32_t count
        uint32_t capacity
        uint32_t *first
        uint32_t *last
        uint32_t shard_capacity
    ctypedef struct hr_frame_run:
        uint64_t offset
        uint64_t size
        uint64_t target
    int64_t hr_frame_table_runs(const hr_frame_table *table, uint32_t shard, uint64_t index, int64_t max_records,
                                int64_t max_bytes, uint64_t end, uint64_t run_max, hr_frame_run **runs)
    void hr_frame_table_free(hr_frame_table *table)
    void hr_frame_table_clear(hr_frame_table *table)
    int hr_frame_table_reserve(hr_frame_table *table, uint32_t rows, uint32_t shard)
    void hr_frame_table_add(hr_frame_table *table, uint32_t shard, uint64_t first_index, uint32_t count,
                            int64_t arrival_ms, uint32_t offset, uint32_t stride)
    void hr_frame_table_cut(hr_frame_table *table, uint32_t offset)
    uint32_t hr_frame_table_find_index(const hr_frame_table *table, uint32_t shard, uint64_t index)
    uint32_t hr_frame_table_find_time(const hr_frame_table *table, uint32_t shard, int64_t arrival_ms)


cdef class FrameTable:
    cdef hr_frame_table table
    cdef int reserve(self, uint32_t rows, uint32_t shard) except -1
    cdef void append(self, uint32_t shard, uint64_t first_index, uint32_t count, int64_t arrival_ms, uint32_t offset,
                     uint32_t stride) noexcept
    cdef Py_ssize_t find(self, uint32_t shard, uint64_t index, int64_t max_records, int64_t max_bytes, uint64_t end,
                         uint64_t run_max, hr_frame_run **runs) except -1
