# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Columns by name alone: types come from the values, wherever in the batch they stand."""

import json

import pytest

from headrace.core._batch import RecordBatch
from headrace.core._columns import Field
from headrace.errors import InvalidArgument


def batch_of(*records):
    return RecordBatch.of([json.dumps(record).encode() for record in records])


def test_types_are_those_of_the_values():
    record = {"i": 1, "f": 1.5, "b": True, "s": "x", "o": {"k": 1}, "l": [1], "z": None, "big": 2**63}
    columns = batch_of(record, record).columns(*record)
    assert columns.types == {
        "i": "i8", "f": "f8", "b": "bool", "s": "str", "o": "str", "l": "str", "z": "str", "big": "f8",
    }  # fmt: skip
    assert columns["o"].tolist() == ['{"k": 1}'] * 2 and columns["z"].tolist() == [None, None]


def test_mixed_values_take_the_narrowest_common_type():
    columns = batch_of({"n": 1, "m": 1, "j": "x"}, {"n": 2.5, "m": "two", "j": [3]}).columns("n", "m", "j")
    assert columns["n"].tolist() == [1.0, 2.5]
    assert columns["m"].tolist() == ["1", "two"] and columns["j"].tolist() == ['"x"', "[3]"]
    assert all(len(columns.mismatches(name)) == 0 for name in columns)


def test_a_later_value_that_does_not_fit_changes_the_type():
    batch = batch_of(*({"n": i} for i in range(1500)), {"n": 0.5}, {"late": True})
    columns = batch.columns("n", "late")
    assert columns.types == {"n": "f8", "late": "bool"} and columns["n"][1500] == 0.5 and columns["late"][-1]
    assert len(columns.mismatches("n")) == 0


def test_no_names_at_all_means_every_member():
    columns = RecordBatch.of([b'{"a":1}', b"no json", b"[1]", b'{"b":"x","a":2}']).columns()
    assert columns.types == {"a": "i8", "b": "str"} and columns.errors.tolist() == [1, 2]
    assert len(RecordBatch.empty().columns()) == 0


def test_a_name_with_a_dot_is_the_member_where_there_is_one_else_a_path():
    batch = batch_of({"cpu.user": 1, "cpu": {"user": 2, "idle": 3}, "list": [{"x": 4}]})
    columns = batch.columns("cpu.user", "cpu.idle", "$.cpu.user", "list[0].x", total=("$.cpu.user", "f8"))
    assert [values.tolist() for values in columns.values()] == [[1], [3], [2], [4], [2.0]]


def test_order_is_that_of_the_call_and_fields_are_taken_as_they_are():
    columns = batch_of({"a": 1, "b": 2, "c": 3}).columns("c", Field("x", "$.b", "text"), a="f8")
    assert (
        list(columns) == ["c", "x", "a"] and columns["x"].tolist() == ["2"] and columns["a"].tolist() == [1.0]
    )


def test_a_name_given_twice_is_refused():
    batch = batch_of({"a": 1})
    for names, types in ((("a", "a"), {}), (("a",), {"a": "i8"}), (("a", Field("a")), {})):
        with pytest.raises(InvalidArgument, match="'a' is named twice"):
            batch.columns(*names, **types)
