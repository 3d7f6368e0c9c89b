# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""`headrace sql`: a query of either form over a directory, shown or into a stream; mistakes with their place."""

from __future__ import annotations

import time

import pytest

import headrace

TUMBLE = """SELECT host, window_start, COUNT(*) AS n, MAX(cpu) AS peak
FROM TABLE(TUMBLE(TABLE metrics, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY host, window_start, window_end"""


@pytest.fixture
def store(cli, tmp_path):
    with headrace.open(tmp_path / "store") as opened:
        stream = opened.stream("metrics", shards=2)
        stream.put_many([{"host": f"h{i % 2}", "cpu": i, "ts": 1_700_000_000_000 + i} for i in range(100)])
    return cli.store


def test_a_window_over_what_is_there(cli, store):
    rows = cli.rows(cli.run("sql", TUMBLE, "--until", "latest", *store))
    assert sorted((row["host"], row["n"], row["peak"]) for row in rows) == [("h0", 50, 98), ("h1", 50, 99)]
    csv = cli.run("sql", "--until", "latest", TUMBLE, "-o", "csv", *store).stdout.splitlines()
    assert csv[0] == b"host,window_start,n,peak"
    assert len(csv) == 3


def test_the_text_may_come_from_a_file_or_standard_input(cli, store, tmp_path):
    (tmp_path / "q.sql").write_text(TUMBLE)
    for words, data in ((["-f", str(tmp_path / "q.sql")], b""), (["-f", "-"], TUMBLE.encode())):
        assert len(cli.rows(cli.run("sql", *words, "--until", "latest", *store, data=data))) == 2


def test_the_kinesis_form_and_another_stream_as_target(cli, store):
    text = """SELECT STREAM "host", COUNT(*) AS "n" FROM "metrics"
GROUP BY "host", STEP("metrics".ROWTIME BY INTERVAL '1' HOUR)"""
    assert sum(row["n"] for row in cli.rows(cli.run("sql", text, "--until", "latest", *store))) == 100
    cli.run(
        "sql", "SELECT host, cpu FROM metrics WHERE cpu >= 90", "--until", "latest", "--into", "hot", *store
    )
    assert len(cli.run("tail", "hot", "--from", "earliest", "-o", "raw", *store).stdout.splitlines()) == 10


def test_a_mistake_is_shown_with_its_place(cli, store):
    done = cli.run("sql", "SELECT host,, FROM metrics", *store, code=1)
    caret, mark, line = done.stderr.decode().splitlines()
    assert caret == "SELECT host,, FROM metrics"
    assert mark.strip() == "^"
    assert line.startswith("headrace: ")
    assert "line 1, column" in line


def test_what_is_missing_is_one_line(cli, store, tmp_path):
    assert "there is no query" in cli.fails("sql", *store, code=2)
    assert "there is no store" in cli.fails("sql", "SELECT a FROM b", "--store", str(tmp_path / "none"))
    assert "did you mean metrics" in cli.fails("sql", "SELECT a FROM metrisc", "--until", "latest", *store)
    assert "headrace streams lists them" in cli.fails("sql", "SELECT * FROM zzz", "--until", "latest", *store)
    assert "--until 'bogus' is not a time" in cli.fails("sql", TUMBLE, "--until", "bogus", *store, code=2)
    assert "--from 'bogus' is not a time" in cli.fails("sql", TUMBLE, "--from", "bogus", *store, code=2)
    said = cli.fails("sql", "run", "hot", "SELECT cpu FROM metrics", *store, code=2)
    assert "add --into STREAM" in said
    words = ("sql", "run", "hot", "SELECT cpu FROM metrics", "--into", "new", "--until", "latest")
    assert "has no end" in cli.fails(*words, *store, code=2)
    assert [row["stream"] for row in cli.rows(cli.run("streams", *store))] == ["metrics"]
    assert "sql works in a directory" in cli.fails("sql", TUMBLE, "--endpoint", "http://127.0.0.1:1")


def test_a_query_is_checked_and_explained_without_running(cli, store):
    said = cli.run("sql", "check", TUMBLE, *store).stderr
    assert b"flink: reads metrics" in said
    assert b"columns and types not checked" in said
    text = "CREATE TABLE metrics (cpu DOUBLE); SELECT cpu FROM metrics"
    assert b"not checked" not in cli.run("sql", "check", text, *store).stderr
    assert b"metrics" in cli.run("sql", "explain", TUMBLE, *store).stdout
    assert cli.rows(cli.run("sql", "list", *store)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT nosuch(cpu) FROM metrics", "the function NOSUCH is not supported"),
        ("SELECT host FROM metrics WHERE MD5(host) = 'a'", "the function MD5 is not supported"),
        ("SELECT host FROM metrics WHERE cpu >", "something is missing beside > (line 1, column"),
    ],
)
def test_what_cannot_run_does_not_pass_the_check(cli, store, text, message):
    assert message in cli.run("sql", "check", text, *store, code=1).stderr.decode()


def test_what_the_check_must_let_pass(cli, store):
    text = """SELECT COALESCE(host, 'x') AS h, CASE WHEN cpu > 1 AND NOT cpu < 0 OR cpu = 3 THEN 'a' ELSE 'b' END AS c,
CAST(cpu AS VARCHAR) AS t, NULLIF(cpu, 1) AS n FROM metrics WHERE host LIKE 'h%' AND cpu BETWEEN 1 AND 5"""
    cli.run("sql", "check", text, *store)
    assert cli.rows(cli.run("sql", text, "--until", "latest", *store))


def test_columns_that_were_found_and_guessed_are_told_before_the_rows(cli, store):
    said = cli.run("sql", TUMBLE, "--until", "latest", *store).stderr.decode()
    assert "note: metrics: host VARCHAR, cpu BIGINT, ts TIMESTAMP (a number: timestamp[ms])" in said
    assert "taken for milliseconds since 1970" in said
    declared = f"CREATE TABLE metrics (host STRING, cpu DOUBLE, ts TIMESTAMP(3)); {TUMBLE}"
    assert b"note:" not in cli.run("sql", declared, "--until", "latest", *store).stderr


def test_a_time_column_of_mixed_types_says_how_to_declare_either(cli, store, tmp_path):
    with headrace.open(tmp_path / "store") as opened:
        opened.stream("mixed").put_many([{"ts": 1_700_000_000_000, "v": 1}, {"ts": "2023-11-14", "v": 2}])
    text = TUMBLE.replace("metrics", "mixed").replace("host, ", "").replace("cpu", "v")
    said = cli.run("sql", text, "--until", "latest", *store, code=1).stderr.decode()
    assert "(ts BIGINT, event_time AS TO_TIMESTAMP_LTZ(ts, 3), …)" in said
    declared = "CREATE TABLE mixed (ts BIGINT, v BIGINT, event_time AS TO_TIMESTAMP_LTZ(ts, 3)); "
    done = cli.run("sql", declared + text.replace("(ts)", "(event_time)"), "--until", "latest", *store)
    assert [row["n"] for row in cli.rows(done)] == [1]


def test_beside_a_server_a_query_is_given_to_it_and_rows_go_through_it(cli, server):
    _, directory = server
    where = ["--store", str(directory)]
    data = b"".join(b'{"host":"h","cpu":%d}\n' % cpu for cpu in range(100))
    cli.run("put", "metrics", "--create", "2", *where, data=data)
    text = "SELECT host, cpu FROM metrics WHERE cpu >= 90"
    cli.run("sql", text, "--until", "latest", "--into", "once", *where)
    assert len(cli.run("tail", "once", "--from", "earliest", "-o", "raw", *where).stdout.splitlines()) == 10
    said = cli.run("sql", "run", "hot", text, "--into", "alerts", *where).stderr
    assert b"given to the process that writes" in said
    end = time.monotonic() + 20
    while len(cli.run("tail", "alerts", "--from", "earliest", "-o", "raw", *where).stdout.splitlines()) < 10:
        assert time.monotonic() < end
    (row,) = cli.rows(cli.run("sql", "list", *where))
    assert (row["name"], row["runs"], row["target"]) == ("hot", True, "alerts")
    other = cli.run("sql", "run", "hot", text + "1", "--into", "alerts", *where, code=1).stderr
    assert b"exists with another text" in other
    cli.run("sql", "stop", "hot", *where)
    assert cli.rows(cli.run("sql", "list", *where))[0]["runs"] is False
    cli.run("sql", "delete", "hot", *where)
    assert cli.rows(cli.run("sql", "list", *where)) == []
    assert "there is no query named hot" in cli.fails("sql", "stop", "hot", *where)


def test_a_query_that_runs_in_another_command_is_stopped_there(cli, headrace, store):
    process = headrace.start("sql", "run", "hot", "SELECT cpu FROM metrics", "--into", "out", *store)
    end = time.monotonic() + 20
    while not cli.rows(cli.run("sql", "list", *store)):
        assert time.monotonic() < end
        assert process.poll() is None
    cli.run("sql", "stop", "hot", *store)
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert cli.rows(cli.run("sql", "list", *store))[0]["runs"] is False
