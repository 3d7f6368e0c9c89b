# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""One shard's frames, to be read once."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from headrace.core._frame_table cimport hr_frame_run
from headrace.core._frames cimport Tail


cdef class FrameSource:
    cdef hr_frame_run *runs
    cdef Py_ssize_t run_count
    cdef Py_ssize_t at              # runs given so far
    cdef int file
    cdef bint read_ahead
    cdef Py_ssize_t hinted          # runs that the system was told of, or that were read
    cdef Tail tail                  # None: the segment no longer grows
    cdef uint64_t base
    cdef object pieces              # iterator of (bytes, start, stop) instead of runs, or None
    cdef object held                # what keeps file or bytes alive
    cdef char *scratch
    cdef size_t scratch_size
    cdef readonly uint32_t salt
    cdef readonly uint32_t shard
    cdef readonly uint64_t index
    cdef readonly Py_ssize_t max_records
    cdef readonly Py_ssize_t max_bytes
    cdef readonly Py_ssize_t size
    cdef const uint8_t *in_ring(self, const hr_frame_run *run) noexcept
    cdef void hint(self, Py_ssize_t at) noexcept nogil
    cdef int next(self, const uint8_t **start, size_t *size) except -1
