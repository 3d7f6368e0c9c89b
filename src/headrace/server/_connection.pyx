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

At most PIPELINE_MAX answers are owed: then reading pauses, as it does while the client does not read its
answers or no room is left for bodies.

Buffers: reads go into a 64 KiB buffer that is borrowed from the pool for as long as it holds something, so
an idle connection owns none. A body that does not fit gets a buffer of its size once, and the kernel
copies straight into it. Services see a read-only memoryview of it that ends with the call.

Cost of a small request: parse 0.2 µs, route and content type by two dictionary look-ups, one slot, one
memoryview; the rest is the service and two system calls.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy

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
from headrace.server._answering cimport Answering
from headrace.server._answers cimport Slot, finish, finish_error, new_slot, now_ns
from headrace.server._buffers cimport Buffer
from headrace.server._context cimport (
    BODY,
    CHUNK,
    CHUNK_DATA,
    CHUNK_END,
    CLOSED,
    HEAD,
    LINGER,
    PAUSED_PIPELINE,
    PAUSED_WRITE,
    PIPELINE_MAX,
    SKIP,
    TRAILER,
    Context,
)
from headrace.server._buffers import SMALL_SIZE

DEF CACHE_MAX = 1024            # hosts and content types remembered
DEF SKIP_MAX = 1048576          # a refused body up to this size is read, so that the connection can go on
DEF READY_MAX = 262144          # bytes of answers made, in a run of pipelined requests, before they are sent
DEF FRAMING_MAX = 1048576       # bytes of chunk lines and trailers beyond the data
DEF NEVER = 0x7fffffffffffffff

cdef Py_ssize_t SMALL = SMALL_SIZE
METHODS = ("OTHER", "GET", "HEAD", "POST")


cdef class Connection(Answering):
    """The whole protocol: a BufferedProtocol of asyncio; see the module's text."""

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
        if self.state != HEAD and not self.ended:
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
            whole = self.span(0, head.head_size) if head.flags & HR_HTTP_AUTHORIZATION else b""
            status, content_type, body, extra = context.application.page(METHODS[head.method], path, whole)
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
                slot.route = context.unknown
                return found
            route = context.routes[target] = found
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
            return self.wait_for_room(size)
        larger = self.context.pool.take(size)
        self.room_since = self.context.now
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
                    return self.wait_for_room(self.context.body_size_max)
                larger = self.context.pool.take(self.context.body_size_max)
                self.room_since = self.context.now
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
