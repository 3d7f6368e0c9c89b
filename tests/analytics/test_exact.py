# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: sums are exact and results rounded once, whatever the batches. Method: fractions of Python as the judge."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.analytics.exact import ExactSums, _nearest, double_parts, integer_parts, rounded

finite = st.floats(allow_nan=False, allow_infinity=False)
doubles = finite | st.floats(-100, 100) | st.floats(-1, 1, width=16) | st.integers(-9, 9).map(float)
GROUPS = np.arange(4)


def nearest(exact: Fraction) -> float:
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def sums_of(pairs: list[tuple[int, float]], size: int) -> ExactSums:
    sums = ExactSums(4)
    for start in range(0, len(pairs), size):
        codes = np.array([code for code, _ in pairs[start : start + size]], np.int64)
        values = np.array([value for _, value in pairs[start : start + size]], np.float64)
        for part, unit in double_parts(codes, 4, values):
            sums.add(GROUPS, part, unit)
    return sums


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), doubles), min_size=1, max_size=40),
    st.integers(1, 40),
    st.lists(st.integers(1, 2**53) | st.integers(1, 50), min_size=4, max_size=4),
)
def test_sums_and_means_of_doubles_are_the_nearest_double(pairs, size, divisors):
    sums = sums_of(pairs, size)
    got = sums.rounded(GROUPS, np.array(divisors)).tolist()
    totals = [sum(Fraction(value) for code, value in pairs if code == group) for group in range(4)]
    assert got == [nearest(total / divisor) for total, divisor in zip(totals, divisors, strict=True)]
    assert got == [rounded(total, sums.exact(GROUPS)[1], divisor)
                   for total, divisor in zip(sums.exact(GROUPS)[0], divisors, strict=True)]  # fmt: skip


def test_what_lies_in_the_middle_between_two_doubles_goes_to_the_even_one():
    # (2^53 + 1) / 1 and (2^54 + 2) / 2 are in the middle; one part in 2^70 more is not.
    cases = [([2.0**53, 1.0], 1), ([2.0**54, 2.0], 2), ([2.0**53, 1.0, 2.0**-20], 1), ([-(2.0**53), -1.0], 1),
             ([1.0, 2.0**-53], 1), ([1.0, -(2.0**-54)], 1), ([1.0, -(2.0**-54), -(2.0**-80)], 1)]  # fmt: skip
    for values, divisor in cases:
        sums = sums_of([(0, value) for value in values], 10)
        assert sums.rounded(np.array([0]), np.array([divisor]))[0] == float(
            sum(map(Fraction, values)) / divisor
        )


def test_two_doubles_decide_the_common_case():
    random = np.random.default_rng(3)
    values = random.uniform(0, 100, 4000).round(6)
    sums = sums_of(list(zip((np.arange(4000) % 4).tolist(), values.tolist(), strict=True)), 1000)
    _, sure = _nearest(sums._carried(GROUPS), np.array([1000, 999, 7, 1]))
    assert sure.all()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-(2**63), 2**63 - 1)), max_size=50), st.integers(1, 600)
)
def test_sums_of_integers_are_exact(pairs, times):
    sums = ExactSums(4)
    codes = np.array([code for code, _ in pairs], np.int64)
    values = np.array([value for _, value in pairs], np.int64)
    for _ in range(times):  # beyond the additions after which limbs carry
        for part, unit in integer_parts(codes, 4, values):
            sums.add(GROUPS, part, unit)
    wanted = [times * sum(value for code, value in pairs if code == group) for group in range(4)]
    assert sums.integers(GROUPS) == wanted
    small = sums.small(GROUPS)
    assert small is None or small.tolist() == wanted
    sums.reset(np.array([1, 3]))
    assert sums.integers(GROUPS) == [wanted[0], 0, wanted[2], 0]


@pytest.mark.parametrize("value", [0, 1, -1, 2**36, -(2**40)])
def test_small_sums_need_no_whole_numbers(value):
    sums = ExactSums(2)
    for part, unit in integer_parts(np.array([0, 1, 1]), 2, np.array([value] * 3)):
        sums.add(np.array([0, 1]), part, unit)
    small = sums.small(np.array([1, 0]))
    assert small is not None
    assert small.tolist() == [2 * value, value]
