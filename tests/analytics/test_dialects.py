# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What the two dialects read, what they refuse, by name and at its place; and that stock sqlglot does neither."""

from __future__ import annotations

import pickle

import pytest
import sqlglot
from analytics_support import batches_of
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import limits
from headrace.analytics import planner
from headrace.analytics.discovery import discover
from headrace.analytics.plan import Plan
from headrace.analytics.text import parse
from headrace.errors import SQLError

ROW = {"host": "a", "cpu": 1.5, "ts": "2024-01-01T00:00:00Z", "n": 1, "up": True, "obj": {}, "at": 1.7e9}
TUMBLE = "FROM TABLE(TUMBLE(TABLE m, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY window_start, window_end"
SOURCE = 'FROM "S" AS s'
STEP = "STEP(s.ROWTIME BY INTERVAL '10' SECOND)"


def plan(text: str, dialect: str | None = None) -> Plan:
    sketch = planner.outline(parse(text, dialect))
    return planner.plan(sketch, discover(batches_of([ROW], [0], 1), planner.time_column(sketch)))


ACCEPTED = [
    (f"SELECT COUNT(*) AS c {TUMBLE}", "flink", ["c"]),
    (f"SELECT host, window_start, window_end, window_time, MAX(cpu) {TUMBLE}, host", "flink",
     ["host", "window_start", "window_end", "window_time", "EXPR$4"]),
    ("SELECT SUM(n) s FROM TABLE(TUMBLE(DATA => TABLE m, TIMECOL => DESCRIPTOR(at), SIZE => INTERVAL '1' DAY,"
     " OFFSET => INTERVAL '-3' HOUR)) GROUP BY window_start, window_end, window_time", "flink", ["s"]),
    ("SELECT SUM(n) s FROM TABLE(TUMBLE(TABLE m, DESCRIPTOR(at), INTERVAL '1 02:03' DAY TO MINUTE)) AS w"
     " GROUP BY w.window_start, w.window_end", "flink", ["s"]),
    ("SELECT * FROM m WHERE cpu > 90 AND NOT (host LIKE 'a\\_%' ESCAPE '\\' OR n IN (1, 2))", "flink",
     ["host", "cpu", "ts", "n", "up", "obj", "at"]),
    ("SELECT `host`, CASE n WHEN 1 THEN 'one' ELSE host END AS `a b` FROM m x WHERE x.n BETWEEN 1 AND 2", "flink", ["host", "a b"]),  # noqa: E501
    ("INSERT INTO alerts SELECT host FROM m", "flink", ["host"]),
    ("INSERT INTO alerts (a, b) SELECT host, n FROM m;", "flink", ["a", "b"]),
    ("CREATE TABLE m (x BIGINT NOT NULL, t TIMESTAMP(3), WATERMARK FOR t AS t - INTERVAL '5' SECOND)"
     " WITH ('connector' = 'headrace', 'stream' = 'real'); SELECT x FROM m", "flink", ["x"]),
    ("CREATE TABLE m (x INT, y STRING, ms BIGINT, t AS TO_TIMESTAMP_LTZ(ms, 3)); SELECT y, t FROM m", "flink", ["y", "t"]),
    (f"SELECT STREAM COUNT(*) AS c {SOURCE} GROUP BY {STEP}", "kinesis", ["C"]),
    (f'SELECT STREAM "host", {STEP} AS w, AVG("cpu") AS "mean" {SOURCE} GROUP BY "host", {STEP}', "kinesis", ["host", "W", "mean"]),  # noqa: E501
    (f"SELECT STREAM COUNT(*) c {SOURCE} GROUP BY FLOOR(s.ROWTIME TO MINUTE)", "kinesis", ["C"]),
    (f"SELECT STREAM COUNT(*) c {SOURCE} GROUP BY STEP(s.\"ts\" BY INTERVAL '1' HOUR)", "kinesis", ["C"]),
    (f"SELECT STREAM COUNT(*) c {SOURCE} GROUP BY {STEP}, FLOOR(s.\"ts\" TO HOUR)", "kinesis", ["C"]),
    ('CREATE OR REPLACE STREAM "D" ("h" VARCHAR(9), c INTEGER NOT NULL) DESCRIPTION \'x\'; CREATE OR REPLACE PUMP "P" STARTED AS'
     f' INSERT INTO "D" SELECT STREAM "host", COUNT(*) {SOURCE} GROUP BY "host", {STEP}', "kinesis", ["h", "C"]),
    ('SELECT STREAM "host", APPROXIMATE_ARRIVAL_TIME FROM "S"', "kinesis", ["host", "APPROXIMATE_ARRIVAL_TIME"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "dialect", "names"), ACCEPTED, ids=range(len(ACCEPTED)))
def test_what_a_dialect_has_is_read_and_recognised(text, dialect, names):
    made = plan(text)
    assert made.dialect == dialect
    assert list(made.schema) == names


# (text, what stands at the caret, words of the message)
REFUSED = [
    ("SELECT DISTINCT n FROM m", None, "DISTINCT is not supported"),
    ("SELECT n FROM m ORDER BY n", None, "ORDER BY is not supported"),
    ("SELECT n FROM m LIMIT 3", None, "LIMIT is not supported"),
    ("SELECT n FROM m JOIN k ON m.n = k.n", None, "JOIN is not supported"),
    ("SELECT n FROM m, k", None, "JOIN is not supported"),
    ("WITH a AS (SELECT 1) SELECT n FROM m", None, "WITH is not supported"),
    ("SELECT n FROM m UNION ALL SELECT n FROM m", None, "UNION is not supported"),
    ("SELECT n FROM (SELECT n FROM m)", None, "a query within the query"),
    ("SELECT n FROM m WHERE n IN (SELECT 1)", None, "QUERY of IN"),
    ("SELECT n FROM m; SELECT n FROM m", None, "the second"),
    ("SELECT SUM(n) OVER (PARTITION BY n) FROM m", "SUM", "OVER is not supported"),
    ("SELECT COUNT(*) FROM m", None, "without a window"),
    ("SELECT host FROM m GROUP BY host", None, "GROUP BY without a window"),
    (f"SELECT COUNT(DISTINCT n) {TUMBLE}", "COUNT", "DISTINCT"),
    (f"SELECT SUM(n) FILTER (WHERE n > 1) {TUMBLE}", "SUM", "FILTER is not supported"),
    (f"SELECT SUM(host) {TUMBLE}", "SUM", "SUM of VARCHAR"),
    (f"SELECT MIN(up) {TUMBLE}", "MIN", "MIN of BOOLEAN"),
    (f"SELECT MAX(SUM(n)) {TUMBLE}", "SUM", "inside another aggregate"),
    (f"SELECT n {TUMBLE}", "n FROM", "neither in GROUP BY nor inside an aggregate"),
    (f"SELECT * {TUMBLE}", None, "SELECT * with GROUP BY"),
    (f"SELECT STDDEV_POP(n) {TUMBLE}", "STDDEV_POP", "STDDEV_POP"),
    ("SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE m, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY window_start",
     "window_start", "groups by window_start and window_end"),
    ("SELECT window_start FROM TABLE(TUMBLE(TABLE m, DESCRIPTOR(ts), INTERVAL '1' SECOND))", "TUMBLE", "without GROUP BY"),
    ("SELECT COUNT(*) FROM TABLE(HOP(TABLE m, DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '2' SECOND))"
     " GROUP BY window_start, window_end", "HOP", "HOP windows are not supported"),
    ("SELECT COUNT(*) FROM TABLE(SESSION(TABLE m, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY window_start, window_end",
     "SESSION", "SESSION windows are not supported"),
    ("SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE m, DESCRIPTOR(ts), INTERVAL '1' MONTH)) GROUP BY window_start, window_end",
     "INTERVAL", "intervals in MONTH"),
    ("SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE m, DESCRIPTOR(ts), INTERVAL '0' SECOND)) GROUP BY window_start, window_end",
     "INTERVAL", "longer than nothing"),
    ("SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE m, DESCRIPTOR(host), INTERVAL '1' SECOND)) GROUP BY window_start, window_end",
     "host", "has to be a TIMESTAMP"),
    ("SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE m, ts, INTERVAL '1' SECOND)) GROUP BY window_start, window_end",
     "ts,", "DESCRIPTOR(column)"),
    ("SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE m, DESCRIPTOR(ts), FOO => INTERVAL '1' SECOND)) GROUP BY window_start",
     "FOO", "has no argument FOO"),
    ("SELECT COUNT(*) FROM m GROUP BY TUMBLE(ts, INTERVAL '1' SECOND)", None, "GROUP BY without a window"),
    (f"SELECT COUNT(*) {TUMBLE.replace('GROUP BY', 'GROUP BY ROLLUP (host),')}", None, "is not supported"),
    ("SELECT FOO(n) FROM m", "FOO", "the function FOO is not supported"),
    ("SELECT UPPER(host) FROM m", "UPPER", "UPPER is not supported"),
    ("SELECT host || 'x' FROM m", "host", "|| is not supported"),
    ("SELECT n[1] FROM m", "[", "[ is not an operator"),
    ("SELECT n::INT FROM m", "::", ":: is not an operator"),
    ("SELECT n == 1 FROM m", "==", "== is not an operator"),
    ("SELECT n, FROM m", ", FROM", "a comma with nothing after it"),
    ("SELECT n FROM m WHERE n = = 1", None, "something is missing"),
    ('SELECT "n" FROM m', None, "SELECT STREAM"),
    ("SELECT n * 1.5 FROM m", "n *", "DECIMAL"),
    ("SELECT CASE WHEN up THEN 0.1 ELSE 1e0 END FROM m", None, "0.1 is a DECIMAL"),
    ("SELECT CAST(cpu AS VARCHAR) FROM m", None, "CAST of DOUBLE AS VARCHAR"),
    ("SELECT CAST(n AS DECIMAL(3, 1)) FROM m", None, "DECIMAL is not supported"),
    ("SELECT TRY_CAST(n AS INT) FROM m", None, "TRY_CAST"),
    ("SELECT n FROM m WHERE host > 3", "host", "do not compare"),
    ("SELECT n FROM m WHERE obj = 'x'", "obj", "do not compare"),
    ("SELECT n FROM m WHERE n", "n", "WHERE is a BOOLEAN"),
    ("SELECT n FROM m WHERE host LIKE host", None, "written out"),
    ("SELECT n FROM m WHERE host SIMILAR TO 'a'", None, "SIMILAR TO"),
    ("SELECT n FROM m WHERE n IS DISTINCT FROM 1", None, "IS DISTINCT FROM"),
    ("SELECT n FROM m WHERE EXISTS (SELECT 1)", None, "EXISTS"),
    ("SELECT n FROM m WHERE CAST(ts AS TIMESTAMP) > '2024-13-01'", None, "is not a TIMESTAMP"),
    ("SELECT 99999999999999999999 FROM m", "999", "beyond BIGINT"),
    ("SELECT foo FROM m", "foo", "there is no column foo"),
    ("SELECT k.n FROM m", "k", "there is no table k"),
    ("SELECT n, n FROM m", None, "two columns of the result are called n"),
    ("SELECT db.m.n FROM db.m", None, "databases and catalogues"),
    ("SELECT n FROM m FOR SYSTEM_TIME AS OF ts", None, "is not supported"),
    ("INSERT INTO alerts", "alerts", "INSERT INTO without a SELECT"),
    ("DROP TABLE m", "DROP", "DROP is not a statement"),
    ("EXECUTE STATEMENT SET BEGIN SELECT n FROM m; END", "EXECUTE", "EXECUTE is not a statement"),
    ("CREATE VIEW v AS SELECT n FROM m", "VIEW", "CREATE VIEW is not supported"),
    ("CREATE TABLE m (x BIGINT, PRIMARY KEY (x)); SELECT x FROM m", "PRIMARY KEY", "PRIMARY KEY"),
    ("CREATE TABLE m (x REAL); SELECT x FROM m", "REAL", "the type FLOAT is not supported"),
    ("CREATE TABLE m (x BIGINT) WITH ('connector' = 'jdbc'); SELECT x FROM m", "'connector'", "the connector 'jdbc'"),
    ("CREATE TABLE m (x BIGINT) WITH ('scan.startup.mode' = 'x'); SELECT x FROM m", None, "the option 'scan.startup.mode'"),
    ("CREATE TABLE m (x BIGINT, WATERMARK FOR y AS y); SELECT x FROM m", None, "y is not declared"),
    ("CREATE TABLE m (x BIGINT, WATERMARK FOR x AS x); SELECT x FROM m", None, "has to be a TIMESTAMP"),
    ("CREATE TABLE m (x BIGINT, y AS x + 1); SELECT x FROM m", None, "a computed column is written"),
    ('SELECT STREAM "n" FROM "S" GROUP BY "n"', None, "needs STEP"),
    ('SELECT STREAM n FROM "S"', "n FROM", 'did you mean "n"'),
    (f"SELECT STREAM COUNT(*) {SOURCE} GROUP BY {STEP}, FLOOR(s.ROWTIME TO MINUTE)", None, "two windows"),
    (f"SELECT STREAM COUNT(*) {SOURCE} GROUP BY FLOOR(s.ROWTIME TO MONTH)", None, "FLOOR TO MONTH"),
    (f"SELECT STREAM COUNT(*) {SOURCE} GROUP BY STEP(s.\"n\" BY 5)", None, "STEP"),
    (f"SELECT STREAM ROWTIME, COUNT(*) c {SOURCE} GROUP BY {STEP}", "ROWTIME,", "ROWTIME of an aggregated row"),
    (f"SELECT STREAM {STEP} AS ROWTIME {SOURCE} GROUP BY {STEP}", None, "AS ROWTIME"),
    ('SELECT STREAM CAST("cpu" AS INTEGER) FROM "S"', None, "CAST of DOUBLE AS an integer"),
    ('CREATE OR REPLACE PUMP "P" AS INSERT INTO "D" SELECT STREAM "n" FROM "S"', '"D"', 'the stream "D" is not declared'),
    ('CREATE STREAM "D" (a BIGINT); CREATE PUMP "P" AS INSERT INTO "D" SELECT STREAM "n", "host" FROM "S"', None, "takes 1 columns"),  # noqa: E501
    ('CREATE STREAM "D" (a BIGINT); CREATE PUMP "P" AS INSERT INTO "D" SELECT STREAM "host" FROM "S"', None, "host is VARCHAR"),
    ('CREATE STREAM "D" (a BIGINT); SELECT STREAM a FROM "D"', None, "a cascade"),
    ('CREATE PUMP "P" STOPPED AS INSERT INTO "D" SELECT STREAM "n" FROM "S"', "STOPPED", "STOPPED"),
    ('ALTER PUMP "P" START', "ALTER", "ALTER is not a statement"),
    ('SELECT STREAM "n" FROM "S" WINDOWED BY STAGGER (PARTITION BY "n" RANGE INTERVAL \'1\' MINUTE)', None, ""),
    ("SELECT n FROM m WHERE INTERVAL '1 second' = n", None, "INTERVAL needs a unit"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "at", "words"), REFUSED, ids=range(len(REFUSED)))
def test_what_a_dialect_has_not_is_refused_by_name_and_place(text, at, words):
    with pytest.raises(SQLError) as caught:
        plan(text)
    error = caught.value
    assert words in str(error)
    source, _, mark = error.caret.partition("\n")
    assert source == text
    assert mark.index("^") + 1 == error.column
    if at is not None:
        assert text[error.column - 1 :].startswith(at)
    assert pickle.loads(pickle.dumps(error)).column == error.column


def test_stock_sqlglot_takes_select_stream_for_an_alias_and_ours_does_not():
    stock = sqlglot.parse_one("SELECT STREAM x FROM s")
    assert stock.expressions[0].sql() == "STREAM AS x"
    assert list(plan('SELECT STREAM "host" FROM "S"').schema) == ["host"]
    assert list(plan('SELECT STREAM "n" AS "STREAM" FROM "S"').schema) == ["STREAM"]


@pytest.mark.parametrize(
    "text", [f"SELECT COUNT(*) {TUMBLE}", f"SELECT STREAM COUNT(*) {SOURCE} GROUP BY {STEP}"]
)
def test_stock_sqlglot_reads_no_window_of_either_dialect(text):
    for dialect in (None, "postgres", "hive", "spark"):
        with pytest.raises(sqlglot.ParseError):
            sqlglot.parse_one(text, read=dialect)
    plan(text)


def test_a_place_in_a_later_line_is_counted_from_that_line():
    with pytest.raises(SQLError) as caught:
        plan("SELECT n\nFROM m\n\tWHERE wrong > 1")
    assert (caught.value.line, caught.value.column) == (3, 8)
    assert caught.value.caret == "\tWHERE wrong > 1\n\t      ^"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT " + "(" * 500 + "1" + ")" * 500 + " FROM m",
        "SELECT " + "NOT " * 500 + "up FROM m",
        "SELECT " + "- " * 500 + "n FROM m",
        "SELECT " + "CASE WHEN up THEN " * 500 + "1" + " END" * 500 + " FROM m",
        "SELECT " + " + ".join(["n"] * 5000) + " FROM m",
        "SELECT n FROM m WHERE " + "(" * 40_000,
    ],
    ids=["parentheses", "not", "minus", "case", "sum", "open"],
)
def test_nesting_is_bounded(text):
    with pytest.raises(SQLError):
        plan(text)


def test_a_long_row_of_conditions_is_no_nesting():
    plan("SELECT n FROM m WHERE " + " AND ".join(["n > 1"] * 3000))


def test_a_text_has_a_largest_size():
    with pytest.raises(SQLError, match="bytes"):
        parse("SELECT '" + "é" * (limits.sql_text_size_max // 2) + "' FROM m")


@pytest.mark.parametrize(
    ("text", "words"), [("", "empty"), (" ; ", "empty"), ("SELECT n FROM m WHERE host = 'x", "does not end")]
)
def test_a_text_that_is_no_statement_is_refused(text, words):
    with pytest.raises(SQLError, match=words):
        parse(text)


def test_an_unknown_dialect_is_refused():
    with pytest.raises(SQLError, match="flink, kinesis"):
        parse("SELECT 1", "oracle")


TOKENS = ["SELECT", "STREAM", "n", "host", "FROM", "m", "WHERE", "(", ")", ",", "=", "<", "1", "'a'", "AND", "OR", "NOT", "GROUP BY",  # noqa: E501
          "TABLE", "TUMBLE", "DESCRIPTOR", "INTERVAL '1' SECOND", "CASE", "WHEN", "END", "*", "+", ";", "STEP", "BY", "CREATE", "PUMP",  # noqa: E501
          "AS", "INSERT INTO", "IN", "LIKE", "IS", "NULL", "CAST", "COUNT", "\"S\"", "`x`", "--", "/*", "."]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=25).map(" ".join) | st.text(max_size=40))
def test_any_text_is_a_plan_or_an_sql_error(text):
    try:
        plan(text)
    except SQLError:
        pass
