# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Following a stream: batches as they come, for plain and for async loops.

A plain loop sleeps on the lane's futex in slices of at most 50 ms, so Ctrl-C is seen at once. Async loops
share one thread a process, which is woken by the lanes (in the writer's process by their publications,
elsewhere by the futex) and tells every loop that waits; it runs only while one does.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from headrace.core._batch import RecordBatch
from headrace.streams import StreamReader

if TYPE_CHECKING:
    from headrace.api.store import Store


class Tail:
    """Made by `Stream.tail`. Each batch holds records of one shard."""

    def __init__(self, reader: StreamReader, store: Store, max_wait: float | None) -> None:
        self._reader = reader
        self._store = store
        self._max_wait = max_wait
        self._ready: deque[RecordBatch] = deque()

    @property
    def positions(self) -> dict[int, int]:
        """The next index to read of each shard; what was polled but not handed out counts as read."""
        return dict(self._reader.positions)

    def _poll(self) -> RecordBatch | None:
        self._store._check()
        if not self._ready:
            self._ready.extend(self._reader.poll())
        return self._ready.popleft() if self._ready else None

    def __iter__(self) -> Iterator[RecordBatch]:
        return self

    def __next__(self) -> RecordBatch:
        deadline = None if self._max_wait is None else time.monotonic() + self._max_wait
        while True:
            batch = self._poll()
            if batch is not None:
                return batch
            left = 1.0 if deadline is None else min(1.0, deadline - time.monotonic())
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
    """The one thread that waits on behalf of every async loop of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[StreamReader, asyncio.AbstractEventLoop, asyncio.Event]] = {}
        self._running = False

    async def wait(self, reader: StreamReader, timeout: float | None) -> None:
        """Return when the reader may find something, or the time is over."""
        if reader.wait(0):
            await asyncio.sleep(0)
            return
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        key = id(event)
        with self._lock:
            self._waiting[key] = (reader, loop, event)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="headrace-tail", daemon=True).start()
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), timeout)
        finally:
            with self._lock:
                self._waiting.pop(key, None)

    def _run(self) -> None:
        while True:
            with self._lock:
                waiting = list(self._waiting.items())
                if not waiting:
                    self._running = False
                    return
            # One reader is slept on, the others are looked at in between.
            pause = 0.05 if len(waiting) == 1 else 0.002
            waiting[0][1][0].wait(pause)
            for key, (reader, loop, event) in waiting:
                if reader.finished or reader.wait(0):
                    with self._lock:
                        self._waiting.pop(key, None)
                    with contextlib.suppress(RuntimeError):  # the loop was closed
                        loop.call_soon_threadsafe(event.set)


_waiter = _Waiter()
