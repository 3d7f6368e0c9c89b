# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: our latency counters are HdrHistogram's. Method: the same values into the public Python package."""

from __future__ import annotations

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from headrace.bench._load import Histogram

HOUR_US = 3_600_000_000
values = st.integers(0, HOUR_US) | st.integers(0, 5000) | st.integers(1, 31).map(lambda bit: 2**bit)


def reference() -> HdrHistogram:
    return HdrHistogram(1, HOUR_US, 3)


@given(values)
def test_a_value_has_the_counter_that_hdrhistogram_gives_it(value: int) -> None:
    value = min(value, HOUR_US)
    assert Histogram.index(value) == reference()._counts_index_for(value)


@given(values)
def test_the_highest_value_of_a_counter_has_that_counter_and_the_next_has_the_next(value: int) -> None:
    index = Histogram.index(min(value, HOUR_US))
    highest = Histogram.highest_of(index)
    assert Histogram.index(min(highest, HOUR_US)) == index
    if highest < HOUR_US:
        assert Histogram.index(highest + 1) == index + 1


@given(st.lists(values, min_size=1, max_size=200), st.sampled_from([0.0, 1.0, 50.0, 90.0, 99.0, 99.9, 100.0]))
def test_percentiles_equal_those_of_hdrhistogram(taken: list[int], percent: float) -> None:
    ours, theirs = Histogram(), reference()
    for value in taken:
        ours.record(min(value, HOUR_US))
        theirs.record_value(min(value, HOUR_US))
    # The package rounds the rank to the nearest; ours is the smallest value that `percent` do not exceed.
    exact = sorted(min(value, HOUR_US) for value in taken)
    rank = max(1, -(-len(exact) * int(percent * 10) // 1000))
    assert Histogram.index(min(ours.percentile(percent), HOUR_US)) == Histogram.index(exact[rank - 1])
    if percent == 100.0:
        assert ours.percentile(percent) == theirs.get_value_at_percentile(percent)


@given(st.lists(values, max_size=100), st.lists(values, max_size=100))
def test_merging_equals_recording_everything_in_one(first: list[int], second: list[int]) -> None:
    one, left, right = Histogram(), Histogram(), Histogram()
    for value in first:
        one.record(value)
        left.record(value)
    for value in second:
        one.record(value)
        right.record(value)
    left.merge(right)
    assert (left.counts == one.counts).all()
    assert (left.total, left.low, left.high, left.mean) == (one.total, one.low, one.high, one.mean)


def test_more_than_an_hour_counts_as_an_hour() -> None:
    histogram = Histogram()
    histogram.record(10 * HOUR_US, 3)
    assert histogram.total == 3
    assert histogram.high == HOUR_US
    assert Histogram.index(min(histogram.percentile(50), HOUR_US)) == Histogram.index(HOUR_US)


def test_an_empty_histogram_has_no_percentile_and_bad_percentiles_are_refused() -> None:
    assert Histogram().percentile(99) == 0
    for percent in (-1.0, 100.5):
        with pytest.raises(ValueError, match="percentile"):
            Histogram().percentile(percent)
    with pytest.raises(IndexError):
        Histogram.highest_of(23 * 1024)
