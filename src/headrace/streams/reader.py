# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""StreamReader: everything a stream holds and gets, shard by shard, parents before their children.

Firehose, Analytics and `tail` read through it. Within a shard records come in order; a child's records come
after the last of its parents'. Positions are plain numbers (shard -> next running index), so that a reader
can be stopped and made again from them, in this process or another.

Cost of a poll where nothing is new: one look at each lane's `visible`. Where something is: one look at the
bounds of each shard of that lane that is being read, and one read for each shard with news.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from headrace import limits
from headrace.core._batch import RecordBatch
from headrace.streams.shards import Shard

if TYPE_CHECKING:
    from headrace.streams.stream import Stream

Start = Literal["earliest", "latest"] | int | Mapping[int, int]

_REFRESH_S = 0.1  # how often a process that does not write the store looks for reshards
_SLICE_S = 0.5  # how long a wait goes without looking whether the stream was resharded
_TURN_S = 0.005  # how long it sleeps on one of several lanes of another process


class StreamReader:
    """Reads all shards of a stream, or those named.

    Args:
        stream: what to read.
        start: "earliest"; "latest" (only what comes from now on); milliseconds since 1970 (arrival at or
            after); or positions of an earlier reader. A shard that has no position there is read from its
            beginning, unless one of its descendants has one: then it had been read to its end.
        shards: read these only; their children are not followed.

    Attributes:
        positions: shard -> next index to read, for every shard that is being read. A shard that was read to
            its end leaves it when all its children have entered.
    """

    def __init__(
        self, stream: Stream, start: Start = "earliest", shards: Iterable[int] | None = None
    ) -> None:
        self.stream = stream
        self.positions: dict[int, int] = {}
        self._start = start
        self._only = None if shards is None else set(shards)
        self._active: list[dict[int, None]] = [{} for _ in stream.lanes]  # shards in turn, by lane ordinal
        self._seen: list[int] = [-1 for _ in stream.lanes]  # `visible` at the last complete pass
        self._waiting: dict[int, set[int]] = {}  # shard -> parents not yet read to their end
        self._ended: set[int] = set()
        self._known = 0  # shards of the table that were looked at
        self._initial = stream.table.count  # shards that were there when reading began
        self._version = -1
        self._refreshed_s = time.monotonic()
        self._turn = 0
        self._adopt()

    @property
    def finished(self) -> bool:
        """Whether every shard was read to its end and none will follow."""
        return not any(self._active) and not self._waiting

    def poll(self, max_bytes: int = 8 * limits.MIB) -> list[RecordBatch]:
        """What is new, one batch a shard, about `max_bytes` in all; [] if nothing is."""
        self._refresh()
        batches: list[RecordBatch] = []
        while True:
            for _ in range(len(self._active)):
                if max_bytes <= 0:
                    return batches
                self._turn = (self._turn + 1) % len(self._active)
                max_bytes = self._poll_lane(self._turn, max_bytes, batches)
            # A round in which shards only ended let in their children, in lanes that may be behind us.
            if batches or not any(self._moved(ordinal) for ordinal in range(len(self._active))):
                return batches

    def wait(self, timeout: float) -> bool:
        """Return True as soon as a poll may find something, False after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not self._news():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._sleep(min(left, _SLICE_S))
        return True

    # --- one lane ---

    def _poll_lane(self, ordinal: int, left: int, batches: list[RecordBatch]) -> int:
        """Read from the shards of one lane until the budget is used up; return what is left of it."""
        lane = self.stream.lanes[ordinal]
        if not self._moved(ordinal):
            return left
        self._seen[ordinal] = lane.visible
        for shard in list(self._active[ordinal]):
            if left <= 0:
                self._seen[ordinal] = -1
                break
            # Closed is asked before the bounds: what was closed then gets no more records.
            closed = shard in self.stream.table.closed
            position = self.positions[shard]
            end = lane.bounds(shard)[1]
            batch = lane.read(shard, position, max_bytes=left) if end > position else None
            if batch is not None and batch.count:
                batches.append(batch)
                left -= max(batch.nbytes, 1)
                position = self.positions[shard] = int(batch.ordinals[-1]) + 1
                self._active[ordinal][shard] = self._active[ordinal].pop(shard)  # others come first next time
                if position < end:
                    self._seen[ordinal] = -1
                    continue
            if closed:
                self._end(ordinal, shard)
        return left

    def _end(self, ordinal: int, shard: int) -> None:
        """A closed shard was read to its end: its children are next."""
        del self._active[ordinal][shard]
        self._ended.add(shard)
        for child in self.stream.table.children(shard):
            parents = self._waiting.get(child)
            if parents is not None:
                parents.discard(shard)
                if not parents:
                    del self._waiting[child]
                    entering = self.stream.table.shard(child)
                    self._activate(entering, self._first(entering))

    def _activate(self, shard: Shard, position: int) -> None:
        self.positions[shard.number] = position
        self._active[shard.lane][shard.number] = None
        self._seen[shard.lane] = -1
        for parent in shard.parents:
            if all(child in self.positions for child in self.stream.table.children(parent)):
                self.positions.pop(parent, None)

    # --- shards come ---

    def _refresh(self) -> None:
        """Take in shards that came since the last look."""
        stream = self.stream
        if not stream.streams.log.writer and time.monotonic() - self._refreshed_s >= _REFRESH_S:
            self._refreshed_s = time.monotonic()
            stream.streams.refresh(stream)
        if stream.deleted:
            raise stream.not_found()
        if stream.version != self._version:
            self._adopt()

    def _adopt(self) -> None:
        table = self.stream.table
        self._version = self.stream.version
        first = self._known == 0
        given, passed = self._given() if first else ({}, set())
        for number in range(self._known, table.count):
            if self._only is None or number in self._only:
                self._enter(table.shard(number), first, given, passed)
        self._known = table.count
        for ordinal in range(len(self._seen)):
            self._seen[ordinal] = -1

    def _given(self) -> tuple[dict[int, int], set[int]]:
        """The positions given, and the ancestors of their shards: those had been read to their end."""
        if not isinstance(self._start, Mapping):
            return {}, set()
        given = {int(number): int(position) for number, position in self._start.items()}
        passed: set[int] = set()
        climb = [number for number in given if number < self.stream.table.count]
        while climb:
            for parent in self.stream.table.shard(climb.pop()).parents:
                if parent not in passed:
                    passed.add(parent)
                    climb.append(parent)
        return given, passed

    def _enter(self, shard: Shard, first: bool, given: dict[int, int], passed: set[int]) -> None:
        """Let a shard in: to be read now, to wait for its parents, or as read to its end already."""
        if shard.number in given:
            self._activate(shard, given[shard.number])
        elif shard.number in passed or (first and self._start == "latest" and not shard.open):
            self._ended.add(shard.number)
        elif first and self._start == "latest":
            self._activate(shard, self.stream.lanes[shard.lane].bounds(shard.number)[1])
        else:
            parents = {
                n for n in shard.parents if n not in self._ended and (self._only is None or n in self._only)
            }
            if parents:
                self._waiting[shard.number] = parents
            else:
                self._activate(shard, self._first(shard))

    def _first(self, shard: Shard) -> int:
        if isinstance(self._start, int) and shard.number < self._initial:
            return self.stream.lanes[shard.lane].index_at_time(shard.number, self._start)
        return 0

    # --- waiting ---

    def _news(self) -> bool:
        if self.stream.deleted or self.stream.version != self._version:
            return True
        return any(self._moved(ordinal) for ordinal in range(len(self._seen)))

    def _moved(self, ordinal: int) -> bool:
        """Whether a lane published something since the last complete pass over it."""
        lane, seen = self.stream.lanes[ordinal], self._seen[ordinal]
        if not self.stream.streams.log.writer and seen != -1 and lane.wait(seen, 0):
            lane.bounds(0)  # has this process take notice of what another one wrote
        return lane.visible != seen

    def _sleep(self, timeout: float) -> None:
        """Sleep until something is published, or shorter."""
        lanes = self.stream.lanes
        writer = self.stream.streams.log.writer
        if len(lanes) == 1 and writer:
            lanes[0].wait(self._seen[0], timeout)
        elif writer:
            # No Event: who puts calls this under the lane's lock, and a Ctrl-C within `set` would leave its own taken.
            called: queue.SimpleQueue[None] = queue.SimpleQueue()
            unsubscribe = [lane.on_visible(lambda: called.put(None)) for lane in lanes]
            try:
                if not self._news():
                    with contextlib.suppress(queue.Empty):
                        called.get(timeout=timeout)
            finally:
                for stop in unsubscribe:
                    stop()
        else:
            self._turn = (self._turn + 1) % len(lanes)
            timeout = timeout if len(lanes) == 1 else min(timeout, _TURN_S)
            if not lanes[self._turn].wait(self._seen[self._turn], timeout):
                time.sleep(min(timeout, _TURN_S))  # a lane without data returns at once
        self._refresh()
