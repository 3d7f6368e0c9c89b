# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Windows and filters give what DuckDB gives over the same rows, in any batch size and split into shards.

Method: Hypothesis draws rows (NULLs, missing members, times before 1970, integers up to 64 bits, any
Unicode with escapes), a condition, keys and a window; the same text, but for the window, goes to DuckDB. In
the kinesis dialect, which declares no tables, one more row has every column, and the names are in upper case.
"""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import duckdb
import pytest
from analytics_support import batches_of, interleave, over, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core._batch import RecordBatch

SECOND = 1_000_000
COLUMNS = {
    "ts": "TIMESTAMP",
    "k": "VARCHAR",
    "g": "BIGINT",
    "x": "BIGINT",
    "big": "BIGINT",
    "y": "DOUBLE",
    "b": "BOOLEAN",
}
EACH_SECOND = (
    "FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY window_start, window_end"
)
TABLE = f"CREATE TABLE t ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())});"

texts = st.sampled_from(
    ["", "\\", '"', "\t", "a", "A", "ab", "web-1", "x%y", "x_y", "é", "日本", "\U0001f600", "\n", "'"]
) | st.text(max_size=3)
small = st.integers(-5, 5)
rows = st.fixed_dictionaries(
    {"ts": st.integers(-20 * SECOND, 20 * SECOND)},
    optional={
        "k": st.none() | texts,
        "g": st.none() | small,
        "x": st.none() | st.integers(-1000, 1000),
        "big": st.none()
        | st.sampled_from([2**63 - 1, -(2**63), 2**53 + 1, 0, 1])
        | st.integers(-(2**63), 2**63 - 1),
        "y": st.none()
        | st.floats(allow_nan=False, allow_infinity=False, width=32)
        | st.sampled_from([0.1, -0.0, 1e300, 1e-300]),
        "b": st.none() | st.booleans(),
    },
)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


numbers = st.deferred(
    lambda: (
        st.sampled_from(["x", "g", "3", "-2", "y"])
        | st.tuples(numbers, st.sampled_from("+-*"), numbers).map(
            lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
        )
        | conditions.map(lambda condition: f"CASE WHEN {condition} THEN x ELSE g END")
        | st.just("COALESCE(x, g, 7)")
        | st.just("NULLIF(g, 2)")
        | st.just("CAST(b AS BIGINT)").filter(lambda _: False)
    )
)
conditions = st.deferred(
    lambda: (
        st.tuples(numbers, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), numbers).map(" ".join)
        | st.tuples(st.just("k"), st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), texts.map(quoted)).map(
            " ".join
        )
        | st.tuples(st.sampled_from(["%", "a%", "%b", "_", "%x%", "x\\%y", ""]).map(quoted)).map(
            lambda p: f"k LIKE {p[0]}"
        )
        | st.sampled_from(["x", "k", "y", "b", "g"]).flatmap(
            lambda name: st.sampled_from([f"{name} IS NULL", f"{name} IS NOT NULL"])
        )
        | st.sampled_from(["b", "NOT b", "b IS TRUE", "b IS FALSE", "b = TRUE"])
        | st.tuples(st.just("g"), st.lists(small, min_size=1, max_size=3)).map(
            lambda p: f"{p[0]} IN ({', '.join(map(str, p[1]))})"
        )
        | st.lists(texts.map(quoted), min_size=1, max_size=3).map(lambda items: f"k IN ({', '.join(items)})")
        | st.just("g NOT IN (1, NULL)")
        | st.tuples(small, small).map(lambda p: f"g BETWEEN {p[0]} AND {p[1]}")
        | st.tuples(small, small).map(lambda p: f"x NOT BETWEEN {p[0]} AND {p[1]}")
        | st.sampled_from(
            ["x > 2.5", "x <= -1.5", "x = 3.0", "y > 0.1", "2.5 < x", "x / 2 = 1", "x % 3 = -1"]
        )
        | st.tuples(conditions, st.sampled_from(["AND", "OR"]), conditions).map(
            lambda p: f"({p[0]} {p[1]} {p[2]})"
        )
        | conditions.map(lambda condition: f"NOT ({condition})")
    )
)


CONNECTION = duckdb.connect(":memory:", config={"threads": 1})


def reference(data: list[dict[str, Any]]) -> duckdb.DuckDBPyConnection:
    """A DuckDB with the rows in a table t, times as integers."""
    CONNECTION.execute(
        TABLE.replace("CREATE", "CREATE OR REPLACE").replace("TIMESTAMP", "BIGINT").rstrip(";")
    )
    if data:
        row = f"({', '.join('?' * len(COLUMNS))})"
        values = [row.get(name) for row in data for name in COLUMNS]
        CONNECTION.execute(f"INSERT INTO t VALUES {', '.join([row] * len(data))}", values)
    return CONNECTION


def for_duckdb(text: str) -> str:
    """The differences that are meant: integer division, and LIKE's escape, which SQL gives no default."""
    return text.replace(" / ", " // ")


def stamped(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with their time as ISO text."""
    from headrace.analytics.types import format_timestamp

    return [{**row, "ts": format_timestamp(row["ts"])} for row in data]


def close(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float | int):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-6)
    return bool(left == right)


FULL: dict[str, Any] = {"ts": -(10**15), "k": "all", "g": 0, "x": 0, "big": 0, "y": 0.5, "b": True}
"""A row with every column, so that the columns of undeclared tables are found."""
DIALECTS = pytest.mark.parametrize("dialect", ["flink", "kinesis"])


def drawn(data: st.DataObject, dialect: str, count: int) -> tuple[list[dict[str, Any]], list[RecordBatch]]:
    """A table and its records, in shards and batches."""
    table = data.draw(st.lists(rows, max_size=count))
    table += [FULL] if dialect == "kinesis" else []
    shards = data.draw(st.lists(st.integers(0, 3), min_size=len(table), max_size=len(table)))
    written = stamped(table)
    if dialect == "kinesis":
        written = [{name.upper(): value for name, value in row.items()} for row in written]
    batches = batches_of(written, shards, data.draw(st.integers(1, 9)), ascii=data.draw(st.booleans()))
    return table, interleave(batches, data.draw(st.lists(st.integers(0, 9), max_size=20)))


@DIALECTS
@settings(max_examples=75, deadline=None)
@given(data=st.data())
def test_a_filter_gives_the_same_rows_as_duckdb(dialect: str, data: st.DataObject) -> None:
    table, batches = drawn(data, dialect, 25)
    condition, number = data.draw(conditions).replace("\\%", "%"), data.draw(numbers)
    text = f"SELECT k, x, {number} AS v, b FROM t WHERE {condition}"
    ours_text = TABLE + text
    if dialect == "kinesis":
        ours_text = text.replace("SELECT", "SELECT STREAM", 1).replace(" t ", ' "t" ')
    ours = rows_of(over(ours_text, batches, dialect=dialect).columns())
    theirs = reference(table).execute(for_duckdb(text)).fetchall()
    assert sorted(map(repr, map(normal, ours))) == sorted(map(repr, map(normal, theirs)))


def normal(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Rows to be compared as text: doubles that are whole look like integers, -0.0 like 0."""
    return tuple(int(value) if isinstance(value, float) and value == int(value) else value for value in row)


AGGREGATES = [
    "COUNT(*)", "COUNT(x)", "SUM(x)", "SUM(big)", "MIN(big)", "MAX(big)", "MIN(k)", "MAX(k)", "MIN(y)", "MAX(y)",
    "SUM(y)", "AVG(y)", "SUM(x + g)", "MAX(CASE WHEN b THEN x END)",
]  # fmt: skip
KEYS = ["k", "g", "b", "y", "x % 3", "COALESCE(k, 'none')", "CASE WHEN x > 0 THEN 'up' ELSE 'down' END"]


@DIALECTS
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_windows_give_the_same_groups_as_duckdb(dialect: str, data: st.DataObject) -> None:
    table, batches = drawn(data, dialect, 30)
    keys = data.draw(st.lists(st.sampled_from(KEYS), max_size=3, unique=True))
    aggregates = data.draw(st.lists(st.sampled_from(AGGREGATES), min_size=1, max_size=4, unique=True))
    condition = data.draw(st.none() | conditions.map(lambda text: text.replace("\\%", "%")))
    having = data.draw(st.sampled_from([None, "COUNT(*) > 1", "COUNT(x) = 0 OR MAX(x) > 0"]))
    size = data.draw(st.sampled_from([1, 3, 10]))
    offset = data.draw(st.sampled_from([0, 1, -1, 2])) if dialect == "flink" else 0
    where = f" WHERE {condition}" if condition else ""
    outputs = [f"{key} AS key{i}" for i, key in enumerate(keys)] + [
        f"{part} AS a{i}" for i, part in enumerate(aggregates)
    ]
    tail = f" HAVING {having}" if having else ""
    step = f"STEP(ts BY INTERVAL '{size}' SECOND)"
    ours_text = TABLE + (
        f"SELECT window_start, window_end, {', '.join(outputs)} FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts),"
        f" INTERVAL '{size}' SECOND, INTERVAL '{offset}' SECOND)){where}"
        f" GROUP BY {', '.join(['window_start', 'window_end', *keys])}{tail}"
    )
    if dialect == "kinesis":
        columns = ", ".join([f"{step} AS w, {step} + INTERVAL '{size}' SECOND AS e", *outputs])
        ours_text = f'SELECT STREAM {columns} FROM "t"{where} GROUP BY {", ".join([*keys, step])}{tail}'
    long, early = size * SECOND, f"(ts - {offset * SECOND})"
    start = f"{early} - ({early} % {long} + {long}) % {long} + {offset * SECOND}"
    theirs_text = (
        f"SELECT {start} AS w, {start} + {size * SECOND} AS e, {', '.join(outputs)} FROM t{where}"
        f" GROUP BY {', '.join(['w', 'e', *(f'key{i}' for i in range(len(keys)))])}{tail}"
    )
    query = over(ours_text, batches, dialect=dialect)
    ours = rows_of(query.columns())
    theirs = reference(table).execute(for_duckdb(theirs_text)).fetchall()
    fits = [
        row for row in theirs if all(not isinstance(value, int) or -(2**63) <= value < 2**63 for value in row)
    ]
    assert query.error_rows == len(theirs) - len(fits)  # sums beyond BIGINT
    assert [row[0] for row in ours] == sorted(row[0] for row in ours)
    ours, fits = sorted(ours, key=repr_key(2 + len(keys))), sorted(fits, key=repr_key(2 + len(keys)))
    assert len(ours) == len(fits)
    for mine, other in zip(ours, fits, strict=True):
        assert all(map(close, mine, other)), (mine, other)


def repr_key(width: int) -> Any:
    return lambda row: repr(normal(row[:width]))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_an_integer_average_is_the_exact_sum_cut_towards_zero(data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
    table = [{"ts": 0, "big": value} for value in values]
    batches = batches_of(stamped(table), [i % 3 for i in range(len(table))], data.draw(st.integers(1, 5)))
    text = "SELECT AVG(big) AS m " + EACH_SECOND
    ((mean,),) = rows_of(over(TABLE + text, batches).columns())
    total = sum(values)
    assert mean == abs(total) // len(values) * (1 if total >= 0 else -1)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_sum_of_doubles_is_exact_and_the_same_in_any_order(data: st.DataObject) -> None:
    finite = st.floats(allow_nan=False, allow_infinity=False)
    values = data.draw(st.lists(finite, min_size=1, max_size=40))
    text = "SELECT SUM(y) AS s, AVG(y) AS m " + EACH_SECOND
    table = [{"ts": "1970-01-01 00:00:00", "y": value} for value in data.draw(st.permutations(values))]
    batches = batches_of(table, [i % 4 for i in range(len(table))], data.draw(st.integers(1, 9)))
    ((total, mean),) = rows_of(over(TABLE + text, batches).columns())
    assert total == nearest(sum(map(Fraction, values)))
    assert mean == nearest(sum(map(Fraction, values)) / len(values))


def nearest(exact: Fraction) -> float:
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def test_json_is_what_the_rows_were_made_of() -> None:
    (batch,) = batches_of([{"a": "日本"}], [0], 1)
    assert json.loads(batch.data[0]) == {"a": "日本"}
