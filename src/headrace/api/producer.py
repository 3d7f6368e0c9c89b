# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A producer: many small puts, sent in batches, each with an ack.

In a `process` stream a full batch is framed and written by the thread that filled it, so memory never
grows and a put that fills a batch returns with it acknowledged. In a `disk` stream it is framed at once and
a thread of the producer waits for the device, so that one sync covers what came meanwhile. A batch that does
not fill is sent by that thread after `linger`.

Records that find no room are held and tried again until their time is over. With `ordered`, later records
of the same shard are held behind them; those of other shards go ahead. What is held and what waits for the
device is bounded by `max_pending_bytes`. In a process that joined, the writer tries again, and all later
records wait.

Cost a record at 100 bytes: api._producer about 60 ns, pointers, hash, route and frame about 45 ns, its
share of one pwrite a batch.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from headrace import limits
from headrace.api._producer import Batch, Collector
from headrace.api.position import Position
from headrace.api.putting import PAUSE_S, Tickets
from headrace.config import parse_duration, parse_size
from headrace.core._entries import Entries
from headrace.core._entry_parts import entries_at
from headrace.core.encoding import record_json
from headrace.errors import Backpressure, Closed, Error, InvalidArgument, StorageError, ValidationError

if TYPE_CHECKING:
    from headrace.api.putting import Putter

logger = logging.getLogger("headrace.api")

EXIT_DEADLINE_S = 10.0


class Part(NamedTuple):
    """Records of a batch: all of them, or those at some places of it."""

    batch: Batch
    where: Any  # uint32 places in the batch; None: all
    entries: Entries
    deadline: float  # until when they are tried

    def places(self) -> Any:
        return np.arange(len(self.batch), dtype=np.uint32) if self.where is None else self.where

    def only(self, mask: Any) -> Part:
        """The records where the mask is true."""
        if mask.all():
            return self
        entries = entries_at(self.entries, np.flatnonzero(mask).astype(np.uint32))
        return Part(self.batch, self.places()[mask], entries, self.deadline)


class Producer:
    """Made by `Stream.producer`. A context manager: leaving it waits until everything is durable.

    `put(data, key=None)` returns an Ack. Safe to share between threads.
    """

    def __init__(
        self,
        putter: Putter,
        *,
        linger: str | float,
        max_batch: int,
        ordered: bool,
        max_pending_bytes: int | str,
        timeout: float,
    ) -> None:
        if not 1 <= max_batch <= limits.producer_batch_count_max:
            raise InvalidArgument(
                f"max_batch is {max_batch}; allowed are 1 to {limits.producer_batch_count_max}"
            )
        self._putter = putter
        self._linger_s = parse_duration(linger)
        self._timeout_s = timeout
        self._pending_max = parse_size(max_pending_bytes)
        self._collector = Collector(
            self, max_batch, min(limits.producer_batch_size_max, self._pending_max), putter.record_size_max
        )
        self.put = self._collector.put
        self._ordered = ordered and putter.knows_shards
        self._send_lock = threading.RLock()  # batches are framed in the order in which they filled
        self._held: deque[Part] = deque()  # found no room, in the order of their puts; under the send lock
        self._retry_at = 0.0
        self._state = threading.Condition()
        self._waiting: deque[tuple[Part, Tickets]] = deque()  # framed, not durable
        self._live: set[Batch] = set()  # sent and not settled
        self._pending_bytes = 0  # of these
        self._open_since: float | None = None
        self._closed = False
        self._failed = 0
        self._first_error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._idle = False  # the thread sleeps until it is called

    # --- called by the collector ---

    def _as_bytes(self, data: Any) -> bytes:
        if isinstance(data, str):
            return data.encode()
        if isinstance(data, (bytes, bytearray, memoryview)):
            return bytes(data)
        try:
            return bytes(memoryview(data))
        except TypeError:
            return record_json(data)

    def _refuse_key(self, key: Any) -> NoReturn:
        if not isinstance(key, str):
            raise TypeError(f"key is a {type(key).__name__}; expected str or None")
        raise ValidationError(
            f"key has {len(key)} characters; allowed are 1 to {limits.partition_key_characters_max}"
        )

    def _refuse_size(self, size: int) -> NoReturn:
        raise ValidationError(
            f"the record has {size} bytes of data and key; stream {self._putter.name} allows {self._putter.record_size_max}"
        )

    def _refuse_closed(self) -> NoReturn:
        raise Closed("the producer was closed", hint="make another with stream.producer()")

    def _opened(self, batch: Batch) -> None:
        """The first record came into a batch: it is to be sent after the linger."""
        self._open_since = time.monotonic()
        if self._thread is None or self._idle:
            self._call()

    def _full(self, batch: Batch) -> None:
        with self._send_lock:
            if batch is self._collector.open:
                self._send_open()

    def _hurry(self, batch: Batch, here: bool) -> None:
        """Somebody waits for a batch: no need to linger. `here`: this thread may block to send it."""
        if batch is not self._collector.open:
            return
        if not here:
            self._open_since = time.monotonic() - self._linger_s
            self._call()
            return
        with self._send_lock:
            if batch is self._collector.open:
                self._send_open()

    def _position(self, batch: Batch, place: int) -> Position:
        shard = int(batch.shards[place])
        return Position(
            shard, int(batch.indexes[place]), int(batch.arrivals[place]), self._putter.created_s(shard)
        )

    # --- sending; under the send lock ---

    def _send_open(self) -> None:
        """Send the open batch: settle it, hold what finds no room, leave the rest to the device."""
        batch = self._collector.take()
        self._open_since = None
        if batch is None:
            return
        part = Part(batch, None, self._entries(batch), time.monotonic() + self._timeout_s)
        try:
            self._await_room(batch.size)
        except BaseException:  # Ctrl-C: it is sent later
            self._begin(batch)
            self._hold(part)
            self._done(part)
            raise
        self._begin(batch)
        self._send(part)

    def _entries(self, batch: Batch) -> Entries:
        entries = Entries()
        limit = self._putter.record_size_max
        if batch.unkeyed == len(batch):
            entries.extend(batch.data, None, record_size_max=limit)
        elif batch.unkeyed == 0:
            entries.extend(batch.data, batch.keys, record_size_max=limit)
        else:
            for data, key in zip(batch.data, batch.keys, strict=True):
                entries.add(data, key, record_size_max=limit)
        return entries

    def _await_room(self, size: int) -> None:
        """Block while too much waits for room or for the device. Whoever waits does the work meanwhile."""
        while True:
            with self._state:
                if not self._pending_bytes or self._pending_bytes + size <= self._pending_max:
                    return
                if threading.current_thread() is not self._thread:
                    self._state.wait(PAUSE_S)
            if threading.current_thread() is self._thread:
                self._wait_for_device()
            self._retry()

    def _begin(self, batch: Batch) -> None:
        batch.parts = 1
        with self._state:
            self._live.add(batch)
            self._pending_bytes += batch.size

    def _send(self, part: Part) -> None:
        """Put records that are one of their batch's parts; whatever happens, their batch hears of it."""
        try:
            if self._held and self._ordered:
                held = self._behind_held(part)
                if held is None:
                    return
                part = held
            patience = 0.0 if self._putter.knows_shards else self._timeout_s
            tickets, places, refusal = self._putter.put(
                part.entries, patience, wait=not self._putter.needs_sync
            )
            self._place(part, places)
            for mask, error in refusal.errors if refusal is not None else ():
                self._refused(part, mask, error)
            if tickets:
                self._expect(part)
                with self._state:
                    self._waiting.append((part, tickets))
                    self._call()  # a first record that fills its batch finds no thread
        except Error as error:
            self._fail(part, part.places(), error)
        except BaseException as problem:
            text = f"the put was ended by {type(problem).__name__}; the records may have been taken"
            self._fail(part, part.places(), StorageError(text))
            raise
        finally:
            self._done(part)

    def _behind_held(self, part: Part) -> Part | None:
        """What need not wait for records of its shard that are held; the rest is held behind them."""
        found = self._putter.shards([part.entries, *(other.entries for other in self._held)])
        behind = np.isin(found[0], np.concatenate(found[1:]))
        if behind.any():
            self._hold(part.only(behind))
        return part if not behind.any() else part.only(~behind) if not behind.all() else None

    def _refused(self, part: Part, mask: Any, error: Error) -> None:
        if isinstance(error, Backpressure) and self._putter.knows_shards:
            now = time.monotonic()
            self._retry_at = min(now + min(error.retry_after, PAUSE_S), max(part.deadline, now))
            if now < part.deadline and not self._closed:
                self._hold(part.only(mask))
                return
        self._fail(part, part.places()[mask], error)

    def _hold(self, part: Part) -> None:
        self._expect(part)
        self._held.append(part)
        if self._thread is None or self._idle:
            self._call()

    def _retry(self) -> None:
        """Try what is held once more, in order, if it is time."""
        if not self._held or time.monotonic() < self._retry_at:
            return
        again, self._held = self._held, deque()
        try:
            while again:
                self._send(again.popleft())
        finally:
            self._held.extend(again)

    # --- what became of records ---

    def _place(self, part: Part, places: Any) -> None:
        batch = part.batch
        if part.where is None:
            batch.shards, batch.indexes, batch.arrivals = places
            return
        if batch.shards is None:
            kinds = (np.uint32, np.uint64, np.int64)
            batch.shards, batch.indexes, batch.arrivals = (np.zeros(len(batch), kind) for kind in kinds)
        for target, source in zip((batch.shards, batch.indexes, batch.arrivals), places, strict=True):
            target[part.where] = source

    def _fail(self, part: Part, places: Any, error: Error) -> None:
        with self._state:
            errors = part.batch.errors = part.batch.errors or {}
            errors.update((int(place), error) for place in places)

    def _expect(self, part: Part) -> None:
        with self._state:
            part.batch.parts += 1

    def _done(self, part: Part) -> None:
        """One thing fewer that a batch waits for; the last one settles it."""
        batch = part.batch
        with self._state:
            batch.parts -= 1
            if batch.parts:
                return
            if batch.errors:
                self._failed += len(batch.errors)
                self._first_error = self._first_error or next(iter(batch.errors.values()))
        batch.settle()
        with self._state:
            self._live.discard(batch)
            self._pending_bytes -= batch.size
            self._state.notify_all()

    # --- the thread ---

    def _call(self) -> None:
        """Have the thread look for work now."""
        with self._state:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="headrace-producer", daemon=True)
                self._thread.start()
            self._state.notify_all()

    def _pause(self) -> float | None:
        """Seconds until the thread has something to do; None: nothing is in sight."""
        now = time.monotonic()
        due = []
        if (since := self._open_since) is not None:
            due.append(since + self._linger_s - now if not self._closed else 0.0)
        if self._held:
            due.append(max(self._retry_at - now, 0.001))
        return min(due, default=None)

    def _run(self) -> None:
        """Send what has lingered, try again what is held, wait for the device."""
        while True:
            with self._state:
                while not self._waiting:
                    pause = self._pause()
                    if pause is None and self._closed:
                        return
                    if pause is not None and pause <= 0:
                        break
                    self._idle = pause is None  # else it looks again before the linger of a later batch ends
                    self._state.wait(pause)
                    self._idle = False
                    if pause is not None:
                        break
            self._wait_for_device()
            # Whoever holds the lock may wait for what only this thread does.
            if self._send_lock.acquire(blocking=False):
                try:
                    self._retry()
                    since = self._open_since
                    if since is not None and (self._closed or time.monotonic() - since >= self._linger_s):
                        self._send_open()
                finally:
                    self._send_lock.release()
            else:
                with self._state:
                    if not self._waiting:
                        self._state.wait(0.005)

    def _wait_for_device(self) -> None:
        """Settle what is framed, each batch as its group becomes durable. Only by the thread."""
        while self._waiting:
            part, tickets = self._waiting[0]
            for where, error in self._putter.commit(tickets):
                self._fail(part, part.places()[where], error)
            self._waiting.popleft()
            self._done(part)

    # --- the end ---

    def flush(self, timeout: float | None = None) -> None:
        """Send everything and return when it is durable.

        Raises the first error that befell a record since the last flush, with how many failed in its hint;
        TimeoutError after `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        last = self._collector.open
        unsettled = {last} if len(last) else set()
        self._hurry(last, timeout is None)
        with self._state:
            unsettled |= self._live
            while unsettled := {batch for batch in unsettled if not batch.settled}:
                left = PAUSE_S if deadline is None else min(PAUSE_S, deadline - time.monotonic())
                if left <= 0:
                    raise TimeoutError(f"{len(unsettled)} batches are not durable after {timeout} s")
                self._state.wait(left)
            failed, error = self._failed, self._first_error
            self._failed, self._first_error = 0, None
        if error is not None:
            error = copy.copy(error)
            if isinstance(error, Error):
                error.hint = f"{failed} records failed; their acks tell which" + (
                    f"; {error.hint}" if error.hint else ""
                )
            raise error

    def close(self) -> None:
        """Take no more, and flush what was put. May be called again."""
        if self._closed:
            return
        self._collector.closed = True
        try:
            self.flush()
        finally:
            self._closed = True
            self._end()

    def _end(self) -> None:
        with self._state:
            self._state.notify_all()
        if self._thread is not None:
            self._thread.join(EXIT_DEADLINE_S)
        self._putter.forget(self)

    def close_at_exit(self) -> None:
        """At the interpreter's end: flush with a deadline and say what was not sent."""
        self._collector.closed = True
        try:
            self.flush(EXIT_DEADLINE_S)
        except (TimeoutError, Error) as problem:
            logger.error("a producer of stream %s ended with records unsent: %s", self._putter.name, problem)
        self._closed = True

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()
