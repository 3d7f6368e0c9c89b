# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Where rows of a result go: into a stream; with a name exactly once, also across `kill -9`.

Exactly once. The records of a step and the position after it are one atomic group in the output's first
lane, its *home*: after a crash both are there or neither. Where records go to other lanes too, or are too
many for one group:

    1. home: POSITION "plan"      the position before the step, and where the step ends
    2. any lane: records          with the producer's sequence: the ordinal of the record in that lane
    3. home: records, POSITION    the position after the step

A crash before 1 is complete: nothing of the step happened. Between 1 and 3: the step is done again, up to
exactly the record where it ended; it gives the same records (see engine.py), and lanes that have them
already drop them by their sequence. After 3: all of it happened. Two processes that run the same name fence
each other by the producer's epoch, and by the store having one writer.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from headrace import limits
from headrace.analytics.engine import Result
from headrace.analytics.output import records
from headrace.analytics.state import Position, Step
from headrace.analytics.types import Schema
from headrace.core._entries import Entries, Router
from headrace.core._entry_parts import lane_entries
from headrace.errors import Backpressure, Closed
from headrace.log.failpoints import reach
from headrace.streams.stream import Stream

_RETRY_S = 0.05


class Sink(Protocol):
    """Takes the rows of each step."""

    def deliver(self, results: list[Result], step: Step) -> None:
        """The rows of a step; it read each shard up to the index in `step`, and left some shards alive."""
        ...

    def settle(self) -> None:
        """Keep the position as it is now, if positions are kept."""
        ...


@dataclass
class Routed:
    """A piece of a step's records, routed: how many of them each lane gets."""

    entries: Entries
    router: Router
    counts: dict[int, int]

    @property
    def others(self) -> list[int]:
        """The lanes concerned that are not the home lane."""
        return [ordinal for ordinal in self.counts if ordinal]


def pieces_of(results: list[Result], schema: Schema) -> Iterator[Entries]:
    """The rows as records with their partition keys, not too many at a time."""
    for result in results:
        data, keys = records(result.columns, schema), result.partition_keys()
        for start in range(0, len(data), limits.sql_output_records_max):
            stop = start + limits.sql_output_records_max
            entries = Entries()
            entries.extend(data[start:stop], keys[start:stop])
            yield entries


class StreamSink:
    """Into a stream, without a memory: for queries without a name."""

    def __init__(self, stream: Stream, schema: Schema, stopping: threading.Event) -> None:
        self.stream, self.schema, self.stopping = stream, schema, stopping

    def deliver(self, results: list[Result], step: Step) -> None:
        for entries in pieces_of(results, self.schema):
            self._append(entries)

    def _append(self, entries: Entries) -> None:
        """Append and commit; on back-pressure what was refused is tried again until there is room."""
        while True:
            try:
                for lane, offset in self.stream.append(entries):
                    lane.commit(offset)
                return
            except Backpressure as pressure:
                if pressure.accepted is not None:
                    self.stream.commit()
                    rest = [not taken for taken in pressure.accepted.tolist()]
                    left = Entries()
                    pairs = zip(entries.data, entries.keys, rest, strict=True)
                    for data, key, refused in pairs:
                        if refused:
                            left.add(data, key)
                    entries = left
                pause(self.stopping, pressure)

    def settle(self) -> None:
        return


class ExactSink:
    """Into a stream, exactly once, under a name."""

    def __init__(self, stream: Stream, schema: Schema, owner: str, stopping: threading.Event) -> None:
        self.stream, self.schema, self.stopping = stream, schema, stopping
        self.owner = b"sql:" + owner.encode()
        self.base = self._stored() or Position()
        self.found = self.base.epoch > 0
        self.base.epoch += 1
        generation, self.epoch = divmod(self.base.epoch, 1 << 16)
        seed = self.owner + generation.to_bytes(8, "big")
        self.producer = int.from_bytes(hashlib.blake2b(seed, digest_size=6).digest(), "big")
        self.sequences = dict(self.base.sequences)
        self.position: Callable[[dict[int, int], int], Position] = lambda sequences, epoch: Position()

    def start(self) -> dict[int, int] | None:
        """Where reading goes on, or None if the name is new."""
        if not self.found:
            return None
        if self.base.step is None:
            return dict(self.base.positions)
        ends, alive = self.base.step
        return {shard: ends.get(shard, self.base.positions.get(shard, 0)) for shard in alive}

    def _stored(self) -> Position | None:
        data = self.stream.lanes[0].positions().get(self.owner)
        return None if data is None else Position.decode(data)

    def deliver(self, results: list[Result], step: Step) -> None:
        pieces = list(pieces_of(results, self.schema))
        routed = [self._route(piece) for piece in pieces]
        if len(pieces) > 1 or any(part.others for part in routed):
            self._write_plan(step)
        for part in routed[:-1]:
            for ordinal in (*part.others, *([0] if part.counts.get(0) else [])):
                self._append(part, ordinal)
        home = routed[-1] if routed else None
        if home is not None:
            for ordinal in home.others:
                self._append(home, ordinal)
        self._append_home(home)

    def _route(self, entries: Entries) -> Routed:
        """The entries by lane."""
        stream = self.stream
        with stream.lock:
            if stream.deleted:
                raise stream.not_found()
            router = stream.router
            router.route(entries)
            counts = {ordinal: lane_entries(entries, ordinal) for ordinal in range(len(stream.lanes))}
        return Routed(entries, router, {ordinal: count for ordinal, count in counts.items() if count})

    def _append(self, part: Routed, ordinal: int) -> None:
        """One lane's share of a piece, unless it is there already."""
        first = self.sequences.get(ordinal, 0)
        lane, producer = self.stream.lanes[ordinal], (self.producer, self.epoch, first)
        reach("sql.lane.before")
        self._retry(lambda: lane.append(part.entries, part.router, ordinal, producer=producer), ordinal)
        self.sequences[ordinal] = first + part.counts[ordinal]
        self.stream.records_in += part.counts[ordinal]

    def _append_home(self, part: Routed | None) -> None:
        """The rest of a step: the last records of the home lane and the position, in one group."""
        count = part.counts.get(0, 0) if part is not None else 0
        first = self.sequences.get(0, 0)
        self.sequences[0] = first + count
        position = self.position(self.sequences, self.base.epoch)
        positions = {self.owner: position.encode()}
        lane, producer = self.stream.lanes[0], (self.producer, self.epoch, first)
        reach("sql.home.before")
        if part is not None and count:
            self._retry(
                lambda: lane.append(part.entries, part.router, 0, producer=producer, positions=positions), 0
            )
        else:
            self._retry(lambda: lane.append(None, None, 0, positions=positions), 0)
        reach("sql.home.after")
        self.base = position
        self.stream.records_in += count

    def settle(self) -> None:
        position = self.position(self.sequences, self.base.epoch)
        data = {self.owner: position.encode()}
        self._retry(lambda: self.stream.lanes[0].append(None, None, 0, positions=data), 0)
        self.base = position

    def _write_plan(self, step: Step) -> None:
        """Say which step is coming, before its first record leaves."""
        self.base.step = step
        data = {self.owner: self.base.encode()}
        reach("sql.plan.before")
        self._retry(lambda: self.stream.lanes[0].append(None, None, 0, positions=data), 0)
        reach("sql.plan.after")

    def _retry(self, append: Callable[[], int], ordinal: int) -> None:
        """Append and commit one group; on back-pressure wait and try again."""
        while True:
            try:
                with self.stream.lock:
                    ticket = append()
                self.stream.lanes[ordinal].commit(ticket)
                return
            except Backpressure as pressure:
                pause(self.stopping, pressure)


def pause(stopping: threading.Event, pressure: Backpressure) -> None:
    """Wait a little; a query that is being stopped gives up."""
    if stopping.wait(max(pressure.retry_after, _RETRY_S)):
        raise Closed("the query was stopped while its output had no room") from pressure
