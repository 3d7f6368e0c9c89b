# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Frames, the ring before the file, and the table of where each shard's frames stand."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from posix.types cimport off_t

from headrace.core._entries cimport Entries, Router, hr_entry
from headrace.core._frame_table cimport FrameTable, hr_frame_run
from headrace.core._simd cimport hr_simd
from headrace.core._states cimport ShardStates, shard_state


cdef extern from "crc32c.h" nogil:
    uint32_t hr_crc32c(uint32_t seed, const void *data, size_t size, hr_simd simd)
    uint32_t hr_crc32c_copy(uint32_t seed, void *target, const void *source, size_t size, hr_simd simd)


cdef extern from "frame.h" nogil:
    const uint32_t HR_FRAME_HEADER_SIZE
    const uint32_t HR_FRAME_RECORD_SIZE_MAX
    const uint32_t HR_FRAME_COUNT_MAX
    const uint8_t HR_KIND_RECORDS
    const uint8_t HR_KIND_SNAPSHOT
    const uint8_t HR_FRAME_LAST
    ctypedef struct hr_frame_header:
        uint32_t header_crc
        uint32_t previous_crc
        uint32_t body_crc
        uint32_t body_size
        uint64_t first_index
        int64_t arrival_ms
        uint32_t shard
        uint16_t count
        uint8_t kind
        uint8_t flags
        uint64_t producer
        uint64_t producer_sequence
        uint64_t synced_offset
    ctypedef enum hr_frame_state:
        HR_FRAME_OK
        HR_FRAME_SHORT
        HR_FRAME_BAD_HEADER
        HR_FRAME_BAD_CHAIN
        HR_FRAME_BAD_FIELD
        HR_FRAME_BAD_BODY
    ctypedef struct hr_frame_columns:
        int64_t *offset
        uint32_t *length
        int64_t *key_offset
        uint32_t *key_length
        uint64_t *ordinal
        int64_t *arrival_ms
        uint32_t *shard
    size_t hr_frame_stride(uint32_t body_size)
    size_t hr_frame_fit(const hr_entry *entries, const uint32_t *order, size_t count, uint32_t *body_size)
    size_t hr_frame_write_records(uint8_t *target, hr_frame_header *header, uint32_t salt, hr_entry *entries,
                                  const uint32_t *order, hr_simd simd)
    size_t hr_frame_write_body(uint8_t *target, hr_frame_header *header, uint32_t salt, const void *body,
                               hr_simd simd)
    hr_frame_state hr_frame_check_header(const uint8_t *source, size_t available, uint32_t salt, bint chained,
                                         uint32_t previous, hr_frame_header *header, hr_simd simd)
    hr_frame_state hr_frame_check_body(const uint8_t *source, const hr_frame_header *header, hr_simd simd)
    void hr_frame_columns_fill(const uint8_t *buffer, size_t at, const hr_frame_header *header, uint32_t skip,
                               uint32_t take, const hr_frame_columns *columns, size_t start)
    size_t hr_frame_search(const uint8_t *source, size_t start, size_t size, uint32_t salt, hr_simd simd)


cdef extern from "ring.h" nogil:
    ctypedef struct hr_ring:
        uint8_t *base
        size_t capacity
    int hr_ring_open(hr_ring *ring, size_t capacity)
    void hr_ring_close(hr_ring *ring)
    int hr_ring_collapse(const hr_ring *ring)
    uint8_t *hr_ring_at(const hr_ring *ring, uint64_t offset)


cdef extern from "sys/uio.h" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    ssize_t pwritev(int file, const iovec *parts, int count, off_t offset)


cdef hr_simd SIMD


cdef class Tail:
    cdef hr_ring ring
    cdef readonly bint ring_collapsed
    cdef readonly bint ring_huge
    cdef readonly FrameTable table
    cdef readonly ShardStates states
    cdef readonly uint64_t base
    cdef readonly uint64_t limit
    cdef readonly uint64_t appended
    cdef readonly uint64_t written
    cdef readonly uint64_t kept
    cdef public uint64_t synced
    cdef public int closed
    cdef readonly uint64_t opened
    cdef readonly uint32_t salt
    cdef readonly uint32_t chain
    cdef readonly int file
    cdef object disk
    cdef readonly object direct_path
    cdef readonly uint64_t direct_least
    cdef readonly uint64_t direct_bytes
    cdef int64_t direct_speed_min
    cdef int direct_slow    # writes in a row that were too slow
    cdef int direct_file
    cdef bint writing_block
    cdef bint cold_block    # the last block is on the device only
    cdef bint whole_blocks  # all writes are
    cdef uint64_t block_start
    cdef uint8_t *last_block
    cdef uint64_t _oldest(self) noexcept
    cdef uint64_t _block_of_written(self) noexcept
    cdef int _write_whole(self, uint64_t end, bint direct) except -1
    cdef ssize_t _write_blocks(self, bint direct, const iovec *parts, int count, off_t position,
                               int64_t *took) except? -2
    cdef int _no_direct(self) except -1
    cdef uint64_t _measure(self, Entries entries, Router router, uint32_t ordinal, uint32_t *frames,
                           uint32_t *shard_max) noexcept
    cdef int _frame_run(self, Entries entries, const uint32_t *order, Py_ssize_t count, hr_frame_header *header,
                        bint last_run, bint last) except -1
    cpdef long long append(self, Entries entries, Router router, uint32_t ordinal, int64_t now_ms,
                           uint64_t producer=*, uint64_t producer_sequence=*, bint last=*,
                           uint64_t extra=*) except? -9


cdef inline uint8_t *ring_place(Tail tail, uint64_t offset) noexcept nogil:
    """Where the tail's ring holds the byte at a lane offset. Places are counted from the segment's base, so that
    blocks of the file are blocks of memory, as direct writes need it."""
    return hr_ring_at(&tail.ring, offset - tail.base)


# What other rooms of `core` use of the kernels that are compiled in here.
cdef hr_frame_state check_frame(const uint8_t *source, size_t available, uint32_t salt,
                                hr_frame_header *header) noexcept nogil
cdef void fill_columns(const uint8_t *buffer, size_t at, const hr_frame_header *header, uint32_t skip, uint32_t take,
                       const hr_frame_columns *columns, size_t start) noexcept nogil
cdef int read_run(int file, char *target, const hr_frame_run *run) noexcept nogil
