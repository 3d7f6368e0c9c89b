# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a row is late by its own shard's watermark, windows close by the slowest. Method: a plain loop over rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.analytics.watermark import Watermarks


def array(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@given(st.lists(st.lists(st.integers(0, 50), max_size=6), max_size=5), st.integers(0, 10), st.integers(0, 30))
def test_late_rows_are_those_of_a_plain_loop(batches, delay, closed):
    marks = Watermarks(delay)
    marks.close(closed)
    reached = None
    for times in batches:
        ends = [time // 5 * 5 + 5 for time in times]
        late = marks.advance(0, array(*times), array(*ends))
        for row, (time, end) in enumerate(zip(times, ends, strict=True)):
            floor = closed if reached is None else max(closed, reached - delay)
            assert (end <= floor) == (late is not None and bool(late[row]))
            reached = time if reached is None else max(reached, time)
    assert marks.of(0) == (None if reached is None else reached - delay)


def test_the_frontier_is_the_slowest_active_shard_and_never_goes_back():
    marks = Watermarks()
    for shard in (0, 1, 2):
        marks.add(shard)
    marks.advance(0, array(100), array(101))
    assert marks.frontier() is None  # two have said nothing
    marks.advance(1, array(50), array(51))
    marks.judge_idle(2)
    assert marks.frontier() == 50
    marks.advance(2, array(10), array(60))  # it comes back
    assert marks.frontier() == 50
    assert marks.advance(2, array(5), array(45)) is not None
    for shard in (0, 1, 2):
        marks.judge_idle(shard)
    assert marks.frontier() == 100  # nobody is left to wait for
    assert marks.remove(1) == 50
    assert marks.remove(7) is None


def test_a_state_is_taken_up():
    marks, other = Watermarks(3), Watermarks(3)
    marks.advance(0, array(100), array(101))
    marks.add(1, 7)
    marks.judge_idle(1)
    marks.frontier()
    other.load(marks.save())
    assert (
        (other.shards, other.idle, other.closed)
        == (marks.shards, marks.idle, marks.closed)
        == ({0: 97}, {1: 7}, 97)
    )
