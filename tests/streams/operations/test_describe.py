# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: DescribeStream, DescribeStreamSummary, ListStreams and ListShards: what they say, page by page."""

import pytest

from headrace.core._wire import parse_sequence_number

ACCOUNT = "000000000000"
LAST = 0x7FFF_FFFF_FFFF_FFFF


def described(kinesis, name="a", **members):
    return kinesis("DescribeStream", StreamName=name, **members)["StreamDescription"]


def ids(shards):
    return [int(shard["ShardId"].removeprefix("shardId-")) for shard in shards]


def listed(kinesis, name="a", **members):
    return ids(kinesis("ListShards", StreamName=name, **members)["Shards"])


def split(kinesis, shard=0, key="100", name="a"):
    kinesis("SplitShard", StreamName=name, ShardToSplit=f"shardId-{shard:012d}", NewStartingHashKey=key)


def test_a_stream_is_described_in_full(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=2)
    half = 1 << 127
    found = described(kinesis)
    shards = found.pop("Shards")
    assert found == {
        "StreamName": "a",
        "StreamARN": f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/a",
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "HasMoreShards": False,
        "RetentionPeriodHours": 24,
        "StreamCreationTimestamp": 1_700_000_000,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
    }
    assert [shard["HashKeyRange"] for shard in shards] == [
        {"StartingHashKey": "0", "EndingHashKey": str(half - 1)},
        {"StartingHashKey": str(half), "EndingHashKey": str(2 * half - 1)},
    ]
    assert [set(shard) for shard in shards] == [{"ShardId", "HashKeyRange", "SequenceNumberRange"}] * 2
    number = shards[1]["SequenceNumberRange"].pop("StartingSequenceNumber")
    assert (len(number), number[:2]) == (56, "49")
    assert parse_sequence_number(number)[:3] == (1_700_000_000, 1, 0)


def test_a_summary_counts_open_shards(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=2)
    split(kinesis)
    found = kinesis("DescribeStreamSummary", StreamName="a")["StreamDescriptionSummary"]
    assert (found["OpenShardCount"], found["ConsumerCount"]) == (3, 0)
    assert "Shards" not in found and "RecordDistributionStrategy" not in found


def test_records_lie_between_the_sequence_numbers_of_their_shard(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=1)
    first = int(kinesis.put("a", "x")[0]["SequenceNumber"])
    split(kinesis)
    child_first = int(
        kinesis("PutRecord", StreamName="a", Data="", PartitionKey="k", ExplicitHashKey="0")["SequenceNumber"]
    )
    parent, child, _ = [shard["SequenceNumberRange"] for shard in described(kinesis)["Shards"]]
    assert int(parent["StartingSequenceNumber"]) < first < int(parent["EndingSequenceNumber"])
    assert int(child["StartingSequenceNumber"]) < child_first
    assert parse_sequence_number(parent["EndingSequenceNumber"])[:3] == (1_700_000_000, 0, LAST)
    assert parse_sequence_number(child["StartingSequenceNumber"])[0] == 1_700_000_001


def test_shards_come_in_pages(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=250)
    first = described(kinesis)
    assert (ids(first["Shards"]), first["HasMoreShards"]) == (list(range(100)), True)
    assert len(described(kinesis, Limit=10_000)["Shards"]) == 100
    last = described(kinesis, ExclusiveStartShardId="shardId-000000000199", Limit=50)
    assert (ids(last["Shards"]), last["HasMoreShards"]) == (list(range(200, 250)), False)
    beyond = described(kinesis, ExclusiveStartShardId="shardId-000000000999")
    assert (beyond["Shards"], beyond["HasMoreShards"]) == ([], False)
    assert kinesis.refused("DescribeStream", StreamName="a", ExclusiveStartShardId="nonsense") == (
        "ResourceNotFoundException",
        f"Could not find shard nonsense in stream a under account {ACCOUNT}.",
    )
    assert kinesis.refused("DescribeStream", StreamName="a", Limit=10_001)[0] == "ValidationException"


def test_streams_are_listed_by_name_in_pages(kinesis):
    names = [f"s{i:03d}" for i in range(101)]
    for name in reversed(names):
        kinesis("CreateStream", StreamName=name, ShardCount=1)
    first = kinesis("ListStreams")
    assert (first["StreamNames"], first["HasMoreStreams"]) == (names[:100], True)
    assert first["StreamSummaries"][0] == {
        "StreamName": "s000",
        "StreamARN": f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/s000",
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "StreamCreationTimestamp": 1_700_000_000,
    }
    last = kinesis("ListStreams", NextToken=first["NextToken"])
    assert (last["StreamNames"], last["HasMoreStreams"], "NextToken" in last) == (names[100:], False, False)
    after = kinesis("ListStreams", ExclusiveStartStreamName="s0985", Limit=1)
    assert (after["StreamNames"], after["HasMoreStreams"]) == (["s099"], True)
    kinesis("DeleteStream", StreamName="s099")
    assert kinesis("ListStreams", NextToken=first["NextToken"])["StreamNames"] == names[100:]
    # Paginators of clients repeat the name at which they began beside every token; the token counts.
    again = kinesis("ListStreams", NextToken=first["NextToken"], ExclusiveStartStreamName="s000")
    assert again["StreamNames"] == names[100:]


def test_page_tokens_expire_and_cannot_be_made_up(kinesis):
    for name in ("a", "b"):
        kinesis("CreateStream", StreamName=name, ShardCount=3)
    streams = kinesis("ListStreams", Limit=1)["NextToken"]
    shards = kinesis("ListShards", StreamName="a", MaxResults=1)["NextToken"]
    invalid = ("InvalidArgumentException", "NextToken is not valid.")
    assert kinesis.refused("ListStreams", NextToken="abc") == invalid
    assert kinesis.refused("ListShards", NextToken=streams) == invalid
    assert kinesis.refused("ListStreams", NextToken=shards) == invalid
    kinesis.clock.advance(300_000)
    kinesis("ListStreams", NextToken=streams)
    kinesis.clock.advance(1)
    expired = (
        "ExpiredNextTokenException",
        "NextToken expired. It was created more than 300000 milliseconds ago.",
    )
    assert kinesis.refused("ListStreams", NextToken=streams) == expired
    assert kinesis.refused("ListShards", NextToken=shards) == expired


def test_shards_are_listed_a_thousand_at_a_time(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=2_500)
    answer = kinesis("ListShards", StreamName="a", MaxResults=10_000)
    found = ids(answer["Shards"])
    while "NextToken" in answer:
        assert len(answer["Shards"]) == 1_000
        answer = kinesis("ListShards", NextToken=answer["NextToken"])
        found += ids(answer["Shards"])
    assert found == list(range(2_500))
    assert listed(kinesis, ExclusiveStartShardId="shardId-000000002497") == [2498, 2499]
    assert listed(kinesis, MaxResults=2) == [0, 1]


def test_a_page_token_names_its_stream_alone(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=3)
    token = kinesis("ListShards", StreamName="a", MaxResults=1)["NextToken"]
    for name, value in (
        ("StreamName", "a"),
        ("StreamARN", f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/a"),
        ("StreamCreationTimestamp", 1_700_000_000),
        ("ExclusiveStartShardId", "shardId-000000000000"),
        ("ShardFilter", {"Type": "AT_LATEST"}),
    ):
        assert kinesis.refused("ListShards", NextToken=token, **{name: value}) == (
            "InvalidArgumentException",
            f"NextToken and {name} cannot be provided together.",
        )
    assert kinesis.refused("ListShards") == (
        "InvalidArgumentException",
        "Either NextToken or StreamName should be provided.",
    )
    kinesis("DeleteStream", StreamName="a")
    kinesis("CreateStream", StreamName="a", ShardCount=3)
    missing = ("ResourceNotFoundException", f"Stream a under account {ACCOUNT} not found.")
    assert kinesis.refused("ListShards", NextToken=token) == missing


def test_the_time_of_creation_tells_streams_of_one_name_apart(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=1)
    assert listed(kinesis, StreamCreationTimestamp=1_700_000_000) == [0]
    assert listed(kinesis, StreamCreationTimestamp=1_700_000_000.9) == [0]
    assert kinesis.refused("ListShards", StreamName="a", StreamCreationTimestamp=1_600_000_000) == (
        "ResourceNotFoundException",
        f"Stream a with creation timestamp 1600000000 under account {ACCOUNT} not found.",
    )


@pytest.fixture
def resharded(kinesis):
    """Two shards; after an hour 0 splits into 2 and 3; after another 2 and 3 merge into 4."""
    kinesis("CreateStream", StreamName="a", ShardCount=2)
    kinesis.clock.advance(3_600_000)
    split(kinesis)
    kinesis.clock.advance(3_600_000)
    kinesis("MergeShards", StreamName="a", ShardToMerge="2", AdjacentShardToMerge="3")
    kinesis.clock.advance(3_600_000)
    return kinesis


def test_shards_name_their_parents(resharded):
    lineage = [
        (shard.get("ParentShardId", "")[-1:], shard.get("AdjacentParentShardId", "")[-1:])
        for shard in described(resharded)["Shards"]
    ]
    assert lineage == [("", ""), ("", ""), ("0", ""), ("0", ""), ("2", "3")]


def filtered(kinesis, kind, **members):
    return listed(kinesis, ShardFilter={"Type": kind, **members})


def test_filters_take_what_was_open_when(resharded):
    start = 1_700_000_000
    assert filtered(resharded, "AT_LATEST") == [1, 4]
    assert filtered(resharded, "AT_TRIM_HORIZON") == [0, 1]
    assert filtered(resharded, "FROM_TRIM_HORIZON") == [0, 1, 2, 3, 4]
    assert filtered(resharded, "AFTER_SHARD_ID", ShardId="shardId-000000000002") == [3, 4]
    assert filtered(resharded, "AT_TIMESTAMP", Timestamp=start + 1800) == [0, 1]
    assert filtered(resharded, "AT_TIMESTAMP", Timestamp=start + 5400) == [1, 2, 3]
    assert filtered(resharded, "AT_TIMESTAMP", Timestamp=start + 9000) == [1, 4]
    assert filtered(resharded, "FROM_TIMESTAMP", Timestamp=start + 5400) == [1, 2, 3, 4]
    assert filtered(resharded, "FROM_TIMESTAMP", Timestamp=start + 9000) == [1, 4]
    assert filtered(resharded, "FROM_TIMESTAMP", Timestamp=1) == [0, 1, 2, 3, 4]


def test_shards_at_any_time_cover_every_hash_key(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=4)
    created_ms = kinesis.clock.now_ms()
    for step_ms, operation, members in (
        (1_300, "UpdateShardCount", {"TargetShardCount": 3, "ScalingType": "UNIFORM_SCALING"}),
        (200, "UpdateShardCount", {"TargetShardCount": 5, "ScalingType": "UNIFORM_SCALING"}),
        (10_000, "MergeShards", {}),
        (400, "UpdateShardCount", {"TargetShardCount": 8, "ScalingType": "UNIFORM_SCALING"}),
    ):
        kinesis.clock.advance(step_ms)
        if operation == "MergeShards":
            first, second = sorted(
                (
                    s
                    for s in described(kinesis)["Shards"]
                    if "EndingSequenceNumber" not in s["SequenceNumberRange"]
                ),
                key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]),
            )[:2]
            members = {"ShardToMerge": first["ShardId"], "AdjacentShardToMerge": second["ShardId"]}
        kinesis(operation, StreamName="a", **members)
    kinesis.clock.advance(5_000)
    for at_ms in range(created_ms, kinesis.clock.now_ms(), 50):
        shards = kinesis(
            "ListShards", StreamName="a", ShardFilter={"Type": "AT_TIMESTAMP", "Timestamp": at_ms / 1000}
        )["Shards"]
        ranges = sorted(
            (int(s["HashKeyRange"]["StartingHashKey"]), int(s["HashKeyRange"]["EndingHashKey"]))
            for s in shards
        )
        assert ranges[0][0] == 0 and ranges[-1][1] == (1 << 128) - 1
        assert [start for start, _ in ranges[1:]] == [end + 1 for _, end in ranges[:-1]], at_ms


def test_a_filter_goes_on_over_pages(resharded):
    answer = resharded("ListShards", StreamName="a", MaxResults=1, ShardFilter={"Type": "AT_LATEST"})
    assert ids(answer["Shards"]) == [1]
    answer = resharded("ListShards", NextToken=answer["NextToken"])
    assert (ids(answer["Shards"]), "NextToken" in answer) == ([4], False)


def test_a_filter_needs_its_own_members_and_no_others(resharded):
    for members, message in (
        ({"Type": "AFTER_SHARD_ID"}, "ShardId must be provided in ShardFilter of type AFTER_SHARD_ID."),
        (
            {"Type": "AT_LATEST", "ShardId": "1"},
            "ShardId can be provided only in ShardFilter of type AFTER_SHARD_ID.",
        ),
        ({"Type": "AT_TIMESTAMP"}, "Timestamp must be provided in ShardFilter of type AT_TIMESTAMP."),
        (
            {"Type": "AT_LATEST", "Timestamp": 1},
            "Timestamp can be provided only in ShardFilter of type AT_TIMESTAMP or FROM_TIMESTAMP.",
        ),
    ):
        assert resharded.refused("ListShards", StreamName="a", ShardFilter=members) == (
            "InvalidArgumentException",
            message,
        )
    assert resharded.refused("ListShards", StreamName="a", ShardFilter={})[0] == "ValidationException"


def test_a_shard_is_hidden_once_its_last_record_is_past_retention(resharded):
    resharded.clock.advance(22 * 3_600_000 + 1_000)
    assert listed(resharded) == [1, 2, 3, 4]
    assert filtered(resharded, "AT_TRIM_HORIZON") == [1, 2, 3]
    resharded.clock.advance(3_600_000)
    assert listed(resharded) == [1, 4]
    assert ids(described(resharded)["Shards"]) == [1, 4]
    assert resharded.refused("GetShardIterator", StreamName="a", ShardId="0", ShardIteratorType="LATEST") == (
        "ResourceNotFoundException",
        f"Shard shardId-000000000000 in stream a under account {ACCOUNT} does not exist",
    )
