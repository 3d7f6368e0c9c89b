# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A query that is taken up from any kept position gives the rest of what it would have given.

Method: a sink that keeps every position in memory; the run is cut after each step, and also in the middle
of one (the plan kept, its rows lost), and a new runner goes on from the encoded position. What was given
before the cut and after it is what an uninterrupted run gives, byte for byte.
"""

from __future__ import annotations

import threading
from random import Random
from typing import Any

import pytest
from analytics_support import batches_of, interleave
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import limits
from headrace.analytics import planner
from headrace.analytics.engine import Result
from headrace.analytics.output import records
from headrace.analytics.plan import Plan
from headrace.analytics.runner import Runner
from headrace.analytics.sinks import ExactSink
from headrace.analytics.sources import MemorySource
from headrace.analytics.state import Position, Step
from headrace.analytics.text import parse
from headrace.clock import FrozenClock
from headrace.core._batch import RecordBatch

TABLE = (
    "CREATE TABLE t (ts BIGINT, at AS TO_TIMESTAMP_LTZ(ts, 3), k VARCHAR, x BIGINT, y DOUBLE,"
    " WATERMARK FOR at AS at - INTERVAL '0.1' SECOND);"
)
WINDOWED = TABLE + (
    "SELECT k, window_start, COUNT(*) AS n, SUM(x) AS s, AVG(y) AS m, MIN(k) AS lo, MAX(y) AS hi "
    "FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(at), INTERVAL '1' SECOND)) WHERE x <> 3 GROUP BY k, window_start, window_end"
)
FILTER = TABLE + "SELECT k, x + 1 AS x1, y FROM t WHERE x > 2 OR k IS NULL"


class Cut(Exception):
    """The process is gone."""


class MemorySink(ExactSink):
    """Keeps positions and rows in memory. `cut_at`: the delivery or settlement that is the last;
    `torn`: its plan is kept, its rows and position are not."""

    def __init__(
        self, plan: Plan, given: list[bytes], position: bytes | None, cut_at: int, torn: bool
    ) -> None:
        self.schema = plan.schema
        self.given = given
        self.base = Position() if position is None else Position.decode(position)
        self.found = position is not None
        self.base.epoch += 1
        self.sequences = dict(self.base.sequences)
        self.kept = position
        self.left, self.torn = cut_at, torn
        self.stopping = threading.Event()

    def deliver(self, results: list[Result], step: Step) -> None:
        rows = [row for result in results for row in records(result.columns, self.schema)]
        if self.left == 0 and self.torn:
            self.base.step = step
            self.kept = self.base.encode()
            raise Cut
        self.given.extend(rows)
        self.settle()

    def settle(self) -> None:
        if self.left == 0 and self.torn:
            raise Cut
        self.base = self.position(self.sequences, self.base.epoch)
        self.kept = self.base.encode()
        self.left -= 1
        if self.left < 0:
            raise Cut


class Endless(MemorySource):
    """Like a stream: it ends for the test, but is not bounded for the query."""

    bounded = False

    def __init__(self, batches: list[RecordBatch], start: dict[int, int] | None = None) -> None:
        super().__init__(batches)
        self.everything = list(self._batches)
        if start is not None:
            self.positions.update(start)
            rest = []
            for batch in self._batches:
                first = start.get(int(batch.shards[0]), 0)
                part = batch[int((batch.ordinals < first).sum()) :]
                if len(part):
                    rest.append(part)
            self._batches = rest

    def read(self, shard: int, start: int, end: int) -> Any:
        mine = self._batches
        self._batches = self.everything
        try:
            yield from list(super().read(shard, start, end))
        finally:
            self._batches = mine

    def done(self) -> bool:
        return False

    def wait(self, timeout: float) -> bool:
        raise EndOfTest


class EndOfTest(Exception):
    """Nothing more will come."""


def run(plan: Plan, batches: list[RecordBatch], cuts: list[tuple[int, bool]]) -> list[bytes]:
    """All rows given, over a first run and one more after each cut."""
    given: list[bytes] = []
    kept: bytes | None = None
    for cut_at, torn in [*cuts, (10**9, False)]:
        sink = MemorySink(plan, given, kept, cut_at, torn)
        source = Endless(batches, sink.start() if sink.found else None)
        try:
            Runner(plan, source, FrozenClock(), idle_micros=None).run(sink)
        except (Cut, EndOfTest):
            kept = sink.kept
    return given


def table_of(seed: int) -> tuple[list[dict[str, Any]], list[int]]:
    """Ninety rows that come on in time, each a little early or late, in three shards of different pace."""
    random = Random(seed)
    table, shards = [], []
    for number in range(90):
        row: dict[str, Any] = {"ts": number * 70 + random.randint(-900, 900)}
        for name, values in (("k", [None, "a", "b", "é"]), ("x", range(6)), ("y", [random.uniform(-9, 9)])):
            if random.random() < 0.9:
                row[name] = random.choice(list(values))
        table.append(row)
        shards.append(random.choice([0, 0, 1, 2]))
    return table, shards


@pytest.mark.parametrize("inline", [0, limits.sql_state_inline_size_max], ids=["ranges", "inline"])
@pytest.mark.parametrize("text", [WINDOWED, FILTER], ids=["windows", "filter"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_run_that_was_cut_anywhere_gives_what_one_that_was_not_gives(
    text: str, inline: int, data: st.DataObject
) -> None:
    table, shards = table_of(data.draw(st.integers(0, 10**6)))
    batches = interleave(
        batches_of(table, shards, data.draw(st.integers(1, 6))),
        data.draw(st.lists(st.integers(0, 5), max_size=12)),
    )
    plan = planner.plan(planner.outline(parse(text)))
    before = limits.sql_state_inline_size_max
    limits.sql_state_inline_size_max = inline
    try:
        whole = run(plan, batches, [])
        assert whole
        cuts = data.draw(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=4))
        assert run(plan, batches, cuts) == whole
    finally:
        limits.sql_state_inline_size_max = before


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_the_order_in_which_shards_are_read_changes_nothing(data: st.DataObject) -> None:
    """Rows and their order are the same under every interleaving and batch size; so are the late rows."""
    table, shards = table_of(data.draw(st.integers(0, 10**6)))
    plan = planner.plan(planner.outline(parse(WINDOWED)))
    results = set()
    for _ in range(3):
        cut = batches_of(table, shards, data.draw(st.integers(1, 6)))
        source = MemorySource(interleave(cut, data.draw(st.lists(st.integers(0, 5), max_size=20))))
        runner = Runner(plan, source, FrozenClock(), idle_micros=None)
        given = [row for result in runner.results() for row in records(result.columns, plan.schema)]
        results.add((tuple(given), runner.engine.rejects.late))
    assert len(results) == 1
