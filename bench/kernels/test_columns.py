# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Three columns of telemetry records at each level, beside msgspec, pyarrow and DuckDB over the same bytes.

The others are given what suits them: msgspec a typed Struct of the three members (and no columns are built from
its objects), pyarrow and DuckDB the records already joined by line feeds or held in an Arrow array, a schema,
and one thread each, as ours has.
"""

import json
import random

import duckdb
import msgspec
import pyarrow
import pyarrow.json
import pytest

from headrace.core._batch import RecordBatch
from headrace.core._columns import Field, scan, simd_levels
from headrace.core._rows import rows_as_json

COUNT = 20_000
FIELDS = [Field("ts", type="timestamp[s]"), Field("host"), Field("value", type="f8")]
METRICS = ["cpu.user", "cpu.system", "memory.used", "disk.read", "net.received"]


def telemetry(digits):
    """Records of about 200 bytes; values have so many decimals."""
    rng = random.Random(1)
    for i in range(COUNT):
        record = {
            "ts": round(1763950000 + i / 1000, 3),
            "host": f"web-{rng.randrange(200)}",
            "metric": rng.choice(METRICS),
            "value": round(rng.random() * 100, digits),
            "region": "eu-west-1",
            "message": f"request {rng.randrange(10**9)} served in {rng.randrange(1000)} ms by worker "
            f"{rng.randrange(64)} of the pool without errors",
        }
        yield json.dumps(record, separators=(",", ":")).encode()


@pytest.fixture(scope="module", params=[2, 15], ids=["short numbers", "long numbers"])
def records(request):
    return request.param, list(telemetry(request.param))


def grouped(benchmark, records):
    digits, rows = records
    benchmark.group = f"columns: {COUNT} records, values of {digits} decimals"
    benchmark.extra_info["bytes"] = sum(map(len, rows))
    benchmark.extra_info["records"] = len(rows)
    return rows


@pytest.mark.parametrize("simd", simd_levels())
def test_scan(benchmark, records, simd):
    batch = RecordBatch.of(grouped(benchmark, records))
    columns = benchmark(lambda: scan(batch, FIELDS, simd=simd))
    assert len(columns.errors) == 0 and columns.valid["value"].all()


class Sample(msgspec.Struct):
    """What msgspec is to take out of a record."""

    ts: float
    host: str
    value: float


def test_scan_msgspec(benchmark, records):
    rows = grouped(benchmark, records)
    decode = msgspec.json.Decoder(Sample).decode
    benchmark(lambda: [decode(row) for row in rows])


def test_scan_pyarrow(benchmark, records):
    data = b"\n".join(grouped(benchmark, records))
    schema = pyarrow.schema({"ts": pyarrow.float64(), "host": pyarrow.string(), "value": pyarrow.float64()})
    parse = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    read = pyarrow.json.ReadOptions(use_threads=False, block_size=len(data) + 1)
    benchmark(lambda: pyarrow.json.read_json(pyarrow.BufferReader(data), read, parse))


def test_scan_duckdb(benchmark, records):
    rows = grouped(benchmark, records)
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register(
            "source", pyarrow.table({"data": pyarrow.array(rows, pyarrow.binary()).cast("string")})
        )
        connection.execute("create table records as select data::json as data from source")
        query = """select (data->>'ts')::double, data->>'host', (data->>'value')::double from records"""
        benchmark(lambda: connection.sql(query).to_arrow_table())


# --- the other way: rows of a table as JSON ---


@pytest.fixture(scope="module")
def table():
    return RecordBatch.of(list(telemetry(15))).columns("ts", "host", "metric", "value", "message").to_polars()


def test_rows_as_json(benchmark, table):
    benchmark.group = f"rows as JSON: {COUNT} rows of 5 columns"
    benchmark(lambda: rows_as_json(table))


def test_rows_as_json_polars(benchmark, table):
    benchmark.group = f"rows as JSON: {COUNT} rows of 5 columns"
    benchmark(lambda: table.write_ndjson(None))


def test_rows_as_json_msgspec(benchmark, table):
    benchmark.group = f"rows as JSON: {COUNT} rows of 5 columns"
    encode = msgspec.json.Encoder().encode
    benchmark(lambda: [encode(row) for row in table.iter_rows(named=True)])
