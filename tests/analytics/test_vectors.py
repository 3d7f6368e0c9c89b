# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: NULLs, errors and codes stay with their rows through spreading, taking and marking."""

from __future__ import annotations

import numpy as np

from headrace.analytics.keys import column_of
from headrace.analytics.types import Type
from headrace.analytics.vectors import (
    BAD_CAST,
    REASONS,
    TOO_LONG,
    both_valid,
    common_codes,
    constant,
    fail,
    map_strings,
    merge_failures,
)


def test_an_error_marks_no_null_and_the_first_reason_stays():
    vector = column_of(Type.BIGINT, [1, None, 3])
    fail(vector, np.array([False, True, True]), BAD_CAST)
    fail(vector, np.array([True, True, True]), TOO_LONG)
    assert vector.failures is not None
    assert vector.failures.tolist() == [TOO_LONG, 0, BAD_CAST]
    assert vector.take(np.array([2, 0])).failures.tolist() == [BAD_CAST, TOO_LONG]
    other = fail(column_of(Type.BIGINT, [1, 2, 3]), np.array([True, True, False]), BAD_CAST)
    assert merge_failures(vector, other).tolist() == [TOO_LONG, BAD_CAST, BAD_CAST]
    assert fail(column_of(Type.BIGINT, [1]), np.array([False]), BAD_CAST).failures is None


def test_every_reason_has_words():
    assert len(set(REASONS)) == len(REASONS)
    assert REASONS[BAD_CAST].startswith("CAST")


def test_spreading_keeps_validity_and_truth():
    null, true = constant(Type.BOOLEAN, None), constant(Type.BOOLEAN, True)
    assert null.spread(2).valid.tolist() == [False, False]
    assert (null.truth().tolist(), true.spread(2).truth().tolist()) == ([False], [True, True])
    assert both_valid(true, null).tolist() == [False]
    assert both_valid(true, true) is None


def test_strings_are_handled_once_each():
    calls = []
    vector = column_of(Type.VARCHAR, ["b", "a", None, "b"])
    assert map_strings(vector, lambda text: calls.append(text) or len(text), np.int64, -1).tolist() == [
        1,
        1,
        -1,
        1,
    ]
    assert sorted(calls) == ["a", "b"]
    (left, right), joint = common_codes(vector, column_of(Type.VARCHAR, ["é", "a"]))
    assert (left.tolist(), right.tolist(), joint) == ([1, 0, -1, 1], [2, 0], ["a", "b", "é"])
