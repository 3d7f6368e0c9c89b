# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Frames between records and a lane's bytes: the writing end, the table of frames, and reading back.

Cost of an append, a record: one pass over the entry (64 bytes, in cache) to measure, one copy of its key
and data into the ring, one read of the same bytes for the checksum; no allocation and no Python object.
A write is one pwrite of everything framed since the last one. In a `disk` lane it is one pwritev of whole blocks: up to
4 KiB that were written before go again, and the last block is copied once (at most 4 KiB). A direct write reads the
clock twice, and the first one of a segment opens the file once more.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_READ, PyBUF_SIMPLE, PyBUF_WRITABLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport EDQUOT, EINTR, EIO, ENOSPC, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.types cimport off_t

import os

from headrace.core._entries cimport Entries, Router, hr_entry
from headrace.core._frame_table cimport FrameTable, hr_frame_run
from headrace.core._states cimport ShardStates, shard_state
from headrace.core._simd cimport hr_simd, hr_simd_detect, hr_simd_processor, simd_level

cdef extern from "unistd.h" nogil:
    ssize_t pwrite(int file, const void *source, size_t size, off_t offset)
    ssize_t pread(int file, void *target, size_t size, off_t offset)
    int close(int file)

cdef extern from "stdlib.h" nogil:
    int posix_memalign(void **block, size_t alignment, size_t size)

cdef hr_simd SIMD = hr_simd_detect()

LEVELS = ("scalar", "avx2", "avx512")[:<int>hr_simd_processor() + 1]

KIND_RECORDS = 1
KIND_OPEN = 2
KIND_CLOSE = 3
KIND_POSITION = 4
KIND_SNAPSHOT = 5
KIND_GAP = 6
KIND_END = 7
FLAG_LAST = 1
HEADER_SIZE = 64
SEGMENT_HEADER_SIZE = 4096
SHARD_CLOSED = 1

NEEDS_ROOM = -1     # the ring is full: write, then append again
NEEDS_SEGMENT = -2  # the segment is full: roll, then append again

STATE_NAMES = ("ok", "short", "bad header checksum", "broken chain", "impossible field", "bad body checksum")
# Above this many bytes a write lets other Python threads run. Below it the write is over before a switch
# of threads would pay, and a waiting thread that never yields could hold the producer up for long.
cdef enum:
    RELEASE_SIZE = 65536
    PAGE_CACHE_OFFSET = 4096
    HELD = 2
    BLOCK = 4096            # of a direct write, in the file and in memory
    SLOW_WRITES = 4         # in a row tell a slow device from one that was busy once


def crc32c(data, uint32_t seed=0, simd=None):
    """CRC-32C of a bytes-like object; `seed` is the checksum of what came before it.

    simd: force a level ("scalar", "avx2", "avx512") that this processor has; all give the same value.
    Cost: one pass, 8 bytes a cycle with AVX2, some 20 with AVX-512 and VPCLMULQDQ.
    """
    cdef hr_simd level = <hr_simd>simd_level(simd, SIMD)
    cdef Py_buffer view
    cdef uint32_t crc
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    with nogil:
        crc = hr_crc32c(seed, view.buf, <size_t>view.len, level)
    PyBuffer_Release(&view)
    return crc


def crc32c_copy(target, source, uint32_t seed=0, simd=None):
    """Copy `source` to the start of the writable buffer `target`; return the CRC-32C of what was copied.

    The two must not overlap. Raises ValueError where `target` is too small.
    """
    cdef hr_simd level = <hr_simd>simd_level(simd, SIMD)
    cdef Py_buffer into, view
    cdef uint32_t crc
    PyObject_GetBuffer(source, &view, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(target, &into, PyBUF_SIMPLE | PyBUF_WRITABLE)
        try:
            if into.len < view.len:
                raise ValueError(f"target has {into.len} bytes; the source has {view.len}")
            with nogil:
                crc = hr_crc32c_copy(seed, into.buf, view.buf, <size_t>view.len, level)
        finally:
            PyBuffer_Release(&into)
    finally:
        PyBuffer_Release(&view)
    return crc


cdef hr_frame_state check_frame(const uint8_t *source, size_t available, uint32_t salt,
                                hr_frame_header *header) noexcept nogil:
    """Check one frame, header and body, whatever was before it."""
    cdef hr_frame_state state = hr_frame_check_header(source, available, salt, False, 0, header, SIMD)
    return hr_frame_check_body(source, header, SIMD) if state == HR_FRAME_OK else state


cdef void fill_columns(const uint8_t *buffer, size_t at, const hr_frame_header *header, uint32_t skip, uint32_t take,
                       const hr_frame_columns *columns, size_t start) noexcept nogil:
    """See hr_frame_columns_fill."""
    hr_frame_columns_fill(buffer, at, header, skip, take, columns, start)


cdef int read_run(int file, char *target, const hr_frame_run *run) noexcept nogil:
    """Read one run; 0 or an errno."""
    cdef Py_ssize_t done
    cdef uint64_t at = 0
    while at < run.size:
        done = pread(file, target + at, run.size - at, PAGE_CACHE_OFFSET + <off_t>(run.offset + at))
        if done < 0 and errno == EINTR:
            continue
        if done < 0:
            return errno
        if done == 0:
            return EIO  # the file ends before the frame does
        at += done
    return 0


cdef class Tail:
    """The growing end of a lane: the ring, the file being written, and what its next frame continues.

    Offsets are lane offsets: they count the frame bytes of the whole lane, without segment headers.
        kept      the ring still holds bytes from here on
        written   bytes before it were handed to the file
        appended  bytes before it were framed
        base      where the current segment starts; its file holds it at byte 4,096
        limit     where the current segment is full
        closed    1: `append` takes nothing any more; 2: only parts of the group in work
        opened    where the SNAPSHOT ends: before it the segment holds nothing of its own
    Durability: `append` promises nothing, `write` that the bytes survive the process, a sync of `file`
    after it that they survive the power.

    Direct writes (`write_direct_from`): a large write goes from the ring to the device without the copy into
    the page cache, which costs about a fifth of what a fast device takes for the bytes. Readers that are behind
    the ring find the bytes on the device only. Where that is slower than `speed_min`, the copy is not what a
    write waits for, and the segment goes on in the page cache.

    All writes of such a segment are of whole blocks: what the first block held before is written again; the last
    one is filled up with zeroes, in a copy, since `append` may be at work behind it. A direct write has to be; and
    one through the page cache then never waits until the rest of a block was read, where the cache does not hold
    what an earlier use has left there.

    The caller serialises `write` and everything that changes the segment; `append` holds the GIL
    throughout and may run while another thread is inside `write`.
    """

    def __cinit__(self):
        memset(&self.ring, 0, sizeof(self.ring))
        self.file = -1
        self.direct_file = -1

    def __init__(self, disk=None, states=None):
        """disk: an object with pwrite(file, view, position), or None for the system's own call."""
        self.disk = disk
        self.states = states if states is not None else ShardStates()
        self.table = FrameTable()

    def __dealloc__(self):
        hr_ring_close(&self.ring)
        if self.direct_file >= 0:
            close(self.direct_file)
        free(self.last_block)

    @property
    def ring_size(self):
        return self.ring.capacity

    @property
    def pending(self):
        """Bytes framed but not written."""
        return self.appended - self.written

    @property
    def may_wait(self):
        """Whether the next write may wait for the device: it is a direct one, or follows one, and the ring no longer has
        the last block, which is not in the page cache and has to be read."""
        return ((self.cold_block and self._block_of_written() < self.kept)
                or (self.direct_path is not None and self.appended - self.written >= self.direct_least))

    def start(self, int file, uint64_t base, uint64_t limit, uint32_t salt, uint32_t chain):
        """Begin a segment whose header stands in `file`; everything framed before must be written."""
        if self.appended != self.written:
            raise RuntimeError(f"{self.appended - self.written} bytes are framed but not written")
        self.file = file
        self.base = self.appended = self.written = self.kept = base
        self.limit = limit
        self.opened = base
        self.salt = salt
        self.chain = chain
        self.table = FrameTable()

    def write_direct_from(self, path, uint64_t least, int64_t speed_min):
        """Write in whole blocks, and `least` bytes and more past the page cache, where the file system takes that: until
        four in a row came to less than speed_min bytes a second. A sync is needed as after any other write. Nobody but
        this tail writes to the file, which was written once before, up to the end of a block.

        path: of the file, which is opened once more at the first such write. With a disk of the caller's (see
        __init__) the same blocks go to its pwrite.
        """
        self.direct_path, self.direct_least, self.direct_speed_min = path, least, speed_min // 1_000_000
        self.direct_slow = 0
        self.whole_blocks = True

    cdef uint64_t _oldest(self) noexcept:
        """The first byte that the ring may not lose: not written yet, or being written again with its block."""
        return self.block_start if self.writing_block else self.written

    cdef uint64_t _block_of_written(self) noexcept:
        """Where the block begins that the next write goes on in."""
        return self.written - (self.written - self.base) % BLOCK

    cdef int _no_direct(self) except -1:
        """The rest of the segment goes through the page cache."""
        self.direct_path = None
        if self.direct_file >= 0:
            close(self.direct_file)
            self.direct_file = -1
        return 0

    cdef int _write_whole(self, uint64_t end, bint direct) except -1:
        """Write what is framed up to `end` in whole blocks. Returns 0 where it has to go another way."""
        cdef uint64_t begin = self._block_of_written()
        cdef uint64_t whole = (end - begin) // BLOCK * BLOCK
        cdef uint64_t rest = end - begin - whole
        cdef iovec parts[2]
        cdef ssize_t done
        cdef int64_t took = 0
        if direct and self.direct_file < 0 and self.disk is None:
            try:
                self.direct_file = os.open(self.direct_path, os.O_WRONLY | os.O_CLOEXEC | os.O_DIRECT)
            except (OSError, AttributeError):
                return self._no_direct()
        if self.last_block == NULL and posix_memalign(<void **>&self.last_block, BLOCK, BLOCK):
            self.last_block = NULL
            return 0
        # From this look on the GIL is kept until `append` knows of the block (it may have come during the open).
        if begin < self.kept:  # the ring has gone round since
            return 0
        memcpy(self.last_block, ring_place(self, begin + whole), rest)
        memset(self.last_block + rest, 0, BLOCK - rest)
        parts[0].iov_base, parts[0].iov_len = ring_place(self, begin), whole
        parts[1].iov_base, parts[1].iov_len = self.last_block, BLOCK
        self.block_start, self.writing_block = begin, True  # `append` may be at work meanwhile
        try:
            done = self._write_blocks(direct, parts + (whole == 0), (whole != 0) + (rest != 0),
                                      PAGE_CACHE_OFFSET + <off_t>(begin - self.base), &took)
        finally:
            self.writing_block = False
        if done < 0:
            if errno == EINTR:
                return 1
            if direct and errno not in (EIO, ENOSPC, EDQUOT):  # blocks of another size, no memory to pin, a sandbox, …
                return self._no_direct()
            raise OSError(errno, os.strerror(errno))
        self.cold_block = direct
        if begin + done <= self.written:
            return self._no_direct() if direct else 0
        self.written = min(end, begin + <uint64_t>done)
        if direct:
            self.direct_bytes += <uint64_t>done
            self.direct_slow = self.direct_slow + 1 if done < took * self.direct_speed_min else 0
            if self.direct_slow == SLOW_WRITES:
                self._no_direct()
        return 1

    cdef ssize_t _write_blocks(self, bint direct, const iovec *parts, int count, off_t position,
                               int64_t *took) except? -2:
        """One call of the system, or of the caller's disk; like pwritev. took: microseconds of a direct one."""
        cdef timespec before, after
        cdef int file = self.direct_file if direct else self.file
        cdef ssize_t done
        if self.disk is not None:
            blocks = b"".join([PyBytes_FromStringAndSize(<const char *>parts[i].iov_base, parts[i].iov_len)
                               for i in range(count)])
            return self.disk.pwrite(self.file, blocks, position)
        if not direct and parts[0].iov_len < RELEASE_SIZE:
            return pwritev(file, parts, count, position)
        with nogil:
            clock_gettime(CLOCK_MONOTONIC, &before)
            done = pwritev(file, parts, count, position)
            clock_gettime(CLOCK_MONOTONIC, &after)
        took[0] = (after.tv_sec - before.tv_sec) * 1_000_000 + (after.tv_nsec - before.tv_nsec) // 1000
        return done

    def grow(self, size_t capacity):
        """Give the ring at least `capacity` bytes. What is framed but not written is taken along. OSError
        where there is no memory; nothing has changed then."""
        cdef hr_ring larger
        cdef int problem
        cdef uint64_t pending = self.appended - self.written
        memset(&larger, 0, sizeof(larger))
        if capacity < pending:
            capacity = pending
        if capacity:
            problem = hr_ring_open(&larger, capacity)
            if problem:
                raise OSError(problem, os.strerror(problem), f"ring of {capacity} bytes")
            if pending:  # appends do not wait for the lane's lock: some may have come since the last write
                memcpy(hr_ring_at(&larger, self.written - self.base), ring_place(self, self.written), pending)
        hr_ring_close(&self.ring)
        self.ring = larger
        self.ring_collapsed = self.ring_huge = False
        self.kept = self.written

    def take_ring(self, Tail other not None):
        """Go on in the ring of a tail that takes nothing any more and has handed everything to its file: its
        pages are there and warm. The other keeps nothing for readers, who find it in the file.

        Once, when the other has used all of its pages, the ring is put on huge pages: some milliseconds.
        """
        cdef int problem
        if not other.closed or other.appended != other.written or self.ring.base != NULL:
            raise RuntimeError(f"a ring is taken from a tail that still holds {other.appended - other.written} bytes")
        self.ring = other.ring
        memset(&other.ring, 0, sizeof(other.ring))
        other.kept = other.appended
        self.ring_collapsed, self.ring_huge = other.ring_collapsed, other.ring_huge
        if not self.ring_collapsed and other.appended - other.base > self.ring.capacity:
            self.ring_collapsed = True
            with nogil:
                problem = hr_ring_collapse(&self.ring)
            self.ring_huge = problem == 0  # a machine without huge pages is only slower

    def discard(self):
        """Forget what was framed but not written, after a failed write; the states must be set anew."""
        if self.appended > self.written:
            self.table.cut(<uint32_t>(self.written - self.base))
        self.appended = self.written

    cdef uint64_t _measure(self, Entries entries, Router router, uint32_t ordinal, uint32_t *frames,
                           uint32_t *shard_max) noexcept:
        """Bytes and frames that the lane's entries will take."""
        cdef const uint32_t *order = entries.order
        cdef Py_ssize_t at = entries.lane_start[ordinal]
        cdef Py_ssize_t end = entries.lane_start[ordinal + 1]
        cdef Py_ssize_t run
        cdef uint32_t slot, body
        cdef uint64_t total = 0
        frames[0] = 0
        shard_max[0] = 0
        while at < end:
            slot = entries.entry[order[at]].slot
            if router.shard[slot] > shard_max[0]:
                shard_max[0] = router.shard[slot]
            run = at + 1
            while run < end and entries.entry[order[run]].slot == slot:
                run += 1
            while at < run:
                at += hr_frame_fit(entries.entry, order + at, run - at, &body)
                total += hr_frame_stride(body)
                frames[0] += 1
        return total

    def measure(self, Entries entries, Router router, uint32_t ordinal):
        """Bytes that `append` would take for these entries."""
        cdef uint32_t frames, shard_max
        if ordinal >= entries.lane_count:
            raise ValueError(f"lane {ordinal} of entries that were routed to {entries.lane_count} lanes")
        return self._measure(entries, router, ordinal, &frames, &shard_max)

    cdef int _frame_run(self, Entries entries, const uint32_t *order, Py_ssize_t count, hr_frame_header *header,
                        bint last_run, bint last) except -1:
        """Frame the entries of one shard."""
        cdef Py_ssize_t at = 0
        cdef size_t fitting
        cdef uint32_t body, previous
        cdef size_t stride
        cdef shard_state *state = &self.states.states[header.shard]
        while at < count:
            fitting = hr_frame_fit(entries.entry, order + at, count - at, &body)
            header.previous_crc = self.chain
            header.body_size = body
            header.first_index = state.next_index
            header.count = <uint16_t>fitting
            header.flags = HR_FRAME_LAST if last and last_run and at + <Py_ssize_t>fitting == count else 0
            stride = hr_frame_write_records(ring_place(self, self.appended), header, self.salt,
                                            entries.entry, order + at, SIMD)
            self.table.append(header.shard, header.first_index, header.count, header.arrival_ms,
                              <uint32_t>(self.appended - self.base), <uint32_t>stride)
            self.chain = header.header_crc
            self.appended += stride
            state.next_index += fitting
            at += fitting
        return 0

    cpdef long long append(self, Entries entries, Router router, uint32_t ordinal, int64_t now_ms,
                           uint64_t producer=0, uint64_t producer_sequence=0, bint last=True,
                           uint64_t extra=0) except? -9:
        """Frame those of the entries that belong to lane `ordinal` of the router, as one group.

        Sets index and arrival of each. Returns the new end of the lane, or NEEDS_ROOM or NEEDS_SEGMENT and
        has done nothing. `extra` bytes are kept free for frames that will follow in the same group
        (`last` False). A group larger than a whole segment is taken when the segment is empty.
        """
        cdef uint32_t frames, shard_max, slot
        cdef hr_frame_header header
        cdef const uint32_t *order = entries.order
        cdef Py_ssize_t at, end, run
        cdef uint64_t total
        cdef shard_state *state
        if ordinal >= entries.lane_count:
            raise ValueError(f"lane {ordinal} of entries that were routed to {entries.lane_count} lanes")
        if self.closed and (self.closed != HELD or last):
            return NEEDS_SEGMENT
        total = self._measure(entries, router, ordinal, &frames, &shard_max) + extra
        if self.appended + total > self.limit and self.appended > self.opened:
            return NEEDS_SEGMENT
        if self.appended - self._oldest() + total > self.ring.capacity:
            return NEEDS_ROOM
        self.table.reserve(frames, shard_max)
        self.states.reserve(shard_max)
        self._forget(total)
        memset(&header, 0, sizeof(header))
        header.kind = HR_KIND_RECORDS
        header.producer = producer
        header.producer_sequence = producer_sequence
        header.synced_offset = self.synced
        at = entries.lane_start[ordinal]
        end = entries.lane_start[ordinal + 1]
        while at < end:
            slot = entries.entry[order[at]].slot
            run = at + 1
            while run < end and entries.entry[order[run]].slot == slot:
                run += 1
            header.shard = router.shard[slot]
            state = &self.states.states[header.shard]
            state.known = 1
            if now_ms > state.last_arrival_ms:
                state.last_arrival_ms = now_ms
            header.arrival_ms = state.last_arrival_ms
            self._frame_run(entries, order + at, run - at, &header, run == end, last)
            at = run
        return self.appended

    def append_body(self, uint8_t kind, uint32_t shard, bytes body, uint64_t first_index=0, int64_t arrival_ms=0,
                    uint64_t producer=0, uint64_t producer_sequence=0, bint last=True):
        """Frame bytes of another kind. Returns like `append`; segments do not limit these."""
        cdef hr_frame_header header
        cdef size_t stride
        if kind == HR_KIND_RECORDS or len(body) > HR_FRAME_RECORD_SIZE_MAX:
            raise ValueError(f"a frame of kind {kind} with {len(body)} bytes cannot be written")
        stride = hr_frame_stride(<uint32_t>len(body))
        if self.appended - self._oldest() + stride > self.ring.capacity:
            return NEEDS_ROOM
        self._forget(stride)
        memset(&header, 0, sizeof(header))
        header.kind = kind
        header.shard = shard
        header.first_index = first_index
        header.arrival_ms = arrival_ms
        header.body_size = <uint32_t>len(body)
        header.flags = HR_FRAME_LAST if last else 0
        header.previous_crc = self.chain
        header.producer = producer
        header.producer_sequence = producer_sequence
        header.synced_offset = self.synced
        hr_frame_write_body(ring_place(self, self.appended), &header, self.salt, PyBytes_AS_STRING(body), SIMD)
        self.chain = header.header_crc
        self.appended += stride
        if kind == HR_KIND_SNAPSHOT:
            self.opened = self.appended
        return self.appended

    def hold(self, uint64_t size, bint urgent=False):
        """Begin a group of several appends, `size` bytes in all: until `release`, an append that is not part
        of it (`last` True) is told NEEDS_SEGMENT and has to wait for the lane's lock.

        urgent: also where `append` takes nothing. Returns 0, or NEEDS_ROOM or NEEDS_SEGMENT and has done nothing.
        """
        if self.closed and not urgent:
            return NEEDS_SEGMENT
        if self.appended + size > self.limit and self.appended > self.opened:
            return NEEDS_SEGMENT
        if self.appended - self._oldest() + size > self.ring.capacity:
            return NEEDS_ROOM
        self.closed = HELD
        return 0

    def release(self, bint closed=False):
        """The group that `hold` began is complete. closed: take nothing but urgent groups."""
        if self.closed == HELD:
            self.closed = closed

    def _forget(self, uint64_t coming):
        """Bytes of the ring that the coming frames overwrite are no longer kept for readers."""
        if self.appended + coming > self.kept + self.ring.capacity:
            self.kept = self.appended + coming - self.ring.capacity

    def write(self):
        """Hand everything framed to the file with one write (more only if the system takes it in parts).

        Returns the lane offset now written. Raises OSError; `written` then tells how far it came, which
        may be inside a group.
        """
        cdef uint64_t end = self.appended
        cdef const uint8_t *source
        cdef ssize_t done
        cdef off_t position
        cdef size_t size
        cdef int file = self.file
        while self.written < end:
            if self.whole_blocks and self._write_whole(
                    end, self.direct_path is not None and end - self.written >= self.direct_least):
                continue
            source = ring_place(self, self.written)
            size = end - self.written
            position = PAGE_CACHE_OFFSET + <off_t>(self.written - self.base)
            if self.disk is not None:
                done = self.disk.pwrite(file, PyMemoryView_FromMemory(<char *>source, size, PyBUF_READ), position)
            elif size > RELEASE_SIZE or self.cold_block:
                self.cold_block = False
                with nogil:
                    done = pwrite(file, source, size, position)
            else:
                done = pwrite(file, source, size, position)
            if done < 0:
                if errno == EINTR:
                    continue
                raise OSError(errno, os.strerror(errno))
            self.written += done
        return end

    def rewind(self, uint64_t offset):
        """Set `written` back to a group's start after a failed write."""
        if not self.base <= offset <= self.written:
            raise ValueError(f"offset {offset} is not between {self.base} and {self.written}")
        self.written = offset

    def copy_ring(self, uint64_t offset, size_t size):
        """Bytes of the lane out of the ring, or None if it no longer holds them all."""
        if offset < self.kept or offset + size > self.appended:
            return None
        return PyBytes_FromStringAndSize(<const char *>ring_place(self, offset), size)


def check_frames(data, Py_ssize_t start, uint32_t salt, uint32_t previous, bint bodies=True):
    """Walk over frames from `start`, each checked and chained to the one before.

    Returns (end, chain, stop, state): `end` is where the last whole group ends and `chain` the header CRC
    there; `stop` is where the walk ended and `state` why (STATE_NAMES), 0 if the data ended with a frame.
    """
    cdef const uint8_t[::1] view = data
    cdef const uint8_t *base = &view[0] if view.shape[0] else NULL
    cdef Py_ssize_t size = view.shape[0]
    cdef Py_ssize_t at = start
    cdef Py_ssize_t end = start
    cdef uint32_t chain = previous
    cdef uint32_t end_chain = previous
    cdef hr_frame_header header
    cdef hr_frame_state state = HR_FRAME_OK
    with nogil:
        while at < size:
            state = hr_frame_check_header(base + at, size - at, salt, True, chain, &header, SIMD)
            if state == HR_FRAME_OK and bodies:
                state = hr_frame_check_body(base + at, &header, SIMD)
            if state != HR_FRAME_OK:
                break
            at += hr_frame_stride(header.body_size)
            chain = header.header_crc
            if header.flags & HR_FRAME_LAST:
                end = at
                end_chain = chain
    return end, end_chain, at, <int>state


def load_frames(data, Py_ssize_t start, Py_ssize_t end, uint32_t salt, FrameTable table, ShardStates states,
                uint64_t offset):
    """Take over frames that were checked: rows into the table, states forward, other kinds as a list.

    `offset` is the segment offset of data[0]. Returns [(kind, shard, first index, arrival ms, producer,
    producer sequence, segment offset, body)] for frames that carry no records or have a producer (their body is b"").
    """
    cdef const uint8_t[::1] view = data
    cdef Py_ssize_t at = start
    cdef hr_frame_header header
    events = []
    while at < end:
        if hr_frame_check_header(&view[at], end - at, salt, False, 0, &header, SIMD) != HR_FRAME_OK:
            raise ValueError(f"frame at {at} is not valid")
        if header.kind == HR_KIND_RECORDS:
            table.reserve(1, header.shard)
            table.append(header.shard, header.first_index, header.count, header.arrival_ms, <uint32_t>(offset + at),
                         <uint32_t>hr_frame_stride(header.body_size))
            if states is not None:
                states.reserve(header.shard)
                states.states[header.shard].next_index = header.first_index + header.count
                states.states[header.shard].last_arrival_ms = header.arrival_ms
                states.states[header.shard].known = 1
        if header.kind != HR_KIND_RECORDS or header.producer != 0:
            body = b"" if header.kind == HR_KIND_RECORDS else bytes(view[at + 64:at + 64 + header.body_size])
            events.append((header.kind, header.shard, header.first_index, header.arrival_ms, header.producer,
                           header.producer_sequence, offset + at, body))
        at += hr_frame_stride(header.body_size)
    return events


def read_header(data, Py_ssize_t at, uint32_t salt):
    """The header of the frame at `at` as a dict, or None if it is not valid."""
    cdef const uint8_t[::1] view = data
    cdef hr_frame_header header
    cdef hr_frame_state state
    if not 0 <= at < view.shape[0]:
        return None
    state = hr_frame_check_header(&view[at], view.shape[0] - at, salt, False, 0, &header, SIMD)
    if state not in (HR_FRAME_OK, HR_FRAME_SHORT):
        return None
    return {"kind": header.kind, "shard": header.shard, "first_index": header.first_index, "count": header.count,
            "arrival_ms": header.arrival_ms, "body_size": header.body_size, "flags": header.flags,
            "synced_offset": header.synced_offset, "header_crc": header.header_crc,
            "previous_crc": header.previous_crc, "producer": header.producer,
            "producer_sequence": header.producer_sequence}


def search_frame(data, Py_ssize_t start, uint32_t salt):
    """First offset from `start` on, a multiple of 8, where a valid header of this salt stands; None if none."""
    cdef const uint8_t[::1] view = data
    cdef Py_ssize_t size = view.shape[0]
    cdef size_t found
    if start >= size:
        return None
    with nogil:
        found = hr_frame_search(&view[0], start, size, salt, SIMD)
    return None if found >= <size_t>size else found


def read_runs(int file, runs):
    """One bytes object with the runs [(segment offset, size)] of frames by pread. OSError on a failed or
    short read. Cost: one copy, one system call a run."""
    cdef Py_ssize_t at = 0
    cdef int problem
    cdef hr_frame_run run
    cdef char *target
    data = PyBytes_FromStringAndSize(NULL, sum([size for _, size in runs]))
    target = PyBytes_AS_STRING(data)
    for offset, size in runs:
        run = hr_frame_run(offset, size, at)
        with nogil:
            problem = read_run(file, target + at, &run)
        if problem:
            raise OSError(problem, os.strerror(problem))
        at += run.size
    return data
