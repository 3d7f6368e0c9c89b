# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A stream of the embedded library: whatever is put in is what is read, from where one asks."""

from __future__ import annotations

import dataclasses
import datetime

import numpy as np
import pyarrow as pa
import pytest

import headrace
from headrace.clock import FrozenClock


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
