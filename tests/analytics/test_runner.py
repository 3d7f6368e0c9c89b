# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: what a query gives does not depend on which polls gave its records, at a reshard neither; gaps are counted.

Method: a source of ours hands out batches in polls of our choosing; the results and late rows are compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from analytics_support import rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.analytics import planner
from headrace.analytics.runner import Runner
from headrace.analytics.text import parse
from headrace.clock import FrozenClock
from headrace.core._batch import RecordBatch

TEXT = (
    "CREATE TABLE t (ms BIGINT, at AS TO_TIMESTAMP_LTZ(ms, 3), WATERMARK FOR at AS at);"
    "SELECT window_start, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(at), INTERVAL '1' SECOND))"
    " GROUP BY window_start, window_end"
)


def batch(shard: int, first: int, *times: int) -> RecordBatch:
    return RecordBatch.of(
        [json.dumps({"ms": time}).encode() for time in times], shard=shard, first_ordinal=first
    )


class Polls:
    """A source that gives these polls; shard 2 and 3 came out of shard 0, shard 4 out of 1 and 2."""

    bounded = False
    gaps = 0
    lineage: dict[int, list[int]] = {2: [0], 3: [0], 4: [1, 2]}  # noqa: RUF012

    def __init__(self, polls: list[list[RecordBatch]]) -> None:
        self.polls = polls
        self.positions: dict[int, int] = {0: 0, 1: 0}

    def poll(self) -> list[RecordBatch]:
        batches = self.polls.pop(0)
        for part in batches:
            shard = int(part.shards[0])
            parents = self.lineage.get(shard, [])
            for child in [child for child, known in self.lineage.items() if known == parents]:
                self.positions.setdefault(child, 0)  # all children of a split come in at once
            for parent in parents:
                self.positions.pop(parent, None)
            self.positions[shard] = int(part.ordinals[-1]) + 1
        return batches

    def done(self) -> bool:
        return not self.polls

    def wait(self, timeout: float) -> bool:
        return True

    def caught_up(self, shard: int) -> bool:
        return True

    def parents(self, shard: int) -> list[int]:
        return self.lineage.get(shard, [])

    def read(self, shard: int, start: int, end: int) -> Iterator[RecordBatch]:
        raise NotImplementedError

    def sample(self) -> list[RecordBatch]:
        return []


def run(polls: list[list[RecordBatch]]) -> tuple[list[Any], int]:
    source = Polls([*polls, []])
    source.done = lambda: len(source.polls) == 0  # type: ignore[method-assign]
    runner = Runner(planner.plan(planner.outline(parse(TEXT))), source, FrozenClock(), idle_micros=None)
    rows = [row for result in runner.results() for row in rows_of(result.columns)]
    return rows, runner.engine.rejects.late


def test_a_child_in_the_poll_of_its_parents_last_records_begins_where_they_ended():
    first, second, child = batch(0, 0, 0, 500), batch(0, 2, 5000), batch(2, 0, 100, 5100)
    apart = run([[first], [second], [child]])
    assert apart == run([[first], [second, child]]) == run([[batch(0, 0, 0, 500, 5000), child]])
    assert apart[1] == 1  # 100 ms is late: the parent had come to 5 s


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_how_polls_are_cut_changes_nothing(data: st.DataObject) -> None:
    times = st.lists(st.integers(0, 9000), min_size=1, max_size=8)
    records = {shard: data.draw(times) for shard in range(5)}
    results = []
    for _ in range(2):
        sequence: list[RecordBatch] = []
        for generation in ([0, 1], [2, 3], [4]):
            parts = {}
            for shard in generation:
                cuts = sorted(data.draw(st.sets(st.integers(1, 7), max_size=3)))
                edges = [0, *[cut for cut in cuts if cut < len(records[shard])], len(records[shard])]
                pairs = pairwise(edges)
                parts[shard] = [batch(shard, low, *records[shard][low:high]) for low, high in pairs]
            while any(parts.values()):
                shard = data.draw(st.sampled_from([shard for shard, left in parts.items() if left]))
                sequence.append(parts[shard].pop(0))
        polls: list[list[RecordBatch]] = [[]]
        for part in sequence:
            shard = int(part.shards[0])
            seen = [int(other.shards[0]) for other in polls[-1]]
            # One batch a shard, ascending: as a poll of a stream is.
            if data.draw(st.booleans()) and all(other < shard for other in seen):
                polls[-1].append(part)
            else:
                polls.append([part])
        results.append(run([poll for poll in polls if poll]))
    assert results[0] == results[1]


def test_gaps_of_the_source_are_counted_once():
    source = Polls([[batch(0, 0, 5)], [batch(0, 9, 6)], [batch(0, 10, 7)], []])
    poll = source.poll

    def with_gap() -> list[RecordBatch]:
        batches = poll()
        source.gaps = max(source.gaps, int(bool(batches) and int(batches[0].ordinals[0]) == 9))
        return batches

    source.poll = with_gap  # type: ignore[method-assign]
    runner = Runner(planner.plan(planner.outline(parse(TEXT))), source, FrozenClock(), idle_micros=None)
    assert sum(result.columns.rows for result in runner.results()) == 1
    assert (runner.records, runner.engine.rejects.gaps) == (3, 1)


@pytest.mark.parametrize("idle", [None, 1_000_000])
def test_a_shard_is_judged_idle_only_after_its_time(idle):
    clock = FrozenClock()
    source = Polls([[batch(0, 0, 0)], [batch(1, 0, 100), batch(0, 1, 100)], [batch(0, 2, 5000)], [], []])
    source.done = lambda: False  # type: ignore[method-assign]
    plan = planner.plan(planner.outline(parse(TEXT)))
    runner = Runner(plan, source, clock, idle_micros=idle)
    runner._admit()
    given_: list[Any] = []
    for _ in range(4):
        given_ += [row for result in runner._turn(None) for row in rows_of(result.columns)]
    assert given_ == []  # shard 1 holds the window
    clock.advance(2000)
    given_ += [row for result in runner._turn(None) for row in rows_of(result.columns)]
    assert len(given_) == (0 if idle is None else 1)
