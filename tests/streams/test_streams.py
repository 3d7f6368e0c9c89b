# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: streams are made, found, kept and let go as promised, and idle ones cost nearly nothing."""

import re
import subprocess
import sys

import pytest

from headrace import limits, telemetry
from headrace.core._entries import Entries
from headrace.errors import (
    AlreadyExists,
    Backpressure,
    Corrupt,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    StorageError,
)
from headrace.log import Log
from headrace.streams import Streams
from headrace.streams.document import DROPPED, STREAM


def entries_of(*texts, key=None):
    entries = Entries()
    for text in texts:
        entries.add(text.encode(), key or text)
    return entries


def test_a_stream_has_what_it_was_made_with_after_a_restart(kinesis):
    kinesis.streams.create(
        "a",
        3,
        durability="disk",
        retention_hours=1,
        max_bytes=64 * limits.MIB,
        on_full="drop_oldest",
        record_size_max=1000,
        mode="ON_DEMAND",
        tags={"k": "v"},
    )
    kinesis.reopen()
    stream = kinesis.streams.stream("a")
    document = stream.document
    assert (stream.durability, stream.retention_hours, stream.record_size_max) == ("disk", 1, 1000)
    assert (document.max_bytes, document.on_full, document.mode) == (
        64 * limits.MIB,
        "drop_oldest",
        "ON_DEMAND",
    )
    assert (document.tags, len(stream.shards), stream.status) == ({"k": "v"}, 3, "ACTIVE")
    assert stream.created_ms == 1_700_000_000_250
    assert repr(stream) == "Stream('a', 3 open shards)"


@pytest.mark.parametrize(
    ("shards", "durability", "lanes"),
    [(1, "process", 1), (3, "process", 3), (9, "process", 4), (9, "disk", 1)],
)
def test_lanes_follow_durability_shards_and_cores(kinesis, shards, durability, lanes):
    stream = kinesis.streams.create("a", shards, durability=durability)
    assert [lane.durability for lane in stream.lanes] == [durability] * lanes
    assert {shard.lane for shard in stream.shards} == set(range(lanes))
    assert stream.lane_of(shards - 1) is stream.lanes[-1]
    kinesis.reopen()
    assert len(kinesis.streams.stream("a").lanes) == lanes


def test_defaults_apply_where_nothing_is_said(make_store):
    store = make_store(durability="disk", max_bytes=8 * limits.MIB, on_full="drop_oldest", on_demand_shards=2)
    document = store.streams.create("a").document
    assert (document.durability, document.max_bytes, document.on_full) == (
        "disk",
        8 * limits.MIB,
        "drop_oldest",
    )
    store("CreateStream", StreamName="b", StreamModeDetails={"StreamMode": "ON_DEMAND"})
    assert store.streams.stream("b").table.open_count == 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": ""}, InvalidArgument, "is not a stream name"),
        ({"name": "a b"}, InvalidArgument, "is not a stream name"),
        ({"name": "$a"}, InvalidArgument, "is not a stream name"),
        ({"name": "a" * 129}, InvalidArgument, "is not a stream name"),
        ({"internal": True}, InvalidArgument, "is not a stream name"),
        ({"shards": 0}, LimitExceeded, "would exceed the shard limit"),
        ({"shards": 10_001}, LimitExceeded, "would exceed the shard limit"),
        ({"retention_hours": 0}, InvalidArgument, "allowed are 1 to 8760"),
        ({"retention_hours": 8_761}, InvalidArgument, "allowed are 1 to 8760"),
        ({"record_size_max": 0}, InvalidArgument, "record_size_max is 0"),
        ({"record_size_max": 10 * limits.MIB + 1}, InvalidArgument, "record_size_max is 10485761"),
        ({"max_bytes": 1000}, InvalidArgument, "needs at least 1048576"),
        ({"distribution": "AUTO"}, InvalidArgument, "needs a stream in ON_DEMAND mode"),
    ],
)
def test_a_stream_that_cannot_be_is_refused(kinesis, arguments, error, message):
    with pytest.raises(error, match=message):
        kinesis.streams.create(**{"name": "a", **arguments})
    assert kinesis.streams.list(internal=True) == []


def test_a_name_is_used_once(kinesis):
    kinesis.streams.create("a")
    with pytest.raises(AlreadyExists, match="Stream a under account 000000000000 already exists"):
        kinesis.streams.create("a")


def test_near_names_are_hinted_at(kinesis):
    kinesis.streams.create("metrics")
    with pytest.raises(NotFound) as caught:
        kinesis.streams.stream("metric")
    assert caught.value.hint == "did you mean metrics?"
    assert "hint" not in caught.value.message and "mean" not in caught.value.message


def test_internal_streams_are_hidden_but_work(kinesis):
    stream = kinesis.streams.create("$firehose/x".replace("/", ":"), internal=True)
    assert kinesis.streams.list() == []
    assert kinesis.streams.list(internal=True) == [stream]
    assert kinesis.streams.stream("$firehose:x") is stream
    stream.append(entries_of("x"))
    stream.commit()
    kinesis.streams.delete("$firehose:x")


def test_accepted_records_are_visible_after_commit_and_not_before(kinesis):
    stream = kinesis.streams.create("a", 4)
    offsets = stream.append(entries_of(*"abcdefgh"))
    assert sum(lane.bounds(shard)[1] for shard in range(4) for lane in [stream.lane_of(shard)]) == 0
    assert {lane for lane, _ in offsets} <= set(stream.lanes)
    stream.commit()
    assert sum(stream.lane_of(shard).bounds(shard)[1] for shard in range(4)) == 8
    assert stream.records_in == 8
    stream.commit()


class Refusing:
    _tail = None

    def __init__(self, error):
        self.error = error

    def append(self, entries, router, ordinal):
        raise self.error


def test_an_append_says_which_records_were_accepted(kinesis):
    stream = kinesis.streams.create("a", 2)
    one = stream.lanes[1]
    stream._lanes[1] = Refusing(Backpressure("full", retry_after=0.5, hint="wait"))
    entries = entries_of(*"abcdefgh")
    with pytest.raises(Backpressure) as caught:
        stream.append(entries)
    shards = entries.shards(stream.router)
    assert caught.value.accepted.tolist() == (shards == 0).tolist()
    assert 0 < caught.value.accepted.sum() < 8
    assert (caught.value.retry_after, caught.value.hint) == (0.5, "wait")
    stream.commit()
    assert stream.records_in == caught.value.accepted.sum() == stream.lanes[0].bounds(0)[1]
    stream._lanes[:] = [Refusing(Backpressure("full")), Refusing(Backpressure("full"))]
    with pytest.raises(Backpressure) as caught:
        stream.append(entries)
    assert caught.value.accepted is None
    stream._lanes[:] = [Refusing(StorageError("broken")), one]
    with pytest.raises(StorageError):
        stream.append(entries_of(*"abcdefgh"))


def counted(name):
    """What the process has counted, as its metrics show it."""
    found = re.search(rf"^{name} ([0-9.e+]+)$", telemetry.render().decode(), re.MULTILINE)
    return float(found[1]) if found else 0


def test_accepted_and_refused_records_are_counted_once_a_batch(kinesis):
    names = ("headrace_records_appended_total", "headrace_records_refused_total")
    for shards in (1, 2):
        before = [counted(name) for name in names]
        stream = kinesis.streams.create(f"s{shards}", shards)
        stream.append(entries_of(*"abcdefgh"))
        stream.lanes[0] = Refusing(Backpressure("full"))
        with pytest.raises(Backpressure):
            stream.append(entries_of(*"abcdefgh"))
        appended, refused = (counted(name) - was for name, was in zip(names, before, strict=True))
        assert appended == stream.records_in
        assert appended + refused == 16
        assert refused > 0


def test_a_deleted_stream_takes_no_records(kinesis):
    stream = kinesis.streams.create("a")
    kinesis.streams.delete("a")
    assert stream.status == "DELETING"
    with pytest.raises(NotFound):
        stream.append(entries_of("x"))
    with pytest.raises(NotFound):
        kinesis.streams.delete("a")


def test_a_full_stream_throttles_or_drops_its_oldest(make_store):
    store = make_store()
    for name, on_full in (("full", "throttle"), ("dropping", "drop_oldest")):
        stream = store.streams.create(name, max_bytes=4 * limits.MIB, on_full=on_full)
        refused = 0
        for _ in range(12):
            try:
                stream.append(entries_of("x" * 1_000_000, key="k"))
                stream.commit()
            except Backpressure:
                refused += 1
        first, end = stream.lanes[0].bounds(0)
        assert (refused > 0, first > 0) == ((True, False) if on_full == "throttle" else (False, True))
        stored = sum(path.stat().st_size for path in stream.lanes[0].directory.iterdir())
        assert stored <= 5 * limits.MIB
        assert end == 12 - refused


def test_another_process_finds_what_the_writer_made_changed_and_deleted(kinesis):
    kinesis.streams.create("a")
    other = Log.open_reader(kinesis.directory)
    try:
        streams = Streams(other)
        first = streams.stream("a")
        kinesis.streams.create("b", 2)
        assert [stream.name for stream in streams.list()] == ["a", "b"]
        kinesis.streams.stream("a").update(retention_hours=48)
        assert streams.stream("a") is first
        assert first.retention_hours == 48
        kinesis.streams.stream("b").split(0, 100)
        assert streams.stream("b").table.open_count == 3
        kinesis.streams.delete("a")
        with pytest.raises(NotFound):
            streams.stream("a")
        assert first.deleted
        kinesis.streams.create("a")
        assert streams.stream("a") is not first
        kinesis.streams.delete("b")
        kinesis.streams.create("b")
        assert streams.stream("b").table.open_count == 1
    finally:
        other.close()


def test_damaged_documents_are_named(kinesis):
    for value, message in ((b"{", "does not parse"), (b'{"format":2}', "does not parse")):
        kinesis.log.catalogue.put(STREAM, "a", value)
        with pytest.raises(Corrupt, match=f"document of stream a {message}"):
            Streams(kinesis.log)
    kinesis.log.catalogue.put(
        STREAM, "a", b'{"id":1,"created_ms":1,"durability":"disk","lanes":[1],"even":1,"format":2}'
    )
    with pytest.raises(Corrupt, match="has format 2; known is 1"):
        Streams(kinesis.log)


def test_nothing_of_a_deleted_stream_stays(kinesis):
    stream = kinesis.streams.create("a", 4)
    stream.append(entries_of(*"abcdefgh"))
    stream.commit()
    directories = [lane.directory for lane in stream.lanes]
    assert any(directory.exists() for directory in directories)
    kinesis.streams.delete("a")
    assert not any(directory.exists() for directory in directories)
    assert kinesis.log.catalogue.items(STREAM) == kinesis.log.catalogue.items(DROPPED) == []


IDLE = """
import sys, pathlib
from headrace.log import Log
from headrace.streams import KinesisService, Streams, StreamReader
def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1])
import re
log = Log.open(sys.argv[1], background=False)
streams = Streams(log)
streams.create("warm").append  # what every store has
before = anonymous()
if sys.argv[2] == "streams":
    for i in range(10_000):
        streams.create(f"stream-{i}")
else:
    streams.create("many", 10_000)
    reader = StreamReader(streams.stream("many"))
    reader.poll()
    KinesisService(streams).call("ListShards", b'{"StreamName":"many"}')
print(anonymous() - before)
print(len([path for path in pathlib.Path(sys.argv[1]).glob("lanes/*/*")]))
log.close()
"""


@pytest.mark.parametrize("what", ["streams", "shards"])
def test_ten_thousand_idle_shards_cost_less_than_60_mb_and_no_files(tmp_path, what):
    run = subprocess.run(
        [sys.executable, "-c", IDLE, str(tmp_path / "store"), what],
        capture_output=True,
        text=True,
        check=True,
    )
    kib, files = map(int, re.findall(r"-?\d+", run.stdout))
    assert kib < 60 * 1024
    assert files == 0
