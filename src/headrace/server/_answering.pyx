# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The answering side of a connection: requests to services, their results into slots, slots onto the wire.

Each request owes one Slot. Slots form a list in request order; a finished slot leaves when all before it
have left, and everything that may leave goes out in one write.
"""

from libc.stdint cimport int64_t

import asyncio
import logging

from headrace.server._answers cimport Route, Slot, finish_error, now_ns
from headrace.server._buffers cimport Buffer
from headrace.server._context cimport HEAD, PAUSED_PIPELINE, PIPELINE_MAX, Context, Peer
from headrace.errors import Error

cdef object get_logger = logging.getLogger


cdef class Answering(Peer):
    """The half that answers."""

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
