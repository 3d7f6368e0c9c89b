# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a reshard is absent or whole after a death at any of its steps, in every lane, and no record is lost.
Method: raise at each named failpoint and in each call to log and catalogue, drop the process's memory without
a clean end (a copy of the directory is opened), and compare with the plain alternatives."""

import shutil

import pytest
from log_support import read_shard

from headrace.errors import Backpressure, Corrupt, ResourceInUse, StorageError
from headrace.log import Lane, failpoints

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


def test_a_reshard_that_cannot_be_finished_does_not_keep_the_store_from_opening(spread, monkeypatch):
    """Neither does the lane that refuses first take the intent away: another one may have its group."""
    failpoints.arm("topology.after_group", die)
    with pytest.raises(Died):
        RESHARDS["merge across lanes"](spread.streams.stream("a"))
    failpoints.disarm()

    def refuse(self, events):
        raise Backpressure("full")

    with monkeypatch.context() as patched:
        patched.setattr(Lane, "append_topology", refuse)
        spread.reopen()
        assert "stream a: its reshard could not be finished: full" in spread.log.reports
        assert len(spread.log.catalogue.items("intent")) == 1
        assert len(content(spread)) == 4
    spread.reopen()
    assert spread.log.reports == [] and spread.log.catalogue.items("intent") == []
    assert content(spread)[4] == []


def test_a_refused_reshard_stays_refused_when_the_power_goes(spread, monkeypatch):
    fail_lane(spread, 1, Backpressure("full"))
    asked, transaction = [], spread.log.catalogue.transaction

    def watched(*, durable=False):
        asked.append(durable)
        return transaction(durable=durable)

    monkeypatch.setattr(spread.log.catalogue, "transaction", watched)
    with pytest.raises(Backpressure):
        spread.streams.stream("a").merge(1, 2)
    assert asked == [True, True, False]  # the intent; its removal, and the change within that


def older_catalogue(kinesis, change):
    """Make a change, then put the catalogue back to what it was before; returns the lineage as it was in between."""
    kinesis.close()
    path = kinesis.directory / "catalogue.sqlite"
    older = path.read_bytes()
    kinesis.open()
    change()
    expected = lineage(kinesis.streams.stream("a"))
    kinesis.close()
    path.write_bytes(older)
    kinesis.open()
    return expected


def everything(stream):
    """What `content` tells, over all segments."""
    return {
        shard.number: [data.decode() for _, _, data in read_shard(stream.lane_of(shard.number), shard.number)]
        for shard in stream.shards
    }


def lineage(stream):
    return [(*shard[:5], shard.open) for shard in stream.shards]


CHANGES = {
    **{name: [change] for name, change in RESHARDS.items()},
    "several": [RESHARDS["split"], lambda stream: stream.merge(2, 3), lambda stream: stream.scale(7)],
}


@pytest.mark.parametrize("use", ["put", "read", "retention"])
@pytest.mark.parametrize("changes", CHANGES)
def test_shards_that_the_catalogue_lost_are_taken_over_from_the_lanes(spread, changes, use):
    """What no sync can prevent: a device that did not keep what it had synced, or an older copy of the catalogue."""

    def change():
        for step in CHANGES[changes]:
            step(spread.streams.stream("a"))
        for part in range(64):
            put(spread, f"child {part}", part << 122)

    expected = older_catalogue(spread, change)
    stream = spread.streams.stream("a")
    assert stream.table.count == 4 and spread.log.reports == []
    if use == "put":
        put(spread, "later", 1 << 126)
    elif use == "read":
        spread.read("a", 0)
    else:
        spread.streams.apply_retention()
    assert lineage(stream) == expected
    assert "are taken over from the lanes" in spread.log.reports[0]
    found = everything(stream)
    assert sum(text.startswith("child") for texts in found.values() for text in texts) == 64
    assert [found[shard][:3] for shard in range(4)] == [
        [f"{shard}-{i}" for i in range(3)] for shard in range(4)
    ]
    if use == "put":
        (shard,) = [shard for shard in stream.table.open() if shard.start <= 1 << 126 <= shard.end]
        assert found[shard.number][-1] == "later"
    spread.reopen()
    stream = spread.streams.stream("a")
    assert spread.log.reports == [] and lineage(stream) == expected
    number = stream.table.open()[0].number
    stream.split(number, 1)
    assert [everything(stream)[child] for child in (stream.table.count - 2, stream.table.count - 1)] == [
        [],
        [],
    ]


def test_a_split_of_shards_that_were_just_taken_over_is_refused_once(spread):
    """It was planned upon other shards than there are."""
    older_catalogue(spread, lambda: spread.streams.stream("a").split(0, 100))
    split = {"StreamName": "a", "ShardToSplit": "0", "NewStartingHashKey": "200"}
    assert spread.refused("SplitShard", **split)[0] == "ResourceInUseException"
    assert [shard.number for shard in spread.streams.stream("a").shards if not shard.open] == [0]
    spread("SplitShard", **{**split, "ShardToSplit": "5"})


def test_a_stream_whose_lost_shards_cannot_be_told_is_refused_by_name_and_others_go_on(spread):
    """A cold file keeps no OPEN frames."""

    def change():
        spread.streams.stream("a").split(0, 100)
        spread.streams.stream("a").lanes[0].seal_idle(0)
        spread.streams.stream("a").lanes[0].seal_idle(0)
        spread.log.maintenance.run_once()
        put(spread, "child", 0)

    spread("CreateStream", StreamName="b", ShardCount=1)
    older_catalogue(spread, change)
    with pytest.raises(
        Corrupt, match="stream a: its lanes hold shards up to 5, the catalogue knows 4"
    ) as caught:
        spread.streams.stream("a").split(0, 200)
    assert "put back the catalogue" in caught.value.hint
    for refused in (lambda: put(spread, "x", 0), lambda: spread.read("a")):
        with pytest.raises(Exception, match="its lanes hold shards up to 5"):
            refused()
    spread.put("b", "y")
    spread.streams.apply_retention()
    assert spread.read("b") == ["y"]


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b'["0","64",0,-1,1700000001,0]', "its lanes hold shards up to 4, the catalogue knows 4"),
        (b"nothing", "A lane's OPEN frame of stream a does not parse"),
    ],
    ids=["without its sister", "not a row"],
)
def test_frames_that_tell_no_whole_table_are_refused(spread, payload, words):
    lane = spread.streams.stream("a").lanes[0]
    lane.commit(lane.append_topology([("open", 4, payload)]))
    spread.reopen()
    with pytest.raises(Corrupt, match=words):
        assert spread.streams.stream("a").lanes
    assert spread.streams.stream("a").table.count == 4
