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
already drop them by their sequence. After 3: all of it happened. If the output is resharded between 1 and 3,
lanes are asked what they have, what is left is routed anew and step 1 written again (see stages.py): a closed
shard gets nothing. Two processes that run the same name fence each other by the producer's epoch, and by the
store having one writer.
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
from headrace.analytics.stages import Stage, remaining
from headrace.analytics.state import Position, Step
from headrace.analytics.types import Schema
from headrace.core._entries import Entries, Router
from headrace.core._entry_parts import lane_entries
from headrace.errors import Backpressure, Closed
from headrace.log.failpoints import reach
from headrace.streams.stream import Stream

_RETRY_S = 0.05
_EPOCHS = 1 << 16  # of one producer id


class Sink(Protocol):
    """Takes the rows of each step."""

    def deliver(self, results: list[Result], step: Step) -> None:
        """The rows of a step; it read each shard up to the index in `step`, and left some shards alive."""
        ...

    def settle(self) -> None:
        """Keep the position as it is now, if positions are kept."""
        ...


class Resharded(Exception):
    """The shards of the output are others than those a step's records were routed to."""


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
        self.epoch = self.base.epoch % _EPOCHS
        self.producer, self._former = self._id(self.base.epoch), self._id(self.base.epoch - 1)
        self.sequences = dict(self.base.sequences)
        self._plan = None if self.base.step is None else (self.base.generation, self.base.stages)
        self.position: Callable[[dict[int, int], int], Position] = lambda sequences, epoch: Position()

    def _id(self, epoch: int) -> int:
        """The producer's id: another one after 65,536 starts, when the lanes' epochs are used up."""
        seed = self.owner + (epoch // _EPOCHS).to_bytes(8, "big")
        return int.from_bytes(hashlib.blake2b(seed, digest_size=6).digest(), "big")

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
        plan, self._plan = self._plan, None  # what stands in the log, of this step
        stages: list[Stage] = list(plan[1]) if plan is not None else []
        pieces = remaining(pieces, self.stream.table, stages)
        while True:
            if plan is not None and (plan[0] != self._generation() or self._former != self.producer):
                stages.append((plan[0], self._end_stage()))
                pieces = remaining(pieces, self.stream.table, stages[-1:])
                plan = None
            generation, routed = self._route(pieces)
            if plan is None and (len(routed) > 1 or any(part.others for part in routed)):
                self._write_plan(step, generation, stages)
                plan = (generation, stages)
            try:
                self._append_all(routed, generation)
                return
            except Resharded:
                continue

    def _append_all(self, routed: list[Routed], generation: int) -> None:
        """All records of a step, and its end."""
        for part in routed[:-1]:
            for ordinal in (*part.others, *([0] if part.counts.get(0) else [])):
                self._append(part, ordinal, generation)
        home = routed[-1] if routed else None
        if home is not None:
            for ordinal in home.others:
                self._append(home, ordinal, generation)
        self._append_home(home, generation)

    def _generation(self) -> int:
        return self.stream.table.count

    def _route(self, pieces: list[Entries]) -> tuple[int, list[Routed]]:
        """The pieces by lane, and the generation of shards in which this holds."""
        stream = self.stream
        with stream.lock:
            if stream.deleted:
                raise stream.not_found()
            router, generation = stream.router, self._generation()
        routed = []
        for entries in pieces:
            router.route(entries)
            counts = {ordinal: lane_entries(entries, ordinal) for ordinal in range(router.lane_count)}
            counts = {ordinal: count for ordinal, count in counts.items() if count}
            routed.append(Routed(entries, router, counts))
        return generation, routed

    def _end_stage(self) -> dict[int, int]:
        """How many records each lane got since the plan; the sequences go on behind them."""
        got = {}
        for ordinal, lane in enumerate(self.stream.lanes):
            known = lane.producers
            last = max(known.get(name, (-1, -1))[1] for name in (self._former, self.producer))
            first = self.base.sequences.get(ordinal, 0)
            if last + 1 > first:
                got[ordinal] = last + 1 - first
                self.sequences[ordinal] = last + 1
        self.base.sequences = dict(self.sequences)
        self._former = self.producer
        return got

    def _append(self, part: Routed, ordinal: int, generation: int) -> None:
        """One lane's share of a piece, unless it is there already."""
        first = self.sequences.get(ordinal, 0)
        lane, producer = self.stream.lanes[ordinal], (self.producer, self.epoch, first)
        reach("sql.lane.before")
        self._retry(
            lambda: lane.append(part.entries, part.router, ordinal, producer=producer), ordinal, generation
        )
        self.sequences[ordinal] = first + part.counts[ordinal]
        self.stream.records_in += part.counts[ordinal]

    def _append_home(self, part: Routed | None, generation: int) -> None:
        """The rest of a step: the last records of the home lane and the position, in one group."""
        count = part.counts.get(0, 0) if part is not None else 0
        first = self.sequences.get(0, 0)
        position = self.position({**self.sequences, 0: first + count}, self.base.epoch)
        positions = {self.owner: position.encode()}
        lane, producer = self.stream.lanes[0], (self.producer, self.epoch, first)
        reach("sql.home.before")
        if part is not None and count:
            self._retry(
                lambda: lane.append(part.entries, part.router, 0, producer=producer, positions=positions),
                0,
                generation,
            )
        else:
            self._retry(lambda: lane.append(None, None, 0, positions=positions), 0, generation)
        reach("sql.home.after")
        self.sequences[0] = first + count
        self.base = position
        self.stream.records_in += count

    def settle(self) -> None:
        position = self.position(self.sequences, self.base.epoch)
        data = {self.owner: position.encode()}
        self._retry(lambda: self.stream.lanes[0].append(None, None, 0, positions=data), 0)
        self.base = position

    def _write_plan(self, step: Step, generation: int, stages: list[Stage]) -> None:
        """Say which step is coming, before its first record leaves."""
        self.base.step, self.base.generation, self.base.stages = step, generation, stages
        data = {self.owner: self.base.encode()}
        reach("sql.plan.before")
        self._retry(lambda: self.stream.lanes[0].append(None, None, 0, positions=data), 0)
        reach("sql.plan.after")

    def _retry(self, append: Callable[[], int], ordinal: int, generation: int | None = None) -> None:
        """Append and commit one group; on back-pressure wait and try again.

        Raises Resharded, with nothing appended, where the shards are no longer those of `generation`.
        """
        while True:
            try:
                with self.stream.lock:
                    if generation is not None and generation != self._generation():
                        raise Resharded
                    ticket = append()
                self.stream.lanes[ordinal].commit(ticket)
                return
            except Backpressure as pressure:
                pause(self.stopping, pressure)


def pause(stopping: threading.Event, pressure: Backpressure) -> None:
    """Wait a little; a query that is being stopped gives up."""
    if stopping.wait(max(pressure.retry_after, _RETRY_S)):
        raise Closed("the query was stopped while its output had no room") from pressure
