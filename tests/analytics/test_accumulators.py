# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: each aggregate over slots is what Python gets over the rows of each group. Method: a list for each group."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.analytics.accumulators import accumulator
from headrace.analytics.keys import column_of
from headrace.analytics.types import BIGINT_MAX, BIGINT_MIN, Type
from headrace.analytics.vectors import SUM_OVERFLOW

VALUES: dict[Type, Any] = {
    Type.BIGINT: st.integers(BIGINT_MIN, BIGINT_MAX) | st.integers(-9, 9),
    Type.DOUBLE: st.floats(allow_nan=False, allow_infinity=False, min_value=-1e200, max_value=1e200).map(
        lambda v: v + 0.0
    ),
    Type.VARCHAR: st.text(max_size=3),
    Type.TIMESTAMP: st.integers(-(10**15), 10**15),
}
KINDS = [
    (kind, argument)
    for kind in ("COUNT", "SUM", "AVG", "MIN", "MAX")
    for argument in VALUES
    if kind not in ("SUM", "AVG") or argument in (Type.BIGINT, Type.DOUBLE)
]


def expected(kind: str, argument: Type, values: list[Any]) -> Any:
    """None for NULL, "error" for an error row."""
    known = [value for value in values if value is not None]
    if kind == "COUNT":
        return len(known)
    if not known:
        return None
    if kind in ("MIN", "MAX"):
        return (min if kind == "MIN" else max)(known)
    total = sum(map(Fraction, known))
    if argument is Type.DOUBLE:
        return float(total if kind == "SUM" else total / len(known))
    if kind == "AVG":
        return abs(int(total)) // len(known) * (1 if total >= 0 else -1)
    return int(total) if BIGINT_MIN <= total <= BIGINT_MAX else "error"


def listed(vector: Any) -> list[Any]:
    values = vector.values.tolist()
    if vector.dictionary is not None:
        values = [vector.dictionary[code] if code >= 0 else None for code in values]
    for row in range(len(values)):
        if vector.valid is not None and not vector.valid[row]:
            values[row] = None
        if vector.failures is not None and vector.failures[row]:
            assert vector.failures[row] == SUM_OVERFLOW
            values[row] = "error"
    return values


@pytest.mark.parametrize(("kind", "argument"), KINDS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_aggregate_in_any_batches_and_after_its_state_was_taken_up(kind, argument, data):
    rows = data.draw(st.lists(st.tuples(st.integers(0, 2), st.none() | VALUES[argument]), max_size=20))
    size, cut = data.draw(st.integers(1, 20)), data.draw(st.integers(0, 20))
    slots = np.array([5, 2, 7])
    each, taken_up = accumulator(kind, argument), False
    each.grow(8)
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        if start >= cut and not taken_up:
            other = accumulator(kind, argument)
            other.grow(8)
            other.load(slots, each.save(slots))
            each, taken_up = other, True
        each.add(
            np.array([group for group, _ in part]),
            3,
            slots,
            column_of(argument, [value for _, value in part]),
        )
    wanted = [expected(kind, argument, [value for own, value in rows if own == group]) for group in range(3)]
    assert listed(each.result(slots)) == wanted
    assert each.texts_size == sum(
        len(value) for value in wanted if isinstance(value, str) and value != "error"
    )
    each.reset(slots[:2])
    nothing = 0 if kind == "COUNT" else None
    assert listed(each.result(slots)) == [nothing, nothing, wanted[2]]
    each.grow(100)
    assert listed(each.result(np.array([99]))) == [nothing]


def test_count_of_rows_counts_nulls():
    each = accumulator("COUNT", None)
    each.grow(1)
    each.add(np.zeros(3, np.int64), 1, np.array([0]), None)
    assert listed(each.result(np.array([0]))) == [3]
