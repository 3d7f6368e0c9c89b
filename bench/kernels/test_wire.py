# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Requests of 500 records to entries, and answers of 500 records to JSON, beside what Python libraries do.

The references do less: they stop at Python lists of (data, key), make no entries and check no limits.
Divide a mean by 500 for the cost of a record.
"""

import base64
import binascii
import json
import random

import msgspec
import pytest

from headrace.core._batch import RecordBatch
from headrace.core._entries import Router
from headrace.core._records_answer import RecordsAnswer
from headrace.core._wire import LEVELS, PutScan, put_records_answer, sequence_number

COUNT = 500
SIZES = [100, 1024]


class Entry(msgspec.Struct):
    Data: str
    PartitionKey: str
    ExplicitHashKey: str | None = None


class PutRecords(msgspec.Struct):
    Records: list[Entry]
    StreamName: str | None = None


def payloads(size):
    seeded = random.Random(size)
    return [(seeded.randbytes(size), seeded.randbytes(16).hex()) for _ in range(COUNT)]


@pytest.fixture(params=SIZES)
def request_body(request):
    records = [
        {"Data": base64.b64encode(data).decode(), "PartitionKey": key}
        for data, key in payloads(request.param)
    ]
    return request.param, json.dumps({"StreamName": "metrics", "Records": records}).encode()


def router():
    return Router([(0, (1 << 128) - 1, 0, 0, 1_700_000_000)])


@pytest.mark.parametrize("simd", LEVELS)
def test_scan_put_records(benchmark, request_body, simd):
    size, body = request_body
    benchmark.group = f"scan PutRecords {COUNT} x {size} B"
    scanner = PutScan(simd=simd)
    assert benchmark(scanner.scan_put_records, body)


def test_scan_put_records_msgspec(benchmark, request_body):
    size, body = request_body
    benchmark.group = f"scan PutRecords {COUNT} x {size} B"
    decoder = msgspec.json.Decoder(PutRecords)

    def read():
        return [
            (binascii.a2b_base64(record.Data, strict_mode=True), record.PartitionKey)
            for record in decoder.decode(body).Records
        ]

    assert len(benchmark(read)) == COUNT


def test_scan_put_records_json(benchmark, request_body):
    size, body = request_body
    benchmark.group = f"scan PutRecords {COUNT} x {size} B"

    def read():
        return [
            (base64.b64decode(record["Data"]), record["PartitionKey"])
            for record in json.loads(body)["Records"]
        ]

    assert len(benchmark(read)) == COUNT


def test_put_records_answer(benchmark, request_body):
    benchmark.group = f"answer PutRecords {COUNT}"
    scanner, routes = PutScan(), router()
    assert scanner.scan_put_records(request_body[1])
    routes.route(scanner.entries)
    assert len(json.loads(benchmark(put_records_answer, scanner.entries, routes))["Records"]) == COUNT


def test_put_records_answer_msgspec(benchmark):
    benchmark.group = f"answer PutRecords {COUNT}"

    def write():
        records = [
            {"SequenceNumber": sequence_number(1_700_000_000, 0, i, 0), "ShardId": "shardId-000000000000"}
            for i in range(COUNT)
        ]
        return msgspec.json.encode({"FailedRecordCount": 0, "Records": records})

    assert len(json.loads(benchmark(write))["Records"]) == COUNT


@pytest.mark.parametrize("simd", LEVELS)
@pytest.mark.parametrize("size", SIZES)
def test_get_records_answer(benchmark, size, simd):
    benchmark.group = f"answer GetRecords {COUNT} x {size} B"
    rows = payloads(size)
    batch = RecordBatch.of([row[0] for row in rows], [row[1] for row in rows], 0, 0, 1_700_000_000_123)

    def write():
        answer = RecordsAnswer(0, 1_700_000_000, simd=simd)
        answer.add(batch)
        return answer.finish(0, "A" * 224)

    body = bytes(benchmark(write))
    assert len(json.loads(body)["Records"]) == COUNT


@pytest.mark.parametrize("size", SIZES)
def test_get_records_answer_msgspec(benchmark, size):
    benchmark.group = f"answer GetRecords {COUNT} x {size} B"
    rows = payloads(size)

    def write():
        records = [
            {
                "SequenceNumber": sequence_number(1_700_000_000, 0, i, 0),
                "ApproximateArrivalTimestamp": 1_700_000_000.123,
                "Data": data,
                "PartitionKey": key,
            }
            for i, (data, key) in enumerate(rows)
        ]
        return msgspec.json.encode(
            {"Records": records, "NextShardIterator": "A" * 224, "MillisBehindLatest": 0}
        )

    assert len(json.loads(benchmark(write))["Records"]) == COUNT
