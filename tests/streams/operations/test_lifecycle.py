# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: CreateStream and DeleteStream, errors included, as a client sees them."""

import pytest

ACCOUNT = "000000000000"


def summary(kinesis, name):
    return kinesis("DescribeStreamSummary", StreamName=name)["StreamDescriptionSummary"]


def test_a_provisioned_stream_has_the_shards_asked_for_and_is_active(kinesis):
    assert kinesis("CreateStream", StreamName="a", ShardCount=3) is None
    found = summary(kinesis, "a")
    assert (found["OpenShardCount"], found["StreamStatus"]) == (3, "ACTIVE")
    assert found["StreamModeDetails"] == {"StreamMode": "PROVISIONED"}
    assert (found["RetentionPeriodHours"], found["MaxRecordSizeInKiB"]) == (24, 1024)


def test_an_on_demand_stream_starts_with_four_shards(kinesis):
    kinesis("CreateStream", StreamName="a", StreamModeDetails={"StreamMode": "ON_DEMAND"})
    found = summary(kinesis, "a")
    assert (found["OpenShardCount"], found["StreamModeDetails"]) == (4, {"StreamMode": "ON_DEMAND"})
    assert found["RecordDistributionStrategy"] == "USER_PARTITION_KEY"


def test_members_that_ask_for_nothing_are_accepted(kinesis):
    kinesis(
        "CreateStream",
        StreamName="a",
        ShardCount=1,
        WarmThroughputMiBps=0,
        RecordDistributionStrategy="USER_PARTITION_KEY",
        StreamModeDetails={"StreamMode": "PROVISIONED"},
    )


def test_tags_come_with_the_stream(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=1, Tags={"b": "2", "a": ""})
    assert kinesis("ListTagsForStream", StreamName="a") == {
        "Tags": [{"Key": "a", "Value": ""}, {"Key": "b", "Value": "2"}],
        "HasMoreTags": False,
    }


def test_a_stream_survives_a_restart_with_all_its_settings(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=3, Tags={"k": "v"}, MaxRecordSizeInKiB=2048)
    before = [summary(kinesis, "a"), kinesis("ListShards", StreamName="a")]
    kinesis.reopen()
    assert [summary(kinesis, "a"), kinesis("ListShards", StreamName="a")] == before
    assert summary(kinesis, "a")["MaxRecordSizeInKiB"] == 2048
    assert kinesis("ListTagsForStream", StreamName="a")["Tags"] == [{"Key": "k", "Value": "v"}]


def test_a_name_in_use_is_refused(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=1)
    assert kinesis.refused("CreateStream", StreamName="a", ShardCount=1) == (
        "ResourceInUseException",
        f"Stream a under account {ACCOUNT} already exists.",
    )


@pytest.mark.parametrize(
    ("members", "code", "message"),
    [
        (
            {},
            "ValidationException",
            "1 validation error detected: Value null at 'shardCount' failed to satisfy constraint: "
            "Member must not be null",
        ),
        (
            {"ShardCount": 0},
            "ValidationException",
            "1 validation error detected: Value '0' at 'shardCount' failed to satisfy constraint: "
            "Member must have value greater than or equal to 1",
        ),
        (
            {"ShardCount": 10_001},
            "LimitExceededException",
            f"This request would exceed the shard limit for the account {ACCOUNT} in us-east-1. "
            "Current shard count for the stream: 0. Limit: 10000. "
            "Number of additional shards that would have resulted from this request: 10001.",
        ),
        (
            {"ShardCount": 1, "WarmThroughputMiBps": 5},
            "InvalidArgumentException",
            "WarmThroughputMiBps is not supported: every stream takes what the machine does.",
        ),
        (
            {"ShardCount": 1, "StreamModeDetails": {"StreamMode": "ON_DEMAND"}},
            "InvalidArgumentException",
            "ShardCount cannot be specified for a stream in ON_DEMAND mode.",
        ),
        (
            {"ShardCount": 1, "RecordDistributionStrategy": "AUTO"},
            "InvalidArgumentException",
            "RecordDistributionStrategy AUTO is supported only for streams in ON_DEMAND mode.",
        ),
        (
            {"ShardCount": 1, "StreamModeDetails": {}},
            "ValidationException",
            "1 validation error detected: Value null at 'streamModeDetails.streamMode' failed to satisfy "
            "constraint: Member must not be null",
        ),
        (
            {"ShardCount": 1, "MaxRecordSizeInKiB": 1},
            "ValidationException",
            "1 validation error detected: Value '1' at 'maxRecordSizeInKiB' failed to satisfy constraint: "
            "Member must have value greater than or equal to 1024",
        ),
        (
            {"ShardCount": 1, "Tags": {str(i): "" for i in range(51)}},
            "InvalidArgumentException",
            f"Failed to add tags to stream a under account {ACCOUNT} because a given stream cannot have more "
            "than 50 tags associated with it.",
        ),
        (
            {"ShardCount": "1"},
            "SerializationException",
            "class java.lang.String can not be converted to an Integer",
        ),
    ],
)
def test_a_wrong_create_is_refused_and_makes_nothing(kinesis, members, code, message):
    assert kinesis.refused("CreateStream", StreamName="a", **members) == (code, message)
    assert kinesis("ListStreams")["StreamNames"] == []


def test_names_are_held_to_the_pattern(kinesis):
    code, message = kinesis.refused("CreateStream", StreamName="$inner", ShardCount=1)
    assert code == "ValidationException"
    assert message.endswith("Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+")


def test_a_deleted_stream_is_gone_with_its_records(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=1)
    kinesis.put("a", "one")
    iterator = kinesis.iterator("a")
    assert kinesis("DeleteStream", StreamName="a", EnforceConsumerDeletion=True) is None
    gone = ("ResourceNotFoundException", f"Stream a under account {ACCOUNT} not found.")
    assert kinesis.refused("DescribeStream", StreamName="a") == gone
    assert kinesis.refused("DeleteStream", StreamName="a") == gone
    assert kinesis.refused("PutRecord", StreamName="a", Data=b"", PartitionKey="k") == gone
    no_shard = f"Shard shardId-000000000000 in stream a under account {ACCOUNT} does not exist"
    assert kinesis.refused("GetRecords", ShardIterator=iterator) == ("ResourceNotFoundException", no_shard)
    kinesis("CreateStream", StreamName="a", ShardCount=1)
    assert kinesis.read("a") == []
    assert kinesis.refused("GetRecords", ShardIterator=iterator) == ("ResourceNotFoundException", no_shard)


def test_a_deletion_that_was_cut_short_is_finished_at_the_next_opening(kinesis, monkeypatch):
    kinesis("CreateStream", StreamName="a", ShardCount=1)
    kinesis.put("a", "one")
    lane = kinesis.streams.stream("a").lanes[0]

    def die(number):
        raise RuntimeError("killed here")

    monkeypatch.setattr(kinesis.log, "delete_lane", die)
    with pytest.raises(RuntimeError):
        kinesis("DeleteStream", StreamName="a")
    kinesis.reopen()
    assert kinesis("ListStreams")["StreamNames"] == []
    assert not lane.directory.exists()
    assert kinesis.log.catalogue.items("dropped") == []


def test_a_stream_is_addressed_by_name_arn_or_both(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=1)
    kinesis("CreateStream", StreamName="b", ShardCount=1)
    arn = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/a"
    for address in ({"StreamName": "a"}, {"StreamARN": arn}, {"StreamName": "a", "StreamARN": arn}):
        found = kinesis("DescribeStreamSummary", **address)["StreamDescriptionSummary"]
        assert (found["StreamName"], found["StreamARN"]) == ("a", arn)
    assert kinesis.refused("DescribeStream", StreamName="b", StreamARN=arn) == (
        "InvalidArgumentException",
        f"StreamName b and StreamARN {arn} do not name the same stream.",
    )
    assert kinesis.refused("DescribeStream") == (
        "InvalidArgumentException",
        "Either StreamName or StreamARN should be provided.",
    )
    other = "arn:aws:kinesis:eu-west-1:123456789012:stream/a"
    assert kinesis.refused("DescribeStream", StreamARN=other) == (
        "ResourceNotFoundException",
        "Stream a under account 123456789012 not found.",
    )
    assert kinesis.refused("DescribeStream", StreamARN=arn + "/consumer/c:1") == (
        "InvalidArgumentException",
        f"{arn}/consumer/c:1 is not the ARN of a stream.",
    )
    assert kinesis.refused("DescribeStream", StreamName="a", StreamId="abcdefghijklmnopqrst-abc") == (
        "InvalidArgumentException",
        "StreamId is not supported. Use StreamARN or StreamName.",
    )


def test_streams_of_headrace_itself_cannot_be_addressed(kinesis):
    kinesis.streams.create("$buffer", internal=True)
    arn = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/$buffer"
    missing = ("ResourceNotFoundException", f"Stream $buffer under account {ACCOUNT} not found.")
    assert kinesis.refused("DescribeStream", StreamARN=arn) == missing
    assert kinesis.refused("PutRecord", StreamARN=arn, Data=b"", PartitionKey="k") == missing
    assert kinesis.refused("DescribeStream", StreamName="$buffer")[0] == "ValidationException"
    assert kinesis("ListStreams")["StreamNames"] == []
