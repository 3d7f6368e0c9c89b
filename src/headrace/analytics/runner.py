# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Runs a plan over a source, turn by turn: poll, compute, deliver; idle shards; where it stood and goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from headrace import telemetry
from headrace.analytics.engine import Engine, Result
from headrace.analytics.plan import Plan
from headrace.analytics.sinks import ExactSink, Sink
from headrace.analytics.sources import Source
from headrace.analytics.state import Position, Tracker, capture, restore
from headrace.clock import Clock
from headrace.core._batch import RecordBatch

IDLE_MICROS = 5_000_000
_WAIT_S = 0.25  # how long a wait goes without a look at idle shards and at being stopped
_SETTLE_NS = 5_000_000_000  # positions without output are kept this often
_READ = telemetry.counter("headrace_sql_records_read_total", "Records that queries took in.", ("query",))
_GIVEN = telemetry.counter("headrace_sql_rows_given_total", "Rows of results that queries gave.", ("query",))
_LATE = telemetry.counter(
    "headrace_sql_late_rows_total", "Rows that came after their window had closed.", ("query",)
)
_GAPS = telemetry.counter(
    "headrace_sql_gaps_total", "How often records were dropped before a query read them.", ("query",)
)
_ERRORS = telemetry.counter("headrace_sql_error_rows_total", "Rows and groups that were errors.", ("query",))


class Runner:
    """One query at work.

    Args:
        idle_micros: a shard in which nothing arrived for so long is left out of the watermark; None: never.
        label: the query's name in metrics.
    """

    def __init__(
        self,
        plan: Plan,
        source: Source,
        clock: Clock,
        *,
        idle_micros: int | None = IDLE_MICROS,
        label: str = "",
    ) -> None:
        self.plan = plan
        self.source = source
        self.clock = clock
        self.label = label
        self.idle_ns = None if idle_micros is None else idle_micros * 1000
        patient = source.bounded and plan.window is not None and not plan.window.declared
        self.engine = Engine(plan, patient=patient)
        self.tracker = Tracker()
        self.stopping = threading.Event()
        self.draining = True  # whether a query without a name gives its open windows when it is stopped
        self.finished = False
        self.records = 0
        self.rows = 0
        self.positions: dict[int, int] = {}  # of shards that take part: what was taken in, not only polled
        self._ends: dict[int, int] = {}  # the same of all shards that gave something in this step
        self._heard: dict[int, int] = {}  # shard: when something last arrived, ns
        self._settled = clock.monotonic_ns()
        self._dirty = False
        self._counted = (0, 0, 0)

    # --- to the caller ---

    def results(self) -> Iterator[Result]:
        """Every result until the source ends or the query is stopped."""
        self._admit()
        while not self.finished and not self.stopping.is_set():
            yield from self._turn(None)

    # --- into a sink ---

    def run(self, sink: Sink) -> None:
        """Deliver every result until the source ends or the query is stopped."""
        if isinstance(sink, ExactSink):
            sink.position = self._position
            if sink.found:
                self._resume(sink)
            else:
                self._admit()
                self._settle(sink)
        self._admit()
        while not self.finished and not self.stopping.is_set():
            results = self._turn(sink)
            if results:
                self._deliver(sink, results)
            elif self._dirty and self.clock.monotonic_ns() - self._settled >= _SETTLE_NS:
                self._settle(sink)
        if not self.finished:
            self._drain(sink)

    def _drain(self, sink: Sink) -> None:
        """After a stop: keep where a named query stands; a query without a name gives what it has."""
        if isinstance(sink, ExactSink):
            if self._dirty:
                self._settle(sink)
        elif self.draining and (results := self._closed(everything=True)):
            self._deliver(sink, results)

    def _deliver(self, sink: Sink, results: list[Result]) -> None:
        sink.deliver(results, (self._ends, list(self.positions)))
        self._kept()

    def _settle(self, sink: Sink) -> None:
        sink.settle()
        self._kept()

    def _kept(self) -> None:
        """The position as it is now is kept."""
        self._dirty, self._ends = False, {}
        self._settled = self.clock.monotonic_ns()

    def _position(self, sequences: dict[int, int], epoch: int) -> Position:
        return capture(self.engine, self.positions, self.tracker, sequences, epoch)

    def _resume(self, sink: ExactSink) -> None:
        """Go on where the position says; a step that was begun is done again, exactly."""
        restore(sink.base, self.engine, self.source, self.tracker)
        rejects = self.engine.rejects
        self._counted = (rejects.late, rejects.errors, rejects.gaps)  # by the process before
        self.positions = dict(sink.base.positions)
        step, sink.base.step = sink.base.step, None
        if step is None:
            if results := self._closed():  # a judgement was kept, and what follows from it was not given
                self._deliver(sink, results)
            return
        ends, alive = step
        results = []
        for shard, end in sorted(ends.items()):
            start = self.positions.get(shard, 0)
            for batch in self.source.read(shard, start, end) if end > start else ():
                results += self._take(batch)
        self._admit(alive)
        results += self._closed()
        self._deliver(sink, results)

    # --- one turn ---

    def _turn(self, sink: Sink | None) -> list[Result]:
        """Read what is new and compute; where nothing is, look at idle shards and wait."""
        if self._judge_idle():
            if sink is not None:  # the judgement is kept before anything that follows from it
                self._settle(sink)
            if results := self._closed():
                return results
        gaps = self.source.gaps
        batches = self.source.poll()
        self.engine.rejects.gaps += self.source.gaps - gaps
        results = []
        if batches:
            self._before(batches, sink)
            for batch in batches:
                results += self._take(batch)
            self._admit()
            results += self._closed()
        elif self.source.done():
            self.finished = True
            results = self._closed(everything=True)
        else:
            self._admit()
            self.source.wait(_WAIT_S)
        self._count(batches, results)
        return results

    def _before(self, batches: list[RecordBatch], sink: Sink | None) -> None:
        """A shard that comes in, or comes back, is late by what is closed at this moment: keep that first."""
        now, marks = self.clock.monotonic_ns(), self.engine.watermarks
        shards = [int(batch.shards[0]) for batch in batches]
        if sink is not None and self._dirty and any(shard not in marks.shards for shard in shards):
            self._settle(sink)
        for shard in shards:
            self._heard[shard] = now

    def _take(self, batch: RecordBatch) -> list[Result]:
        """Compute with the next records of a shard.

        A poll may give a shard's last records and its children's first, the parent before: only when those
        were taken is the watermark known that the children begin with.
        """
        shard = int(batch.shards[0])
        self._enter(shard)
        before = self.engine.watermarks.of(shard)
        result = self.engine.take(batch)
        self.tracker.note(self.engine, batch, before)
        self.positions[shard] = self._ends[shard] = int(batch.ordinals[-1]) + 1
        self._dirty = True
        return [result] if result is not None else []

    def _closed(self, *, everything: bool = False) -> list[Result]:
        result = self.engine.close(everything=everything)
        return [result] if result is not None else []

    # --- shards ---

    def _enter(self, shard: int) -> None:
        """A shard takes part, with the watermark that its parents ended with."""
        marks = self.engine.watermarks
        if shard in marks.shards or shard in marks.idle:
            return
        parents = [marks.of(parent) for parent in self.source.parents(shard)]
        known = [value for value in parents if value is not None]
        marks.add(shard, min(known) if known and len(known) == len(parents) else None)

    def _admit(self, shards: Iterable[int] | None = None) -> None:
        """Take in shards that came, let go of those that were read to their end."""
        marks = self.engine.watermarks
        current = (
            self.source.positions if shards is None else {shard: self._ends.get(shard, 0) for shard in shards}
        )
        if (
            current.keys() == self.positions.keys()
            and self.positions.keys() <= marks.shards.keys() | marks.idle.keys()
        ):
            return
        for shard in sorted(current):
            self._enter(shard)
            self.positions.setdefault(shard, current[shard])
            self._heard.setdefault(shard, self.clock.monotonic_ns())
        for shard in [shard for shard in (*marks.shards, *marks.idle) if shard not in current]:
            marks.remove(shard)
        for shard in [shard for shard in self.positions if shard not in current]:
            del self.positions[shard]

    def _judge_idle(self) -> bool:
        """Whether a shard was found in which nothing arrived for the idle time."""
        if self.idle_ns is None or self.engine.windows is None or self.source.bounded:
            return False
        now, marks, judged = self.clock.monotonic_ns(), self.engine.watermarks, False
        for shard in list(marks.shards):
            if now - self._heard.setdefault(shard, now) >= self.idle_ns and self.source.caught_up(shard):
                marks.judge_idle(shard)
                judged = self._dirty = True
        return judged

    def _count(self, batches: list[RecordBatch], results: list[Result]) -> None:
        read, given = sum(map(len, batches)), sum(result.columns.rows for result in results)
        self.records += read
        self.rows += given
        rejects = self.engine.rejects
        late, errors = rejects.late - self._counted[0], rejects.errors - self._counted[1]
        gaps = rejects.gaps - self._counted[2]
        self._counted = (rejects.late, rejects.errors, rejects.gaps)
        counts = ((_READ, read), (_GIVEN, given), (_LATE, late), (_ERRORS, errors), (_GAPS, gaps))
        for counter, count in counts:
            if count > 0:
                counter.add(count, self.label)
