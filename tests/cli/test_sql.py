# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""`headrace sql`: a query of either form over a directory, shown or into a stream; mistakes with their place."""

from __future__ import annotations

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
    assert "sql works in a directory" in cli.fails("sql", TUMBLE, "--endpoint", "http://127.0.0.1:1")


def test_a_query_is_checked_and_explained_without_running(cli, store):
    assert b"flink: reads metrics" in cli.run("sql", "check", TUMBLE, *store).stderr
    assert b"metrics" in cli.run("sql", "explain", TUMBLE, *store).stdout
    assert cli.rows(cli.run("sql", "list", *store)) == []
