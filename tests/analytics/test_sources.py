# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a query reads all of its stream, says what was dropped before it read it, and holds nobody up.

Method: real streams; one that drops its oldest while a query stands still; one whose query's output is full.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import headrace
from headrace import limits
from headrace.analytics import sources
from headrace.analytics.sources import MemorySource, StreamSource, by_shard
from headrace.core._batch import RecordBatch
from headrace.errors import Backpressure, ExpiredPosition
from headrace.log.control import DIRTY, ControlFile


@pytest.fixture
def store(tmp_path: Path) -> Iterator[headrace.Store]:
    with headrace.open(tmp_path / "store") as opened:
        yield opened


def numbers(batches: list[RecordBatch]) -> list[int]:
    return [json.loads(data)["n"] for batch in batches for data in batch.data]


def put(stream: headrace.Stream, first: int, count: int, size: int = 0) -> None:
    stream.put_many([b'{"n":%d,"x":"%s"}' % (n, b"x" * size) for n in range(first, first + count)])


def everything(source: StreamSource) -> list[RecordBatch]:
    found = []
    while not source.done():
        found += source.poll()
    return found


def test_a_bounded_source_ends_where_the_stream_was(store, monkeypatch):
    monkeypatch.setattr(sources, "POLL_BYTES", 500)
    stream = store.stream("s", shards=3)
    put(stream, 0, 100)
    source = StreamSource(stream._inner, "earliest", "latest")
    put(stream, 100, 50)
    assert sorted(numbers(everything(source))) == list(range(100))
    assert source.gaps == 0


def test_records_that_were_dropped_before_they_were_read_are_a_gap(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "POLL_BYTES", 200_000)
    with headrace.open(tmp_path / "small", compression=None) as store:
        stream = store.stream("s", shards=1, max_bytes="2MiB", on_full="drop_oldest")
        put(stream, 0, 500, 1000)
        source = StreamSource(stream._inner)
        first = source.poll()
        position = dict(source.positions)
        for turn in range(1, 30):
            put(stream, turn * 500, 500, 1000)
        rest = numbers(source.poll())
        assert rest[0] > numbers(first)[-1] + 1
        assert source.gaps == 1
        source.poll()
        assert source.gaps == 1
        resumed = StreamSource(stream._inner, position)
        resumed.poll()
        assert resumed.gaps == 1
        with pytest.raises(ExpiredPosition, match="open window needs"):
            list(source.read(0, 0, 10))
        fresh = StreamSource(stream._inner)  # "earliest" is what there is
        fresh.poll()
        assert fresh.gaps == 0
        query = store.sql("SELECT n FROM s", until="latest")
        assert (query.columns().rows > 0, query.gaps) == (True, 0)


def test_a_query_whose_output_has_no_room_holds_no_producer_up(store, monkeypatch):
    monkeypatch.setattr(sources, "POLL_BYTES", 100_000)
    source, target = store.stream("s", shards=1), store.stream("t", shards=1)
    put(source, 0, 10)
    full, inner = threading.Event(), target._inner
    monkeypatch.setattr(type(inner), "append", refusing(type(inner).append, inner, full))
    full.set()
    query = store.sql("SELECT n FROM s").into(target).start()
    for turn in range(20):
        put(source, 10 + turn * 1000, 1000, 100)  # about 2 MB: none of it waits for the query
    assert query.records <= 10
    full.clear()
    deadline = time.monotonic() + 20
    while len(target.read()) < 20_010 and time.monotonic() < deadline:
        time.sleep(0.01)
    query.stop()
    assert numbers([target.read()]) == list(range(20_010))


def refusing(append, refused, full):
    def wrapped(self, *arguments, **options):
        if self is refused and full.is_set():
            raise Backpressure("no room", retry_after=0.001)
        return append(self, *arguments, **options)

    return wrapped


def test_records_in_memory_are_read_shard_by_shard_and_once_more_by_range():
    batch = RecordBatch.concat([RecordBatch.of([b"1", b"2"], shard=1), RecordBatch.of([b"3"], shard=0)])
    assert [int(part.shards[0]) for part in by_shard(batch)] == [0, 1]
    source = MemorySource([batch])
    found = []
    while not source.done():
        found += source.poll()
    assert ([part.data for part in found], source.positions) == ([[b"3"], [b"1", b"2"]], {0: 1, 1: 2})
    assert [part.data for part in source.read(1, 1, 5)] == [[b"2"]]
    assert MemorySource.of([{"a": 1}, '{"a":2}', b'{"a":3}']).poll()[0].data == [
        b'{"a":1}',
        b'{"a":2}',
        b'{"a":3}',
    ]
    assert MemorySource.of([]).done()


def test_columns_are_looked_for_in_batches_from_all_over(monkeypatch):
    monkeypatch.setattr(limits, "sql_discovery_records_max", 4)
    source = MemorySource([RecordBatch.of([b"%d" % n], first_ordinal=n) for n in range(100)])
    assert [part.data[0] for part in source.sample()] == [b"0", b"33", b"66", b"99"]


def lose_power(directory: Path) -> None:
    """As if the last writer had ended with the power and everything had been on the device: the indexes move ahead."""
    control = ControlFile(directory / "control", writer=True, boot_id=bytes(16))
    control.mark(DIRTY, pid=0)
    control.close()


@pytest.mark.parametrize("mode", ["auto", "read"])
def test_a_bounded_source_ends_where_only_the_indexes_moved_ahead(tmp_path, mode):
    with headrace.open(tmp_path / "store") as store:
        put(store.stream("s", shards=2), 0, 100)
    lose_power(tmp_path / "store")
    with headrace.open(tmp_path / "store") as store:
        store.stream("s").read()
    with headrace.open(tmp_path / "store", mode=mode) as store:
        source = StreamSource(store.stream("s")._inner, "earliest", "latest")
        found = []
        for _ in range(10):
            found += source.poll()
        assert sorted(numbers(found)) == list(range(100))
        assert source.done()
        assert all(source.caught_up(shard) for shard in range(2))


def test_a_step_in_the_index_is_no_gap(tmp_path):
    with headrace.open(tmp_path / "store", compression=None) as store:
        put(store.stream("s", shards=1), 0, 100)
    with headrace.open(tmp_path / "store", compression=None) as store:
        source = StreamSource(store.stream("s")._inner)
        assert len(numbers(source.poll())) == 100
        position = dict(source.positions)
    lose_power(tmp_path / "store")
    with headrace.open(tmp_path / "store", compression=None) as store:
        stream = store.stream("s")
        put(stream, 100, 10)
        assert stream._inner.lanes[0].drop_before_indexes({0: 100 + (1 << 32)}) > 0  # what was read goes
        source = StreamSource(stream._inner, position)
        assert numbers(source.poll()) == list(range(100, 110))
        assert source.gaps == 0
