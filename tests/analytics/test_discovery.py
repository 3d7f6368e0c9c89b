# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: the columns that are found are those that are there, and each guess is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace import limits
from headrace.analytics.discovery import discover
from headrace.analytics.types import Type
from headrace.core._batch import RecordBatch


def found(*rows: Any, time: str | None = None) -> Any:
    data = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    return discover([RecordBatch.of(data)], time)


@pytest.mark.parametrize(
    ("values", "kind", "note"),
    [([1, None, -(2**63)], Type.BIGINT, None), ([1, 2.5], Type.DOUBLE, None), ([True, None], Type.BOOLEAN, None),
     (["2024-01-01"], Type.VARCHAR, None), ([{}, []], Type.JSON, None), ([2**63], Type.JSON, "beyond BIGINT"),
     ([1, "a", [1]], Type.JSON, "mixed (array, number, text)"), ([None], Type.VARCHAR, "null in every record")],
)  # fmt: skip
def test_the_type_of_a_member(values, kind, note):
    table = found(*({"x": value} for value in values))
    assert table.fields["x"].type is kind
    assert (note is None) == (len(table.notes) == 1)
    assert note is None or note in table.notes[1]


@pytest.mark.parametrize(
    ("values", "scan"),
    [([1.7e9], "timestamp[s]"), ([1_700_000_000_000], "timestamp[ms]"), ([1_700_000_000_000_000], "timestamp[us]"),
     (["2024-01-01T00:00:00Z", None], "timestamp"), ([5, 1_700_000_000_000], "timestamp[ms]")],
)  # fmt: skip
def test_the_time_column_is_guessed_and_the_guess_told(values, scan):
    table = found(*({"t": value, "u": value} for value in values), time="t")
    assert (table.fields["t"].type, table.fields["t"].scan) == (Type.TIMESTAMP, scan)
    assert table.fields["u"].type is not Type.TIMESTAMP
    assert "the time column" in table.notes[-1]


@pytest.mark.parametrize("value", [1_700_000_000_000_000_000, "yesterday", True, {}, 1e300])
def test_what_is_no_time_is_not_taken_for_one(value):
    assert found({"t": value}, time="t").fields["t"].type is not Type.TIMESTAMP


def test_records_that_are_no_objects_have_no_members():
    assert found(b"no json", [1], 5, b"\xff") is None
    assert list(found(b"{", {"a": 1}).fields) == ["a"]


def test_records_from_all_over_are_looked_at(monkeypatch):
    monkeypatch.setattr(limits, "sql_discovery_records_max", 20)
    rows = [{"a": 1} for _ in range(500)]
    table = found(*rows, {"a": 1.5, "late": 1})
    assert (table.fields["a"].type, "late" in table.fields) == (Type.DOUBLE, True)
    assert "20 records" in table.notes[0]


def test_the_number_of_columns_is_bounded(monkeypatch):
    monkeypatch.setattr(limits, "sql_columns_max", 3)
    assert len(found({f"c{n}": n for n in range(9)}).fields) == 3
