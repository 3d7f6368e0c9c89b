# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""RecordBatch against a list of plain Python records."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core._batch import Record, RecordBatch
from headrace.core._wire import parse_sequence_number
from headrace.errors import Unsupported

rows = st.lists(st.tuples(st.binary(max_size=40), st.text(max_size=8)), max_size=20)


def batch_of(pairs: list[tuple[bytes, str]]) -> RecordBatch:
    data, keys = [d for d, _ in pairs], [k for _, k in pairs]
    return RecordBatch.of(data, keys, shard=3, first_ordinal=7, arrival_ms=11)


@given(rows)
def test_batch_gives_back_what_went_in(pairs):
    batch = batch_of(pairs)
    assert len(batch) == len(pairs)
    assert batch.data == [d for d, _ in pairs]
    assert batch.keys == [k for _, k in pairs]
    assert list(batch) == [Record(d, k, 3, 7 + i, 11) for i, (d, k) in enumerate(pairs)]
    assert batch.nbytes == sum(len(d) + len(k.encode()) for d, k in pairs)


@given(rows, st.integers(-25, 25), st.integers(-25, 25))
def test_slices_share_bytes_and_agree_with_lists(pairs, start, stop):
    batch = batch_of(pairs)
    part = batch[start:stop]
    assert part.data == [d for d, _ in pairs][start:stop]
    assert part.buffer.obj is batch.buffer.obj


@given(rows, rows)
def test_concat_and_pickle(left, right):
    both = RecordBatch.concat([batch_of(left), batch_of(right)])
    assert both.data == [d for d, _ in left + right]
    again = pickle.loads(pickle.dumps(both))
    assert list(again) == list(both)


def test_filter_takes_a_bool_mask_only():
    batch = batch_of([(b"a", "k"), (b"b", "k")])
    assert batch.filter(np.array([False, True])).data == [b"b"]
    with pytest.raises(ValueError, match="expected bool"):
        batch.filter(np.array([1, 0]))


def test_offsets_outside_the_buffer_are_refused():
    with pytest.raises(ValueError, match="record 0 lies outside the buffer of 3 bytes"):
        RecordBatch(b"abc", [2], [2], [0], [0], [0], [0], [0])
    with pytest.raises(ValueError, match="lengths has shape"):
        RecordBatch(b"abc", [2], [], [0], [0], [0], [0], [0])


def test_joined_is_the_data_of_all_records_in_order():
    batch = RecordBatch.of([b"one", b"", b"three" * 1000], keys=["a", "b", "c"])
    assert batch.joined() == b"one" + b"three" * 1000
    assert batch[1:].joined() == b"three" * 1000
    assert RecordBatch.empty().joined() == b""


def test_sequence_numbers_need_to_know_when_a_shard_was_made():
    batch = batch_of([(b"a", "k"), (b"b", "k"), (b"c", "k")])
    with pytest.raises(Unsupported, match="was not read from a stream"):
        _ = batch.sequence_numbers
    batch.created = {3: 1_700_000_000}
    numbers = batch.sequence_numbers.tolist()
    assert [parse_sequence_number(number)[1:3] for number in numbers] == [(3, 7), (3, 8), (3, 9)]
    for part in (batch.head(2), batch[:2], batch.filter(np.array([True, True, False]))):
        assert part.sequence_numbers.tolist() == numbers[:2]
    assert RecordBatch.concat([batch[:1], batch[1:]]).sequence_numbers.tolist() == numbers
    other = batch_of([(b"d", "k")])
    assert RecordBatch.concat([batch, other]).created is None
    assert pickle.loads(pickle.dumps(batch)).sequence_numbers.tolist() == numbers


def test_head_gives_the_first_records():
    batch = batch_of([(b"%d" % i, "k") for i in range(20)])
    assert batch.head().data == [b"%d" % i for i in range(10)]
    assert batch.head(3).data == [b"0", b"1", b"2"]
    assert batch.head(100).data == batch.data
