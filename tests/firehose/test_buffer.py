# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: an open buffer knows which records it holds, how large it is and when it is due. Method: batches of any
sizes against plain sums over the same records."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import limits
from headrace.core._batch import RecordBatch
from headrace.firehose.buffer import Buffer

SECOND = 1_000_000_000
batches = st.lists(
    st.tuples(
        st.integers(0, 3), st.lists(st.integers(0, 300_000), min_size=1, max_size=5), st.integers(1, 10**6)
    ),
    max_size=12,
)


def batch(shard, first, sizes, arrival_ms=1):
    return RecordBatch.of(
        [b"x" * size for size in sizes],
        shard=shard,
        first_ordinal=first,
        arrival_ms=[arrival_ms] * len(sizes),
    )


@given(batches)
def test_it_holds_what_was_added_shard_by_shard(given_batches):
    buffer, ends, begun = Buffer(1, 10), {}, {}
    count = size = 0
    for number, (shard, sizes, arrival_ms) in enumerate(given_batches):
        first = ends.get(shard, 100 * shard)
        begun.setdefault(shard, first)
        buffer.add(batch(shard, first, sizes, arrival_ms), number)
        ends[shard] = first + len(sizes)
        count, size = count + len(sizes), size + sum(sizes)
    assert buffer.ranges() == [(shard, begun[shard], ends[shard]) for shard in sorted(ends)]
    assert (buffer.count, buffer.size) == (count, size)
    assert buffer.room == max(limits.MIB - size, 0)
    assert buffer.full == (size >= limits.MIB)
    assert buffer.oldest_ms == min((arrival_ms for _, _, arrival_ms in given_batches), default=0)
    assert buffer.opened_ns == (0 if given_batches else None)


def test_records_that_were_passed_over_within_a_shard_widen_its_range():
    buffer = Buffer(1, 10)
    buffer.add(batch(0, 5, [1]), 0)
    buffer.add(batch(0, 9, [1]), 0)
    assert (buffer.ranges(), buffer.count) == ([(0, 5, 10)], 2)


def test_records_that_come_twice_are_a_bug():
    buffer = Buffer(1, 10)
    buffer.add(batch(0, 5, [1, 1]), 0)
    with pytest.raises(AssertionError, match="index 6 after 7"):
        buffer.add(batch(0, 6, [1]), 0)


def test_an_empty_buffer_is_never_due():
    buffer = Buffer(1, 0)
    assert buffer.due_ns is None
    assert not buffer.is_due(10**18)


def test_it_is_due_when_its_interval_is_over_and_not_before():
    buffer = Buffer(1, 10)
    buffer.add(batch(0, 0, [1]), 5 * SECOND)
    buffer.add(batch(0, 1, [1]), 9 * SECOND)
    assert buffer.due_ns == 15 * SECOND
    assert not buffer.is_due(15 * SECOND - 1)
    assert buffer.is_due(15 * SECOND)


def test_it_is_due_when_it_is_full_whatever_the_time():
    buffer = Buffer(1, 900)
    buffer.add(batch(0, 0, [limits.MIB - 1]), 0)
    assert not buffer.is_due(0)
    buffer.add(batch(0, 1, [1]), 0)
    assert buffer.is_due(0)
    assert buffer.room == 0


def test_records_without_data_count_and_take_no_room():
    buffer = Buffer(1, 10)
    buffer.add(batch(0, 0, [0, 0, 0]), 0)
    assert (buffer.count, buffer.size, buffer.due_ns) == (3, 0, 10 * SECOND)
