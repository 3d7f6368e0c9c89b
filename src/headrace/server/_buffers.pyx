# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Buffers that sockets read into, and the pool that lends them.

Size classes: 64 KiB for heads and small requests (several in one), then four steps an octave up to the
largest body, so that a body lies in a block at most a quarter larger than itself. Memory of a class is
kept for the next request (a fresh 700 KB block costs 170 page faults and a
munmap, as much as everything else that is done for 500 records: docs/results.md) and handed back to the
system when it was not needed for one trim period: a block larger than the smallest class is a mapping of its
own, because the allocator keeps what it is given back in the middle of its heap.

A buffer counts the views that Python holds on bodies in it. One that is still exported when it comes back (a service
kept the body) is left to the garbage collector instead of being lent again: nobody's bytes ever change
under a view. The window that the loop reads into does not count: uvloop holds it until `buffer_updated` has returned,
in which buffers come back, and has written to it by then.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_FillInfo
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memmove
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap, munmap

cdef extern from *:
    """
    #include <stdlib.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    static int headrace_trim_heap(void) { return malloc_trim(0); }
    #else
    static int headrace_trim_heap(void) { return 0; }
    #endif
    """
    int headrace_trim_heap() nogil

DEF SMALL = 65536
DEF CLASSES = 40
DEF MAX_CAPACITY = 67108864

SMALL_SIZE = SMALL


def trim_heap():
    """Have the allocator hand its free pages back to the system (some milliseconds; glibc only)."""
    with nogil:
        headrace_trim_heap()


cdef inline Py_ssize_t class_size(int number) noexcept:
    """Capacity of a class: 64 KiB × {1, 1.25, 1.5, 1.75} × 2^k."""
    return (<Py_ssize_t>SMALL << (number >> 2)) + (<Py_ssize_t>(SMALL >> 2) << (number >> 2)) * (number & 3)


cdef inline int class_of(Py_ssize_t size) noexcept:
    """The smallest class that holds `size` bytes, or CLASSES."""
    cdef int number = 0
    while number < CLASSES and class_size(number) < size:
        number += 1
    return number


cdef class Buffer:
    """A block of memory with a consumed part, a filled part and a free part."""

    def __cinit__(self, Py_ssize_t capacity):
        if capacity <= 0 or capacity > MAX_CAPACITY:
            raise ValueError(f"a receive buffer of {capacity} bytes")
        cdef void *data
        if capacity > SMALL:
            data = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
            if data == MAP_FAILED:
                data = NULL
        else:
            data = malloc(capacity)
        if data == NULL:
            raise MemoryError(f"a receive buffer of {capacity} bytes")
        self.data = <uint8_t *>data
        self.capacity = capacity
        self.window_readonly = True

    def __dealloc__(self):
        if self.data != NULL:
            if self.capacity > SMALL:
                munmap(self.data, self.capacity)
            else:
                free(self.data)

    cdef object tail(self, Py_ssize_t most):
        """Show the next export the free part, at most `most` bytes of it, writable."""
        self.window_start = self.end
        self.window_size = min(most, self.capacity - self.end)
        self.window_readonly = False
        return self

    cdef object body(self, Py_ssize_t start, Py_ssize_t size):
        """A read-only memoryview of received bytes."""
        assert 0 <= start and start + size <= self.end
        self.window_start = start
        self.window_size = size
        self.window_readonly = True
        return memoryview(self)

    cdef void compact(self) noexcept:
        """Move what is not consumed to the front."""
        if self.start:
            memmove(self.data, self.data + self.start, self.end - self.start)
            self.end -= self.start
            self.start = 0

    def __getbuffer__(self, Py_buffer *view, int flags):
        if self.window_readonly and flags & PyBUF_WRITABLE:
            raise BufferError("a received body cannot be written to")
        PyBuffer_FillInfo(view, self, self.data + self.window_start, self.window_size, self.window_readonly, flags)
        if self.window_readonly:
            self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        if view.readonly:
            self.exports -= 1


cdef class BufferPool:
    """Lends buffers, within a bound on what is lent and one on what is kept.

    lent_bytes_max: buffers of bodies being received at one time; beyond it connections wait to read theirs.
        A connection takes all that its body may need at once, so none holds some and waits for more.
        Small buffers do not count: there are at most two a connection.
    retained_bytes_max: free memory kept for the next request.
    """

    def __init__(self, Py_ssize_t lent_bytes_max, Py_ssize_t retained_bytes_max):
        self.free = [[] for _ in range(CLASSES)]
        self.low_water = [0] * CLASSES
        self.lent_bytes_max = lent_bytes_max
        self.retained_bytes_max = retained_bytes_max

    cdef bint has_room(self, Py_ssize_t size) noexcept:
        """May a buffer for a body of `size` be taken now? One is always allowed, however large."""
        return self.lent_large_bytes == 0 or self.lent_large_bytes + size <= self.lent_bytes_max

    cdef Buffer take(self, Py_ssize_t size):
        cdef int number = class_of(size)
        cdef Buffer buffer
        cdef list waiting
        if number == CLASSES:
            raise ValueError(f"no receive buffer holds {size} bytes")
        waiting = <list>self.free[number]
        if waiting:
            buffer = <Buffer>waiting.pop()
            self.retained_bytes -= buffer.capacity
            if len(waiting) < <Py_ssize_t>self.low_water[number]:
                self.low_water[number] = len(waiting)
        else:
            buffer = Buffer(class_size(number))
            self.made += 1
        buffer.start = buffer.end = 0
        self.lent_bytes += buffer.capacity
        self.lent_count += 1
        if buffer.capacity > SMALL:
            self.lent_large_bytes += buffer.capacity
        return buffer

    cdef void give(self, Buffer buffer):
        """Take a buffer back; one that is still exported or that goes beyond the bound is let go."""
        self.lent_bytes -= buffer.capacity
        self.lent_count -= 1
        if buffer.capacity > SMALL:
            self.lent_large_bytes -= buffer.capacity
        if buffer.exports == 0 and self.retained_bytes + buffer.capacity <= self.retained_bytes_max:
            self.retained_bytes += buffer.capacity
            (<list>self.free[class_of(buffer.capacity)]).append(buffer)

    def trim(self):
        """Give back to the system what no request needed since the last call, but one small buffer."""
        cdef int number
        for number in range(CLASSES):
            waiting = <list>self.free[number]
            spare = min(self.low_water[number], len(waiting)) - (1 if number == 0 else 0)
            for _ in range(spare):
                self.retained_bytes -= (<Buffer>waiting.pop(0)).capacity
            self.low_water[number] = len(waiting)

    def lend(self, Py_ssize_t size):
        """Take a buffer from Python (tests)."""
        return self.take(size)

    def give_back(self, Buffer buffer not None):
        """Give a buffer back from Python (tests)."""
        self.give(buffer)
