# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""One HTTP/1.1 connection: bytes in by the loop's own reads, answers out in the order of the requests.

States of the reading side (`state`), each with the deadline that ends it:

    HEAD        waits for a request (idle time limit) or for the rest of its head (head time limit)
    BODY        a body of known size comes into one buffer that holds all of it
    SKIP        a refused request's body is thrown away, then its answer is sent
    CHUNK       a chunk-size line comes            CHUNK_DATA  its data       CHUNK_END  its CR LF
    TRAILER     the lines after the last chunk
    LINGER      the last answer is written; what the client still sends is thrown away so that the answer
                is not lost to a reset (RFC 9112 9.6)
    CLOSED      the transport is gone

Each request owes one Slot. Slots form a list in request order; a finished slot leaves when all before it
have left, and everything that may leave goes out in one write. At most PIPELINE_MAX answers are owed: then
reading pauses, as it does while the client does not read its answers or no room is left for bodies.

Buffers: reads go into a 64 KiB buffer that is borrowed from the pool for as long as it holds something, so
an idle connection owns none. A body that does not fit gets a buffer of its size once, and the kernel
copies straight into it. Services see a read-only memoryview of it that ends with the call.

Cost of a small request: parse 0.2 µs, route and content type by two dictionary look-ups, one slot, one
memoryview; the rest is the service and two system calls.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove

import asyncio
import logging

from headrace.core._http cimport (
    HR_HTTP_AUTHORIZATION,
    HR_HTTP_BAD,
    HR_HTTP_BAD_CHUNK,
    HR_HTTP_CHUNKED,
    HR_HTTP_COMPLETE,
    HR_HTTP_CONTINUE,
    HR_HTTP_HAS_LENGTH,
    HR_HTTP_HEAD,
    HR_HTTP_HEAD_SIZE_MAX,
    HR_HTTP_KEEP_ALIVE,
    HR_HTTP_PARTIAL,
    HR_HTTP_POST,
    HR_HTTP_PREFACE_2,
    error_status,
    error_text,
    hr_http_head,
    parse_chunk_line,
    parse_head,
    parse_trailer_line,
)
from headrace.server._answers cimport AnswerWriter, Outlet, Route, Slot, finish, finish_error, new_slot
from headrace.server._buffers cimport Buffer, BufferPool
from headrace.server._commit cimport Committer
from headrace.errors import Error
from headrace.server._buffers import SMALL_SIZE

cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *result)

DEF PIPELINE_MAX = 64
DEF CACHE_MAX = 1024            # routes, hosts and content types remembered
DEF SKIP_MAX = 1048576          # a refused body up to this size is read, so that the connection can go on
DEF READY_MAX = 262144         # bytes of answers made before they are handed on, in one run of pipelined requests
DEF FRAMING_MAX = 1048576       # bytes of chunk lines and trailers beyond the data
DEF NEVER = 0x7fffffffffffffff

cdef enum:
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

cdef Py_ssize_t SMALL = SMALL_SIZE
cdef object get_logger = logging.getLogger
METHODS = ("OTHER", "GET", "HEAD", "POST")


cdef inline int64_t now_ns() noexcept:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return <int64_t>at.tv_sec * 1000000000 + at.tv_nsec


cdef class Context:
    """What the connections of one event loop share.

    application: Python object that decides (see server/router.py): `resolve(target) -> Route | (status,
        code, message)`, `host_allowed(bytes) -> bool`, `origin_allowed(origin, host) -> bool`,
        `content_type(bytes) -> bytes | None`, `page(method, path) -> (status, content_type, body, extra)`.
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
        self.request_ticks = ticks("request")

    def connection(self):
        """A protocol for one accepted socket."""
        return Connection(self)

    def tick(self):
        """Called every `tick_seconds`: ends the phases that took too long (20 ns a connection)."""
        cdef Connection connection
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

    def begin_stop(self):
        """No further requests: idle connections close now, others after the answers they are owed."""
        cdef Connection connection
        self.closing = True
        for connection in list(self.connections):
            connection.begin_stop()

    def abort(self):
        """End every connection at once; returns how many there were."""
        cdef Connection connection
        count = len(self.connections)
        for connection in list(self.connections):
            if connection.transport is not None:
                connection.transport.abort()
        return count

    @property
    def routes_seen(self):
        """The Route of every X-Amz-Target answered so far, for metrics."""
        return list(self.routes.values())

    cdef Route route_of(self, bytes target):
        """The route of a target, or None where there is none (the application then says why)."""
        return <Route>self.routes.get(target)

    cdef void give_buffer(self, Buffer buffer):
        cdef Connection connection
        self.pool.give(buffer)
        if self.body_waiters:
            waiters = self.body_waiters
            self.body_waiters = []
            for connection in waiters:
                self.loop.call_soon(connection.room)


cdef class Connection(Outlet):
    """A BufferedProtocol; see the module's text."""

    def __init__(self, Context context not None):
        self.context = context
        self.deadline = NEVER
        self.request_deadline = NEVER

    # --- what the loop calls ---

    def connection_made(self, transport):
        cdef Context context = self.context
        self.transport = transport
        if context.closing or len(context.connections) >= context.connections_max:
            context.turned_away += 1
            self.ended = True
            transport.write(context.writer.encode(
                503, b'{"__type":"ServiceUnavailableException","message":"The server has as many connections '
                b'as it may (connections_max of [server])"}', close=True))
            transport.close()
            return
        self.deadline = context.now + context.idle_ticks
        context.accepted += 1
        context.connections.add(self)

    def connection_lost(self, error):
        self.state = CLOSED
        self.transport = None
        self.deadline = self.request_deadline = NEVER
        self.first = self.last = self.slot = None
        self.drop_buffers()
        self.context.connections.discard(self)

    def get_buffer(self, hint):
        cdef Buffer buffer = self.buffer
        if buffer is None:
            buffer = self.buffer = self.context.pool.take(SMALL)
        if self.state == BODY and buffer.capacity > SMALL:
            # Exactly the rest of the body: the next request must not land behind it.
            return buffer.tail(self.body_left - (buffer.end - buffer.start))
        return buffer.tail(buffer.capacity)

    def buffer_updated(self, Py_ssize_t count):
        cdef Context context = self.context
        context.bytes_in += count
        if self.buffer is None:
            return
        if self.state == LINGER:
            self.buffer.start = self.buffer.end = 0
            return
        self.buffer.end += count
        if self.state != HEAD:
            self.deadline = context.now + context.body_ticks
        self.process()

    def eof_received(self):
        """The client sends no more. Answers that are owed still go out (half-closed connections)."""
        self.eof = True
        if self.slot is not None:
            self.give_up(400, "BadRequestException", "The request ended before its body did")
        return self.first is not None and self.state != LINGER

    def pause_writing(self):
        self.write_paused = True
        self.unsent = self.transport.get_write_buffer_size()
        self.deadline = self.context.now + self.context.write_ticks
        self.pause(PAUSED_WRITE)

    def resume_writing(self):
        self.write_paused = False
        self.resume(PAUSED_WRITE)

    # --- what the context calls ---

    def room(self):
        """Room for bodies may have come free."""
        if self.state != CLOSED:
            self.resume(PAUSED_ROOM)

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
        else:
            self.give_up(408, "RequestTimeoutException", "The request did not come in time")

    cdef bint still_reads(self):
        """Has the client read some of its answers since the last look? A slow one may take its time."""
        cdef Py_ssize_t unsent = self.transport.get_write_buffer_size()
        progress = unsent < self.unsent
        self.unsent = unsent
        return progress

    cdef int release_idle(self) except -1:
        """Give back a buffer that holds nothing: the loop asked for it and then found nothing to read."""
        if not self.partial() and self.buffer.capacity == SMALL:
            self.context.give_buffer(self.buffer)
            self.buffer = None
        return 0

    cdef bint partial(self) noexcept:
        """Has a part of a request come that is not consumed?"""
        return self.buffer is not None and self.buffer.start < self.buffer.end

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
        return self.flush()

    def begin_stop(self):
        """Close if nothing is owed or under way; else after the answers."""
        if self.transport is None:
            return
        if self.first is None and self.slot is None and not self.partial() and self.state == HEAD:
            self.transport.close()

    # --- reading ---

    cdef int process(self) except -1:
        """Take as many requests as have come and may be taken."""
        if self.processing:
            return 0
        self.processing = True
        try:
            while self.buffer is not None and not self.ended and not self.reason_paused:
                if not self.step():
                    break
                if self.ready_bytes > READY_MAX:
                    self.processing = False
                    self.flush()  # may pause us: what is made is bounded by what is read
                    self.processing = True
        finally:
            self.processing = False
        if self.buffer is not None and (self.ended or not self.partial()) and self.buffer.capacity == SMALL:
            self.context.give_buffer(self.buffer)
            self.buffer = None
        if self.first is not None:
            self.flush()
        return 0

    cdef int step(self) except -1:
        """Do the next piece of work; 0 where more bytes are needed."""
        cdef Py_ssize_t have = self.buffer.end - self.buffer.start
        if self.state == HEAD:
            if have == 0:
                return 0
            return self.on_head()
        if self.state == BODY:
            return self.on_body()
        if self.state == SKIP:
            if <uint64_t>have > self.body_left:
                have = self.body_left
            self.buffer.start += have
            self.body_left -= have
            if self.body_left == 0:
                self.end_request()
                return 1
            self.buffer.start = self.buffer.end = 0
            return 0
        if self.state == CHUNK_DATA:
            return self.on_chunk_data()
        return self.on_chunk()

    cdef bytes span(self, unsigned int start, unsigned int size):
        return PyBytes_FromStringAndSize(<char *>self.buffer.data + self.buffer.start + start, size)

    cdef int on_head(self) except -1:
        cdef hr_http_head head
        cdef Buffer buffer = self.buffer
        cdef Context context = self.context
        cdef int verdict
        if self.owed >= PIPELINE_MAX:
            self.pause(PAUSED_PIPELINE)
            return 0
        if self.scanned == 0:
            self.deadline = context.now + context.head_ticks
        verdict = parse_head(buffer.data + buffer.start, buffer.end - buffer.start, &self.scanned, &head)
        if verdict == HR_HTTP_PARTIAL:
            if buffer.capacity - buffer.end < SMALL // 2:
                buffer.compact()
            return 0
        self.scanned = 0
        if verdict == HR_HTTP_BAD:
            return self.refuse(head.error)
        context.requests += 1
        refusal = self.inspect(&head)
        return self.accept(&head, refusal)

    cdef object inspect(self, hr_http_head *head):
        """Check what the head says. Sets self.slot; returns None or (status, code, message) of a refusal."""
        cdef Context context = self.context
        cdef Slot slot = new_slot(self, None)
        cdef bytes host
        self.slot = slot
        self.route = None
        slot.started_ns = now_ns()
        slot.head_only = head.method == HR_HTTP_HEAD
        slot.persistent_1_0 = head.minor == 0
        slot.close = not head.flags & HR_HTTP_KEEP_ALIVE or context.closing
        host = self.span(head.host.start, head.host.size)
        allowed = context.hosts.get(host)
        if allowed is None:
            allowed = context.application.host_allowed(host)
            if len(context.hosts) < CACHE_MAX:
                context.hosts[host] = allowed
        if not allowed:
            return (403, "AccessDeniedException",
                    f"The Host {host.decode('latin-1')!r} is not one of this server: use localhost or 127.0.0.1, "
                    "or name it in allowed_hosts of [server]")
        if head.origin.start and not context.application.origin_allowed(
                self.span(head.origin.start, head.origin.size), host):
            return (403, "AccessDeniedException", "Requests of web pages from other origins are not accepted")
        if head.flags & HR_HTTP_HAS_LENGTH and head.content_length > <uint64_t>context.body_size_max:
            return (413, "RequestEntityTooLargeException",
                    f"Request must be smaller than {context.body_size_max} bytes")
        return self.resolve(head)

    cdef object resolve(self, hr_http_head *head):
        """Find the route of a POST to /; pages are made at once. None, or what inspect returns."""
        cdef Context context = self.context
        cdef Slot slot = self.slot
        cdef Buffer buffer = self.buffer
        cdef bytes target
        if not (head.method == HR_HTTP_POST and head.path.size <= 1):
            path = self.span(head.path.start, head.path.size)
            status, content_type, body, extra = context.application.page(METHODS[head.method], path)
            slot.extra = extra
            finish(slot, status, body, content_type)
            return ()
        if head.content_type.size:
            name = self.span(head.content_type.start, head.content_type.size)
            content_type = context.content_types.get(name)
            if content_type is None:
                content_type = context.application.content_type(name) or False
                if len(context.content_types) < CACHE_MAX:
                    context.content_types[name] = content_type
            if content_type is False:
                return (415, "UnsupportedMediaTypeException",
                        f"The Content-Type {name.decode('latin-1')!r} is not understood: "
                        "send application/x-amz-json-1.1 (CBOR is not built yet)")
            slot.content_type = content_type
        target = self.span(head.amz_target.start, head.amz_target.size)
        route = context.route_of(target)
        if route is None:
            found = context.application.resolve(target)
            if type(found) is tuple:
                return found
            route = found
            if len(context.routes) < CACHE_MAX:
                context.routes[target] = route
        self.route = route
        slot.route = route
        return None

    cdef int accept(self, hr_http_head *head, object refusal) except -1:
        """Decide how the body is received, whether wanted or refused."""
        cdef Context context = self.context
        cdef Slot slot = self.slot
        cdef Buffer buffer = self.buffer
        cdef bint chunked = head.flags & HR_HTTP_CHUNKED
        cdef bint body_follows = chunked or head.content_length > 0
        buffer.start += head.head_size
        self.body_left = head.content_length
        self.refused = refusal is not None
        self.owe(slot)
        if slot.close and not body_follows:
            slot.linger = buffer.start < buffer.end
        if refusal:
            context.refused += 1
            finish_error(slot, refusal[0], refusal[1], refusal[2], slot.content_type)
        if refusal is not None:
            slot.done = False  # not before the body is read
        if not body_follows:
            if not self.refused:
                self.dispatch(None, 0, 0)
            self.end_request()
            return 1
        if self.refused and (head.flags & HR_HTTP_CONTINUE or self.body_left > SKIP_MAX):
            slot.close = slot.linger = True
            self.end_request()
            return 1
        if head.flags & HR_HTTP_CONTINUE and buffer.start == buffer.end:
            context.continued += 1
            if self.first is slot:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            else:
                self.want_continue = True
        self.deadline = context.now + context.body_ticks
        self.request_deadline = context.now + context.request_ticks
        if chunked:
            self.framing_bytes = 0
            self.state = CHUNK
        else:
            self.state = SKIP if self.refused else BODY
        return 1

    cdef int on_body(self) except -1:
        cdef Buffer buffer = self.buffer
        cdef Py_ssize_t size = <Py_ssize_t>self.body_left
        cdef Py_ssize_t start = buffer.start
        if buffer.end - start < size:
            return self.make_room()
        buffer.start += size
        self.dispatch(buffer, start, size)
        self.end_request()
        if self.buffer is buffer and (buffer.capacity > SMALL or buffer.exports):
            # A body's own buffer has nothing behind it; one that the service still holds is not reused.
            self.buffer = None
            if buffer.start < buffer.end:
                self.buffer = self.context.pool.take(SMALL)
                memcpy(self.buffer.data, buffer.data + buffer.start, buffer.end - buffer.start)
                self.buffer.end = buffer.end - buffer.start
            self.context.give_buffer(buffer)
        return 1

    cdef int make_room(self) except -1:
        """See that the rest of the body fits behind what has come; 0: wait for it."""
        cdef Buffer buffer = self.buffer
        cdef Buffer larger
        cdef Py_ssize_t size = <Py_ssize_t>self.body_left
        if buffer.start + size <= buffer.capacity:
            return 0
        if size <= buffer.capacity:
            buffer.compact()
            return 0
        if not self.context.pool.has_room(size):
            self.context.body_waiters.append(self)
            self.pause(PAUSED_ROOM)
            return 0
        larger = self.context.pool.take(size)
        larger.end = buffer.end - buffer.start
        memcpy(larger.data, buffer.data + buffer.start, larger.end)
        self.buffer = larger
        self.context.give_buffer(buffer)
        return 0

    cdef int on_chunk(self) except -1:
        """A chunk-size line, the CR LF behind a chunk, or the trailer."""
        cdef Buffer buffer = self.buffer
        cdef uint8_t *at = buffer.data + buffer.start
        cdef size_t have = buffer.end - buffer.start
        cdef size_t line = 0
        cdef uint64_t chunk = 0
        cdef int verdict
        if self.state == CHUNK:
            verdict = parse_chunk_line(at, have, &chunk, &line)
        elif self.state == CHUNK_END:
            line = 2
            verdict = HR_HTTP_PARTIAL if have < 2 else (HR_HTTP_COMPLETE if memcmp(at, b"\r\n", 2) == 0 else HR_HTTP_BAD)
        else:
            verdict = parse_trailer_line(at, have, &line)
        if verdict == HR_HTTP_PARTIAL:
            buffer.compact()
            return 0
        self.framing_bytes += line
        if verdict == HR_HTTP_BAD or self.framing_bytes > FRAMING_MAX + <uint64_t>(
                self.body.end if self.body is not None else 0):
            return self.refuse(HR_HTTP_BAD_CHUNK)
        buffer.start += line
        if self.state == CHUNK_END:
            self.state = CHUNK
        elif self.state == TRAILER:
            if line == 2:
                if not self.refused:
                    if self.body is None:
                        self.body = self.context.pool.take(SMALL)
                    self.dispatch(self.body, 0, self.body.end)
                self.end_request()
        elif chunk == 0:
            self.state = TRAILER
        else:
            self.body_left = chunk
            self.state = CHUNK_DATA
            received = self.body.end if self.body is not None else 0
            if chunk > <uint64_t>(self.context.body_size_max - received):
                self.slot.close = self.slot.linger = self.refused = True
                finish_error(self.slot, 413, "RequestEntityTooLargeException",
                             f"Request must be smaller than {self.context.body_size_max} bytes",
                             self.slot.content_type)
                self.end_request()
        return 1

    cdef int on_chunk_data(self) except -1:
        cdef Buffer buffer = self.buffer
        cdef Buffer larger
        cdef Py_ssize_t have = buffer.end - buffer.start
        if <uint64_t>have > self.body_left:
            have = <Py_ssize_t>self.body_left
        if self.refused:
            self.framing_bytes += have  # a refused body is thrown away, within the same bound
        elif have:
            if self.body is None:
                self.body = self.context.pool.take(SMALL)
            if self.body.end + have > self.body.capacity:
                # How large it will be is not known: take room for the largest at once (memory that is not
                # written to costs none), so that no two bodies wait for each other.
                if not self.context.pool.has_room(self.context.body_size_max):
                    self.context.body_waiters.append(self)
                    self.pause(PAUSED_ROOM)
                    return 0
                larger = self.context.pool.take(self.context.body_size_max)
                memcpy(larger.data, self.body.data, self.body.end)
                larger.end = self.body.end
                self.context.give_buffer(self.body)
                self.body = larger
            memcpy(self.body.data + self.body.end, buffer.data + buffer.start, have)
            self.body.end += have
        buffer.start += have
        self.body_left -= have
        if self.body_left == 0:
            self.state = CHUNK_END
            return 1
        buffer.start = buffer.end = 0
        return 0

    cdef int end_request(self) except -1:
        """The whole request is here, or as much as is wanted of it; a refused one is answered only now."""
        cdef Context context = self.context
        cdef Slot slot = self.slot
        if self.refused:
            slot.done = True
        if slot.close:
            self.ended = True
        self.slot = None
        self.route = None
        self.state = HEAD
        self.request_deadline = NEVER
        self.deadline = context.now + context.idle_ticks
        if self.body is not None:
            context.give_buffer(self.body)
            self.body = None
        return 0

    cdef int refuse(self, int error) except -1:
        """The bytes are no HTTP that we accept: say so and end the connection."""
        cdef Slot slot = self.slot
        self.context.refused += 1
        self.ended = True
        if error == HR_HTTP_PREFACE_2:
            if self.first is None:
                self.transport.close()
            else:
                self.eof = True  # answers that are owed first
            return 0
        if slot is None:
            slot = new_slot(self, None)
            self.owe(slot)
        slot.close = slot.linger = True
        slot.extra = None
        finish_error(slot, error_status(error), "BadRequestException", f"Bad request: {error_text(error)}", None)
        self.refused = True
        self.end_request()
        return 1

    # --- answering ---

    cdef int owe(self, Slot slot) except -1:
        """Put the slot behind the others."""
        if self.first is None:
            self.first = slot
        else:
            self.last.next = slot
        self.last = slot
        self.owed += 1
        return 0

    cdef int dispatch(self, Buffer buffer, Py_ssize_t start, Py_ssize_t size) except -1:
        """Hand the request to its service."""
        cdef Slot slot = self.slot
        cdef Route route = self.route
        view = memoryview(b"") if buffer is None else buffer.body(start, size)
        try:
            if route.blocking:
                result = self.context.loop.run_in_executor(
                    self.context.executor_factory(), route.call, route.operation, bytes(view))
            else:
                result = route.call(route.operation, view)
            self.take(slot, result)
        except Exception as error:
            self.fail(slot, error)
        try:
            view.release()
        except BufferError:
            pass  # somebody still looks at it: the buffer counts its exports and is not lent again
        return 0

    def fail(self, Slot slot not None, error):
        """Answer an exception that a service let through."""
        if isinstance(error, Error):
            finish_error(slot, error.status, error.code, error.message, slot.content_type)
            return
        get_logger("headrace.server").error(
            "%s failed", slot.route.operation if slot.route is not None else "a request", exc_info=error)
        finish_error(slot, 500, "InternalFailure", "The request failed inside the server; its log says why",
                     slot.content_type)

    cdef int take(self, Slot slot, object result) except -1:
        """Take a service's result: an answer, one that waits for lanes, or an awaitable of either."""
        kind = type(result)
        if kind is self.context.pending_type:
            slot.body = result.body
            self.context.committer.add(slot, result.offsets)
        elif kind is self.context.answer_type:
            slot.status = result.status
            slot.body = result.body
            slot.done = True
            self.ready_bytes += len(result.body)
        elif asyncio.isfuture(result) or asyncio.iscoroutine(result):
            slot.body = b""
            task = asyncio.ensure_future(result, loop=self.context.loop)
            task.add_done_callback(lambda done: self.arrived(slot, done))
        else:
            raise TypeError(f"a service answered with {kind.__name__}; expected Answer, Pending or an awaitable")
        return 0

    def arrived(self, Slot slot not None, future):
        """An awaited result is here."""
        try:
            self.take(slot, future.result())
        except asyncio.CancelledError:
            finish_error(slot, 500, "InternalFailure", "The server is stopping", slot.content_type)
        except Exception as error:
            self.fail(slot, error)
        if slot.done:
            self.flush()

    cdef int flush(self) except -1:
        """Write every answer whose turn has come, in one write."""
        cdef Slot slot = self.first
        cdef Context context = self.context
        cdef Route route
        cdef list parts
        cdef bint linger = False
        cdef int64_t now, taken
        cdef int bucket
        if slot is None or not slot.done or self.processing or self.transport is None:
            return 0
        parts = []
        self.ready_bytes = 0
        now = now_ns()
        while slot is not None and slot.done and not self.sent_last:
            if slot.route is not None:
                route = slot.route
                taken = now - slot.started_ns
                route.nanoseconds += taken
                route.answers[min(max(slot.status // 100, 0), 5)] += 1
                taken //= 1000
                bucket = 0
                while taken > 1 and bucket < 27:
                    taken >>= 1
                    bucket += 1
                route.buckets[bucket] += 1
            context.writer.write(slot, parts)
            self.owed -= 1
            if slot.close:
                self.sent_last = True
                linger = slot.linger
            slot = slot.next
        self.first = slot
        if slot is None:
            self.last = None
        if len(parts) == 1:
            self.transport.write(parts[0])
        else:
            self.transport.writelines(parts)
        if self.sent_last or (slot is None and (self.eof or (context.closing and self.state == HEAD
                                                              and not self.partial()))):
            return self.finish_connection(linger)
        if slot is None and self.state == HEAD and not self.partial():
            self.deadline = context.now + context.idle_ticks
        if self.want_continue and slot is self.slot:
            self.want_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.reason_paused & PAUSED_PIPELINE and self.owed < PIPELINE_MAX // 2:
            self.resume(PAUSED_PIPELINE)
        return 0

    # --- the end, and pauses ---

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

    cdef void drop_buffers(self):
        if self.buffer is not None:
            self.context.give_buffer(self.buffer)
            self.buffer = None
        if self.body is not None:
            self.context.give_buffer(self.body)
            self.body = None
