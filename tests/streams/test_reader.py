# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a StreamReader gives every record once, in order within its shard, parents before children, across any
reshards and restarts. Method: a Hypothesis machine that puts, reshards, polls by small budgets and makes the
reader anew from its positions, beside a plain list of what was put; then each starting point by itself."""

import threading
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from headrace.core._entries import Entries
from headrace.errors import NotFound
from headrace.log import Log
from headrace.streams import StreamReader, Streams


def put(stream, *texts, hash_key=None):
    """Records that are durable when this returns."""
    entries = Entries()
    for text in texts:
        entries.add(text.encode(), text, hash_key)
    for lane, ticket in stream.append(entries):
        lane.commit(ticket)


def drain(reader, max_bytes=8 << 20):
    """Payloads of all that can be read now."""
    found = []
    while batches := reader.poll(max_bytes):
        found += [record.data.decode() for batch in batches for record in batch]
    return found


def by_shard(batches):
    return [(int(batch.shards[0]), [record.data.decode() for record in batch]) for batch in batches]


class Reading(RuleBasedStateMachine):
    """One stream, one reader, and the order in which records went into each shard."""

    @initialize(store=st.just(None), shards=st.integers(1, 5), disk=st.booleans())
    def create(self, store, shards, disk):
        self.store = type(self).make_store()
        self.stream = self.store.streams.create("a", shards, durability="disk" if disk else "process")
        self.reader = StreamReader(self.stream)
        self.put_in = {}
        self.seen = {}
        self.number = 0

    @rule(count=st.integers(1, 8))
    def put(self, count):
        texts = [f"r{self.number + i}" for i in range(count)]
        self.number += count
        entries = Entries()
        for text in texts:
            entries.add(text.encode(), text, None)
        offsets = self.stream.append(entries)
        shards = entries.shards(self.stream.router)
        for lane, ticket in offsets:
            lane.commit(ticket)
        for text, shard in zip(texts, shards, strict=True):
            self.put_in.setdefault(int(shard), []).append(text)

    @rule(data=st.data())
    def split(self, data):
        shards = [shard for shard in self.stream.table.open() if shard.end - shard.start > 10]
        shard = data.draw(st.sampled_from(shards))
        self.stream.split(shard.number, (shard.start + shard.end) // 2)

    @rule(data=st.data())
    def merge(self, data):
        shards = self.stream.table.open()
        if len(shards) > 1:
            at = data.draw(st.integers(0, len(shards) - 2))
            self.stream.merge(shards[at].number, shards[at + 1].number)

    @rule(count=st.integers(1, 7))
    def scale(self, count):
        self.stream.scale(count)

    @rule(max_bytes=st.integers(1, 40))
    def poll(self, max_bytes):
        self.take(self.reader.poll(max_bytes))

    def take(self, batches):
        for batch in batches:
            shard = int(batch.shards[0])
            for parent in self.stream.table.shard(shard).parents:
                assert self.seen.get(parent, []) == self.put_in.get(parent, []), "parents come first"
            self.seen.setdefault(shard, []).extend(record.data.decode() for record in batch)

    @rule()
    def restart_reader(self):
        positions = {str(shard): index for shard, index in self.reader.positions.items()}  # as JSON has them
        self.reader = StreamReader(self.stream, positions)

    @rule()
    def restart_store(self):
        positions = self.reader.positions
        self.store.reopen()
        self.stream = self.store.streams.stream("a")
        self.reader = StreamReader(self.stream, positions)

    @invariant()
    def what_was_seen_is_a_prefix(self):
        for shard, texts in self.seen.items():
            assert self.put_in[shard][: len(texts)] == texts

    def teardown(self):
        while batches := self.reader.poll():
            self.take(batches)
        assert self.seen == self.put_in
        assert self.reader.poll() == []
        assert not self.reader.wait(0)
        shards = {shard.number for shard in self.stream.shards if shard.open}
        assert set(self.reader.positions) == shards, "positions of what was read to its end are let go"


def test_every_record_comes_once_in_order_across_reshards_and_restarts(make_store):
    numbers = iter(range(1_000_000))
    Reading.make_store = staticmethod(lambda: make_store(f"store-{next(numbers)}"))
    machine = Reading.TestCase
    machine.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
    machine().runTest()


@pytest.fixture
def stream(kinesis):
    return kinesis.streams.create("a", 1)


def test_latest_sees_only_what_comes(stream):
    put(stream, "old")
    stream.split(0, 100)
    reader = StreamReader(stream, "latest")
    assert sorted(reader.positions) == [1, 2]
    assert drain(reader) == []
    put(stream, "left", hash_key=0)
    put(stream, "right", hash_key=100)
    assert sorted(drain(reader)) == ["left", "right"]


def test_a_time_starts_every_shard_at_that_time(kinesis, stream):
    put(stream, "0")
    kinesis.clock.advance(1_000)
    put(stream, "1")
    kinesis.clock.advance(1_000)
    stream.split(0, 100)
    put(stream, "2", hash_key=0)
    kinesis.clock.advance(1_000)
    put(stream, "3", hash_key=0)
    start = 1_700_000_000_250
    assert drain(StreamReader(stream, start)) == ["0", "1", "2", "3"]
    assert drain(StreamReader(stream, start + 1_000)) == ["1", "2", "3"]
    assert drain(StreamReader(stream, start + 2_500)) == ["3"]
    reader = StreamReader(stream, start + 9_000)
    assert drain(reader) == []
    put(stream, "4", hash_key=0)
    assert drain(reader) == ["4"]


def test_positions_start_each_shard_where_it_was(kinesis):
    stream = kinesis.streams.create("a", 2)
    put(stream, *"0123", hash_key=0)
    put(stream, *"abcd", hash_key=(1 << 128) - 1)
    assert by_shard(StreamReader(stream, {0: 2, 1: 3}).poll()) in (
        [(0, ["2", "3"]), (1, ["d"])],
        [(1, ["d"]), (0, ["2", "3"])],
    )
    assert sorted(drain(StreamReader(stream, {1: 4}))) == ["0", "1", "2", "3"]
    assert sorted(drain(StreamReader(stream, {7: 4}))) == list("0123abcd")


def test_an_ancestor_of_a_shard_with_a_position_was_read_to_its_end(stream):
    put(stream, "old")
    left, right = stream.split(0, 100)
    stream.split(left, 50)
    assert drain(StreamReader(stream, {right: 0})) == []


def test_named_shards_are_read_alone_and_finish(kinesis):
    stream = kinesis.streams.create("a", 2)
    put(stream, "zero", hash_key=0)
    put(stream, "one", hash_key=(1 << 128) - 1)
    reader = StreamReader(stream, shards=[1])
    assert drain(reader) == ["one"]
    assert not reader.finished
    stream.split(1, (1 << 128) - 100)
    put(stream, "child", hash_key=(1 << 128) - 1)
    assert drain(reader) == []
    assert reader.finished


def test_a_reader_of_all_shards_does_not_finish(stream):
    reader = StreamReader(stream)
    stream.split(0, 100)
    assert drain(reader) == []
    assert not reader.finished


def test_a_poll_keeps_to_its_budget_and_takes_shards_in_turn(kinesis):
    stream = kinesis.streams.create("a", 4, durability="disk")
    for shard in range(4):
        put(stream, *[f"{shard}{i}" for i in range(4)], hash_key=shard << 126)
    reader = StreamReader(stream)
    turns = [by_shard(reader.poll(8)) for _ in range(8)]
    assert all(sum(4 * len(texts) for _, texts in turn) == 8 for turn in turns)
    assert {turn[0][0] for turn in turns[:4]} == {0, 1, 2, 3}
    assert reader.poll() == []


def test_an_idle_stream_is_not_looked_through(kinesis, monkeypatch):
    stream = kinesis.streams.create("a", 1_000)
    reader = StreamReader(stream)
    put(stream, "x")
    assert drain(reader) == ["x"]

    def no(*args):
        raise AssertionError("nothing is new")

    for lane in stream.lanes:
        monkeypatch.setattr(type(lane), "bounds", no)
    assert reader.poll() == []
    assert not reader.wait(0)


def test_expired_records_are_passed_over(kinesis, stream):
    put(stream, "old")
    reader = StreamReader(stream)
    kinesis.reopen()
    stream = kinesis.streams.stream("a")
    reader = StreamReader(stream, reader.positions)
    put(stream, "new")
    kinesis.clock.advance(24 * 3_600_000)
    kinesis.clock.advance(1)
    kinesis.reopen()
    kinesis.clock.advance(-0)
    kinesis.streams.apply_retention()
    stream = kinesis.streams.stream("a")
    put(stream, "newest")
    assert drain(StreamReader(stream, {0: 0})) == ["newest"]


@pytest.mark.parametrize("shards", [1, 4])
def test_waiting_ends_with_the_next_record(kinesis, shards):
    stream = kinesis.streams.create("a", shards)
    reader = StreamReader(stream)
    assert drain(reader) == []
    start = time.monotonic()
    assert not reader.wait(0.05)
    assert time.monotonic() - start >= 0.05
    timer = threading.Timer(0.05, put, (stream, "x"))
    timer.start()
    assert reader.wait(10)
    assert time.monotonic() - start < 5
    timer.join()
    assert drain(reader) == ["x"]


def test_waiting_ends_with_a_reshard(stream):
    reader = StreamReader(stream)
    assert drain(reader) == []
    timer = threading.Timer(0.05, stream.split, (0, 100))
    timer.start()
    assert reader.wait(10)
    timer.join()


def test_a_deleted_stream_ends_reading_by_name(kinesis, stream):
    reader = StreamReader(stream)
    kinesis.streams.delete("a")
    assert reader.wait(10)
    with pytest.raises(NotFound, match="Stream a under account 000000000000 not found"):
        reader.poll()


@pytest.mark.parametrize("shards", [1, 3])
def test_another_process_s_reader_sees_records_reshards_and_deletion(kinesis, shards):
    stream = kinesis.streams.create("a", shards)
    put(stream, "before")
    other = Log.open_reader(kinesis.directory, clock=kinesis.clock)
    try:
        reader = StreamReader(Streams(other, clock=kinesis.clock).stream("a"))
        assert drain(reader) == ["before"]
        assert reader.poll() == []
        timer = threading.Timer(0.05, put, (stream, "after"))
        timer.start()
        assert reader.wait(10)
        timer.join()
        assert drain(reader) == ["after"]
        stream.split(0, 100)
        put(stream, "child", hash_key=0)
        found = []
        for _ in range(200):
            reader.wait(0.05)
            found += drain(reader)
            if found:
                break
        assert found == ["child"]
        kinesis.streams.delete("a")
        with pytest.raises(NotFound):
            for _ in range(200):
                reader.wait(0.05)
                reader.poll()
    finally:
        other.close()
