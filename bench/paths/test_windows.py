# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""From JSON records of 200 bytes to closed windows, beside DuckDB over the same records.

Method: 100,000 records of telemetry (40 hosts, changing doubles, a message; about 200 bytes), time going on
by 50 µs, in batches of 8 MiB as a reader gives them. `COUNT, AVG, MAX` by host and second. DuckDB is given
the records as a table of texts, as it would get them from a stream, with one thread, and takes the three
members out of each. `windows` is the numpy part alone, over columns that were scanned before. `from a stream` is the
whole way, the corpus of native/corpus.c out of a store, beside msgspec over the same records in memory; there
the clock is processor time (`python bench/run.py --only windows` says it in events a processor second).
Limits: one core; but for the last group in memory, no stream around it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

import headrace
from headrace.analytics import Tumbling, open_query
from headrace.analytics.sources import MemorySource
from headrace.bench import windows as workload
from headrace.bench._load import Plan, corpus_keys
from headrace.bench.workloads import Options
from headrace.core._batch import RecordBatch
from headrace.core._columns import Field, scan

RECORDS = 100_000
TEXT = (
    "CREATE TABLE t (ts DOUBLE, at AS TO_TIMESTAMP_LTZ(ts, 0), host VARCHAR, cpu DOUBLE, WATERMARK FOR at AS at);"
    "SELECT host, window_start, COUNT(*) AS n, AVG(cpu) AS mean, MAX(cpu) AS peak FROM TABLE(TUMBLE(TABLE t,"
    " DESCRIPTOR(at), INTERVAL '1' SECOND)) GROUP BY host, window_start, window_end"
)


@pytest.fixture(scope="module")
def batches() -> list[RecordBatch]:
    random = Random(1)
    data = [
        json.dumps(
            {
                "ts": 1.7e9 + number / 20_000,
                "host": f"web-{random.randint(1, 40)}.example",
                "metric": "cpu.utilization",
                "cpu": random.uniform(0, 100),
                "memory": random.randint(10**8, 10**10),
                "message": f"request {random.getrandbits(48):x} took {random.randint(1, 900)} ms",
                "zone": random.choice(["eu-1a", "eu-1b"]),
            }
        ).encode()
        for number in range(RECORDS)
    ]
    step = 40_000
    return [
        RecordBatch.of(data[start : start + step], first_ordinal=start) for start in range(0, RECORDS, step)
    ]


def note(benchmark: Any, batches: list[RecordBatch]) -> None:
    benchmark.extra_info["records"] = RECORDS
    benchmark.extra_info["bytes_a_record"] = sum(int(batch.lengths.sum()) for batch in batches) / RECORDS


@pytest.mark.benchmark(group="windows from json, 100,000 records")
def test_headrace(benchmark: Any, batches: list[RecordBatch]) -> None:
    note(benchmark, batches)
    result = benchmark(lambda: open_query(TEXT, sources={"t": MemorySource(batches)}).columns())
    assert int(result["n"].sum()) == RECORDS


@pytest.mark.benchmark(group="windows from json, 100,000 records")
def test_duckdb(benchmark: Any, batches: list[RecordBatch]) -> None:
    note(benchmark, batches)
    pyarrow = pytest.importorskip("pyarrow")
    connection = duckdb.connect(":memory:", config={"threads": 1})
    records = pyarrow.table({"data": [text.decode() for batch in batches for text in batch.data]})
    connection.register("records", records)
    connection.execute("CREATE TABLE t AS SELECT data FROM records")
    query = """
        SELECT host, w, COUNT(*) AS n, AVG(cpu) AS mean, MAX(cpu) AS peak FROM (
            SELECT data->>'host' AS host, floor((data->>'ts')::DOUBLE) AS w, (data->>'cpu')::DOUBLE AS cpu FROM t
        ) GROUP BY host, w"""
    rows = benchmark(lambda: connection.execute(query).fetchall())
    assert sum(row[2] for row in rows) == RECORDS


@pytest.mark.benchmark(group="windows from columns, 100,000 rows")
def test_windows_alone(benchmark: Any, batches: list[RecordBatch]) -> None:
    fields = [Field("ts", None, "timestamp[s]"), Field("host"), Field("cpu", None, "f8")]
    scanned = [scan(batch, fields) for batch in batches]

    def run() -> int:
        windows = Tumbling(
            "1s",
            time="ts",
            by=["host"],
            aggregates={"n": "count", "mean": ("avg", "cpu"), "peak": ("max", "cpu")},
        )
        return sum(windows.push(columns).rows for columns in scanned) + windows.flush().rows

    assert benchmark(run)


@pytest.mark.benchmark(group="windows from columns, 100,000 rows")
def test_duckdb_alone(benchmark: Any, batches: list[RecordBatch]) -> None:
    fields = [Field("ts", None, "f8"), Field("host"), Field("cpu", None, "f8")]
    connection = duckdb.connect(":memory:", config={"threads": 1})
    parts = [scan(batch, fields) for batch in batches]
    columns = parts[0].concat(parts)
    connection.register("columns", columns.to_arrow())
    connection.execute("CREATE TABLE t AS SELECT ts, host::VARCHAR AS host, cpu FROM columns")
    query = "SELECT host, floor(ts) AS w, COUNT(*) AS n, AVG(cpu), MAX(cpu) FROM t GROUP BY host, w"
    rows = benchmark(lambda: connection.execute(query).fetchall())
    assert sum(row[2] for row in rows) == RECORDS


@pytest.fixture(scope="module")
def corpus() -> Plan:
    return workload.material(Options(records=RECORDS))


@pytest.fixture(scope="module")
def store(corpus: Plan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[headrace.Store]:
    directory: Path = tmp_path_factory.mktemp("windows")
    with headrace.open(directory / "store", compression=None) as opened:
        stream = opened.stream("metrics", shards=4)
        for template in range(corpus.count):
            keys = corpus_keys(Options().seed, template * corpus.records, corpus.records)
            stream.put_many(corpus.payloads(template), keys)
        yield opened


@pytest.mark.benchmark(group="windows from a stream, 100,000 records of 200 B", timer=time.process_time)
def test_from_a_stream(benchmark: Any, store: headrace.Store) -> None:
    benchmark.extra_info["records"] = RECORDS
    result = benchmark(lambda: store.sql(workload.TEXT, until="latest").columns())
    assert int(result["n"].sum()) == RECORDS


@pytest.mark.benchmark(group="windows from a stream, 100,000 records of 200 B", timer=time.process_time)
def test_msgspec_in_memory(benchmark: Any, corpus: Plan) -> None:
    benchmark.extra_info["records"] = RECORDS
    groups = benchmark(lambda: workload.expected(corpus))
    assert sum(count for count, _, _ in groups.values()) == RECORDS
