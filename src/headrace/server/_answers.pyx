# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Answers on their way out: a slot a request, and the writer of heads.

Cost: a head is copied together from ready parts into one bytes object with the body (0.3 µs); the two
request ids come from a xorshift128+ generator seeded by the system (60 ns), not from uuid4 (1.5 µs).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

import os
from http import HTTPStatus

cimport cython

cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *result)

DEF HEAD_MAX = 2048
DEF JOIN_MAX = 131072  # bodies above this are not copied behind their head but handed over beside it

cdef const char *HEX = b"0123456789abcdef"
cdef const char *BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

cdef bytes JSON = b"application/x-amz-json-1.1"
cdef dict STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\nx-amzn-RequestId: ".encode() for status in HTTPStatus
}
cdef bytes ID_2 = b"\r\nx-amz-id-2: "
cdef bytes DATE = b"\r\nDate: "
cdef bytes CONTENT_TYPE = b"\r\nContent-Type: "
cdef bytes CONTENT_LENGTH = b"\r\nContent-Length: "
cdef bytes CLOSE = b"\r\nConnection: close\r\n"
cdef bytes KEEP_ALIVE = b"\r\nConnection: keep-alive\r\n"
cdef bytes LINE_END = b"\r\n"


cdef class Route:
    """Where requests of one X-Amz-Target go, and what came of them."""

    def __init__(self, call, str service, str operation, bint blocking=False):
        self.call = call
        self.service = service
        self.operation = operation
        self.blocking = blocking

    @property
    def counts(self):
        """Answers by status class: {"2xx": n, …}, only those that occurred."""
        return {f"{i}xx": self.answers[i] for i in range(6) if self.answers[i]}

    @property
    def latency(self):
        """(sum in seconds, [count of answers below 2, 4, 8, … microseconds]) not accumulated."""
        return self.nanoseconds / 1e9, [self.buckets[i] for i in range(28)]


cdef class Outlet:
    """What a finished slot is reported to: a connection."""

    cdef int flush(self) except -1:
        return 0


@cython.freelist(256)
cdef class Slot:
    """The place of one answer in the order of its connection's answers."""


cdef int64_t now_ns() noexcept:
    """The monotonic clock, for latencies."""
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return <int64_t>at.tv_sec * 1000000000 + at.tv_nsec


cdef Slot new_slot(Outlet outlet, Route route):
    cdef Slot slot = Slot.__new__(Slot)
    slot.outlet = outlet
    slot.route = route
    slot.status = 200
    return slot


cdef int finish(Slot slot, int status, object body, bytes content_type) except -1:
    """Give the slot its answer; the outlet sends it when its turn has come."""
    slot.status = status
    slot.body = body
    slot.content_type = content_type
    slot.done = True
    return 0


cdef int finish_error(Slot slot, int status, str code, str message, bytes content_type) except -1:
    """The same for an error, in the manner of the service."""
    import json
    body = json.dumps({"__type": code, "message": message}, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "replace")
    return finish(slot, status, body, content_type if content_type is not None else JSON)


cdef inline uint8_t *put(uint8_t *to, bytes part) noexcept:
    memcpy(to, PyBytes_AS_STRING(part), PyBytes_GET_SIZE(part))
    return to + PyBytes_GET_SIZE(part)


cdef inline uint8_t *put_number(uint8_t *to, uint64_t value) noexcept:
    cdef uint8_t[20] digits
    cdef int count = 0
    while True:
        digits[count] = <uint8_t>(48 + value % 10)
        count += 1
        value //= 10
        if value == 0:
            break
    while count:
        count -= 1
        to[0] = digits[count]
        to += 1
    return to


cdef class AnswerWriter:
    """Writes heads; one for each event loop.

    seed: 16 bytes for the request ids, from the system where none is given (tests give one).
    """

    def __init__(self, bytes seed=None):
        if seed is None:
            seed = os.urandom(16)
        self.state[0] = int.from_bytes(seed[:8], "little") | 1
        self.state[1] = int.from_bytes(seed[8:16], "little")
        self.date = b"Thu, 01 Jan 1970 00:00:00 GMT"

    def set_date(self, bytes date not None):
        """The text of the Date header from now on; the server sets it once a second."""
        assert len(date) == 29
        self.date = date

    cdef uint64_t random(self) noexcept:
        """xorshift128+: unique enough to find a request in two logs; not a secret."""
        cdef uint64_t a = self.state[0]
        cdef uint64_t b = self.state[1]
        self.state[0] = b
        a ^= a << 23
        self.state[1] = a ^ b ^ (a >> 17) ^ (b >> 26)
        return self.state[1] + b

    cdef Py_ssize_t head(self, uint8_t *to, Slot slot, Py_ssize_t body_size) except -1:
        """Write status line and headers; at most HEAD_MAX bytes."""
        cdef uint8_t *at = to
        cdef uint64_t word
        cdef int i, j
        cdef bytes line = STATUS_LINES[slot.status]
        cdef bytes content_type = slot.content_type
        if content_type is None:
            content_type = JSON
        if PyBytes_GET_SIZE(content_type) + (PyBytes_GET_SIZE(slot.extra) if slot.extra is not None else 0) > 1024:
            raise ValueError("the headers of an answer are larger than 1,024 bytes")
        at = put(at, line)
        word = self.random()
        for i in range(36):
            if i == 8 or i == 13 or i == 18 or i == 23:
                at[i] = b"-"
            else:
                if i == 19:
                    word = self.random()
                at[i] = HEX[word & 15]
                word >>= 4
        at[14] = b"4"
        at = put(at + 36, ID_2)
        for i in range(0, 76, 10):
            word = self.random()
            for j in range(i, min(i + 10, 76)):
                at[j] = BASE64[word & 63]
                word >>= 6
        at = put(at + 76, DATE)
        at = put(at, self.date)
        at = put(at, CONTENT_TYPE)
        at = put(at, content_type)
        at = put(at, CONTENT_LENGTH)
        at = put_number(at, body_size)
        if slot.close:
            at = put(at, CLOSE)
        elif slot.persistent_1_0:
            at = put(at, KEEP_ALIVE)
        else:
            at = put(at, LINE_END)
        if slot.extra is not None:
            at = put(at, slot.extra)
        at = put(at, LINE_END)
        assert at - to <= HEAD_MAX
        return at - to

    cdef int write(self, Slot slot, list parts) except -1:
        """Append the answer's bytes to `parts`: one object, or head and body where the body is large."""
        cdef uint8_t[HEAD_MAX] head
        cdef Py_buffer view
        cdef Py_ssize_t head_size
        cdef bytes joined
        PyObject_GetBuffer(slot.body, &view, PyBUF_SIMPLE)
        try:
            head_size = self.head(head, slot, view.len)
            if slot.head_only or view.len == 0:
                parts.append(PyBytes_FromStringAndSize(<char *>head, head_size))
                self.bytes_out += head_size
            elif view.len <= JOIN_MAX:
                joined = PyBytes_FromStringAndSize(NULL, head_size + view.len)
                memcpy(PyBytes_AS_STRING(joined), head, head_size)
                memcpy(PyBytes_AS_STRING(joined) + head_size, view.buf, view.len)
                parts.append(joined)
                self.bytes_out += head_size + view.len
            else:
                parts.append(PyBytes_FromStringAndSize(<char *>head, head_size))
                parts.append(slot.body)
                self.bytes_out += head_size + view.len
        finally:
            PyBuffer_Release(&view)
        return 0

    def encode(self, int status, body, bytes content_type=JSON, bytes extra=None, bint close=False):
        """The bytes of one answer (tests, and connections that are refused before they begin)."""
        cdef Slot slot = new_slot(None, None)
        cdef list parts = []
        finish(slot, status, body, content_type)
        slot.extra = extra
        slot.close = close
        self.write(slot, parts)
        return b"".join(parts)
