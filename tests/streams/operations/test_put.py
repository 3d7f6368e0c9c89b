# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: PutRecord and PutRecords: where records go, what is answered, every refusal. Method: at the service's
face with real lanes; each refusal by the scanned and by the decoded path where both can meet it."""

import hashlib
import json

import pytest

from headrace.core._wire import parse_sequence_number
from headrace.errors import Backpressure, StorageError

ACCOUNT = "000000000000"
FAILED = "failed to satisfy constraint:"


def shard_of(key, shards):
    """The plain model of routing over even ranges."""
    number = int.from_bytes(hashlib.md5(key.encode()).digest(), "big")
    return min(number // ((1 << 128) // shards), shards - 1)


@pytest.fixture
def four(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=4)
    return kinesis


def test_a_record_goes_to_the_shard_of_its_key(four):
    for i in range(20):
        key = f"key-{i}"
        answer = four("PutRecord", StreamName="a", Data=key.encode(), PartitionKey=key)
        assert answer["ShardId"] == f"shardId-{shard_of(key, 4):012d}"
        created_s, shard, _, arrival_s = parse_sequence_number(answer["SequenceNumber"])
        assert (created_s, shard, arrival_s) == (1_700_000_000, shard_of(key, 4), 1_700_000_000)
    kept = [text for shard in range(4) for text in four.read("a", shard)]
    assert sorted(kept) == sorted(f"key-{i}" for i in range(20))


def test_records_of_a_request_keep_their_order_in_each_shard(four):
    records = [{"Data": f"{i:03d}".encode(), "PartitionKey": f"key-{i % 7}"} for i in range(500)]
    answer = four("PutRecords", StreamName="a", Records=records)
    assert answer["FailedRecordCount"] == 0
    assert [entry["ShardId"] for entry in answer["Records"]] == [
        f"shardId-{shard_of(f'key-{i % 7}', 4):012d}" for i in range(500)
    ]
    for shard in range(4):
        kept = four.read("a", shard)
        assert kept == sorted(kept)
        numbers = [
            int(entry["SequenceNumber"])
            for entry in answer["Records"]
            if entry["ShardId"].endswith(str(shard))
        ]
        assert numbers == sorted(set(numbers)) and len(numbers) == len(kept)


def test_an_explicit_hash_key_overrides_the_key(four):
    for hash_key, shard in ((0, 0), ((1 << 126) - 1, 0), (1 << 126, 1), ((1 << 128) - 1, 3)):
        answer = four("PutRecord", StreamName="a", Data="", PartitionKey="k", ExplicitHashKey=str(hash_key))
        assert answer["ShardId"] == f"shardId-{shard:012d}"


def test_a_stream_is_put_to_by_arn(four):
    arn = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/a"
    four("PutRecord", StreamARN=arn, Data=b"x", PartitionKey="k", ExplicitHashKey="0")
    four(
        "PutRecords",
        StreamARN=arn,
        StreamName="a",
        Records=[{"Data": b"y", "PartitionKey": "k", "ExplicitHashKey": "0"}],
    )
    assert four.read("a", 0) == ["x", "y"]


def test_unusual_bodies_mean_the_same(four):
    body = '{"StreamName":"\\u0061","Data":"\\u0065A==","PartitionKey":"\\ud83d\\ude00","Other":[1],"StreamARN":null}'
    status, answer = four.raw("PutRecord", body.encode())
    assert status == 200
    shard = shard_of("\N{GRINNING FACE}", 4)
    assert json.loads(answer)["ShardId"] == f"shardId-{shard:012d}"
    assert four.read("a", shard) == ["x"]
    body = (
        '{"StreamName":"a","Records":[{"Data":"\\u0065A==","PartitionKey":"k","ExplicitHashKey":"5","X":1}]}'
    )
    status, answer = four.raw("PutRecords", body.encode())
    assert json.loads(answer)["Records"][0]["ShardId"] == "shardId-000000000000"


def test_ordering_by_an_earlier_number_is_kept(four):
    last = None
    for i in range(5):
        extra = {"SequenceNumberForOrdering": last} if last else {}
        answer = four("PutRecord", StreamName="a", Data=str(i).encode(), PartitionKey="k", **extra)
        assert last is None or int(answer["SequenceNumber"]) > int(last)
        last = answer["SequenceNumber"]
    assert four.read("a", shard_of("k", 4)) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    "number",
    [
        "0",
        "5",
        str(int("20000000000000000000000000000000000000000000000", 16)),
        str(int("20000000000000000000000000000000000000000000004", 16)),
        str(int("30000000000000000000000000000000000000000000002", 16)),
        str(int("20000000000800000000000000000000000000000000002", 16)),
        str(int(f"20000000000000000000000000000{1_700_000_002:09x}000000002", 16)),
        "9" * 129,
    ],
)
def test_an_ordering_number_that_cannot_be_is_refused(four, number):
    assert four.refused(
        "PutRecord", StreamName="a", Data="", PartitionKey="k", SequenceNumberForOrdering=number
    ) == (
        "InvalidArgumentException",
        f"ExclusiveMinimumSequenceNumber {number} used in PutRecord on stream a under account {ACCOUNT} is invalid.",
    )


def test_a_stream_that_is_not_there(kinesis):
    missing = ("ResourceNotFoundException", f"Stream b under account {ACCOUNT} not found.")
    record = {"Data": "", "PartitionKey": "k"}
    assert kinesis.refused("PutRecord", StreamName="b", **record) == missing
    assert kinesis.refused("PutRecord", StreamName="b", Other=1, **record) == missing
    assert kinesis.refused("PutRecords", StreamName="b", Records=[record]) == missing
    assert kinesis.refused("PutRecord", **record) == (
        "InvalidArgumentException",
        "Either StreamName or StreamARN should be provided.",
    )


@pytest.mark.parametrize(
    ("record", "code", "message"),
    [
        ({"PartitionKey": "k"}, "ValidationException", f"Value null at 'data' {FAILED} Member must not be null"),
        ({"Data": ""}, "ValidationException", f"Value null at 'partitionKey' {FAILED} Member must not be null"),
        (
            {"Data": "", "PartitionKey": ""},
            "ValidationException",
            "Value '' at 'partitionKey' failed to satisfy constraint: Member must have length greater than or equal to 1",
        ),
        (
            {"Data": "", "PartitionKey": "k" * 257},
            "ValidationException",
            f"Value '{'k' * 257}' at 'partitionKey' failed to satisfy constraint: "
            "Member must have length less than or equal to 256",
        ),
        (
            {"Data": "", "PartitionKey": "k", "ExplicitHashKey": "01"},
            "ValidationException",
            "Value '01' at 'explicitHashKey' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: 0|([1-9]\\d{0,38})",
        ),
    ],
)  # fmt: skip
def test_a_record_of_a_wrong_shape_is_refused(four, record, code, message):
    assert four.refused("PutRecord", StreamName="a", **record) == (
        code,
        f"1 validation error detected: {message}",
    )
    placed = message.replace("at '", "at 'records.1.member.")
    assert four.refused("PutRecords", StreamName="a", Records=[record]) == (
        code,
        f"1 validation error detected: {placed}",
    )


def test_a_hash_key_beyond_the_range_is_refused(four):
    for value in (str(1 << 128), "9" * 39):
        record = {"Data": "", "PartitionKey": "k", "ExplicitHashKey": value}
        refused = (
            "InvalidArgumentException",
            f"Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was {value}",
        )
        assert four.refused("PutRecord", StreamName="a", **record) == refused
        assert four.refused("PutRecords", StreamName="a", Records=[record]) == refused


def test_a_request_has_one_to_500_records(four):
    record = {"Data": "", "PartitionKey": "k"}
    code, message = four.refused("PutRecords", StreamName="a", Records=[])
    assert code == "ValidationException" and message.endswith(
        "Member must have length greater than or equal to 1"
    )
    code, message = four.refused("PutRecords", StreamName="a", Records=[record] * 501)
    assert code == "ValidationException" and message.endswith(
        "Member must have length less than or equal to 500"
    )
    assert message.startswith("1 validation error detected: Value '[PutRecordsRequestEntry@")
    assert len(message) < 5_000


def test_a_body_that_does_not_parse_is_refused(four):
    for operation in ("PutRecord", "PutRecords"):
        for body in (
            b"",
            b"{",
            b"[]",
            b"\xff",
            b'{"StreamName":1}',
            b'{"Data":"a","Records":[{"Data":"a"}]}',
            b"[" * 100_000,
        ):
            status, answer = four.raw(operation, body)
            assert (status, json.loads(answer)["__type"]) == (400, "SerializationException")


# --- sizes ---


@pytest.fixture
def large(kinesis):
    """A stream that takes 2 MiB a record, beside the usual one."""
    kinesis("CreateStream", StreamName="a", ShardCount=1)
    kinesis("CreateStream", StreamName="b", ShardCount=1, MaxRecordSizeInKiB=2048)
    return kinesis


@pytest.mark.parametrize("extra", [{}, {"Unusual": 1}])
@pytest.mark.parametrize(("name", "limit"), [("a", 1 << 20), ("b", 2 << 20)])
def test_data_and_key_may_fill_the_stream_s_limit_exactly(large, name, limit, extra):
    large("PutRecord", StreamName=name, Data=b"x" * (limit - 2), PartitionKey="é", **extra)
    too_much = large.refused("PutRecord", StreamName=name, Data=b"x" * (limit - 1), PartitionKey="é", **extra)
    assert too_much == (
        "InvalidArgumentException",
        f"The size of the record's data and partition key is {limit + 1} bytes; stream {name} under account "
        f"{ACCOUNT} takes records of at most {limit} bytes.",
    )
    size = limit + 1
    text = (
        f"Value 'java.nio.HeapByteBuffer[pos=0 lim={size} cap={size}]' at '{{}}' failed to satisfy constraint: "
        f"Member must have length less than or equal to {limit}"
    )
    refused = large.refused("PutRecord", StreamName=name, Data=b"x" * size, PartitionKey="k", **extra)
    assert refused == ("ValidationException", f"1 validation error detected: {text.format('data')}")
    records = [{"Data": "", "PartitionKey": "k"}, {"Data": b"x" * size, "PartitionKey": "k", **extra}]
    assert large.refused("PutRecords", StreamName=name, Records=records) == (
        "ValidationException",
        f"1 validation error detected: {text.format('records.2.member.data')}",
    )
    assert len(large.read(name)) == 1


def test_a_request_has_at_most_ten_mebibytes(large):
    record = {"Data": b"x" * (2 << 20), "PartitionKey": "k"}
    records = [dict(record, Data=b"x" * ((2 << 20) - 1)) for _ in range(5)]
    large("PutRecords", StreamName="b", Records=records)
    over = [dict(record, Data=b"x" * ((2 << 20) - 1)) for _ in range(5)] + [
        {"Data": b"x", "PartitionKey": "k"}
    ]
    assert large.refused("PutRecords", StreamName="b", Records=over) == (
        "InvalidArgumentException",
        "Records size exceeds 10 MB limit",
    )


# --- dry runs ---


def test_a_dry_run_checks_everything_and_writes_nothing(four):
    would = ("DryRunOperationException", "Request would have succeeded, but DryRun flag is set.")
    record = {"Data": b"x", "PartitionKey": "k"}
    assert four.refused("PutRecord", StreamName="a", DryRun=True, **record) == would
    assert four.refused("PutRecord", StreamName="a", DryRun=True, Unusual=1, **record) == would
    assert four.refused("PutRecords", StreamName="a", DryRun=True, Records=[dict(record)]) == would
    missing = four.refused("PutRecord", StreamName="b", DryRun=True, **record)
    assert missing[0] == "ResourceNotFoundException"
    assert [four.read("a", shard) for shard in range(4)] == [[]] * 4
    four("PutRecord", StreamName="a", DryRun=False, **record)


# --- streams that distribute by themselves ---


def test_an_auto_stream_spreads_evenly_and_needs_no_key(kinesis):
    kinesis(
        "CreateStream",
        StreamName="a",
        StreamModeDetails={"StreamMode": "ON_DEMAND"},
        RecordDistributionStrategy="AUTO",
    )
    kinesis("PutRecords", StreamName="a", Records=[{"Data": b"x", "PartitionKey": "same"} for _ in range(40)])
    kinesis("PutRecords", StreamName="a", Records=[{"Data": b"y"} for _ in range(40)])
    for _ in range(4):
        kinesis("PutRecord", StreamName="a", Data=b"z", PartitionKey="same", ExplicitHashKey="0")
        kinesis("PutRecord", StreamName="a", Data=b"z")
    assert [len(kinesis.read("a", shard)) for shard in range(4)] == [22] * 4


# --- lanes that refuse ---


class Refusing:
    """A lane that raises instead of appending."""

    def __init__(self, lane, error):
        self.lane = lane
        self.error = error

    def append(self, entries, router, ordinal):
        raise self.error

    def __getattr__(self, name):
        return getattr(self.lane, name)


def refuse(kinesis, error, *ordinals):
    stream = kinesis.streams.stream("a")
    stream._lanes = [
        Refusing(lane, error) if ordinal in ordinals else lane for ordinal, lane in enumerate(stream.lanes)
    ]


def test_a_full_lane_throttles_its_records_and_no_others(four):
    refuse(four, Backpressure("full"), 1, 3)
    records = [{"Data": str(i).encode(), "PartitionKey": f"key-{i}"} for i in range(50)]
    answer = four("PutRecords", StreamName="a", Records=records)
    shards = [shard_of(f"key-{i}", 4) for i in range(50)]
    assert answer["FailedRecordCount"] == sum(shard in (1, 3) for shard in shards) > 0
    for i, (entry, shard) in enumerate(zip(answer["Records"], shards, strict=True)):
        if shard in (1, 3):
            assert entry == {
                "ErrorCode": "ProvisionedThroughputExceededException",
                "ErrorMessage": f"Rate exceeded for shard shardId-{shard:012d} in stream a under account {ACCOUNT}.",
            }
        else:
            assert entry["ShardId"] == f"shardId-{shard:012d}", i
    assert sorted(int(text) for shard in (0, 2) for text in four.read("a", shard)) == [
        i for i, shard in enumerate(shards) if shard in (0, 2)
    ]
    assert four.streams.stream("a").records_in == 50 - answer["FailedRecordCount"]


def test_a_failed_lane_is_an_internal_failure_of_its_records(four):
    refuse(four, StorageError("lane 1 could not be written: Input/output error"), 0, 1, 2, 3)
    answer = four("PutRecords", StreamName="a", Records=[{"Data": b"", "PartitionKey": "k"}] * 3)
    assert answer == {
        "FailedRecordCount": 3,
        "Records": [{"ErrorCode": "InternalFailure", "ErrorMessage": "Internal Service Failure"}] * 3,
    }


def test_a_refused_record_is_an_error_of_the_whole_request(four):
    shard = shard_of("k", 4)
    refuse(four, Backpressure("full"), 0, 1, 2, 3)
    assert four.refused("PutRecord", StreamName="a", Data="", PartitionKey="k") == (
        "ProvisionedThroughputExceededException",
        f"Rate exceeded for shard shardId-{shard:012d} in stream a under account {ACCOUNT}.",
    )
    refuse(four, StorageError("lane 1 could not be written: Input/output error"), 0, 1, 2, 3)
    assert four.refused("PutRecord", StreamName="a", Data="", PartitionKey="k") == (
        "InternalFailure",
        "lane 1 could not be written: Input/output error",
    )


def test_a_single_lane_that_refuses_fails_every_entry(make_store):
    store = make_store(durability="disk")
    store("CreateStream", StreamName="a", ShardCount=300)
    assert len(store.streams.stream("a").lanes) == 1
    refuse(store, Backpressure("full"), 0)
    step = (1 << 128) // 300
    records = [{"Data": b"", "PartitionKey": "k", "ExplicitHashKey": str(i * step)} for i in range(300)]
    answer = store("PutRecords", StreamName="a", Records=records)
    assert answer["FailedRecordCount"] == 300
    assert {entry["ErrorCode"] for entry in answer["Records"]} == {"ProvisionedThroughputExceededException"}
    assert answer["Records"][200]["ErrorMessage"].startswith(
        "Rate exceeded for shard shardId-000000000200 in"
    )
