# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: each expression has the value that SQL gives it, and its type is known before any row.

Method: one query for each, over one row; the dialects differ where the engines do.
"""

from __future__ import annotations

import math

import pytest
from analytics_support import rows_of

import headrace
from headrace.errors import SQLError

ROW = {"i": 7, "j": -2, "d": 2.5, "s": "abc", "n": None, "b": True, "t": "2024-01-01 00:00:00"}
TABLE = "CREATE TABLE r (i BIGINT, j BIGINT, d DOUBLE, s VARCHAR, n BIGINT, b BOOLEAN, t TIMESTAMP(3));"


def value(expression: str) -> tuple[object, str]:
    query = headrace.sql(f"{TABLE} SELECT {expression} AS x FROM r", r=[ROW])
    rows = rows_of(query.columns())
    return (rows[0][0] if rows else query.errors["reason"].tolist()), query.schema["x"]


@pytest.mark.parametrize(
    ("expression", "wanted", "kind"),
    [
        ("i / j", -3, "BIGINT"),
        ("i % j", 1, "BIGINT"),
        ("i * d", 17.5, "DOUBLE"),
        ("i + n", None, "BIGINT"),
        ("d / 0", math.inf, "DOUBLE"),
        ("i / 0", ["division by zero"], "BIGINT"),
        ("9223372036854775807 + i", ["a BIGINT overflowed"], "BIGINT"),
        ("-9223372036854775808", -(2**63), "BIGINT"),
        ("1.5 + 0.25", 1.75, "DOUBLE"),
        ("i > 6.9", True, "BOOLEAN"),
        ("i IN (1, NULL)", None, "BOOLEAN"),
        ("i IN (7, NULL)", True, "BOOLEAN"),
        ("s IN ('x', 'abc')", True, "BOOLEAN"),
        ("n = n", None, "BOOLEAN"),
        ("n IS NULL AND NOT (n = 1) IS TRUE", True, "BOOLEAN"),
        ("i BETWEEN 8 AND 9 OR s LIKE '_b%'", True, "BOOLEAN"),
        ("CASE i WHEN 7 THEN 1 WHEN 1 / (i - 7) THEN 2 END", 1, "BIGINT"),
        ("CASE WHEN n > 1 THEN 1 ELSE d END", 2.5, "DOUBLE"),
        ("COALESCE(n, j)", -2, "BIGINT"),
        ("NULLIF(i, 7)", None, "BIGINT"),
        ("CAST(d AS INT)", 2, "INTEGER"),
        ("CAST(s AS BIGINT)", ["CAST of a value that does not fit"], "BIGINT"),
        ("CAST(i AS VARCHAR)", "7", "VARCHAR"),
        ("t - INTERVAL '1' DAY < '2024-01-01'", True, "BOOLEAN"),
        ("t + INTERVAL '1:30' MINUTE TO SECOND", 1_704_067_290_000_000, "TIMESTAMP"),
        ("FLOOR(t TO HOUR)", 1_704_067_200_000_000, "TIMESTAMP"),
        (
            "t + INTERVAL '2900000' DAY + INTERVAL '1' DAY",
            1_704_067_200_000_000 + 2_900_001 * 86_400_000_000,
            "TIMESTAMP",
        ),
        ("t + INTERVAL '2922000' DAY", ["a TIMESTAMP is beyond the years 1 to 9999"], "TIMESTAMP"),
    ],
)
def test_values_and_types(expression, wanted, kind):
    assert value(expression) == (wanted, kind)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("i * 1.5", "DECIMAL"),
        ("s + 1", "is not arithmetic"),
        ("t + t", "is not supported"),
        ("INTERVAL '1' DAY", "stands only beside"),
        ("t + INTERVAL '9999999' DAY", "8,000 years"),
        ("INTERVAL '1' YEAR + t", "intervals in YEAR"),
        ("t + INTERVAL '1:2:3' DAY TO HOUR", "is not an interval of DAY TO HOUR"),
        ("t + INTERVAL 'x' DAY", "is not an amount of DAY"),
        ("1e999", "beyond DOUBLE"),
        ("CASE WHEN b THEN s ELSE i END", "different types"),
        ("s LIKE 'a!b' ESCAPE '!'", "needs no escape"),
        ("s = i", "do not compare"),
        ("b = b IS NULL", "without parentheses"),
        ("b = b IS NOT TRUE", "without parentheses"),
        ("n IS NULL = b", "without parentheses"),
        ("CAST(b AS TIMESTAMP)", "CAST of BOOLEAN AS TIMESTAMP"),
        ("+".join(["i"] * 200), "operators in a row"),
    ],
)
def test_what_has_no_value_is_refused_before_any_row(expression, words):
    with pytest.raises(SQLError, match=words.replace("+", "[+]")):
        value(expression)


@pytest.mark.parametrize(
    ("expression", "wanted"), [('"D" / 0', "division by zero"), ('"I" / 2', 3), ('AVG("I")', 7)]
)
def test_where_kinesis_differs(expression, wanted):
    window = "GROUP BY STEP(\"T\" BY INTERVAL '1' SECOND)" if "AVG" in expression else ""
    row = {name.upper(): some for name, some in ROW.items()}
    query = headrace.sql(f'SELECT STREAM {expression} AS x FROM "r" {window}', r=[row])
    rows = rows_of(query.columns())
    assert (rows[0][0] if rows else query.errors["reason"][0]) == wanted
