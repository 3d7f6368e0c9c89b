# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Queries over a store: bounded and endless, error rows and late rows, idle shards, names, keeper, command."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from analytics_support import batches_of, over, rows_of

import headrace
from headrace.analytics import applications
from headrace.analytics.keeper import SqlKeeper
from headrace.cli import main
from headrace.errors import InvalidArgument, LockedByOther, NotFound, ResourceInUse, SQLError, Unsupported

COUNT = (
    "SELECT k, window_start, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE m, DESCRIPTOR(ts), INTERVAL '1' SECOND))"
    " GROUP BY k, window_start, window_end"
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[headrace.Store]:
    with headrace.open(tmp_path / "store") as opened:
        yield opened


def fill(stream: headrace.Stream, *rows: dict[str, Any]) -> None:
    stream.put_many([json.dumps(row).encode() for row in rows], keys=[str(row.get("k")) for row in rows])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_a_bounded_query_counts_every_row_whatever_its_order(store):
    fill(store.stream("m", shards=3), *({"k": f"k{i % 5}", "ts": 1e9 + (i * 7 % 50) / 10} for i in range(50)))
    query = store.sql(COUNT, until="latest")
    assert query.to_polars()["n"].sum() == 50
    assert query.to_arrow().num_rows == query.columns().rows
    assert (query.late_rows, query.error_rows) == (0, 0)


def test_a_declared_watermark_holds_for_a_bounded_query_too():
    table = "CREATE TABLE t (ts TIMESTAMP(3), k VARCHAR, WATERMARK FOR ts AS ts);"
    rows = [{"ts": f"2024-01-01 00:00:0{second}", "k": "a"} for second in (0, 3, 0)]
    query = over(table + COUNT.replace("TABLE m", "TABLE t"), batches_of(rows, [0, 0, 0], 2))
    assert [row[2] for row in rows_of(query.columns())] == [1, 1]
    assert query.late_rows == 1
    assert query.late["index"].tolist() == [2]


def test_records_that_do_not_fit_are_error_rows_and_the_query_goes_on():
    data = [b'{"ts":"2024-01-01 00:00:00","x":1}', b"no json", b'{"ts":null,"x":1}', b'{"ts":"2024-01-01 00:00:00","x":"a"}',
            b'{"ts":"2024-01-01 00:00:00","x":9223372036854775807}', b"[1]"]  # fmt: skip
    text = (
        "CREATE TABLE t (ts TIMESTAMP, x BIGINT); SELECT SUM(x + 1) AS s, COUNT(*) AS n"
        " FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY window_start, window_end"
    )
    query = headrace.sql(text, t=data)
    assert rows_of(query.columns()) == [(2, 1)]
    assert query.errors["reason"].tolist() == [
        "the record is not a JSON object", "the record is not a JSON object", "the time is NULL", "the value is not BIGINT",
        "a BIGINT overflowed",
    ]  # fmt: skip
    assert query.error_rows == 5


def test_a_sum_beyond_bigint_is_an_error_row_with_its_reason():
    rows = [
        {"ts": 1e9, "k": "a", "x": 2**63 - 1},
        {"ts": 1e9, "k": "a", "x": 1},
        {"ts": 1e9, "k": "b", "x": 1},
    ]
    text = COUNT.replace("COUNT(*)", "SUM(x)")
    query = headrace.sql(text, m=rows)
    assert [row[0::2] for row in rows_of(query.columns())] == [("b", 1)]
    assert query.errors["reason"].tolist() == ["a SUM is beyond BIGINT"]


def test_division_by_zero_follows_the_dialect():
    rows = [{"x": 1.0, "y": 0.0, "n": 0}]
    assert rows_of(headrace.sql("SELECT x / y AS q FROM t", t=rows).columns()) == [(float("inf"),)]
    for text in ('SELECT STREAM "x" / "y" AS q FROM "t"', "SELECT 1 / n AS q FROM t"):
        query = headrace.sql(text, t=rows)
        assert (query.columns().rows, query.errors["reason"].tolist()) == (0, ["division by zero"])


def test_an_error_in_a_branch_that_is_not_taken_is_none():
    rows = [{"n": 0}, {"n": 2}]
    text = "SELECT CASE WHEN n <> 0 THEN 10 / n ELSE -1 END AS q FROM t WHERE n = 0 OR 10 / n > 1"
    query = headrace.sql(text, t=rows)
    assert ([row[0] for row in rows_of(query.columns())], query.error_rows) == ([-1, 5], 0)


def test_a_result_without_rows_has_its_columns(store):
    fill(store.stream("m"), {"k": "a", "ts": 1})
    result = store.sql("SELECT k, ts FROM m WHERE ts > 5", until="latest").columns()
    assert (result.types, result.rows) == ({"k": "str", "ts": "i8"}, 0)


def test_columns_are_read_as_they_were_found_and_the_guess_is_told(store):
    fill(
        store.stream("m"),
        {"k": "a", "ts": 1_700_000_000_123, "mixed": 1},
        {"k": "b", "ts": 5, "mixed": "x", "none": None},
    )
    query = store.sql(COUNT, until="latest")
    assert "ts: the time column; numbers up to 1.7e+12, taken for milliseconds since 1970" in query.plan
    with pytest.raises(SQLError, match="JSON"):
        store.sql("SELECT k FROM m WHERE mixed > 1", until="latest")
    with pytest.raises(SQLError, match="not known"):
        store.stream("empty")
        store.sql("SELECT k FROM empty", until="latest")
    with pytest.raises(NotFound, match="nothing"):
        store.sql("SELECT k FROM nothing")


def test_a_query_into_a_stream_goes_on_while_records_come(store):
    source, target = store.stream("m"), store.stream("out")
    query = store.sql("SELECT k, ts AS t FROM m WHERE ts > 1").into(target).start()  # waits for its columns
    assert "waits" in query.plan
    fill(source, {"k": "a", "ts": 1}, {"k": "b", "ts": 2})
    until(lambda: len(target.read()) == 1)
    fill(source, {"k": "é", "ts": 3})
    until(lambda: len(target.read()) == 2)
    query.stop()
    assert target.read().data == [b'{"k":"b","t":2}', '{"k":"é","t":3}'.encode()]
    assert target.read().keys == ["b", "é"]


def test_a_silent_shard_holds_windows_only_for_the_idle_time(store):
    source, target = store.stream("m", shards=4), store.stream("out")
    query = store.sql(COUNT, idle="100ms").into(target).start()
    fill(source, {"k": "a", "ts": 1e9}, {"k": "a", "ts": 1e9 + 5})
    until(lambda: len(target.read()) == 1)
    assert json.loads(target.read().data[0]) == {"k": "a", "window_start": "2001-09-09 01:46:40.000", "n": 1}
    query.stop()  # a query without a name gives its open windows at its end
    assert len(target.read()) == 2


def test_a_name_goes_on_where_it_stood_and_stands_for_one_query(store):
    source, target = store.stream("m"), store.stream("out")
    fill(source, {"k": "a", "ts": 1e9}, {"k": "a", "ts": 1e9 + 0.5})
    query = store.sql(COUNT, name="q").into(target).start()
    with pytest.raises(ResourceInUse, match="running already"):
        store.sql(COUNT, name="q").into(target).start()
    until(lambda: query.records == 2)
    query.stop()
    fill(source, {"k": "a", "ts": 1e9 + 0.7}, {"k": "a", "ts": 1e9 + 2})
    again = store.sql(COUNT, name="q").into(target).start()
    until(lambda: len(target.read()) == 1)
    again.stop()
    assert json.loads(target.read().data[0])["n"] == 3
    other = store.sql("SELECT k FROM m", name="q").into(target).start()
    with pytest.raises(ResourceInUse, match="another text"):
        other.wait(5)
    applications.delete(store.inner.log.catalogue, "q")
    with pytest.raises(NotFound):
        applications.load(store.inner.log.catalogue, "q")


def test_what_a_query_cannot_do_is_refused(store):
    source = store.stream("m")
    fill(source, {"k": "a", "ts": 1})
    with pytest.raises(InvalidArgument, match="for ever"):
        store.sql("SELECT k FROM m").into(source)
    with pytest.raises(InvalidArgument, match="nowhere to go"):
        store.sql("SELECT k FROM m").start()
    with pytest.raises(InvalidArgument, match="no end"):
        store.sql("SELECT k FROM m").columns()
    with pytest.raises(Unsupported, match="named"):
        iter(store.sql("SELECT k FROM m", name="q"))
    with pytest.raises(Unsupported, match="without end"):
        store.sql("SELECT k FROM m", name="q", until="latest").into(store.stream("o")).start()
    with pytest.raises(InvalidArgument, match="name"):
        store.sql("SELECT k FROM m", name="no name")
    with headrace.open(store.path, mode="read") as reader:
        assert reader.sql("SELECT k FROM m", until="latest").columns().rows == 1
        with pytest.raises(LockedByOther):
            reader.sql("SELECT k FROM m").into(reader.stream("o", create=False))


def test_the_keeper_runs_what_is_to_run_and_leaves_it_marked(store):
    source, target = store.stream("m"), store.stream("out")
    fill(source, {"k": "a", "ts": 5})
    first = store.sql("SELECT k FROM m WHERE ts > 1", name="q").into(target).start()
    until(lambda: len(target.read()) == 1)
    first.halt()

    async def serve() -> None:
        keeper = SqlKeeper(store.inner)
        await keeper.start()
        await asyncio.to_thread(fill, source, {"k": "b", "ts": 6})
        await asyncio.to_thread(until, lambda: len(target.read()) == 2)
        await keeper.stop()
        assert keeper.queries == {}

    asyncio.run(serve())
    assert applications.load(store.inner.log.catalogue, "q").run
    assert target.read().data == [b'{"k":"a"}', b'{"k":"b"}']


def test_kinesis_arrival_windows_and_pumps_give_the_declared_columns(store):
    fill(store.stream("s"), *({"k": "a", "x": i} for i in range(4)))
    text = (
        'CREATE OR REPLACE STREAM "D" ("key" VARCHAR(1), total BIGINT); CREATE OR REPLACE PUMP "P" AS INSERT INTO "D"'
        ' SELECT STREAM "k", SUM("x") FROM "SOURCE_SQL_STREAM_001"'
        ' GROUP BY "k", STEP("SOURCE_SQL_STREAM_001".ROWTIME BY INTERVAL \'1\' DAY)'
    )
    query = store.sql(text, until="latest", sources={"SOURCE_SQL_STREAM_001": store.stream("s")})
    assert (list(query.schema), sum(row[1] for row in rows_of(query.columns()))) == (["key", "TOTAL"], 6)
    with pytest.raises(InvalidArgument, match="in-application"):
        query.start()


def test_a_text_too_long_for_its_column_is_an_error_row(store):
    text = 'CREATE STREAM "D" (k VARCHAR(2)); CREATE PUMP "P" AS INSERT INTO "D" SELECT STREAM "k" FROM "t"'
    query = headrace.sql(text, t=[{"k": "ab"}, {"k": "abc"}, {"k": None}])
    assert rows_of(query.columns()) == [("ab",), (None,)]
    assert query.errors["reason"].tolist() == ["a text is longer than its VARCHAR"]


def test_the_command_shows_rows_places_of_errors_and_named_queries(tmp_path, capsys):
    directory = str(tmp_path / "s")
    with headrace.open(directory) as store:
        fill(store.stream("m"), {"k": "a", "ts": 1e9}, {"k": "a", "ts": 1e9 + 0.1})
    assert main(["sql", "--store", directory, "--until", "latest", "-o", "json", COUNT]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "k": "a",
        "window_start": "2001-09-09 01:46:40.000",
        "n": 2,
    }
    assert main(["sql", "explain", "--store", directory, "SELECT nothing FROM m"]) == 1
    assert "       ^" in capsys.readouterr().err
    (tmp_path / "q.sql").write_text("SELECT k FROM m")
    assert main(["sql", "check", "-f", str(tmp_path / "q.sql")]) == 0
    assert main(["sql", "explain", "--store", directory, "-f", str(tmp_path / "q.sql")]) == 0
    assert "scan m: k VARCHAR" in capsys.readouterr().out
    command = ["sql", "run", "n", "--store", directory, "--into", "o", "--until", "latest", "SELECT k FROM m"]
    assert main(command) == 2
    assert main(["sql", "--store", directory, "--until", "latest", "--into", "o", "SELECT k FROM m"]) == 0
    with headrace.open(directory) as store:
        assert store.stream("o").read().data == [b'{"k":"a"}', b'{"k":"a"}']
        query = store.sql("SELECT k FROM m", name="named").into(store.stream("p")).start()
        until(lambda: query.records == 2)
        query.halt()
    capsys.readouterr()
    assert main(["sql", "list", "--store", directory, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] is True
    assert main(["sql", "stop", "named", "--store", directory]) == 0
    assert main(["sql", "delete", "named", "--store", directory]) == 0
    assert main(["sql", "delete", "named", "--store", directory]) == 1
    assert main(["sql", "--store", directory]) == 2
    assert main(["sql", "run", "--store", directory]) == 2


@pytest.mark.parametrize("halts", [False, True], ids=["running", "restarted"])
def test_a_split_and_a_merge_of_the_source_lose_and_double_no_row(store, halts):
    source, target = store.stream("m", shards=2), store.stream("out", shards=2)
    text = (
        "CREATE TABLE m (ts DOUBLE, at AS TO_TIMESTAMP_LTZ(ts, 0), k VARCHAR, WATERMARK FOR at AS at);"
        + COUNT.replace("(ts)", "(at)")
    )
    query = store.sql(text, name="q", idle=None).into(target).start()
    total = 0
    for step in range(6):
        fill(source, *({"k": f"k{number % 9}", "ts": 1e9 + step * 10 + number / 10} for number in range(90)))
        total += 90
        if step == 1:
            source._inner.split(0, 2**126)
        if step == 3:
            numbers = [shard.number for shard in source._inner.table.open()]
            source._inner.merge(*numbers[:2])
        if halts:
            query.halt()
            query = store.sql(text, name="q", idle=None).into(target).start()
    fill(source, *({"k": f"k{number}", "ts": 2e9} for number in range(40)))  # every shard is past everything
    until(lambda: sum(json.loads(data)["n"] for data in target.read().data) >= total)
    query.stop()
    assert query.late_rows == 0
    counts = [json.loads(data) for data in target.read().data]
    assert sum(row["n"] for row in counts) == total
    assert len({(row["k"], row["window_start"]) for row in counts}) == len(counts) == 6 * 9 * 9
