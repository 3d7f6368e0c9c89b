# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Where one shard's frames come from: the ring, a raw segment's file, or blocks that were decompressed.

What is read for a batch is joined into one bytes object; what is only passed on (an answer, a check) is read
piece by piece and never has to leave the processor's caches.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from posix.types cimport off_t

import os

from headrace.core._frame_table cimport FrameTable, hr_frame_run
from headrace.core._frames cimport Tail, read_run, ring_place

from headrace.core._frame_batch import decode_frames

cdef extern from *:
    """
    #include <fcntl.h>
    /* Have the system fetch what is about to be read, without waiting for it. */
    static void will_need(int file, off_t position, off_t size)
    {
    #ifdef POSIX_FADV_WILLNEED
        (void)posix_fadvise(file, position, size, POSIX_FADV_WILLNEED);
    #else
        (void)file, (void)position, (void)size;
    #endif
    }
    """
    void will_need(int file, off_t position, off_t size) nogil

cdef enum:
    RUN_SIZE = 262144 + 4096  # a piece of frames to be read at once
    RUNS_AHEAD = 8            # the device has that many to fetch at a time


cdef class FrameSource:
    """The frames of one shard from an index on, to be read once: whole frames, unchecked, piece by piece.

    Enough of them for max_records or max_bytes, which the reader applies, and at least one frame. A piece lies in
    the ring, else in a scratch of RUN_SIZE that stays in the second cache. Cost of a piece: one pread, or nothing
    for what the ring still has.
    """

    def __cinit__(self, uint32_t shard, uint64_t index, Py_ssize_t max_records, Py_ssize_t max_bytes, uint32_t salt,
                  held):
        self.shard, self.index, self.salt, self.held = shard, index, salt, held
        self.max_records, self.max_bytes = max_records, max_bytes

    def __dealloc__(self):
        free(self.runs)
        free(self.scratch)

    def in_segment(self, FrameTable table, uint64_t end, int file, Tail tail=None, uint64_t base=0,
                   bint read_ahead=False):
        """Frames of a raw segment that end at or before segment offset `end`; None if there are none.

        tail: its growing end, if it has one, with the segment's base offset. read_ahead: the file may not be in
        the page cache (Tail.write_direct_from). The frames of one shard lie apart, which the system takes for
        reading here and there; told of the next ones, it fetches them side by side. Cost where they are in the
        cache: a microsecond a piece.
        """
        cdef Py_ssize_t i
        self.run_count = table.find(self.shard, self.index, self.max_records, self.max_bytes, end, RUN_SIZE,
                                    &self.runs)
        if self.run_count == 0:
            return None
        self.file, self.tail, self.base, self.read_ahead = file, tail, base, read_ahead
        self.size = self.runs[self.run_count - 1].target + self.runs[self.run_count - 1].size
        return self

    def in_pieces(self, pieces, Py_ssize_t size):
        """Frames that come as (bytes, start, stop) out of an iterator, `size` bytes in all."""
        self.pieces, self.size = pieces, size
        return self

    cdef const uint8_t *in_ring(self, const hr_frame_run *run) noexcept:
        """Where the ring has the run; NULL if it does not. Valid until the GIL is released."""
        cdef uint64_t start = self.base + run.offset
        if self.tail is None or start < self.tail.kept or start + run.size > self.tail.appended:
            return NULL
        return ring_place(self.tail, start)

    cdef void hint(self, Py_ssize_t at) noexcept nogil:
        """Before run `at` is read from the file: tell the system of those that come after it."""
        cdef const hr_frame_run *run
        if not self.read_ahead:
            return
        if self.hinted <= at:
            self.hinted = at + 1
        while self.hinted < self.run_count and self.hinted <= at + RUNS_AHEAD:
            run = &self.runs[self.hinted]
            if run.size and (self.tail is None or self.base + run.offset < self.tail.kept):
                will_need(self.file, 4096 + <off_t>run.offset, <off_t>run.size)
            self.hinted += 1

    cdef int next(self, const uint8_t **start, size_t *size) except -1:
        """The next piece, valid until the next call or until the GIL is released; 0 where there is none."""
        cdef hr_frame_run *run
        cdef int problem
        cdef Py_ssize_t first, stop
        if self.pieces is not None:
            found = next(self.pieces, None)
            if found is None:
                return 0
            data, first, stop = found
            if not 0 <= first <= stop <= len(<bytes?>data):
                raise ValueError(f"frames at {first} to {stop} of {len(data)} bytes")
            self.held = data
            start[0] = <const uint8_t *>PyBytes_AS_STRING(data) + first
            size[0] = stop - first
            return 1
        if self.at == self.run_count:
            return 0
        run = &self.runs[self.at]
        self.at += 1
        size[0] = run.size
        start[0] = self.in_ring(run)
        if start[0] != NULL:
            return 1
        if run.size > self.scratch_size:
            free(self.scratch)
            self.scratch_size = max(<size_t>run.size, <size_t>RUN_SIZE) if self.run_count > 1 else run.size
            self.scratch = <char *>malloc(self.scratch_size)
            if self.scratch == NULL:
                self.scratch_size = 0
                raise MemoryError()
        with nogil:
            self.hint(self.at - 1)
            problem = read_run(self.file, self.scratch, run)
        if problem:
            raise OSError(problem, os.strerror(problem))
        start[0] = <const uint8_t *>self.scratch
        return 1

    def joined(self):
        """All frames as bytes, one after the other. OSError on a failed or short read.

        Cost: one copy, and one system call for each run that the ring no longer has.
        """
        cdef Py_ssize_t i
        cdef int problem = 0
        cdef char *target
        cdef const uint8_t *place
        if self.pieces is not None:
            return b"".join([data[first:stop] for data, first, stop in self.pieces])
        data = PyBytes_FromStringAndSize(NULL, self.size)
        target = PyBytes_AS_STRING(data)
        for i in range(self.run_count):  # appends overwrite the ring: first, before the GIL is released
            place = self.in_ring(&self.runs[i])
            if place != NULL:
                memcpy(target + self.runs[i].target, place, self.runs[i].size)
                self.runs[i].size = 0
        with nogil:
            for i in range(self.run_count):
                if self.runs[i].size and not problem:
                    self.hint(i)
                    problem = read_run(self.file, target + self.runs[i].target, &self.runs[i])
        if problem:
            raise OSError(problem, os.strerror(problem))
        self.at = self.run_count
        return data

    def batch(self):
        """The records as a RecordBatch that owns its bytes; ValueError names the first bad frame's place."""
        return decode_frames(self.joined(), self.salt, self.index, self.max_records, self.max_bytes, self.shard)
