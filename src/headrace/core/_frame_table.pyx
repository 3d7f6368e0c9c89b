# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The frames of one segment by shard: one row of 48 bytes a frame, found by index or by time.

Cost of a look-up: O(log frames), without an allocation but for the runs of a read.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset


cdef class FrameTable:
    """The frames of one segment by shard (native/frame_table.h)."""

    def __cinit__(self):
        memset(&self.table, 0, sizeof(self.table))

    def __dealloc__(self):
        hr_frame_table_free(&self.table)

    def __len__(self):
        return self.table.count

    @property
    def nbytes(self):
        return self.table.capacity * sizeof(hr_frame_row) + 8 * self.table.shard_capacity

    def add(self, uint32_t shard, uint64_t first_index, uint32_t count, int64_t arrival_ms, uint32_t offset,
            uint32_t stride):
        self.reserve(1, shard)
        self.append(shard, first_index, count, arrival_ms, offset, stride)

    cdef int reserve(self, uint32_t rows, uint32_t shard) except -1:
        """Have room for that many more rows, and for the shard."""
        if hr_frame_table_reserve(&self.table, rows, shard) != 0:
            raise MemoryError()
        return 0

    cdef void append(self, uint32_t shard, uint64_t first_index, uint32_t count, int64_t arrival_ms, uint32_t offset,
                     uint32_t stride) noexcept:
        """Add a row for which there is room."""
        hr_frame_table_add(&self.table, shard, first_index, count, arrival_ms, offset, stride)

    cdef Py_ssize_t find(self, uint32_t shard, uint64_t index, int64_t max_records, int64_t max_bytes, uint64_t end,
                         uint64_t run_max, hr_frame_run **runs) except -1:
        """How many runs hold the shard's frames from `index` on; the caller frees *runs."""
        cdef int64_t count = hr_frame_table_runs(&self.table, shard, index, max_records, max_bytes, end, run_max, runs)
        if count < 0:
            raise MemoryError()
        return <Py_ssize_t>count

    def cut(self, uint32_t offset):
        hr_frame_table_cut(&self.table, offset)

    def shards(self):
        """The shards that have frames here."""
        return [i for i in range(self.table.shard_capacity) if self.table.last[i] != HR_NO_ROW]

    def rows(self):
        """(shard, first index, count, arrival ms, offset, stride) of every frame, in file order."""
        cdef uint32_t i
        cdef hr_frame_row *row
        result = []
        for i in range(self.table.count):
            row = &self.table.rows[i]
            result.append((row.shard, row.first_index, row.count, row.arrival_ms, row.offset, row.stride))
        return result

    def bounds(self, uint32_t shard, uint64_t end):
        """(first index, next index, last arrival ms) of the shard's frames that end at or before segment
        offset `end`, or None where it has none."""
        cdef uint32_t at
        cdef hr_frame_row *row
        if shard >= self.table.shard_capacity:
            return None
        at = self.table.last[shard]
        while at != HR_NO_ROW and <uint64_t>self.table.rows[at].offset + self.table.rows[at].stride > end:
            at = self.table.rows[at].previous
        if at == HR_NO_ROW:
            return None
        row = &self.table.rows[at]
        return (self.table.rows[self.table.first[shard]].first_index, row.first_index + row.count,
                row.arrival_ms)

    def index_at_time(self, uint32_t shard, int64_t arrival_ms, uint64_t end):
        """First index of the shard's first frame with that arrival or later, or None."""
        cdef uint32_t at = hr_frame_table_find_time(&self.table, shard, arrival_ms)
        if at == HR_NO_ROW or <uint64_t>self.table.rows[at].offset + self.table.rows[at].stride > end:
            return None
        return self.table.rows[at].first_index
