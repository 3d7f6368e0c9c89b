# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: nothing changes between the scanner's columns and vectors, NULLs and NaN included."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.analytics.columns import columns_of, vector_of
from headrace.analytics.keys import column_of
from headrace.analytics.types import Type
from headrace.analytics.vectors import constant

VALUES = {
    Type.BIGINT: st.integers(-(2**63), 2**63 - 1),
    Type.DOUBLE: st.floats(),
    Type.VARCHAR: st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    Type.BOOLEAN: st.booleans(),
    Type.TIMESTAMP: st.integers(-(10**17), 10**17),
}


@given(st.data())
def test_there_and_back(data):
    kind = data.draw(st.sampled_from(list(VALUES)))
    values = data.draw(st.lists(st.none() | VALUES[kind], max_size=8))
    vector = vector_of(columns_of({"c": column_of(kind, values)}, len(values)), "c")
    assert vector.type is kind
    listed = vector.values.tolist()
    for row, value in enumerate(values):
        valid = vector.valid is None or bool(vector.valid[row])
        assert valid == (value is not None)
        if value is not None:
            mine = vector.dictionary[listed[row]] if vector.dictionary is not None else listed[row]
            assert mine == value or (math.isnan(mine) and math.isnan(value))


def test_a_constant_is_spread_and_a_null_has_a_value_that_no_one_sees():
    columns = columns_of(
        {
            "a": constant(Type.BIGINT, 5),
            "n": constant(Type.TIMESTAMP, None),
            "s": constant(Type.VARCHAR, None),
        },
        3,
    )
    assert columns["a"].tolist() == [5, 5, 5]
    assert np.isnat(columns["n"]).all()
    assert columns["s"].tolist() == [None] * 3
