# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a step goes into its stream once, whatever happens between its groups: a stop, a reshard, no room.

Method: a sink over a real stream of four lanes delivers one step again and again; it is stopped at each named
place, after each number of groups, and the stream is split and merged in between. At the end every row is
there once, in order within its key, and no closed shard has got anything after its end.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace import limits
from headrace.analytics import sinks
from headrace.analytics.engine import Result
from headrace.analytics.sinks import ExactSink, StreamSink
from headrace.analytics.state import Position
from headrace.analytics.types import Schema, Type
from headrace.core.table import Columns
from headrace.errors import Backpressure, Closed, Fenced
from headrace.log import Log, failpoints
from headrace.streams import StreamDefaults, Streams
from headrace.streams.reader import StreamReader
from headrace.streams.stream import Stream

ROWS = 60
KEYS = 20
SCHEMA = Schema({"k": Type.VARCHAR, "i": Type.BIGINT})
STEP: tuple[dict[int, int], list[int]] = ({0: ROWS}, [0])


class Stop(Exception):
    """The process is gone."""


@pytest.fixture
def stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stream]:
    monkeypatch.setattr(limits, "sql_output_records_max", 25)
    log = Log.open(tmp_path / "store")
    made = Streams(log, defaults=StreamDefaults(cores=4)).create("target", 4)
    yield made
    failpoints.disarm()
    log.close()


def step(first: int = 0) -> list[Result]:
    """A step of ROWS rows over KEYS keys."""
    numbers = np.arange(first, first + ROWS)
    keys = [f"key-{number % KEYS}" for number in numbers.tolist()]
    columns = Columns.from_arrays({"k": np.array(keys, object), "i": numbers})
    return [Result(columns, lambda: keys)]


def sink_of(stream: Stream) -> ExactSink:
    """A sink as a start of the query makes it, with positions that say how far it is."""
    sink = ExactSink(stream, SCHEMA, "q:1", threading.Event())
    done = sink.base.positions.get(0, 0)
    sink.position = lambda sequences, epoch: Position(
        epoch=epoch, positions={0: done + ROWS}, sequences=dict(sequences)
    )
    return sink


def deliver(stream: Stream, first: int = 0) -> None:
    """One start: the step, unless its position stands already."""
    sink = sink_of(stream)
    if sink.base.positions.get(0, 0) <= first:
        sink.base.step = None  # as the runner does when it takes the plan up
        sink.deliver(step(first), STEP)


def stop_at(point: str, count: int) -> None:
    left = [count]

    def act() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Stop

    failpoints.arm(point, act)


def rows_by_key(stream: Stream) -> dict[str, list[int]]:
    """What a reader finds, parents before their children."""
    found: dict[str, list[int]] = {}
    reader = StreamReader(stream)
    while batches := reader.poll():
        for batch in batches:
            for data, key in zip(batch.data, batch.keys, strict=True):
                row = json.loads(data)
                assert row["k"] == key
                found.setdefault(key, []).append(row["i"])
    return found


def expected(steps: int) -> dict[str, list[int]]:
    return {f"key-{key}": list(range(key, steps * ROWS, KEYS)) for key in range(KEYS)}


def split(stream: Stream) -> None:
    shard = stream.table.open()[0]
    stream.split(shard.number, (shard.start + shard.end) // 2)


def merge_across_lanes(stream: Stream) -> None:
    opened = stream.table.open()
    first, second = next(pair for pair in pairwise(opened) if pair[0].lane != pair[1].lane)
    stream.merge(first.number, second.number)


CHANGES: dict[str, Callable[[Stream], Any]] = {
    "none": lambda stream: None,
    "split": split,
    "merge": merge_across_lanes,
    "scale": lambda stream: stream.scale(2),
}
POINTS = [name for name in failpoints.NAMES if name.startswith("sql.")]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("point", POINTS)
def test_a_step_that_was_stopped_anywhere_is_there_once_after_a_reshard(point, change, stream):
    deliver(stream)
    for count in range(1, 12):
        stop_at(point, count)
        with contextlib.suppress(Stop):
            deliver(stream, count * ROWS)
        failpoints.disarm()
        if count % 3 == 1 and stream.table.open_count > 2:
            CHANGES[change](stream)
        deliver(stream, count * ROWS)
        assert rows_by_key(stream) == expected(count + 1)


def test_a_step_that_is_stopped_and_resharded_many_times_is_there_once(stream):
    changes = [merge_across_lanes, split, merge_across_lanes, split]
    for number, change in enumerate(changes):
        stop_at("sql.lane.before", 2)  # one group more gets through each time
        with pytest.raises(Stop):
            deliver(stream)
        failpoints.disarm()
        change(stream)
        if number % 2:
            split(stream)
    deliver(stream)
    assert rows_by_key(stream) == expected(1)
    assert sink_of(stream).base.step is None


@pytest.mark.parametrize("change", [split, merge_across_lanes])
@pytest.mark.parametrize("count", [1, 2, 4, 6])
@pytest.mark.parametrize("point", ["sql.lane.before", "sql.home.before"])
def test_a_reshard_while_a_step_is_on_its_way_puts_nothing_into_a_closed_shard(point, count, change, stream):
    left = [count if point == "sql.lane.before" else 1]
    ends: dict[int, int] = {}

    def reshard() -> None:
        left[0] -= 1
        if left[0] == 0:
            change(stream)
            ends.update({number: stream.lane_of(number).bounds(number)[1] for number in stream.table.closed})

    failpoints.arm(point, reshard)
    deliver(stream)
    deliver(stream, ROWS)
    assert rows_by_key(stream) == expected(2)
    assert ends
    assert {number: stream.lane_of(number).bounds(number)[1] for number in stream.table.closed} == ends


def test_the_producer_takes_another_id_when_its_epochs_are_used_up_in_the_middle_of_a_step(
    stream, monkeypatch
):
    monkeypatch.setattr(sinks, "_EPOCHS", 2)
    producers = set()
    for number in range(4):
        for point in ("sql.lane.before", "sql.home.before"):
            stop_at(point, 1 + number % 2)
            with contextlib.suppress(Stop):
                deliver(stream, number * ROWS)
            failpoints.disarm()
            producers.add(sink_of(stream).producer)
        deliver(stream, number * ROWS)
        assert rows_by_key(stream) == expected(number + 1)
    assert len(producers) > 2


def test_an_older_process_of_the_same_name_is_fenced(stream):
    old, new = sink_of(stream), sink_of(stream)
    old.settle()
    new.base.epoch += 1
    new.epoch += 1
    new.deliver(step(), STEP)
    with pytest.raises(Fenced):
        old.deliver(step(), STEP)


def test_a_query_waits_for_room_and_gives_up_when_it_is_stopped(stream, monkeypatch):
    refusals = [3]
    lane = stream.lanes[1]
    append = type(lane).append

    def refuse(self: Any, *arguments: Any, **options: Any) -> int:
        if self is lane and refusals[0] and options.get("producer"):
            refusals[0] -= 1
            raise Backpressure("no room", retry_after=0.001)
        return append(self, *arguments, **options)

    monkeypatch.setattr(type(lane), "append", refuse)
    deliver(stream)
    assert (refusals[0], rows_by_key(stream)) == (0, expected(1))
    refusals[0] = 10**9
    sink = sink_of(stream)
    sink.stopping.set()
    with pytest.raises(Closed, match="no room"):
        sink.deliver(step(ROWS), STEP)
    refusals[0] = 0
    deliver(stream, ROWS)
    assert rows_by_key(stream) == expected(2)


def test_a_query_without_a_name_puts_what_was_refused_again(stream, monkeypatch):
    lane = stream.lanes[2]
    refusals = [2]
    append = type(lane).append

    def refuse(self: Any, *arguments: Any, **options: Any) -> int:
        if self is lane and refusals[0]:
            refusals[0] -= 1
            raise Backpressure("no room", retry_after=0.001)
        return append(self, *arguments, **options)

    monkeypatch.setattr(type(lane), "append", refuse)
    StreamSink(stream, SCHEMA, threading.Event()).deliver(step(), STEP)
    assert rows_by_key(stream) == expected(1)
