# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What the connections of one event loop share, and the state of each."""

from libc.stdint cimport int64_t, uint64_t

from headrace.server._answers cimport AnswerWriter, Outlet, Route, Slot
from headrace.server._buffers cimport Buffer, BufferPool
from headrace.server._commit cimport Committer

cdef enum:
    PIPELINE_MAX = 64           # answers owed to one connection

cdef enum:  # states of the reading side; see _connection.pyx
    HEAD = 0
    BODY = 1
    SKIP = 2
    CHUNK = 3
    CHUNK_DATA = 4
    CHUNK_END = 5
    TRAILER = 6
    LINGER = 7
    CLOSED = 8

cdef enum:  # why reading is paused
    PAUSED_PIPELINE = 1
    PAUSED_WRITE = 2
    PAUSED_ROOM = 4


cdef class Context:
    cdef readonly BufferPool pool
    cdef readonly Committer committer
    cdef readonly AnswerWriter writer
    cdef object loop
    cdef object application         # Python: resolve, host_allowed, origin_allowed, page, content_type
    cdef object answer_type
    cdef object pending_type
    cdef object executor_factory
    cdef dict routes                # X-Amz-Target bytes -> Route
    cdef readonly Route unknown     # counts the answers to every X-Amz-Target that has none
    cdef dict hosts                 # Host bytes -> bool, for those seen
    cdef dict content_types         # Content-Type bytes -> bytes to answer with, or False
    cdef readonly set connections
    cdef list body_waiters          # connections that wait for room for their body
    cdef int64_t now                # ticks since the start
    cdef readonly double tick_seconds
    cdef int64_t idle_ticks, head_ticks, body_ticks, linger_ticks, write_ticks, request_ticks, room_ticks
    cdef readonly Py_ssize_t body_size_max, connections_max
    cdef bint closing
    cdef readonly uint64_t accepted, requests, bytes_in, refused, timeouts, continued, turned_away
    cdef Route route_of(self, bytes target)
    cdef void give_buffer(self, Buffer buffer)
    cdef int relieve(self) except -1


cdef class Peer(Outlet):
    cdef Context context
    cdef object transport
    cdef Buffer buffer              # received and not yet consumed
    cdef Buffer body                # decoded chunks
    cdef Slot first, last           # answers owed, in order
    cdef int owed
    cdef int state
    cdef int reason_paused          # why reading is paused: bits
    cdef bint processing
    cdef bint want_continue
    cdef bint eof
    cdef bint ended                 # no further request is read
    cdef bint sent_last             # the answer that ends the connection has been written
    cdef bint write_paused
    cdef Py_ssize_t unsent          # when the write limit was last looked at
    cdef Py_ssize_t ready_bytes     # of finished answers that wait for the end of `process`
    cdef size_t scanned
    cdef int64_t deadline           # tick at which the present phase ends
    cdef int64_t request_deadline   # tick at which the whole request must have come, or room for it be found
    cdef int64_t request_left       # ticks left to the request that waits for room
    cdef int64_t room_since         # tick since when it waits for room, or has it
    cdef Py_ssize_t room_size       # of the room that it waits for
    # the request whose body is being received
    cdef Slot slot
    cdef Route route
    cdef uint64_t body_left         # bytes of the body, or of the chunk, still to come
    cdef uint64_t framing_bytes     # of a chunked body: everything but data
    cdef bint refused               # the body is thrown away: the slot already has its answer

    cdef int process(self) except -1
    cdef int owe(self, Slot slot) except -1
    cdef bint partial(self) noexcept
    cdef int pause(self, int reason) except -1
    cdef int resume(self, int reason) except -1
    cdef int wait_for_room(self, Py_ssize_t size) except -1
    cdef int enter(self) except -1
    cdef int64_t body_duration(self) noexcept
    cdef int release_idle(self) except -1
    cdef bint still_reads(self)
    cdef int give_up(self, int status, str code, str message) except -1
    cdef int finish_connection(self, bint linger) except -1
    cdef void drop_buffers(self)
