# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The window operator in public: edges, late rows, NULLs, its state; against a plain Python model."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from analytics_support import rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import limits
from headrace.analytics.windows import Tumbling, duration_micros
from headrace.core.table import Columns
from headrace.errors import InvalidArgument, LimitExceeded


def columns(times: list[Any], **others: Any) -> Columns:
    stamps = np.array(["NaT" if time is None else time for time in times], "datetime64[us]")
    return Columns.from_arrays({"ts": stamps, **others})


def starts(result: Columns) -> list[int]:
    return result["window_start"].view("int64").tolist()


def test_a_window_holds_its_start_and_not_its_end_also_before_1970():
    windows = Tumbling("1s", time="ts", aggregates={"n": "count"})
    windows.push(columns([-1_000_001, -1_000_000, -1, 0, 999_999, 1_000_000]))
    windows = Tumbling("1s", time="ts", aggregates={"n": "count"}, delay="10s")
    windows.push(columns([-1_000_001, -1_000_000, -1, 0, 999_999, 1_000_000]))
    assert [row[0::2] for row in rows_of(windows.flush())] == [
        (-2_000_000, 1),
        (-1_000_000, 2),
        (0, 2),
        (1_000_000, 1),
    ]


def test_a_window_closes_when_the_watermark_reaches_its_end_and_not_before():
    windows = Tumbling("1s", time="ts", delay="500ms")
    assert windows.push(columns([0, 1_499_999])).rows == 0
    assert starts(windows.push(columns([1_500_000]))) == [0]
    assert starts(windows.flush()) == [1_000_000]


def test_a_late_row_is_counted_and_in_no_window():
    windows = Tumbling("1s", time="ts")
    first = windows.push(columns([100, 1_000_000, 200]))
    assert (rows_of(first), windows.late_rows) == ([(0, 1_000_000, 1)], 1)


def test_the_slowest_shard_holds_windows_open():
    windows = Tumbling("1s", time="ts")
    windows.push(columns([0]), shard=1)
    assert windows.push(columns([5_000_000]), shard=0).rows == 0
    assert rows_of(windows.push(columns([1_200_000]), shard=1)) == [(0, 1_000_000, 1)]


def test_rows_without_a_time_are_counted_and_a_null_key_is_a_key():
    windows = Tumbling("1s", time="ts", by=["k"], aggregates={"n": "count", "s": ("sum", "x")})
    windows.push(columns([0, None, 1], k=[None, "a", None], x=[1, 2, 4]))
    assert (rows_of(windows.flush()), windows.null_times) == ([(0, 1_000_000, None, 2, 5)], 1)


def test_nan_is_the_largest_double_and_minus_zero_is_zero():
    windows = Tumbling(
        "1s", time="ts", by=["k"], aggregates={"lo": ("min", "y"), "hi": ("max", "y"), "s": ("sum", "y")}
    )
    windows.push(columns([0] * 5, k=["a", "a", "b", "b", "b"], y=[math.nan, 2.0, -0.0, math.inf, -math.inf]))
    (_, _, _, low, high, total), (_, _, _, low_b, high_b, total_b) = rows_of(windows.flush())
    assert (low, math.isnan(high), math.isnan(total)) == (2.0, True, True)
    assert (low_b, high_b, math.isnan(total_b)) == (-math.inf, math.inf, True)
    keys = Tumbling("1s", time="ts", by=["y"])
    keys.push(columns([0] * 5, y=[0.0, -0.0, math.nan, math.nan, -1.0]))
    assert [(row[3], str(row[2])) for row in rows_of(keys.flush())] == [(1, "-1.0"), (2, "0.0"), (2, "nan")]


def test_an_offset_moves_the_edges():
    windows = Tumbling("1d", time="ts", offset=timedelta(hours=-2))
    windows.push(columns([21 * 3_600_000_000, 22 * 3_600_000_000]))
    assert starts(windows.flush()) == [22 * 3_600_000_000]
    assert windows.late_rows == 0


def test_many_keys_over_many_windows_find_their_slots():
    windows = Tumbling(
        "1s", time="ts", by=["k", "g"], aggregates={"n": "count", "m": ("max", "g")}, delay="30d"
    )
    rng = np.random.default_rng(1)
    times, keys = rng.integers(-(10**12), 10**12, 4000), rng.integers(0, 2**62, 4000)
    windows.push(columns(times.tolist(), k=[str(key % 3000) for key in keys], g=keys))
    result = rows_of(windows.flush())
    assert len(result) == 4000
    assert sorted(row[3] for row in result) == sorted(keys.tolist())
    assert all(row[5] == row[3] for row in result)


def test_keys_that_no_window_has_any_more_are_forgotten():
    windows = Tumbling("1s", time="ts", by=["k"])
    for second in range(20):
        windows.push(columns([second * 1_000_000] * 1000, k=[f"{second}-{n}" for n in range(1000)]))
    assert windows._windows is not None
    assert len(windows._windows.table) < 5000
    assert windows.flush().rows == 1000


def test_open_groups_are_bounded(monkeypatch):
    monkeypatch.setattr(limits, "sql_groups_max", 100)
    windows = Tumbling("1s", time="ts", by=["k"])
    with pytest.raises(LimitExceeded, match="100 open groups"):
        windows.push(columns([0] * 101, k=list(range(101))))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"aggregates": {"n": "median"}}, "median"),
        ({"aggregates": {"n": "sum"}}, "sum"),
        ({"aggregates": {"window_start": "count"}}, "two columns"),
    ],
)
def test_what_cannot_be_computed_is_refused(options, words):
    with pytest.raises(InvalidArgument, match=words):
        Tumbling("1s", time="ts", **options)


@pytest.mark.parametrize("time", [2**62, -(2**62)])
def test_a_time_beyond_the_year_9999_is_refused(time):
    windows = Tumbling("1s", time="ts")
    with pytest.raises(InvalidArgument, match="beyond the years"):
        windows.push(columns([0, time]))
    assert (windows.push(columns([0, None])).rows, windows.null_times) == (0, 1)


def test_columns_of_other_types_are_refused():
    windows = Tumbling("1s", time="ts", aggregates={"s": ("sum", "x")})
    with pytest.raises(InvalidArgument, match="sum of column 'x'"):
        windows.push(columns([0], x=["a"]))
    with pytest.raises(InvalidArgument, match="timestamp"):
        Tumbling("1s", time="x").push(columns([0], x=[1]))
    windows.push(columns([0], x=[1]))
    with pytest.raises(InvalidArgument, match="other types before"):
        windows.push(columns([0], x=[1.5]))


@pytest.mark.parametrize("text", ["", "1", "s", "1 week", "-1s"])
def test_a_duration_is_a_number_and_a_unit(text):
    with pytest.raises(InvalidArgument):
        duration_micros(text)
    assert duration_micros("1.5s") == 1_500_000


@pytest.mark.parametrize("state", [b"", b"\xc1", b"\x80", b"\x01"])
def test_a_state_that_is_none_is_refused(state):
    with pytest.raises(InvalidArgument):
        Tumbling("1s", time="ts").restore(state)


def test_a_state_of_another_version_says_so_and_nothing_else():
    saved = msgspec.msgpack.decode(Tumbling("1s", time="ts").state())
    with pytest.raises(InvalidArgument, match=r"^this state is of version 2"):
        Tumbling("1s", time="ts").restore(msgspec.msgpack.encode({**saved, "version": 2}))


values = st.integers(-(2**63), 2**63 - 1)


a_row = st.tuples(st.integers(0, 5_000_000), st.sampled_from(["a", "b", "é", None]), values, st.floats())


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(
        a_row,
        max_size=30,
    ),
    cut=st.integers(0, 30),
)
def test_a_state_taken_at_any_row_gives_what_no_state_gives(rows, cut):
    options: dict[str, Any] = {
        "time": "ts", "by": ["k"], "delay": "1s",
        "aggregates": {"n": "count", "s": ("sum", "x"), "m": ("avg", "y"), "lo": ("min", "y"), "hi": ("max", "x"), "t": ("max", "k")},  # noqa: E501
    }  # fmt: skip

    def part(some: list[Any]) -> Columns:
        return columns(
            [row[0] for row in some], k=np.array([row[1] for row in some], object),
            x=np.array([row[2] for row in some], np.int64), y=np.array([row[3] for row in some], np.float64),
        )  # fmt: skip

    whole, first, second = (Tumbling("1s", **options) for _ in range(3))
    expected = [*rows_of(whole.push(part(rows))), *rows_of(whole.flush())]
    given_ = rows_of(first.push(part(rows[:cut])))
    second.restore(first.state())
    given_ += [*rows_of(second.push(part(rows[cut:]))), *rows_of(second.flush())]
    assert sorted(map(repr, given_)) == sorted(map(repr, expected))
    assert second.late_rows == whole.late_rows
