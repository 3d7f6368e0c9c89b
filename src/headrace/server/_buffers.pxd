# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Buffers that sockets read into, and the pool that lends them."""

from libc.stdint cimport uint8_t


cdef class Buffer:
    cdef uint8_t *data
    cdef readonly Py_ssize_t capacity
    cdef Py_ssize_t start           # first byte not yet consumed
    cdef Py_ssize_t end             # one past the last byte received
    cdef int exports                # views of bodies, handed out and not yet released
    cdef Py_ssize_t window_start    # what the next export shows
    cdef Py_ssize_t window_size
    cdef bint window_readonly
    cdef object tail(self, Py_ssize_t most)
    cdef object body(self, Py_ssize_t start, Py_ssize_t size)
    cdef void compact(self) noexcept


cdef class BufferPool:
    cdef list free                      # one list of free buffers a size class
    cdef list low_water                 # fewest free since the last trim, a class
    cdef readonly Py_ssize_t retained_bytes
    cdef readonly Py_ssize_t lent_bytes
    cdef readonly Py_ssize_t lent_count
    cdef readonly Py_ssize_t lent_large_bytes   # of buffers that hold one body each
    cdef readonly Py_ssize_t made               # buffers that were not there and had to be made
    cdef readonly int waits                     # times that a body had to wait for room
    cdef readonly Py_ssize_t lent_bytes_max
    cdef readonly Py_ssize_t retained_bytes_max
    cdef Buffer take(self, Py_ssize_t size)
    cdef bint has_room(self, Py_ssize_t size) noexcept
    cdef void give(self, Buffer buffer)
