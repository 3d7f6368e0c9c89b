# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What the connections of one event loop share, and the life of each: its limits, its pauses, its end.

Deadlines are ticks of one timer; a tick looks at every connection (20 ns each), so that a request sets a
number and no timer. Reading pauses for three reasons, which are bits: too many answers are owed, the client
does not read, no room is left for bodies. It goes on when none is left.

Room is promised for a whole body when it begins to come, so a client that sends one slowly keeps others out.
A body waits for room as long as a stalled one is waited for (`body`): then it was our fault and the answer is
503. When one has waited for a sixth of that, each tick ends the holder whose whole body takes longest at the
rate at which it came so far, if that is longer than anybody may wait. The smallest that wait enter first.
"""

from libc.stdint cimport int64_t

from headrace.server._answers cimport AnswerWriter, Outlet, Route, Slot, finish_error, new_slot
from headrace.server._buffers cimport Buffer, BufferPool
from headrace.server._commit cimport Committer
from headrace.server._buffers import SMALL_SIZE

DEF NEVER = 0x7fffffffffffffff
DEF PATIENCE = 6    # a body waits for room for this part of its time before a slow one has to make it

cdef Py_ssize_t SMALL = SMALL_SIZE


cdef class Context:
    """What the connections of one event loop share.

    application: Python object that decides (see server/router.py): `resolve(target) -> Route | (status,
        code, message)`, `host_allowed(bytes) -> bool`, `origin_allowed(origin, host) -> bool`,
        `content_type(bytes) -> bytes | None`, `page(method, path, head) -> (status, content_type, body,
        extra)`, with the whole head where it has an Authorization.
    answer_type, pending_type: the classes that services answer with.
    times: seconds by name: idle, head, body (no byte of it came), linger, write (the client does not read),
        request (head to last byte of the body).
    """

    def __init__(self, loop, application, answer_type, pending_type, pool, committer, executor_factory, *,
                 dict times, Py_ssize_t body_size_max, Py_ssize_t connections_max, double tick_seconds=0.25):
        self.loop = loop
        self.application = application
        self.answer_type = answer_type
        self.pending_type = pending_type
        self.pool = pool
        self.committer = committer
        self.executor_factory = executor_factory
        self.writer = AnswerWriter()
        self.routes = {}
        self.unknown = Route(None, "unknown", "unknown")
        self.hosts = {}
        self.content_types = {}
        self.connections = set()
        self.body_waiters = []
        self.body_size_max = body_size_max
        self.connections_max = connections_max
        self.tick_seconds = tick_seconds
        def ticks(name):
            return max(1, round(times[name] / tick_seconds))
        self.idle_ticks = ticks("idle")
        self.head_ticks = ticks("head")
        self.body_ticks = ticks("body")
        self.linger_ticks = ticks("linger")
        self.write_ticks = ticks("write")
        self.room_ticks = max(1, self.body_ticks // PATIENCE)
        self.request_ticks = ticks("request")

    def tick(self):
        """Called every `tick_seconds`: ends the phases that took too long (20 ns a connection)."""
        cdef Peer connection
        cdef list late = None
        self.now += 1
        for connection in self.connections:
            if connection.buffer is not None:
                connection.release_idle()
            if connection.deadline <= self.now or connection.request_deadline <= self.now:
                if late is None:
                    late = []
                late.append(connection)
        if late is not None:
            for connection in late:
                connection.expire()
        if self.body_waiters:
            self.relieve()

    cdef int relieve(self) except -1:
        """Where a body has waited long for room, end the one that takes longest; see the module's text."""
        cdef Peer connection, slowest = None
        cdef int64_t taken, longest = self.body_ticks, waited = 0
        self.admit()
        for connection in self.body_waiters:
            waited = max(waited, self.now - connection.room_since)
        if waited < self.room_ticks:
            return 0
        for connection in self.connections:
            taken = connection.body_duration()
            if taken > longest:
                slowest, longest = connection, taken
        if slowest is not None:
            self.timeouts += 1
            slowest.give_up(408, "RequestTimeoutException",
                            "The body came so slowly that there was no room for those of others")
        return 0

    def admit(self):
        """Room came free: let those in who now have it."""
        cdef Peer connection
        waiters, self.body_waiters = self.body_waiters, []
        for connection in sorted(waiters, key=wanted):
            connection.enter()

    def begin_stop(self):
        """No further requests: idle connections close now, others after the answers they are owed."""
        cdef Peer connection
        self.closing = True
        for connection in list(self.connections):
            connection.begin_stop()

    def abort(self):
        """End every connection at once; returns how many there were."""
        cdef Peer connection
        count = len(self.connections)
        for connection in list(self.connections):
            if connection.transport is not None:
                connection.transport.abort()
        return count

    @property
    def routes_seen(self):
        """The Route of every operation answered so far, and the one for all that are none, for metrics."""
        return [*self.routes.values(), self.unknown]

    cdef Route route_of(self, bytes target):
        """The route of a target, or None where there is none (the application then says why)."""
        return <Route>self.routes.get(target)

    cdef void give_buffer(self, Buffer buffer):
        self.pool.give(buffer)
        if self.body_waiters and buffer.capacity > SMALL:
            self.loop.call_soon(self.admit)


def wanted(Peer connection not None):
    """The room that a connection waits for."""
    return connection.room_size


cdef class Peer(Outlet):
    """One client's connection, as far as it is the same whatever it asks. Connection reads and answers."""

    def __cinit__(self, Context context not None):
        self.context = context
        self.deadline = NEVER
        self.request_deadline = NEVER

    cdef int process(self) except -1:
        """Take what has come; the reading side does."""
        raise NotImplementedError

    cdef int owe(self, Slot slot) except -1:
        """Put the slot behind the others."""
        if self.first is None:
            self.first = slot
        else:
            self.last.next = slot
        self.last = slot
        self.owed += 1
        return 0

    cdef bint partial(self) noexcept:
        """Has a part of a request come that is not consumed?"""
        return self.buffer is not None and self.buffer.start < self.buffer.end

    cdef int pause(self, int reason) except -1:
        if not self.reason_paused and self.transport is not None and self.state != LINGER:
            self.transport.pause_reading()
        if self.state != LINGER:
            self.reason_paused |= reason
            if not self.write_paused:
                self.deadline = NEVER  # it is the client who waits
        return 0

    cdef int resume(self, int reason) except -1:
        if not self.reason_paused & reason:
            return 0
        self.reason_paused &= ~reason
        if self.reason_paused or self.transport is None:
            return 0
        self.deadline = self.context.now + (
            self.context.body_ticks if self.state != HEAD else
            self.context.head_ticks if self.partial() else self.context.idle_ticks)
        self.process()
        if not self.reason_paused and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()
        return 0

    cdef int wait_for_room(self, Py_ssize_t size) except -1:
        """Read no further until there is room for `size` bytes. The time of the request stands still."""
        cdef Context context = self.context
        context.pool.waits += 1
        self.room_size = size
        self.room_since = context.now
        self.request_left = self.request_deadline - context.now
        self.request_deadline = context.now + context.body_ticks
        context.body_waiters.append(self)
        return self.pause(PAUSED_ROOM)

    cdef int enter(self) except -1:
        """Go on reading if there is room now; else wait on."""
        if self.transport is None or not self.reason_paused & PAUSED_ROOM:
            return 0
        if not self.ended:
            if not self.context.pool.has_room(self.room_size):
                self.context.body_waiters.append(self)
                return 0
            self.request_deadline = self.context.now + self.request_left
        return self.resume(PAUSED_ROOM)

    cdef int64_t body_duration(self) noexcept:
        """Ticks that the whole body takes at the rate at which it has come since there was room for it; 0 where
        it holds none, or has not held it for long enough to tell."""
        cdef Buffer buffer = self.buffer if self.body is None else self.body
        cdef int64_t held = self.context.now - self.room_since
        cdef int64_t size = self.body_left if self.body is None else self.context.body_size_max
        if buffer is None or buffer.capacity == SMALL or self.ended or held < self.context.room_ticks:
            return 0
        return size * held // max(1, buffer.end - buffer.start)

    cdef int release_idle(self) except -1:
        """Give back a buffer that holds nothing: the loop asked for it and then found nothing to read."""
        if not self.partial() and self.buffer.capacity == SMALL:
            self.context.give_buffer(self.buffer)
            self.buffer = None
        return 0

    cdef bint still_reads(self):
        """Has the client read some of its answers since the last look? A slow one may take its time."""
        cdef Py_ssize_t unsent = self.transport.get_write_buffer_size()
        progress = unsent < self.unsent
        self.unsent = unsent
        return progress

    def expire(self):
        """The present phase took too long."""
        cdef Context context = self.context
        if self.transport is None:
            return
        if (self.write_paused or self.ended) and self.still_reads():
            self.deadline = context.now + context.write_ticks
            return
        context.timeouts += 1
        if self.write_paused or self.state == LINGER or self.ended:
            self.transport.abort()
        elif self.state == HEAD and not self.partial():
            if self.first is None:
                self.transport.close()  # idle, and nobody is owed anything
            else:
                self.deadline = NEVER   # the answer is ours to give; flush sets the next limit
        elif self.reason_paused & PAUSED_ROOM:
            self.give_up(503, "ServiceUnavailableException",
                         "The request has failed due to a temporary failure of the server: bodies of other "
                         "requests take all the room there is")
        else:
            self.give_up(408, "RequestTimeoutException", "The request did not come in time")

    cdef int give_up(self, int status, str code, str message) except -1:
        """Answer a request that will never be complete, and end the connection."""
        cdef Slot slot = self.slot
        if slot is None:
            slot = new_slot(self, None)
            self.owe(slot)
        self.slot = None
        self.ended = True
        self.deadline = self.request_deadline = NEVER
        slot.close = slot.linger = True
        finish_error(slot, status, code, message + "; the connection is closed", slot.content_type)
        self.drop_buffers()  # what still comes is thrown away, into an empty one
        return self.flush()

    def begin_stop(self):
        """Close if nothing is owed or under way; else after the answers."""
        if self.transport is None:
            return
        if self.first is None and self.slot is None and not self.partial() and self.state == HEAD:
            self.transport.close()

    cdef int finish_connection(self, bint linger) except -1:
        """The last answer is on its way: close, or first let the client finish sending."""
        self.first = self.last = None
        self.ended = True
        self.request_deadline = NEVER
        if linger and not self.eof:
            self.state = LINGER
            self.deadline = self.context.now + self.context.linger_ticks
            if self.reason_paused:
                self.reason_paused = 0
                self.transport.resume_reading()
            self.transport.write_eof()
        else:
            self.deadline = self.context.now + self.context.write_ticks
            self.unsent = self.transport.get_write_buffer_size()
            self.transport.close()
        return 0

    cdef void drop_buffers(self):
        if self.buffer is not None:
            self.context.give_buffer(self.buffer)
            self.buffer = None
        if self.body is not None:
            self.context.give_buffer(self.body)
            self.body = None
