# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Following a stream: batches as they come, for plain and for async loops.

A plain loop sleeps on the lane's futex in slices of at most 50 ms, so Ctrl-C is seen at once. In the process
that writes, an async loop is told by whoever publishes, without any thread. Elsewhere all async loops of the
process share one thread, which sleeps on the futex of one lane, looks at the others every 2 ms, and runs only
while a loop waits.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from headrace.core._batch import RecordBatch
from headrace.streams import StreamReader

if TYPE_CHECKING:
    from headrace.api.store import Store


SLICE_S = 0.5  # how long a wait goes without looking whether the stream was resharded, deleted or closed
TURN_S = 0.002  # how often the thread looks at the readers that it does not sleep on


class Tail:
    """Made by `Stream.tail`: an iterator and an async iterator of RecordBatches, each of records of one shard, in order.

    For one loop at a time. Ends after `max_wait` seconds without a record, or when all shards that it reads were closed
    and read to their end. Raises NotFound once the stream was deleted, Closed once the store was, Corrupt where stored
    bytes are damaged. What is read is durable as the stream promises. Nothing is kept outside: `positions` say how far
    it came.
    """

    def __init__(
        self, reader: StreamReader, store: Store, created: Mapping[int, int], max_wait: float | None
    ) -> None:
        self._reader = reader
        self._store = store
        self._created = created
        self._max_wait = max_wait
        self._ready: deque[RecordBatch] = deque()

    @property
    def positions(self) -> dict[int, int]:
        """By shard number the next running index to read; what was polled but not handed out counts as read."""
        return dict(self._reader.positions)

    def _poll(self) -> RecordBatch | None:
        self._store.check()
        if not self._ready:
            self._ready.extend(self._reader.poll())
        if not self._ready:
            return None
        batch = self._ready.popleft()
        batch.created = self._created
        return batch

    def __iter__(self) -> Iterator[RecordBatch]:
        return self

    def __next__(self) -> RecordBatch:
        deadline = None if self._max_wait is None else time.monotonic() + self._max_wait
        while True:
            batch = self._poll()
            if batch is not None:
                return batch
            left = SLICE_S if deadline is None else min(SLICE_S, deadline - time.monotonic())
            if left <= 0 or self._reader.finished:
                raise StopIteration
            self._reader.wait(left)

    def __aiter__(self) -> AsyncIterator[RecordBatch]:
        return self

    async def __anext__(self) -> RecordBatch:
        deadline = None if self._max_wait is None else time.monotonic() + self._max_wait
        while True:
            batch = self._poll()
            if batch is not None:
                return batch
            left = None if deadline is None else deadline - time.monotonic()
            if (left is not None and left <= 0) or self._reader.finished:
                raise StopAsyncIteration
            await _waiter.wait(self._reader, left)


class _Waiter:
    """Waits on behalf of every async loop of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[StreamReader, Callable[[], None]]] = {}
        self._running = False

    async def wait(self, reader: StreamReader, timeout: float | None) -> None:
        """Return when the reader may find something, or the time is over."""
        import asyncio  # 30 ms that plain programs do not pay

        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(event.set)

        with self._told(reader, tell):
            if reader.wait(0):
                await asyncio.sleep(0)
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), SLICE_S if timeout is None else min(timeout, SLICE_S))

    @contextlib.contextmanager
    def _told(self, reader: StreamReader, tell: Callable[[], None]) -> Iterator[None]:
        """Have `tell` called, from another thread, when the reader may find something."""
        if reader.stream.streams.log.writer:
            stops = [lane.on_visible(tell) for lane in reader.stream.lanes]
            try:
                yield
            finally:
                for stop in stops:
                    stop()
            return
        with self._lock:
            self._waiting[id(tell)] = (reader, tell)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="headrace-tail", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._waiting.pop(id(tell), None)

    def _run(self) -> None:
        while True:
            with self._lock:
                waiting = list(self._waiting.items())
                if not waiting:
                    self._running = False
                    return
            try:
                waiting[0][1][0].wait(0.05 if len(waiting) == 1 else TURN_S)
                ready = [item for item in waiting if item[1][0].finished or item[1][0].wait(0)]
            except Exception:  # a store was closed, a stream deleted: each loop finds out for itself
                ready = waiting
            for key, (_, tell) in ready:
                with self._lock:
                    self._waiting.pop(key, None)
                tell()


_waiter = _Waiter()


def _forget_thread() -> None:
    """After a fork there is no thread, and the lock may be held by one that is not there."""
    global _waiter
    _waiter = _Waiter()


_after_fork: Callable[[], None] = _forget_thread
os.register_at_fork(after_in_child=_after_fork)
