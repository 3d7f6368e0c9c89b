# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: an object's bytes follow from its plan alone. Method: the same records, cut by the log's reads in any
way, against one join."""

import gzip
import random

from hypothesis import given
from hypothesis import strategies as st

from headrace.core._batch import RecordBatch
from headrace.firehose import payload
from headrace.firehose.document import GZIP, UNCOMPRESSED, Plan


class Cut:
    """A stream of one shard whose reads return as many records as they are told, in turn."""

    def __init__(self, records, sizes):
        self.records, self.sizes, self.turn = records, sizes, 0

    def lane_of(self, shard):
        return self

    def read(self, shard, index, *, max_bytes):
        self.turn += 1
        count = self.sizes[self.turn % len(self.sizes)]
        return RecordBatch.of(self.records[index : index + count], shard=shard, first_ordinal=index)


def made(records, sizes, codec, start, end):
    plan = Plan("k", [(0, start, end)], codec, end - start, 0, 0, {})
    found = payload.Payload(Cut(records, sizes), plan)
    data = b"".join(found)
    assert (found.count, found.size) == (len(records[start:end]), sum(map(len, records[start:end])))
    return data


records = st.lists(st.integers(0, 3000).map(lambda n: bytes(i * n & 0xFF for i in range(n))), max_size=60)
cuts = st.lists(st.integers(1, 20), min_size=1, max_size=5)


@given(records, cuts, cuts, st.integers(0, 60), st.integers(0, 60), st.sampled_from([1, 1000, 4096]))
def test_bytes_do_not_depend_on_how_the_log_is_read(records, one, other, start, end, piece):
    start, end = sorted((min(start, len(records)), min(end, len(records))))
    before, payload._PIECE_SIZE = payload._PIECE_SIZE, piece
    try:
        first = made(records, one, GZIP, start, end)
        assert first == made(records, other, GZIP, start, end)
    finally:
        payload._PIECE_SIZE = before
    plain = b"".join(records[start:end])
    assert gzip.decompress(first) == plain == made(records, one, UNCOMPRESSED, start, end)


def test_a_large_object_is_compressed_in_pieces_of_one_size_however_it_is_read():
    source = random.Random(1)
    lines = [
        b'{"host":"web-%d","n":%d}\n' % (source.randrange(50), source.randrange(10**6)) for _ in range(99_000)
    ]
    first = made(lines, [7, 5000], GZIP, 0, len(lines))
    assert first == made(lines, [33_000], GZIP, 0, len(lines)) == made(lines, [101], GZIP, 0, len(lines))
    assert gzip.decompress(first) == b"".join(lines)


@given(st.lists(st.binary(max_size=3000), max_size=30), st.integers(1, 5000))
def test_pieces_are_of_one_size_but_for_the_last(parts, size):
    before, payload._PIECE_SIZE = payload._PIECE_SIZE, size
    try:
        pieces = [bytes(piece) for piece in payload._pieces(iter(parts))]
    finally:
        payload._PIECE_SIZE = before
    assert b"".join(pieces) == b"".join(parts)
    assert all(len(piece) == size for piece in pieces[:-1])
    assert all(0 < len(piece) <= size for piece in pieces)


def test_a_gzip_object_holds_no_time_and_no_name():
    head = made([b"abc"], [1], GZIP, 0, 1)[:10]
    assert head[:4] == b"\x1f\x8b\x08\0"
    assert head[4:8] == b"\0\0\0\0"


def test_nothing_in_the_log_makes_nothing():
    plan = Plan("k", [(0, 5, 9)], UNCOMPRESSED, 4, 0, 0, {})
    found = payload.Payload(Cut([], [1]), plan)
    assert list(found) == []
    assert found.count == 0
