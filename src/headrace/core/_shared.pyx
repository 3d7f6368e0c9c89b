# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Words in a mapping that several processes share: release stores, acquire loads, sleep and wake.

Cost: a store or load is one instruction and a bounds check; `publish` adds a system call only when
somebody sleeps.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "shared.h" nogil:
    void hr_shared_store64(uint64_t *word, uint64_t value)
    uint64_t hr_shared_load64(const uint64_t *word)
    uint32_t hr_shared_load32(const uint32_t *word)
    uint32_t hr_shared_add32(uint32_t *word, uint32_t value)
    int hr_shared_wait(uint32_t *word, uint32_t seen, int64_t timeout_ns)
    void hr_shared_wake(uint32_t *word)


cdef class SharedWords:
    """Access to aligned words of a writable shared mapping by byte offset."""

    cdef uint8_t[::1] view
    cdef uint8_t *base
    cdef Py_ssize_t size

    def __init__(self, mapping):
        self.view = mapping
        self.base = &self.view[0]
        self.size = self.view.shape[0]

    cdef int _check(self, Py_ssize_t at, Py_ssize_t width) except -1:
        if at < 0 or at % width or at + width > self.size:
            raise IndexError(f"word of {width} bytes at {at} in a mapping of {self.size}")
        return 0

    def load64(self, Py_ssize_t at):
        self._check(at, 8)
        return hr_shared_load64(<uint64_t *>(self.base + at))

    def store64(self, Py_ssize_t at, uint64_t value):
        self._check(at, 8)
        hr_shared_store64(<uint64_t *>(self.base + at), value)

    def load32(self, Py_ssize_t at):
        self._check(at, 4)
        return hr_shared_load32(<uint32_t *>(self.base + at))

    def add32(self, Py_ssize_t at, uint32_t value):
        """Add (modulo 2**32) and return what was there before."""
        self._check(at, 4)
        return hr_shared_add32(<uint32_t *>(self.base + at), value)

    def publish(self, Py_ssize_t at, uint64_t value):
        """Store the value at `at`, count up the word at + 8 and wake whoever sleeps on it.

        The word at + 12 counts the sleepers: without any, there is no system call.
        """
        self._check(at, 8)
        self._check(at + 8, 8)
        hr_shared_store64(<uint64_t *>(self.base + at), value)
        hr_shared_add32(<uint32_t *>(self.base + at + 8), 1)
        if hr_shared_load32(<uint32_t *>(self.base + at + 12)):
            hr_shared_wake(<uint32_t *>(self.base + at + 8))

    def wait_beyond(self, Py_ssize_t at, uint64_t value, double timeout):
        """Sleep until the word at `at` exceeds `value` or `timeout` seconds are over; True if it does.

        The GIL is released while sleeping; sleeps at most 50 ms at a time so that signals are seen.
        """
        cdef uint32_t *wake
        cdef uint32_t *sleepers
        cdef uint64_t *word
        cdef uint32_t seen
        cdef double step
        cdef int64_t step_ns
        self._check(at, 8)
        self._check(at + 8, 8)
        word = <uint64_t *>(self.base + at)
        wake = <uint32_t *>(self.base + at + 8)
        sleepers = <uint32_t *>(self.base + at + 12)
        while True:
            seen = hr_shared_load32(wake)
            if hr_shared_load64(word) > value:
                return True
            if timeout <= 0:
                return False
            step = min(timeout, 0.05)
            step_ns = <int64_t>(step * 1e9)
            hr_shared_add32(sleepers, 1)
            with nogil:
                if hr_shared_load32(wake) == seen:
                    hr_shared_wait(wake, seen, step_ns)
            hr_shared_add32(sleepers, <uint32_t>-1)
            timeout -= step
