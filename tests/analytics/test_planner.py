# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a plan says all that will be done, and a target gets what it declared or a refusal at its place."""

from __future__ import annotations

import pytest

from headrace.analytics import planner
from headrace.analytics.text import parse
from headrace.errors import SQLError

TABLE = (
    "CREATE TABLE t (ms BIGINT, at AS TO_TIMESTAMP_LTZ(ms, 3), k VARCHAR, x INT,"
    " WATERMARK FOR at AS at - INTERVAL '2' SECOND);"
)
WINDOW = "FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(at), INTERVAL '1' MINUTE, INTERVAL '5' SECOND))"


def plan(text: str) -> planner.Plan:
    return planner.plan(planner.outline(parse(text)))


def test_a_plan_in_words():
    text = (
        f"{TABLE} INSERT INTO o SELECT k, SUM(x) AS s, SUM(x) / COUNT(*) AS m {WINDOW} WHERE x > 1"
        " GROUP BY window_start, window_end, k HAVING COUNT(*) > 2"
    )
    made = plan(text)
    assert made.text.splitlines() == [
        "scan t: x INTEGER, at TIMESTAMP (a number: timestamp[ms]), k VARCHAR",
        "filter x > 1",
        "window tumbling 60 s, offset 5 s over event time at, watermark 2 s behind",
        "group by `k`: SUM(x), COUNT(*)",
        "having COUNT(*) > 2",
        "give k VARCHAR, s BIGINT, m BIGINT",
        "into o",
    ]
    assert len(made.aggregates) == 2  # SUM(x) is computed once
    assert dict(made.schema) == {"k": "VARCHAR", "s": "BIGINT", "m": "BIGINT"}


@pytest.mark.parametrize(
    ("aggregate", "kind"),
    [
        ("SUM(x)", "BIGINT"),
        ("AVG(x)", "BIGINT"),
        ("MIN(x)", "INTEGER"),
        ("COUNT(x)", "BIGINT"),
        ("AVG(x * 1e0)", "DOUBLE"),
        ("MAX(at)", "TIMESTAMP"),
        ("MIN(k)", "VARCHAR"),
    ],
)
def test_the_type_of_an_aggregate(aggregate, kind):
    assert (
        plan(f"{TABLE} SELECT {aggregate} AS a {WINDOW} GROUP BY window_start, window_end").schema["a"]
        == kind
    )


@pytest.mark.parametrize(
    ("target", "select", "words"),
    [
        ("(a BIGINT, b VARCHAR)", "x, k", None),
        ("(a DOUBLE, b VARCHAR)", "x, k", None),
        ("(a BIGINT, b VARCHAR)", "k, x", "k is VARCHAR, the column a"),
        ("(a BIGINT)", "x, k", "takes 1 columns here"),
        ("(a TIMESTAMP, b VARCHAR)", "NULL, k", None),
    ],
)
def test_columns_go_to_the_targets_by_position(target, select, words):
    text = f"{TABLE} CREATE TABLE o {target}; INSERT INTO o SELECT {select} FROM t"
    if words is None:
        assert list(plan(text).schema) == ["a", "b"]
    else:
        with pytest.raises(SQLError, match=words):
            plan(text)


def test_a_column_that_must_be_given_is():
    for columns in ("a BIGINT, b VARCHAR NOT NULL", "a BIGINT, b VARCHAR"):
        text = f"{TABLE} CREATE TABLE o ({columns}); INSERT INTO o (a) SELECT x FROM t"
        if "NOT NULL" in columns:
            with pytest.raises(SQLError, match="b of o is NOT NULL"):
                plan(text)
        else:
            assert list(plan(text).schema) == ["a"]


@pytest.mark.parametrize(
    ("text", "name"),
    [(f"SELECT COUNT(*) {WINDOW} GROUP BY window_start, window_end", "at"), ("SELECT k FROM t", None),
     ("SELECT STREAM COUNT(*) FROM \"t\" GROUP BY FLOOR(\"ms\" TO MINUTE)", "ms"),
     ("SELECT STREAM COUNT(*) FROM \"t\" GROUP BY STEP(\"t\".ROWTIME BY INTERVAL '1' SECOND)", None)],
)  # fmt: skip
def test_the_time_column_is_known_before_any_column_is(text, name):
    assert planner.time_column(planner.outline(parse(text))) == name
