# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a declared table is read as declared: computed times, watermark, NOT NULL, lengths, the stream behind it."""

from __future__ import annotations

import pytest
from analytics_support import rows_of

import headrace
from headrace.analytics import planner
from headrace.analytics.text import parse
from headrace.errors import SQLError


def table_of(text: str) -> planner.Table:
    table = planner.outline(parse(text)).table
    assert table is not None
    return table


def test_what_a_table_declares():
    table = table_of(
        "CREATE TABLE m (ms BIGINT, at AS TO_TIMESTAMP_LTZ(ms, 3), s DOUBLE, t2 AS TO_TIMESTAMP_LTZ(s, 0), k VARCHAR(3) NOT NULL,"
        " WATERMARK FOR at AS at - INTERVAL '1.5' SECOND) WITH ('connector' = 'kinesis', 'stream' = 'real', 'format' = 'json');"
        " SELECT k FROM m"
    )
    assert (table.stream, table.watermark, table.not_null) == ("real", ("at", 1_500_000), {"k"})
    assert [(f.path, f.scan) for f in table.fields.values()] == [
        ("ms", "i8"), ("ms", "timestamp[ms]"), ("s", "f8"), ("s", "timestamp[s]"), ("k", "str")]  # fmt: skip
    assert table.fields["k"].length == 3


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("k BIGINT, k BIGINT", "two columns are called k"),
        ("t TIMESTAMP, WATERMARK FOR t AS t, WATERMARK FOR t AS t", "one watermark"),
        ("t TIMESTAMP, WATERMARK FOR t AS t + INTERVAL '1' SECOND", "is written"),
        ("t TIMESTAMP, WATERMARK FOR t AS u", "is written"),
        ("t AS TO_TIMESTAMP_LTZ(n, 3)", "not a number declared before"),
        ("n BIGINT, t AS TO_TIMESTAMP_LTZ(n, 6)", "computed column"),
    ],
)
def test_what_does_not_fit_is_refused(columns, words):
    with pytest.raises(SQLError, match=words):
        table_of(f"CREATE TABLE m ({columns}); SELECT 1 AS x FROM m")


def test_rows_that_break_the_declaration_are_error_rows():
    rows = [
        {"k": "abc", "n": 1},
        {"k": "abcd", "n": 1},
        {"k": None, "n": 1},
        {"k": "日本語", "n": 2**31},
        {"k": "", "n": 2},
    ]
    query = headrace.sql("CREATE TABLE t (k VARCHAR(3) NOT NULL, n INT); SELECT k, n FROM t", t=rows)
    assert rows_of(query.columns()) == [("abc", 1), ("", 2)]
    assert sorted(query.errors["reason"].tolist()) == [
        "NULL in a column that is NOT NULL", "a text is longer than its VARCHAR", "the value is beyond INTEGER"]  # fmt: skip


def test_a_text_too_long_for_the_table_it_is_inserted_into_is_an_error_row():
    text = "CREATE TABLE o (k VARCHAR(2)); CREATE TABLE t (x VARCHAR); INSERT INTO o SELECT x FROM t"
    query = headrace.sql(text, t=[{"x": "ab"}, {"x": "abc"}])
    assert (rows_of(query.columns()), query.error_rows) == ([("ab",)], 1)


def test_a_time_beyond_the_year_9999_is_an_error_row_and_moves_no_watermark():
    text = (
        "CREATE TABLE t (ns BIGINT, at AS TO_TIMESTAMP_LTZ(ns, 3), WATERMARK FOR at AS at); SELECT window_start, COUNT(*) AS n"
        " FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(at), INTERVAL '1' SECOND)) GROUP BY window_start, window_end"
    )
    query = headrace.sql(
        text, t=[{"ns": 1000}, {"ns": 1_700_000_000_000_000}, {"ns": 1500}, {"ns": -(2**62)}]
    )
    assert rows_of(query.columns()) == [(1_000_000, 2)]
    assert (query.late_rows, query.error_rows) == (0, 2)
    assert "the value is beyond TIMESTAMP" in query.errors["reason"].tolist()
