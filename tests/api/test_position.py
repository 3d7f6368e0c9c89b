# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Positions: they name a record, survive pickling, and start a read."""

from __future__ import annotations

import pickle

import pytest

import headrace


def test_a_position_names_the_record(store):
    stream = store.stream("s", shards=2)
    position = stream.put(b"a", hash_key=2**128 - 1)
    assert (position.shard, position.ordinal, position.shard_id) == (1, 0, "shardId-000000000001")
    stream.put(b"b", hash_key=2**128 - 1)
    assert stream.read(position).data == [b"a", b"b"]
    assert stream.read(position.sequence_number, shard=1).data == [b"a", b"b"]
    assert pickle.loads(pickle.dumps(position)) == position


def test_positions_are_arrays_that_index_to_positions(store):
    stream = store.stream("s", shards=2)
    first = stream.put_many([b"a", b"b", b"c"], ["k1", "k2", "k3"])
    both = headrace.Positions.concat([first, stream.put_many([]), stream.put_many([b"d"], "k4")])
    assert len(both) == 4
    assert [position.ordinal for position in both] == both.ordinals.tolist()
    assert both.arrival.dtype == "datetime64[ms]"
    by_number = dict(zip(stream.read().sequence_numbers, stream.read().data, strict=True))
    assert [by_number[position.sequence_number] for position in both] == [b"a", b"b", b"c", b"d"]
    with pytest.raises(IndexError):
        both[4]


def test_a_shard_that_does_not_exist_is_named(store):
    stream = store.stream("s")
    other = store.stream("t", shards=8)
    position = other.put(b"x", hash_key=2**128 - 1)
    with pytest.raises(headrace.InvalidArgument, match="shard 7 of stream s does not exist; it has 1"):
        stream.read(position)


@pytest.mark.parametrize(
    ("start", "said"),
    [("newest", "'newest'"), ("12345", "'12345'"), (1.5, "a float"), (b"latest", "a bytes")],
)
def test_other_starts_are_refused_with_what_is_allowed(store, start, said):
    with pytest.raises(headrace.InvalidArgument, match=f"start is {said}; allowed are 'earliest', 'latest'"):
        store.stream("s").read(start)


def test_a_record_that_is_no_longer_kept_is_no_place_to_start_but_one_to_end(store):
    stream = store.stream("s", max_bytes="1MiB", on_full="drop_oldest")
    first = stream.put(b"first", "k")
    assert stream.read(first).data == [b"first"]
    stream.put_many([bytes(1_000)] * 5_000, "k")
    oldest = int(stream.read().ordinals[0])
    assert oldest > 0
    for start in (first, first.sequence_number):
        for read in (stream.read, stream.tail, lambda start: list(stream.batches(start))):
            with pytest.raises(
                headrace.ExpiredPosition, match=f"record 0 .* no longer kept: the oldest one is {oldest}"
            ):
                read(start)
    assert len(stream.read(end=first)) == 0
