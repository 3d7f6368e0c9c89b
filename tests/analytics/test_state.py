# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a position is read as it was written, ranges cover what open windows need, and damage is named."""

from __future__ import annotations

import msgspec
import pytest

from headrace.analytics import planner
from headrace.analytics.engine import Engine
from headrace.analytics.state import Position, Tracker, capture
from headrace.analytics.text import parse
from headrace.core._batch import RecordBatch
from headrace.errors import Corrupt

TEXT = (
    "CREATE TABLE t (ms BIGINT, at AS TO_TIMESTAMP_LTZ(ms, 3), WATERMARK FOR at AS at); SELECT COUNT(*) AS n"
    " FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(at), INTERVAL '1' SECOND)) GROUP BY window_start, window_end"
)


def test_a_plan_is_read_as_it_was_written():
    plan = Position(epoch=3, positions={0: 5}, sequences={1: 7}, watermarks={"closed": 1}, rejects={"late": 2},
                    windows={"size": 1}, ranges=[(0, 1, 2, None)], step=({0: 9}, [0, 4]), generation=6,
                    stages=[(4, {0: 3, 1: 5}), (5, {})])  # fmt: skip
    assert Position.decode(plan.encode()) == plan
    assert Position.decode(Position().encode()) == Position()


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x80", msgspec.msgpack.encode({"version": 2}), Position(epoch=1).encode()[:-3]]
)
def test_damage_is_named(data):
    with pytest.raises(Corrupt, match="state of a query"):
        Position.decode(data)


def test_ranges_begin_at_the_first_batch_that_open_windows_need_however_many_batches_there_were():
    engine, tracker = Engine(planner.plan(planner.outline(parse(TEXT)))), Tracker()
    for number in range(3000):  # the tracker merges beyond 1,024
        batch = RecordBatch.of([b'{"ms":%d}' % (number * 10)], first_ordinal=number)
        before = engine.watermarks.of(0)
        engine.take(batch)
        tracker.note(engine, batch, before)
        if number < 2900:
            engine.close()
    ((shard, start, end, watermark),) = capture(engine, {0: 3000}, tracker, {}, 1).ranges
    assert (shard, end) == (0, 3000)
    assert start <= 2800  # 2,800 is the first row of the first window that is open
    assert start >= 2800 - 8  # merged ranges are coarser by a few batches only
    assert watermark == (start - 1) * 10_000
