# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a reshard is absent or whole after a death at any of its steps, in every lane, and no record is lost.
Method: raise at each named failpoint and in each call to log and catalogue, drop the process's memory without
a clean end (a copy of the directory is opened), and compare with the plain alternatives."""

import shutil

import pytest

from headrace.errors import Backpressure, ResourceInUse, StorageError
from headrace.log import failpoints

STEPS = ("topology.after_intent", "topology.after_group", "topology.after_commit")


class Died(BaseException):
    """The process ends here."""


def die():
    raise Died


@pytest.fixture
def spread(kinesis):
    """Four shards in four lanes, a record in each, and more in the shards to be merged."""
    kinesis("CreateStream", StreamName="a", ShardCount=4)
    assert len(kinesis.streams.stream("a").lanes) == 4
    for shard in range(4):
        for i in range(3):
            put(kinesis, f"{shard}-{i}", shard << 126)
    yield kinesis
    failpoints.disarm()


def put(kinesis, text, hash_key):
    return kinesis(
        "PutRecord", StreamName="a", Data=text.encode(), PartitionKey="k", ExplicitHashKey=str(hash_key)
    )


def content(kinesis):
    """Everything in the stream, by shard."""
    shards = kinesis("ListShards", StreamName="a")["Shards"]
    return {number: kinesis.read("a", number) for number in range(len(shards))}


def after_death(kinesis, make_store, name="copy"):
    """The store as another process finds it after a kill: what was in the files, nothing else."""
    copy = kinesis.directory.parent / name
    shutil.copytree(kinesis.directory, copy)
    return make_store(name)


RESHARDS = {
    "split": lambda stream: stream.split(1, (1 << 126) + 1000),
    "merge across lanes": lambda stream: stream.merge(1, 2),
    "scale": lambda stream: stream.scale(6),
}


@pytest.mark.parametrize("reshard", RESHARDS)
@pytest.mark.parametrize("step", STEPS)
def test_a_reshard_that_died_half_way_is_whole_after_the_next_opening(spread, make_store, reshard, step):
    failpoints.arm(step, die)
    with pytest.raises(Died):
        RESHARDS[reshard](spread.streams.stream("a"))
    failpoints.disarm()
    found = after_death(spread, make_store)
    expected = make_store("expected")
    expected("CreateStream", StreamName="a", ShardCount=4)
    RESHARDS[reshard](expected.streams.stream("a"))

    def lineage(store):
        return [
            (s.number, s.start, s.end, s.parent, s.adjacent, s.open) for s in store.streams.stream("a").shards
        ]

    assert lineage(found) == lineage(expected)
    assert found.log.catalogue.items("intent") == []
    for shard in range(4):
        assert found.read("a", shard) == [f"{shard}-{i}" for i in range(3)]
    for shard in found.streams.stream("a").shards:
        assert found.streams.stream("a").lane_of(shard.number).shard_closed(shard.number) is not shard.open
    answer = put(found, "later", 1 << 126)
    assert found.read("a", int(answer["ShardId"][8:])) == ["later"]
    found.reopen()
    assert lineage(found) == lineage(expected)


def test_a_reshard_that_died_before_its_intent_never_was(spread, make_store, monkeypatch):
    def refuse(*args, **kwargs):
        raise StorageError("the catalogue is full")

    monkeypatch.setattr(spread.log.catalogue, "put", refuse)
    assert spread.refused("SplitShard", StreamName="a", ShardToSplit="0", NewStartingHashKey="100") == (
        "InternalFailure",
        "the catalogue is full",
    )
    monkeypatch.undo()
    assert content(spread) == {shard: [f"{shard}-{i}" for i in range(3)] for shard in range(4)}
    spread("SplitShard", StreamName="a", ShardToSplit="0", NewStartingHashKey="100")


def fail_lane(kinesis, ordinal, error):
    stream = kinesis.streams.stream("a")
    lane = stream.lanes[ordinal]

    class Failing:
        def append_topology(self, events):
            raise error

        def __getattr__(self, name):
            return getattr(lane, name)

    stream._lanes[ordinal] = Failing()
    return lane


def test_a_lane_that_refuses_first_leaves_nothing_behind(spread):
    lane = fail_lane(spread, 1, Backpressure("full"))
    assert spread.refused("MergeShards", StreamName="a", ShardToMerge="1", AdjacentShardToMerge="2")[0] == (
        "ProvisionedThroughputExceededException"
    )
    assert spread.log.catalogue.items("intent") == []
    spread.streams.stream("a")._lanes[1] = lane
    spread("MergeShards", StreamName="a", ShardToMerge="1", AdjacentShardToMerge="2")
    assert content(spread)[4] == []


def test_a_lane_that_refuses_after_another_leaves_the_intent_to_the_next_opening(spread):
    fail_lane(spread, 2, StorageError("gone"))
    merge = {"StreamName": "a", "ShardToMerge": "1", "AdjacentShardToMerge": "2"}
    assert spread.refused("MergeShards", **merge) == ("InternalFailure", "gone")
    put(spread, "late", 1 << 126)  # the shard is still open to producers
    assert spread.refused("MergeShards", **merge) == (
        "ResourceInUseException",
        "Stream a under account 000000000000 not ACTIVE, instead in state UPDATING",
    )
    with pytest.raises(ResourceInUse, match="finished when the store is opened anew"):
        spread.streams.stream("a").merge(1, 2)
    spread.reopen()
    assert content(spread) == {
        0: ["0-0", "0-1", "0-2"],
        1: ["1-0", "1-1", "1-2", "late"],
        2: ["2-0", "2-1", "2-2"],
        3: ["3-0", "3-1", "3-2"],
        4: [],
    }
    put(spread, "child", 1 << 126)
    assert spread.read("a", 4) == ["child"]


def test_an_intent_of_a_stream_that_is_gone_is_dropped(kinesis):
    kinesis.log.catalogue.put("intent", "nowhere", b"[0,[],[]]")
    kinesis.reopen()
    assert kinesis.log.catalogue.items("intent") == []


def test_a_death_between_the_catalogue_s_two_changes_is_impossible(spread, make_store, monkeypatch):
    """Table and intent change in one transaction: an error in it leaves both as they were."""
    catalogue = spread.log.catalogue
    delete = catalogue.delete

    def fail(kind, name):
        delete(kind, name)
        raise Died

    monkeypatch.setattr(catalogue, "delete", fail)
    with pytest.raises(Died):
        spread.streams.stream("a").split(0, 100)
    monkeypatch.undo()
    found = after_death(spread, make_store)
    assert [shard.open for shard in found.streams.stream("a").shards] == [False, True, True, True, True, True]
    assert content(found)[0] == ["0-0", "0-1", "0-2"]
