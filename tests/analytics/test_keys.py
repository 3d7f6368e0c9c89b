# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: rows get the number of their key, whatever types and how many columns. Method: a dictionary of tuples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.analytics.keys import KeyTable, column_of
from headrace.analytics.types import Type

VALUES: dict[Type, Any] = {
    Type.VARCHAR: st.sampled_from(["", "a", "é", "日本", "\U0001f600"]),
    Type.BIGINT: st.integers(-3, 3) | st.sampled_from([2**63 - 1, -(2**63)]),
    Type.DOUBLE: st.sampled_from([0.0, -0.0, 1.5, math.nan, math.inf, -math.inf]),
    Type.BOOLEAN: st.booleans(),
    Type.TIMESTAMP: st.integers(-(10**15), 10**15),
}


def same(left: Any, right: Any) -> bool:
    return left == right or (left != left and right != right)


def order_of(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """NULL first, NaN last."""
    return tuple((0,) if value is None else (2,) if value != value else (1, value) for value in key)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_rows_get_the_number_of_their_key(data):
    types = data.draw(st.lists(st.sampled_from(list(VALUES)), max_size=3))
    rows = data.draw(
        st.lists(st.tuples(*(st.none() | VALUES[kind] for kind in types)), min_size=1, max_size=20)
    )
    table = KeyTable(tuple(types))
    found: list[tuple[Any, ...]] = []
    size = data.draw(st.integers(1, 20))
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        vectors = [column_of(kind, [row[i] for row in part]) for i, kind in enumerate(types)]
        codes, numbers = table.encode(vectors, len(part))
        assert len(set(codes.tolist())) == len(numbers)  # dense
        found += [table.keys[numbers[code]] for code in codes.tolist()]
    assert all(all(map(same, mine, row)) for mine, row in zip(found, rows, strict=True))
    assert len(table) == len({tuple("nan" if v != v else v for v in row) for row in rows})
    for wanted in (np.arange(len(table)), np.arange(len(table) // 3), np.arange(len(table))):
        ordered = [table.keys[number] for number in wanted[table.order(wanted)].tolist()]
        assert ordered == sorted(ordered, key=order_of)
        columns = table.vectors(wanted)
        for index, vector in enumerate(columns):
            for row, number in enumerate(wanted.tolist()):
                value = table.keys[number][index]
                assert (vector.valid is None or bool(vector.valid[row])) == (value is not None)
                if value is not None and vector.dictionary is not None:
                    assert vector.dictionary[vector.values[row]] == value


def test_wide_keys_are_combined_without_an_overflow():
    rng = np.random.default_rng(5)
    table = KeyTable((Type.BIGINT,) * 6)
    columns = [rng.integers(-(2**62), 2**62, 500).tolist() for _ in range(6)]
    codes, numbers = table.encode([column_of(Type.BIGINT, values) for values in columns], 500)
    assert [table.keys[numbers[code]] for code in codes.tolist()] == list(zip(*columns, strict=True))


def test_keys_that_are_kept_get_new_numbers_and_the_texts_of_the_others_are_not_counted():
    table = KeyTable((Type.VARCHAR,))
    table.encode([column_of(Type.VARCHAR, ["aaa", "b", None, "cc"])], 4)
    assert table.texts_size == 6
    table.order(np.arange(4))
    assert table.keep(np.array([1, 2])).tolist() == [-1, 0, 1, -1]
    assert (table.keys, table.texts_size) == ([("b",), ("cc",)], 3)
    assert table.number(("b",)) == 0
    assert table.order(np.arange(2)).tolist() == [0, 1]
