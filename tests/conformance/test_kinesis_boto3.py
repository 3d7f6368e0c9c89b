# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: boto3 uses Data Streams unchanged, each operation and its errors. Method: a server in its own process;
errors that boto3 would catch itself are sent with its parameter checks off."""

import datetime
import itertools

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

ACCOUNT = "000000000000"
END = (1 << 128) - 1
_names = itertools.count()


def client_of(url, **options):
    return boto3.client(
        "kinesis",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, **options),
    )


@pytest.fixture
def kinesis(endpoint):
    client = client_of(endpoint)
    yield client
    client.close()


@pytest.fixture
def unchecked(endpoint):
    """A client that sends what it is given."""
    client = client_of(endpoint, parameter_validation=False)
    yield client
    client.close()


@pytest.fixture
def name():
    return f"stream-{next(_names)}"


@pytest.fixture
def stream(kinesis, name):
    """A stream of two shards."""
    kinesis.create_stream(StreamName=name, ShardCount=2)
    kinesis.get_waiter("stream_exists").wait(StreamName=name)
    yield name
    try:
        kinesis.delete_stream(StreamName=name)
    except kinesis.exceptions.ResourceNotFoundException:
        pass


def refused(call, **members):
    """(code, message) of a request that must fail with status 400."""
    with pytest.raises(ClientError) as caught:
        call(**members)
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return response["Error"]["Code"], response["Error"]["Message"]


def arn_of(name):
    return f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/{name}"


def missing(name):
    return "ResourceNotFoundException", f"Stream {name} under account {ACCOUNT} not found."


def read(kinesis, name, shard="shardId-000000000000", kind="TRIM_HORIZON", **start):
    iterator = kinesis.get_shard_iterator(StreamName=name, ShardId=shard, ShardIteratorType=kind, **start)
    return kinesis.get_records(ShardIterator=iterator["ShardIterator"])


# --- a stream's life ---


def test_create_and_delete(kinesis, unchecked, name):
    kinesis.create_stream(StreamName=name, ShardCount=1, Tags={"k": "v"}, MaxRecordSizeInKiB=2048)
    kinesis.get_waiter("stream_exists").wait(StreamName=name)
    assert refused(kinesis.create_stream, StreamName=name, ShardCount=1) == (
        "ResourceInUseException",
        f"Stream {name} under account {ACCOUNT} already exists.",
    )
    kinesis.delete_stream(StreamName=name, EnforceConsumerDeletion=True)
    kinesis.get_waiter("stream_not_exists").wait(StreamName=name)
    assert refused(kinesis.delete_stream, StreamName=name) == missing(name)
    assert refused(unchecked.create_stream, StreamName="a b", ShardCount=1) == (
        "ValidationException",
        "1 validation error detected: Value 'a b' at 'streamName' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+",
    )
    assert refused(kinesis.create_stream, StreamName=name)[0] == "ValidationException"
    assert refused(kinesis.create_stream, StreamName=name, ShardCount=10_001)[0] == "LimitExceededException"


def test_on_demand(kinesis, name):
    kinesis.create_stream(StreamName=name, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    assert (summary["OpenShardCount"], summary["StreamModeDetails"]) == (4, {"StreamMode": "ON_DEMAND"})
    assert refused(
        kinesis.update_shard_count, StreamName=name, TargetShardCount=2, ScalingType="UNIFORM_SCALING"
    )[0] == ("ValidationException")
    kinesis.delete_stream(StreamName=name)


# --- what is there ---


def test_describe(kinesis, unchecked, stream):
    found = kinesis.describe_stream(StreamName=stream)["StreamDescription"]
    assert (found["StreamName"], found["StreamARN"], found["StreamStatus"]) == (
        stream,
        arn_of(stream),
        "ACTIVE",
    )
    age = datetime.datetime.now(datetime.UTC) - found["StreamCreationTimestamp"]
    assert datetime.timedelta(0) <= age < datetime.timedelta(minutes=5)
    assert [shard["ShardId"] for shard in found["Shards"]] == ["shardId-000000000000", "shardId-000000000001"]
    assert found["Shards"][1]["HashKeyRange"]["EndingHashKey"] == str(END)
    page = kinesis.describe_stream(StreamARN=arn_of(stream), Limit=1)["StreamDescription"]
    assert (len(page["Shards"]), page["HasMoreShards"]) == (1, True)
    pages = kinesis.get_paginator("describe_stream").paginate(
        StreamName=stream, PaginationConfig={"PageSize": 1}
    )
    assert [len(page["StreamDescription"]["Shards"]) for page in pages] == [1, 1]
    summary = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    assert (summary["OpenShardCount"], summary["MaxRecordSizeInKiB"]) == (2, 1024)
    for call in (kinesis.describe_stream, kinesis.describe_stream_summary):
        assert refused(call, StreamName="nowhere") == missing("nowhere")
        assert refused(call)[0] == "InvalidArgumentException"
    assert refused(unchecked.describe_stream, StreamName=1) == (
        "SerializationException",
        "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to an String",
    )


def test_list_streams(kinesis, unchecked, stream):
    for i in range(3):
        kinesis.create_stream(StreamName=f"{stream}-{i}", ShardCount=1)
    pages = list(kinesis.get_paginator("list_streams").paginate(PaginationConfig={"PageSize": 2}))
    names = [name for page in pages for name in page["StreamNames"]]
    assert names == sorted(names) and {f"{stream}-{i}" for i in range(3)} <= set(names)
    assert [s["StreamName"] for page in pages for s in page["StreamSummaries"]] == names
    after = kinesis.list_streams(ExclusiveStartStreamName=f"{stream}-1", Limit=1)
    assert after["StreamNames"] == [f"{stream}-2"]
    pages = kinesis.get_paginator("list_streams").paginate(
        ExclusiveStartStreamName=stream, PaginationConfig={"PageSize": 1, "MaxItems": 3}
    )
    assert [name for page in pages for name in page["StreamNames"]] == [f"{stream}-{i}" for i in range(3)]
    assert refused(kinesis.list_streams, NextToken="made-up")[0] == "InvalidArgumentException"
    assert refused(unchecked.list_streams, Limit=0)[0] == "ValidationException"
    for i in range(3):
        kinesis.delete_stream(StreamName=f"{stream}-{i}")


def test_list_shards(kinesis, stream):
    # boto3's own paginator repeats StreamName beside NextToken, which the real service refuses too.
    page = kinesis.list_shards(StreamName=stream, MaxResults=1)
    last = kinesis.list_shards(NextToken=page["NextToken"])
    assert [shard["ShardId"][-1] for shard in page["Shards"] + last["Shards"]] == ["0", "1"]
    assert "NextToken" not in last
    open_now = kinesis.list_shards(StreamARN=arn_of(stream), ShardFilter={"Type": "AT_LATEST"})
    assert len(open_now["Shards"]) == 2
    created = kinesis.describe_stream(StreamName=stream)["StreamDescription"]["StreamCreationTimestamp"]
    assert len(kinesis.list_shards(StreamName=stream, StreamCreationTimestamp=created)["Shards"]) == 2
    token = kinesis.list_shards(StreamName=stream, MaxResults=1)["NextToken"]
    assert refused(kinesis.list_shards, StreamName=stream, NextToken=token) == (
        "InvalidArgumentException",
        "NextToken and StreamName cannot be provided together.",
    )
    assert refused(kinesis.list_shards, StreamName="nowhere") == missing("nowhere")
    assert refused(kinesis.list_shards, StreamName=stream, ShardFilter={"Type": "AT_TIMESTAMP"})[0] == (
        "InvalidArgumentException"
    )


# --- records ---


def test_put_record_and_read_it_back(kinesis, unchecked, stream):
    data = bytes(range(256))
    answer = kinesis.put_record(StreamName=stream, Data=data, PartitionKey="clé", ExplicitHashKey="0")
    assert answer["ShardId"] == "shardId-000000000000"
    second = kinesis.put_record(
        StreamARN=arn_of(stream),
        Data=b"",
        PartitionKey="k",
        ExplicitHashKey="0",
        SequenceNumberForOrdering=answer["SequenceNumber"],
    )
    assert int(second["SequenceNumber"]) > int(answer["SequenceNumber"])
    found = read(kinesis, stream)
    assert [record["Data"] for record in found["Records"]] == [data, b""]
    first = found["Records"][0]
    assert (first["PartitionKey"], first["SequenceNumber"]) == ("clé", answer["SequenceNumber"])
    age = datetime.datetime.now(datetime.UTC) - first["ApproximateArrivalTimestamp"]
    assert datetime.timedelta(0) <= age < datetime.timedelta(minutes=5)
    assert found["MillisBehindLatest"] == 0
    record = {"Data": b"x", "PartitionKey": "k"}
    assert refused(kinesis.put_record, StreamName="nowhere", **record) == missing("nowhere")
    assert refused(kinesis.put_record, StreamName=stream, ExplicitHashKey=str(END + 1), **record) == (
        "InvalidArgumentException",
        "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. "
        f"Specified value was {END + 1}",
    )
    assert (
        refused(kinesis.put_record, StreamName=stream, DryRun=True, **record)[0] == "DryRunOperationException"
    )
    assert refused(kinesis.put_record, StreamName=stream, SequenceNumberForOrdering="5", **record)[0] == (
        "InvalidArgumentException"
    )
    assert refused(kinesis.put_record, StreamName=stream, Data=b"x" * 1_048_577, PartitionKey="k") == (
        "ValidationException",
        "1 validation error detected: Value 'java.nio.HeapByteBuffer[pos=0 lim=1048577 cap=1048577]' at 'data' "
        "failed to satisfy constraint: Member must have length less than or equal to 1048576",
    )
    assert refused(unchecked.put_record, StreamName=stream, Data=b"x")[0] == "ValidationException"
    assert len(read(kinesis, stream)["Records"]) == 2


def test_put_records(kinesis, unchecked, stream):
    records = [{"Data": b"%d" % i, "PartitionKey": f"key-{i}"} for i in range(500)]
    answer = kinesis.put_records(StreamName=stream, Records=records)
    assert (answer["FailedRecordCount"], len(answer["Records"])) == (0, 500)
    found = {}
    for shard in ("shardId-000000000000", "shardId-000000000001"):
        numbers = [int(entry["SequenceNumber"]) for entry in answer["Records"] if entry["ShardId"] == shard]
        kept = read(kinesis, stream, shard)["Records"]
        assert [int(record["SequenceNumber"]) for record in kept] == numbers == sorted(numbers)
        found.update((int(record["Data"]), record["PartitionKey"]) for record in kept)
    assert found == {i: f"key-{i}" for i in range(500)}
    assert refused(unchecked.put_records, StreamName=stream, Records=[])[0] == "ValidationException"
    assert refused(unchecked.put_records, StreamName=stream, Records=records * 2)[0] == "ValidationException"
    assert refused(kinesis.put_records, StreamName="nowhere", Records=records) == missing("nowhere")
    dry = refused(kinesis.put_records, StreamName=stream, Records=records[:1], DryRun=True)
    assert dry[0] == "DryRunOperationException"


def test_get_shard_iterator_of_every_type(kinesis, unchecked, stream):
    numbers = [
        kinesis.put_record(StreamName=stream, Data=b"%d" % i, PartitionKey="k", ExplicitHashKey="0")[
            "SequenceNumber"
        ]
        for i in range(5)
    ]
    first = read(kinesis, stream)["Records"][0]["ApproximateArrivalTimestamp"]

    def data(**start):
        return b"".join(record["Data"] for record in read(kinesis, stream, **start)["Records"])

    assert data() == b"01234"
    assert data(kind="LATEST") == b""
    assert data(kind="AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[3]) == b"34"
    assert data(kind="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[3]) == b"4"
    assert data(kind="AT_TIMESTAMP", Timestamp=first) == b"01234"
    place = {"StreamName": stream, "ShardId": "shardId-000000000000"}
    call = kinesis.get_shard_iterator
    for members, code in (
        ({"ShardIteratorType": "AT_SEQUENCE_NUMBER"}, "InvalidArgumentException"),
        (
            {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "1"},
            "InvalidArgumentException",
        ),
        ({"ShardIteratorType": "AT_TIMESTAMP"}, "InvalidArgumentException"),
        ({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 4_000_000_000}, "InvalidArgumentException"),
        ({"ShardIteratorType": "LATEST", "ShardId": "shardId-000000000009"}, "ResourceNotFoundException"),
        ({"ShardIteratorType": "LATEST", "DryRun": True}, "DryRunOperationException"),
        ({"ShardIteratorType": "SIDEWAYS"}, "ValidationException"),
    ):
        assert refused(call, **{**place, **members})[0] == code, members


def test_get_records_errors_and_iterators_that_outlive_the_server(kinesis, unchecked, server, name):
    stream = name
    kinesis.create_stream(StreamName=stream, ShardCount=1)
    kinesis.put_record(StreamName=stream, Data=b"kept", PartitionKey="k", ExplicitHashKey="0")
    place = {"StreamName": stream, "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"}
    iterator = kinesis.get_shard_iterator(**place)["ShardIterator"]
    assert refused(kinesis.get_records, ShardIterator="abc") == (
        "InvalidArgumentException",
        "Invalid ShardIterator.",
    )
    assert refused(kinesis.get_records, ShardIterator=iterator, DryRun=True)[0] == "DryRunOperationException"
    assert refused(unchecked.get_records, ShardIterator=iterator, Limit=10_001)[0] == "ValidationException"
    for how in ("stop", "kill"):
        server.restart(how)
        again = client_of(server.url)
        assert [record["Data"] for record in again.get_records(ShardIterator=iterator)["Records"]] == [
            b"kept"
        ]
        again.close()


# --- shards ---


def test_split_merge_and_scale(kinesis, stream):
    kinesis.put_record(StreamName=stream, Data=b"parent", PartitionKey="k", ExplicitHashKey="0")
    kinesis.split_shard(StreamName=stream, ShardToSplit="shardId-000000000000", NewStartingHashKey="1000")
    found = read(kinesis, stream)
    assert [record["Data"] for record in found["Records"]] == [b"parent"]
    assert found.get("NextShardIterator") is None
    assert [child["ShardId"][-1] for child in found["ChildShards"]] == ["2", "3"]
    kinesis.merge_shards(
        StreamName=stream, ShardToMerge="shardId-000000000002", AdjacentShardToMerge="shardId-000000000003"
    )
    shards = kinesis.list_shards(StreamName=stream)["Shards"]
    assert (shards[4]["ParentShardId"][-1], shards[4]["AdjacentParentShardId"][-1]) == ("2", "3")
    assert "EndingSequenceNumber" in shards[0]["SequenceNumberRange"]
    answer = kinesis.update_shard_count(StreamName=stream, TargetShardCount=4, ScalingType="UNIFORM_SCALING")
    assert (answer["CurrentShardCount"], answer["TargetShardCount"]) == (2, 4)
    assert refused(kinesis.split_shard, StreamName=stream, ShardToSplit="0", NewStartingHashKey="5") == (
        "InvalidArgumentException",
        f"Shard shardId-000000000000 in stream {stream} under account {ACCOUNT} has already been merged or split, "
        "and thus is not eligible for merging or splitting.",
    )
    assert refused(kinesis.merge_shards, StreamName=stream, ShardToMerge="5", AdjacentShardToMerge="7")[
        0
    ] == ("InvalidArgumentException")
    scale = {"StreamName": stream, "ScalingType": "UNIFORM_SCALING"}
    assert refused(kinesis.update_shard_count, TargetShardCount=9, **scale) == (
        "LimitExceededException",
        "UpdateShardCount cannot scale up over double your current open shard count. "
        "Current open shard count: 4, Target shard count: 9",
    )


# --- retention and tags ---


def test_retention(kinesis, stream):
    kinesis.increase_stream_retention_period(StreamName=stream, RetentionPeriodHours=48)
    kinesis.decrease_stream_retention_period(StreamName=stream, RetentionPeriodHours=25)
    summary = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    assert summary["RetentionPeriodHours"] == 25
    assert refused(kinesis.increase_stream_retention_period, StreamName=stream, RetentionPeriodHours=24) == (
        "InvalidArgumentException",
        f"Requested retention period (24 hours) for stream {stream} can not be shorter than existing retention "
        "period (25 hours). Use DecreaseRetentionPeriod API.",
    )
    assert refused(kinesis.decrease_stream_retention_period, StreamName=stream, RetentionPeriodHours=23) == (
        "InvalidArgumentException",
        "Minimum allowed retention period is 24 hours. Requested retention period (23 hours) is too short.",
    )


def test_tags(kinesis, stream):
    kinesis.add_tags_to_stream(StreamName=stream, Tags={"a": "1", "b": "2"})
    kinesis.tag_resource(ResourceARN=arn_of(stream), Tags={"c": "3"})
    listed = kinesis.list_tags_for_stream(StreamName=stream, Limit=2)
    assert (listed["Tags"], listed["HasMoreTags"]) == (
        [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}],
        True,
    )
    kinesis.remove_tags_from_stream(StreamName=stream, TagKeys=["a"])
    kinesis.untag_resource(ResourceARN=arn_of(stream), TagKeys=["b"])
    assert kinesis.list_tags_for_resource(ResourceARN=arn_of(stream))["Tags"] == [{"Key": "c", "Value": "3"}]
    for call, members in (
        (kinesis.tag_resource, {"Tags": {"k": "v"}}),
        (kinesis.untag_resource, {"TagKeys": ["k"]}),
        (kinesis.list_tags_for_resource, {}),
    ):
        assert refused(call, ResourceARN=arn_of("nowhere"), **members) == missing("nowhere")
    assert refused(kinesis.add_tags_to_stream, StreamName=stream, Tags={"a*": ""})[0] == (
        "InvalidArgumentException"
    )
    assert refused(kinesis.remove_tags_from_stream, StreamName="nowhere", TagKeys=["k"]) == missing("nowhere")
    assert refused(kinesis.list_tags_for_stream, StreamName="nowhere") == missing("nowhere")


def test_what_is_not_built_is_refused_by_name(kinesis, stream):
    assert refused(kinesis.describe_limits) == (
        "UnknownOperationException",
        "DescribeLimits is not an operation of this version of headrace.",
    )
