# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: streams are made, found, kept and let go as promised, and idle ones cost nearly nothing."""

import contextlib
import re
import subprocess
import sys
import threading
import time

import pytest

import headrace
from headrace import limits, telemetry
from headrace.clock import FrozenClock
from headrace.core._entries import Entries
from headrace.disk import SystemDisk
from headrace.errors import (
    AlreadyExists,
    Backpressure,
    Corrupt,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    StorageError,
)
from headrace.log import Catalogue, Log
from headrace.streams import StreamDefaults, Streams
from headrace.streams.document import DROPPED, STREAM


def entries_of(*texts, key=None):
    entries = Entries()
    for text in texts:
        entries.add(text.encode(), key or text)
    return entries


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.02)


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
        ({"name": b"a"}, InvalidArgument, "is not a stream name"),
        ({"name": "a" * 129}, InvalidArgument, "is not a stream name"),
        ({"internal": True}, InvalidArgument, "is not a stream name"),
        ({"shards": 0}, InvalidArgument, "shards is 0; the least is 1"),
        ({"shards": "3"}, InvalidArgument, "shards is '3'; expected a whole number"),
        ({"shards": True}, InvalidArgument, "shards is True"),
        ({"shards": 2.0}, InvalidArgument, "shards is 2.0"),
        ({"shards": 10_001}, LimitExceeded, "would exceed the shard limit"),
        ({"retention_hours": 0}, InvalidArgument, "allowed are 1 to 8760"),
        ({"retention_hours": 8_761}, InvalidArgument, "allowed are 1 to 8760"),
        ({"record_size_max": 0}, InvalidArgument, "record_size_max is 0"),
        ({"record_size_max": 10 * limits.MIB + 1}, InvalidArgument, "record_size_max is 10485761"),
        ({"max_bytes": 1000}, InvalidArgument, "max_bytes of a stream is 1000; the least is 1048576"),
        ({"durability": "Disk"}, InvalidArgument, "durability is 'Disk'; allowed are 'process', 'disk'"),
        ({"durability": ""}, InvalidArgument, "durability is ''"),
        (
            {"on_full": "drop-oldest"},
            InvalidArgument,
            "on_full is 'drop-oldest'; allowed are 'throttle', 'drop_oldest'",
        ),
        ({"distribution": "AUTO"}, InvalidArgument, "needs a stream in ON_DEMAND mode"),
    ],
)
def test_a_stream_that_cannot_be_is_refused(kinesis, arguments, error, message):
    with pytest.raises(error, match=message):
        kinesis.streams.create(**{"name": "a", **arguments})
    assert kinesis.streams.list(internal=True) == []


@pytest.mark.parametrize(
    ("default", "message"),
    [
        ({"durability": "Disk"}, r"durability is 'Disk'.*did you mean 'disk'"),
        ({"on_full": "drop-oldest"}, r"on_full is 'drop-oldest'.*did you mean 'drop_oldest'"),
        ({"max_bytes": 1000}, "max_bytes of a stream is 1000"),
    ],
)
def test_defaults_that_no_stream_could_have_are_refused(default, message):
    with pytest.raises(InvalidArgument, match=message):
        StreamDefaults(**default)


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

    def drop_before(self, arrival_ms):
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


@pytest.mark.parametrize("left", ["row", "document"])
def test_a_deletion_that_was_killed_at_either_end_is_finished_at_the_next_opening(kinesis, monkeypatch, left):
    """row: the files are gone, the lane's row is not. document: of two lanes the first is gone altogether."""
    stream = kinesis.streams.create("a", 2)
    stream.append(entries_of(*"abcdefgh"))
    stream.commit()
    catalogue, remove_lane = kinesis.log.catalogue, kinesis.log.catalogue.remove_lane
    directories = [lane.directory for lane in stream.lanes]

    def die(lane):
        if left == "document":
            remove_lane(lane)
        raise RuntimeError("killed here")

    monkeypatch.setattr(catalogue, "remove_lane", die)
    with pytest.raises(RuntimeError):
        kinesis.streams.delete("a")
    assert [directory.exists() for directory in directories] == [False, True]
    kinesis.reopen()
    assert not any(directory.exists() for directory in directories)
    assert kinesis.log.catalogue.items(DROPPED) == [] and kinesis.log.catalogue.lanes() == {}
    assert kinesis.log.reports == []


def test_files_that_cannot_be_removed_do_not_keep_a_store_from_opening(kinesis, monkeypatch):
    stream = kinesis.streams.create("a")
    stream.append(entries_of("x"))
    stream.commit()

    def refuse(self, path):
        raise OSError(5, "told to fail")

    with monkeypatch.context() as patched:
        patched.setattr(SystemDisk, "remove_directory", refuse)
        with pytest.raises(StorageError, match="could not be removed: told to fail"):
            kinesis.streams.delete("a")
        assert kinesis.streams.list() == []
        kinesis.reopen()
        assert any("a deleted stream is not all gone" in note for note in kinesis.log.reports)
        assert kinesis.streams.create("a").document.lanes == [2]
    kinesis.reopen()
    assert kinesis.log.catalogue.lanes() == {2: "process"}


@pytest.mark.parametrize("durability", ["process", "disk"])
def test_no_stream_gets_another_one_s_records_where_the_catalogue_lost_that_one(kinesis, durability):
    """What no sync can prevent: a device that did not keep what it had synced, or an older copy of the catalogue."""
    kinesis.streams.create("first")
    kinesis.close()
    path = kinesis.directory / "catalogue.sqlite"
    older = path.read_bytes()
    kinesis.open()
    secret = kinesis.streams.create("secret")
    secret.append(entries_of("one", "two"))
    secret.commit()
    kinesis.close()
    path.write_bytes(older)
    kinesis.open()
    assert [stream.name for stream in kinesis.streams.list()] == ["first"]
    assert any("lane 2: " in note and "no lane of the catalogue owns" in note for note in kinesis.log.reports)
    other = kinesis.streams.create("other", durability=durability)
    assert other.document.lanes == [3]
    assert other.lanes[0].bounds(0) == (0, 0) and kinesis.read("other") == []


def test_making_changing_and_deleting_a_stream_are_synced_whatever_it_promises(kinesis, monkeypatch):
    """Each is one durable change of the catalogue; a deletion's tail may be lost and done again."""
    changes: list[bool] = []
    transaction = Catalogue.transaction

    @contextlib.contextmanager
    def watched(self, *, durable=False):
        if not self._depth:
            changes.append(durable)
        with transaction(self, durable=durable):
            yield

    monkeypatch.setattr(Catalogue, "transaction", watched)
    for durability in ("process", "disk"):
        changes.clear()
        stream = kinesis.streams.create("a", 2, durability=durability)
        stream.update(retention_hours=48)
        assert changes == [True, True]
        changes.clear()
        stream.split(0, 100)
        assert changes == [True, True]  # the intent, the table
        changes.clear()
        kinesis.streams.delete("a")
        assert changes[0] and not any(changes[1:])


def test_a_store_that_is_only_open_drops_what_is_older_than_its_streams_keep(tmp_path):
    """No server, and a clock of ours: what nobody asked to drop goes when its time is over, and not before."""
    clock = FrozenClock()
    with headrace.open(tmp_path / "s", clock=clock) as store:
        streams = [store.stream(f"{hours}h", retention=f"{hours}h") for hours in (1, 24)]
        for stream in streams:
            stream.put(b"old", "k")
            stream._inner.lanes[0].seal_idle(0)
            stream._inner.lanes[0].seal_idle(0)
            stream.put(b"young", "k")
        clock.advance(3_599_000)
        time.sleep(2.5)
        assert [stream.read().data for stream in streams] == [[b"old", b"young"]] * 2
        for stream in streams:
            stream.put(b"new", "k")
        clock.advance(60_000)
        wait_until(lambda: b"old" not in streams[0].read().data)
        assert streams[0].read().data[-1] == b"new"
        assert streams[1].read().data == [b"old", b"young", b"new"]
        with store.serve():
            names = [thread.name for thread in threading.enumerate()]
            assert names.count("headrace-retention") == 1


def test_retention_of_one_stream_does_not_hang_on_another(kinesis, caplog):
    for name in "abc":
        stream = kinesis.streams.create(name, retention_hours=1)
        stream.append(entries_of("x"))
        stream.commit()
    kinesis.reopen()
    kinesis.clock.advance(2 * 3_600_000)
    kinesis.streams.stream("b")._lanes = [Refusing(StorageError("broken"))]
    kinesis.streams.apply_retention()
    assert [kinesis.read(name) for name in "ac"] == [[], []]
    assert "retention of stream b: broken" in caplog.text


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
    with log.catalogue.transaction(durable=True):  # one sync for all: what they cost afterwards is the question
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
