# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: SplitShard, MergeShards and UpdateShardCount as a client sees them, every refusal included."""

import json
from base64 import b64encode

import pytest

ACCOUNT = "000000000000"
END = (1 << 128) - 1


@pytest.fixture
def three(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=3)
    return kinesis


def ranges(kinesis):
    """(first, last) of each open shard by id."""
    return {
        int(shard["ShardId"][8:]): tuple(
            int(shard["HashKeyRange"][f"{end}HashKey"]) for end in ("Starting", "Ending")
        )
        for shard in kinesis("ListShards", StreamName="a", ShardFilter={"Type": "AT_LATEST"})["Shards"]
    }


def split(shard, key, name="a"):
    return {"StreamName": name, "ShardToSplit": shard, "NewStartingHashKey": str(key)}


def merge(shard, adjacent, name="a"):
    return {"StreamName": name, "ShardToMerge": shard, "AdjacentShardToMerge": adjacent}


def scale(target, name="a"):
    return {"StreamName": name, "TargetShardCount": target, "ScalingType": "UNIFORM_SCALING"}


def test_a_split_puts_two_shards_in_the_place_of_one(three):
    step = (1 << 128) // 3
    assert three("SplitShard", **split("shardId-000000000001", step + 5)) is None
    assert ranges(three) == {
        0: (0, step - 1),
        2: (2 * step, END),
        3: (step, step + 4),
        4: (step + 5, 2 * step - 1),
    }
    record = {"StreamName": "a", "Data": "", "PartitionKey": "k"}
    for key, shard in ((step - 1, 0), (step + 4, 3), (step + 5, 4), (2 * step, 2)):
        assert three("PutRecord", ExplicitHashKey=str(key), **record)["ShardId"] == f"shardId-{shard:012d}"


def test_a_merge_puts_one_shard_in_the_place_of_two(three):
    step = (1 << 128) // 3
    assert three("MergeShards", **merge("any-1", "2")) is None
    assert ranges(three) == {0: (0, step - 1), 3: (step, END)}


def test_the_narrowest_split_the_service_allows(three):
    three("SplitShard", **split("0", 2))
    assert ranges(three)[3] == (0, 1)


@pytest.mark.parametrize("key", [0, 1, "end", END, 10**39 - 1])
def test_a_key_outside_the_shard_is_refused(three, key):
    end = (1 << 128) // 3 - 1
    key = end if key == "end" else key
    assert three.refused("SplitShard", **split("shard-0", key)) == (
        "InvalidArgumentException",
        f"NewStartingHashKey {key} used in SplitShard() on shard shardId-000000000000 in stream a under account "
        f"{ACCOUNT} is not both greater than one plus the shard's StartingHashKey 0 and less than the shard's "
        f"EndingHashKey {end}.",
    )
    assert len(ranges(three)) == 3


def test_shards_that_do_not_touch_or_stand_the_wrong_way_round_are_refused(three):
    for first, second in ((0, 2), (1, 0), (1, 1)):
        assert three.refused("MergeShards", **merge(str(first), str(second))) == (
            "InvalidArgumentException",
            f"Shards shardId-{first:012d} and shardId-{second:012d} in stream a under account {ACCOUNT} are not an "
            "adjacent pair of shards eligible for merging",
        )


def test_a_shard_that_was_split_or_merged_already_is_refused(three):
    three("SplitShard", **split("0", 100))
    refused = (
        "InvalidArgumentException",
        f"Shard shardId-000000000000 in stream a under account {ACCOUNT} has already been merged or split, and thus "
        "is not eligible for merging or splitting.",
    )
    assert three.refused("SplitShard", **split("0", 50)) == refused
    assert three.refused("MergeShards", **merge("0", "1")) == refused


def test_shards_and_streams_that_are_not_there(three):
    missing = f"Could not find shard shardId-000000000005 in stream a under account {ACCOUNT}."
    nowhere = f"Stream b under account {ACCOUNT} not found."
    nonsense = f"Could not find shard x in stream a under account {ACCOUNT}."
    code = "ResourceNotFoundException"
    assert three.refused("SplitShard", **split("5", 100)) == (code, missing)
    assert three.refused("SplitShard", **split("x", 100)) == (code, nonsense)
    assert three.refused("SplitShard", **split("0", 100, "b")) == (code, nowhere)
    assert three.refused("MergeShards", **merge("0", "5")) == (code, missing)
    assert three.refused("MergeShards", **merge("x", "1")) == (code, nonsense)
    assert three.refused("MergeShards", **merge("0", "1", "b")) == (code, nowhere)
    assert three.refused("UpdateShardCount", **scale(2, "b")) == (code, nowhere)


def test_scaling_answers_both_counts_and_makes_equal_ranges(three):
    assert three("UpdateShardCount", **scale(6)) == {
        "StreamName": "a",
        "CurrentShardCount": 3,
        "TargetShardCount": 6,
        "StreamARN": f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/a",
    }
    sizes = [end - start for start, end in ranges(three).values()]
    assert len(sizes) == 6 and max(sizes) - min(sizes) <= 12
    three("UpdateShardCount", **scale(4))
    sizes = [end - start for start, end in ranges(three).values()]
    assert len(sizes) == 4 and max(sizes) - min(sizes) <= 12


def test_scaling_to_what_there_is_changes_nothing(three):
    before = three("ListShards", StreamName="a")
    three("UpdateShardCount", **scale(3))
    assert three("ListShards", StreamName="a") == before


def test_scaling_has_limits(three):
    code = "LimitExceededException"
    assert three.refused("UpdateShardCount", **scale(7)) == (
        code,
        "UpdateShardCount cannot scale up over double your current open shard count. "
        "Current open shard count: 3, Target shard count: 7",
    )
    assert three.refused("UpdateShardCount", **scale(1)) == (
        code,
        "UpdateShardCount cannot scale down below half your current open shard count. "
        "Current open shard count: 3, Target shard count: 1",
    )
    assert three.refused("UpdateShardCount", **scale(10_001)) == (
        code,
        "Target shard count or number of open shards cannot be greater than 10000. "
        "Current open shard count: 3, Target shard count: 10001",
    )
    assert (
        three.refused("UpdateShardCount", **{**scale(4), "ScalingType": "OTHER"})[0] == "ValidationException"
    )


def test_ten_scalings_a_day_where_limits_are_on(make_store):
    store = make_store(enforce_limits=True)
    store("CreateStream", StreamName="a", ShardCount=1)
    for target in (2, 1) * 5:
        store("UpdateShardCount", **scale(target))
    store.reopen()
    assert store.refused("UpdateShardCount", **scale(2)) == (
        "LimitExceededException",
        "UpdateShardCount cannot be called more than 10 times per rolling 24-hour period on stream a under account "
        f"{ACCOUNT}.",
    )
    store.clock.advance(86_400_000)
    store("UpdateShardCount", **scale(2))


def test_a_stream_has_at_most_ten_thousand_open_shards(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=10_000)
    assert kinesis.refused("SplitShard", **split("0", 100)) == (
        "LimitExceededException",
        f"This request would exceed the shard limit for stream a under account {ACCOUNT}. Current open shard count: "
        "10000. Limit: 10000. Number of additional shards that would have resulted from this request: 1.",
    )


def test_on_demand_streams_are_not_resharded_by_hand(kinesis):
    kinesis("CreateStream", StreamName="a", StreamModeDetails={"StreamMode": "ON_DEMAND"})
    for operation, members in (
        ("SplitShard", split("0", 100)),
        ("MergeShards", merge("0", "1")),
        ("UpdateShardCount", scale(2)),
    ):
        assert kinesis.refused(operation, **members) == (
            "ValidationException",
            f"{operation} is supported only for streams in PROVISIONED mode; stream a under account {ACCOUNT} is in "
            "ON_DEMAND mode.",
        )


def test_a_reshard_survives_a_restart_and_records_stay_where_they_are(three):
    three.put("a", "before", key="k")
    for members in (split("0", 100), split("1", (1 << 128) // 3 + 100)):
        three("SplitShard", **members)
    three("UpdateShardCount", **scale(8))
    before = three("ListShards", StreamName="a")
    three.reopen()
    assert three("ListShards", StreamName="a") == before
    assert [text for shard in range(3) for text in three.read("a", shard)] == ["before"]
    three.put("a", "after", key="k")


@pytest.mark.parametrize("durability", ["process", "disk"])
def test_a_full_stream_is_resharded_all_the_same(make_store, durability):
    """Shards are how an operator helps a full stream: the few bytes that say so are taken beyond its limit."""
    store = make_store(max_bytes=1 << 20, durability=durability, cores=1)
    store("CreateStream", StreamName="a", ShardCount=2)
    record = {"StreamName": "a", "Data": b64encode(bytes(60_000)).decode(), "PartitionKey": "k"}
    full = 0
    while store.raw("PutRecord", json.dumps(record).encode())[0] == 200:
        full += 1
    assert 0 < full < 20
    store("SplitShard", **split("shardId-000000000001", 1 << 127 | 5))
    store("MergeShards", **merge("0", "2"))
    store("UpdateShardCount", **scale(4))
    assert store.refused("PutRecord", **record)[0] == "ProvisionedThroughputExceededException"
    shards = ranges(store)
    for _ in range(2):
        assert len(shards) == 4 and ranges(store) == shards
        assert sum(read_all(store, shard) for shard in (0, 1)) == full
        store.reopen()


def read_all(store, shard):
    """How many records a closed shard holds."""
    count, iterator = 0, store.iterator("a", shard)
    while iterator is not None:
        answer = store("GetRecords", ShardIterator=iterator)
        count += len(answer["Records"])
        iterator = answer.get("NextShardIterator")
    return count
