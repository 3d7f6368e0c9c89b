# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Answers on their way out: a slot a request, and the writer of heads."""

from libc.stdint cimport int64_t, uint8_t, uint64_t


cdef class Route:
    cdef readonly object call           # service.call
    cdef readonly str operation
    cdef readonly str service           # the prefix of X-Amz-Target
    cdef readonly bint blocking         # run in a thread: it may wait for the world
    cdef uint64_t answers[6]            # by hundreds of the status
    cdef uint64_t buckets[28]           # answers by ⌊log2(microseconds)⌋
    cdef uint64_t nanoseconds


cdef class Outlet:
    cdef int flush(self) except -1


cdef class Slot:
    cdef Outlet outlet
    cdef Slot next
    cdef Route route                    # None for pages and refusals
    cdef object body                    # bytes-like
    cdef bytes content_type
    cdef bytes extra                    # further header lines, each with its CR LF
    cdef int status
    cdef int waiting                    # lanes that have not yet kept their promise
    cdef bint done
    cdef bint close                     # the connection ends after this answer
    cdef bint linger                    # … and what the client still sends is thrown away for a while
    cdef bint head_only
    cdef bint persistent_1_0            # an HTTP/1.0 client that asked for keep-alive
    cdef int64_t started_ns


cdef class AnswerWriter:
    cdef uint64_t state[2]
    cdef readonly bytes date
    cdef readonly uint64_t bytes_out
    cdef uint64_t random(self) noexcept
    cdef Py_ssize_t head(self, uint8_t *to, Slot slot, Py_ssize_t body_size) except -1
    cdef int write(self, Slot slot, list parts) except -1


cdef int64_t now_ns() noexcept
cdef Slot new_slot(Outlet outlet, Route route)
cdef int finish(Slot slot, int status, object body, bytes content_type) except -1
cdef int finish_error(Slot slot, int status, str code, str message, bytes content_type) except -1
