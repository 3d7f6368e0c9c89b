# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A stream of the embedded library: whatever is put in is what is read, from where one asks."""

from __future__ import annotations

import ast
import dataclasses
import datetime
import os
import pickle

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import headrace
from headrace import limits, telemetry
from headrace.clock import FrozenClock
from headrace.errors import LimitExceeded


def test_put_takes_bytes_text_and_whatever_has_json(store):
    @dataclasses.dataclass
    class Reading:
        host: str
        cpu: float

    stream = store.stream("s")
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    for data in (
        b"raw",
        "text",
        bytearray(b"array"),
        {"a": 1},
        Reading("h", 0.5),
        [1, 2],
        np.float64(1.5),
        moment,
    ):
        stream.put(data, "k")
    assert stream.read().data == [
        b"raw", b"text", b"array", b'{"a":1}', b'{"host":"h","cpu":0.5}', b"[1,2]", b"1.5", b'"2026-01-02T03:04:05Z"',
    ]  # fmt: skip
    with pytest.raises(TypeError, match="object"):
        stream.put(object(), "k")


@pytest.mark.parametrize(
    "data",
    [
        [b"aa", b"bb", b"cc"],
        np.array([b"aa", b"bb", b"cc"]),
        np.frombuffer(b"aabbcc", np.uint8).reshape(3, 2),
        pa.array([b"aa", b"bb", b"cc"]),
        pa.array(["aa", "bb", "cc"]),
        [("k", b"aa"), ("k", b"bb"), ("k", b"cc")],
    ],
    ids=["list", "S", "uint8", "arrow binary", "arrow text", "pairs"],
)
def test_put_many_takes_every_kind_of_sequence(store, data):
    stream = store.stream("s")
    positions = stream.put_many(data, None if isinstance(data, list) and isinstance(data[0], tuple) else "k")
    assert len(positions) == 3
    assert positions.ordinals.tolist() == [0, 1, 2]
    assert positions.arrival.dtype == "datetime64[ms]"
    batch = stream.read()
    assert batch.data == [b"aa", b"bb", b"cc"]
    assert batch.keys == ["k"] * 3


def test_put_many_in_pieces_gives_places_in_order(store, monkeypatch):
    from headrace import limits

    monkeypatch.setattr(limits, "put_group_size_max", 1000)
    stream = store.stream("s", shards=3)
    data = [b"%d" % i * 10 for i in range(5000)]
    positions = stream.put_many(data, [f"k{i % 97}" for i in range(5000)])
    assert len(positions) == 5000
    by_place = {}
    for batch in stream.batches():
        by_place.update({(r.shard, r.ordinal): r.data for r in batch})
    assert [by_place[p.shard, p.ordinal] for p in positions] == data


def test_records_without_a_key_are_spread_evenly(store):
    stream = store.stream("s", shards=4)
    stream.put_many([b"x"] * 400)
    for _ in range(40):
        stream.put(b"y")
    counts = np.bincount(stream.read().shards)
    assert counts.tolist() == [110] * 4


def test_read_starts_and_ends_where_it_is_told(tmp_path):
    clock = FrozenClock()
    with headrace.open(tmp_path / "s", clock=clock) as store:
        stream = store.stream("s")
        for i in range(10):
            stream.put(b"%d" % i, "k")
            clock.advance(1000)
        at = datetime.datetime.fromtimestamp((clock.now_ms() - 5000) / 1000, datetime.UTC)
        assert stream.read(at).data == [b"5", b"6", b"7", b"8", b"9"]
        assert stream.read(datetime.timedelta(seconds=2)).data == [b"8", b"9"]
        assert stream.read(end=at).data == [b"0", b"1", b"2", b"3", b"4"]
        assert stream.read(limit=3).data == [b"0", b"1", b"2"]
        assert stream.head(2).data == [b"0", b"1"]
        assert stream.read("latest").data == []
        with pytest.raises(headrace.InvalidArgument, match="allowed are 'earliest'"):
            stream.read("newest")


def test_what_cannot_be_counted_is_refused(store):
    stream = store.stream("s")
    stream.put_many([b"a", b"b", b"c"], "k")
    assert len(stream.read(limit=0)) == 0
    assert len(stream.head(np.int64(2))) == 2
    for use, message in (
        (lambda: stream.read(limit=-1), "limit is -1; the least is 0"),
        (lambda: stream.read(limit="3"), "limit is '3'; expected a whole number"),
        (lambda: stream.head(-3), "n is -3; the least is 0"),
        (lambda: stream.scale(0), "shards is 0; the least is 1"),
        (lambda: list(stream.batches(max_bytes="lots")), "'lots' is not a size"),
        (lambda: stream.batches(max_bytes=0), "max_bytes is 0; the least is 1"),
        (lambda: stream.batches(max_bytes="0B"), "max_bytes is 0; the least is 1"),
        (lambda: stream.put(b"x", hash_key="5"), "hash_key is '5'; expected a whole number"),
        (lambda: stream.put(b"x", hash_key=-1), "hash_key is -1; allowed are 0 to 3402"),
        (lambda: stream.put(b"x", hash_key=1 << 128), "hash_key is 3402"),
        (lambda: stream.put_many([b"x"], timeout="soon"), "timeout is 'soon'; expected a number of seconds"),
        (lambda: stream.producer(timeout="soon"), "timeout is 'soon'; expected a number of seconds"),
        (lambda: stream.producer(linger="soon"), "'soon' is not a duration"),
    ):
        with pytest.raises(headrace.InvalidArgument, match=message):
            use()
    assert stream.read().data == [b"a", b"b", b"c"]
    assert stream.put(b"x", hash_key=np.uint64(5)).ordinal == 3


def test_batches_own_their_bytes_and_make_columns(store):
    stream = store.stream("s")
    stream.put_many([{"host": f"h{i % 3}", "cpu": i / 2} for i in range(100)], "k")
    batch = stream.read()
    columns = batch.columns("host", cpu="f8")
    assert columns["cpu"].tolist() == [i / 2 for i in range(100)]
    assert columns.valid["cpu"].all()
    stream.put_many([b"z" * 1000] * 10_000, "k")
    assert batch.data[99] == b'{"host":"h0","cpu":49.5}'
    assert pa.table(columns).num_rows == 100


def test_split_merge_and_scale_keep_every_record(store):
    stream = store.stream("s", shards=2)
    stream.put_many([b"%d" % i for i in range(100)], [f"k{i}" for i in range(100)])
    first, second = stream.split(0)
    stream.put_many([b"%d" % i for i in range(100, 200)], [f"k{i}" for i in range(100)])
    stream.merge(first, second)
    stream.scale(4)
    stream.put_many([b"%d" % i for i in range(200, 300)], [f"k{i}" for i in range(100)])
    assert sorted(int(data) for data in stream.read().data) == list(range(300))
    assert stream.shards == 4


RESHARD_WRONGLY = """
import headrace

def refusals(stream):
    first, second = stream.split(0)
    found = []
    for use in (
        lambda: stream.split(0),
        lambda: stream.split(1, 0),
        lambda: stream.split(1, 1.5),
        lambda: stream.split(1, 1 << 128),
        lambda: stream.merge(0, 1),
        lambda: stream.merge(1, second),
        lambda: stream.merge(1, 1),
        lambda: stream.scale(10001),
        lambda: stream.scale(1 << 80),
    ):
        try:
            use()
        except headrace.Error as error:
            found.append((type(error).__name__, str(error)))
    return found, stream.shards
"""


@pytest.mark.parametrize("joined", [False, True])
def test_a_reshard_that_cannot_be_is_refused_here_and_in_a_process_that_joined(
    store, run_python, caplog, joined
):
    stream = store.stream("s", shards=2)
    if joined:
        code = RESHARD_WRONGLY + (
            "import sys\nwith headrace.open(sys.argv[1]) as store:\n    print(refusals(store.stream('s')))"
        )
        done = run_python(code, os.fspath(store.path))
        assert done.returncode == 0, done.stderr
        found, shards = ast.literal_eval(done.stdout)
    else:
        names: dict = {}
        exec(RESHARD_WRONGLY, names)
        found, shards = names["refusals"](stream)
    assert [kind for kind, _ in found] == ["InvalidArgument"] * 7 + ["LimitExceeded"] * 2
    for (_, text), words in zip(
        found,
        (
            "shardId-000000000000 of stream s is closed: it was split or merged",
            "at is 0; the hash keys of shardId-000000000001 of stream s are 1701",
            "at is 1.5; expected a whole number",
            "at is 3402",
            "shardId-000000000000 of stream s is closed",
            "shardId-000000000003 of stream s does not begin where shardId-000000000001 ends",
            "shardId-000000000001 of stream s does not begin where shardId-000000000001 ends",
            "Limit: 10000. Number of additional shards that would have resulted from this request: 9998",
            "Limit: 10000",
        ),
        strict=True,
    ):
        assert words in text
    assert shards == stream.shards == 3
    assert not caplog.records


def test_no_change_opens_more_shards_than_a_stream_may_have(store, monkeypatch):
    stream = store.stream("s", shards=4)
    monkeypatch.setattr(limits, "shards_max", 4)
    for use in (lambda: stream.split(0), lambda: stream.scale(5)):
        with pytest.raises(LimitExceeded, match=r"Current shard count for the stream: 4\. Limit: 4"):
            use()
    monkeypatch.setattr(limits, "shards_max", 2)  # as in a store of before
    stream.scale(4)
    stream.scale(3)
    stream.merge(*[shard.number for shard in store.inner.stream("s").table.open()][:2])
    assert stream.shards == 2


def test_a_full_store_blocks_then_says_which_records_it_took(tmp_path):
    with headrace.open(tmp_path / "s", compression=None) as store:
        stream = store.stream("s", max_bytes="1MiB")
        with pytest.raises(headrace.Backpressure) as caught:
            for _ in range(100):
                stream.put_many([b"x" * 1000] * 100, "k", timeout=0.2)
        assert caught.value.accepted is not None
        assert not caught.value.accepted.any()
        assert caught.value.retry_after > 0
        assert len(stream.read()) % 100 == 0


def test_sequence_numbers_are_those_of_the_service(store):
    stream = store.stream("s", shards=2)
    first = stream.put(b"a", "k1")
    stream.put_many([b"b", b"c"], ["k2", "k3"])
    batch = stream.read()
    assert batch.sequence_numbers.dtype == object
    assert first.sequence_number in batch.sequence_numbers.tolist()
    for number, data in zip(batch.sequence_numbers, batch.data, strict=True):
        assert data in stream.read(number).data
    tail = [n for found in stream.tail("earliest", max_wait=0.0) for n in found.sequence_numbers]
    assert sorted(tail) == sorted(batch.sequence_numbers)
    again = pickle.loads(pickle.dumps(batch[1:]))
    assert again.sequence_numbers.tolist() == batch.sequence_numbers[1:].tolist()


def test_a_table_becomes_a_record_a_row(store):
    stream = store.stream("s", shards=2)
    frame = pl.DataFrame({"host": ["a", "b", None], "cpu": [1.5, None, 2.0], "n": [1, 2, 3]})
    positions = stream.put_table(frame, key="host")
    assert len(positions) == 3
    batch = stream.read()
    assert sorted(batch.data) == [
        b'{"host":"a","cpu":1.5,"n":1}', b'{"host":"b","cpu":null,"n":2}', b'{"host":null,"cpu":2.0,"n":3}',
    ]  # fmt: skip
    assert {r.data[:11]: r.key for r in batch}[b'{"host":"a"'] == "a"
    again = store.stream("again")
    again.put_table(batch.columns("host", "n"))
    assert sorted(again.read().data)[0] == b'{"host":"a","n":1}'
    with pytest.raises(headrace.InvalidArgument, match="no column 'hots' for the key; there are 'host'"):
        stream.put_table(frame, key="hots")


def test_a_table_that_finds_no_room_says_which_rows_it_took(store, crowd):
    stream = store.stream("s")
    chunks = [pa.record_batch({"n": range(i, i + 10)}) for i in range(0, 40, 10)]
    calls = []
    put_many = stream.put_many

    def count(data, keys=None, *, timeout=30):
        calls.append(len(data))
        crowd.full = {0} if len(calls) == 3 else set()
        return put_many(data, keys, timeout=timeout)

    stream.put_many = count
    with pytest.raises(headrace.Backpressure) as caught:
        stream.put_table(pa.Table.from_batches(chunks), timeout=0.02)
    assert caught.value.accepted.tolist() == [True] * 10 + [False] * 30
    assert len(stream.read()) == 10


def test_the_schema_is_found_by_looking(store):
    stream = store.stream("s", shards=2)
    with pytest.raises(headrace.NotFound, match="holds no record that is a JSON object"):
        stream.schema()
    stream.put_many([{"host": "a", "cpu": 1.5, "n": 1, "up": True}] * 10)
    assert dict(stream.schema()) == {"host": "VARCHAR", "cpu": "DOUBLE", "n": "BIGINT", "up": "BOOLEAN"}


def test_info_tells_what_is_there(store):
    stream = store.stream("s", shards=2, max_bytes="64MiB", retention="48h")
    empty = stream.info
    assert (empty.records, empty.nbytes, empty.oldest) == (0, 0, None)
    before = datetime.datetime.now(datetime.UTC)
    stream.put_many([b"x" * 100] * 50)
    info = stream.info
    assert (info.name, info.shards, info.records, info.retention_hours) == ("s", 2, 50, 48)
    assert (info.max_bytes, info.on_full, info.durability) == (64 << 20, "throttle", "process")
    assert info.nbytes > 5000
    assert abs(info.oldest - before) < datetime.timedelta(minutes=1)


def test_what_was_read_outlives_every_turnover(store):
    """A batch owns its bytes: nothing that happens to the log changes it, nor what was made of it. A thousand turnovers
    stand in tests/long/test_turnovers.py.

    Method: a stream that holds little drops its oldest file again and again; the first batch, a slice, its
    arrays and an Arrow table over its bytes are compared with what they were.
    """
    stream = store.stream("s", max_bytes="1MiB", on_full="drop_oldest")
    want = [b"first %d" % i for i in range(100)]
    stream.put_many(want, "k")
    batch = stream.read()
    part, lengths, table = batch[10:20], batch.lengths, pa.table(batch)
    lane = store.inner.stream("s").lanes[0]
    turnovers, names, filling = 100, set(), b"z" * 262_000
    for _ in range(turnovers + 10):
        stream.put(filling, "k")
        names.update(path.name for path in lane.directory.glob("0*"))
    assert len(names) > turnovers
    assert stream.read()[0].ordinal >= turnovers
    assert batch.data == want
    assert part.data == want[10:20]
    assert lengths.tolist() == [len(data) for data in want]
    assert table["data"].to_pylist() == want


def test_a_reader_in_hand_says_that_the_store_was_closed(tmp_path):
    store = headrace.open(tmp_path / "s")
    stream = store.stream("s")
    stream.put_many([b"x" * 1000] * 20)
    batches = stream.batches(max_bytes=1000)
    next(batches)
    store.close()
    with pytest.raises(headrace.Closed):
        list(batches)


def test_what_a_full_stream_dropped_is_counted_and_shown_in_every_process(tmp_path):
    shown = telemetry.counter("headrace_records_dropped_total", "")
    before = shown.value()
    with headrace.open(tmp_path / "s", compression=None) as store:
        stream = store.stream("s", max_bytes="1MiB", on_full="drop_oldest")
        assert (stream.info.dropped_records, stream.info.dropped_bytes) == (0, 0)
        for _ in range(40):
            stream.put_many([bytes(1_000)] * 100)
        info = stream.info
        first = int(stream.read().ordinals[0])
        assert info.dropped_records == first == 4_000 - info.records > 0
        assert info.nbytes <= info.max_bytes and info.dropped_bytes > first * 1_000
        assert shown.value() - before == first
        assert b"headrace_records_dropped_bytes_total " in telemetry.render()
        with headrace.open(tmp_path / "s", mode="read") as joined:
            assert joined.stream("s", create=False).info == info
    with headrace.open(tmp_path / "s") as store:
        assert store.stream("s").info.dropped_records == first


@pytest.mark.parametrize("durability", ["process", "disk"])
def test_a_stream_that_drops_makes_room_in_a_full_store_and_one_that_throttles_is_refused(
    tmp_path, durability
):
    with headrace.open(tmp_path / "s", max_bytes="3MiB", compression=None) as store:
        stream = store.stream("s", on_full="drop_oldest", durability=durability)
        for _ in range(100):
            stream.put_many([bytes(1_000)] * 100, timeout=0)
        assert 1_000 < stream.info.records < 10_000 and stream.info.dropped_records > 0
        other = store.stream("t")
        with pytest.raises(headrace.Backpressure, match="the store holds"):
            for _ in range(100):
                other.put_many([bytes(1_000)] * 100, timeout=0)
