# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Answers to GetRecords against json.dumps of the same facts, whatever the records are read from.

Method: groups of records of several shards are framed by a Tail into a file; a shard is then read from any index,
under any bounds, out of the ring, out of the file, and out of pieces as cold files give them. Batch and answer must
say what a list of the same records says. Answers are also parsed by botocore with the service's model.
"""

import base64
import datetime
import json
import os
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_support import model_sequence, parsed

from headrace.core import _records_answer
from headrace.core._batch import RecordBatch
from headrace.core._entries import Entries, Router
from headrace.core._frame_source import FrameSource
from headrace.core._frames import HEADER_SIZE, SEGMENT_HEADER_SIZE, Tail
from headrace.core._records_answer import LEVELS, RecordsAnswer

SECONDS = st.integers(0, (1 << 36) - 1)
SHARDS = st.integers(0, (1 << 32) - 1)
SALT = 0x5EED
ANY = 1 << 40


def answer_of(batch, *, shard, created_s, millis_behind=0, next_iterator=None, children=None, **options):
    answer = RecordsAnswer(shard, created_s, **options)
    answer.add(batch)
    return bytes(answer.finish(millis_behind, next_iterator, children))


def expected_record(created_s, shard, index, arrival_ms, data, key):
    return {
        "SequenceNumber": model_sequence(created_s, shard, index, arrival_ms // 1000),
        "ApproximateArrivalTimestamp": arrival_ms / 1000,
        "Data": base64.b64encode(data).decode(),
        "PartitionKey": key,
    }


texts = st.text(st.characters(codec="utf-8"), max_size=40) | st.text(
    'aé"\\\x00\x1f\x7f\n\u2028😀', max_size=80
)
records = st.lists(
    st.tuples(st.binary(max_size=150), texts, st.integers(0, (1 << 36) * 1000 - 1)), max_size=8
)


@given(
    records, SHARDS, SECONDS, st.integers(0, (1 << 63) - 1), st.none() | st.text(max_size=30), st.booleans()
)
@settings(deadline=None)
def test_answers_say_what_json_would(rows, shard, created_s, first, iterator, encrypted):
    batch = RecordBatch.of(
        [row[0] for row in rows], [row[1] for row in rows], shard, first, [row[2] for row in rows] or 0
    )
    children = b'[{"ShardId":"shardId-000000000001"}]' if iterator is None else None
    bodies = {
        answer_of(
            batch, shard=shard, created_s=created_s, millis_behind=123, next_iterator=iterator, children=children,
            encryption="KMS" if encrypted else None, simd=simd,
        )
        for simd in LEVELS
    }  # fmt: skip
    assert len(bodies) == 1
    found = json.loads(bodies.pop())
    assert found.pop("NextShardIterator") == iterator
    assert found.pop("MillisBehindLatest") == 123
    assert found.pop("ChildShards", None) == (json.loads(children) if children else None)
    expected = [
        expected_record(created_s, shard, first + i, arrival_ms, data, key)
        | ({"EncryptionType": "KMS"} if encrypted else {})
        for i, (data, key, arrival_ms) in enumerate(rows)
    ]
    assert found == {"Records": expected}


class Framed:
    """Groups of records in a file, and the same as lists by shard."""

    def __init__(self, groups, shards, ring=1 << 20):
        edges = [(1 << 128) * i // shards for i in range(shards + 1)]
        router = Router([(edges[i], edges[i + 1] - 1, i, 0, 1) for i in range(shards)])
        self.file = os.memfd_create("frames")
        weakref.finalize(self, os.close, self.file)
        self.tail = Tail()
        self.tail.start(self.file, 0, ANY, SALT, 0)
        self.tail.grow(ring)
        self.rows = [[] for _ in range(shards)]  # (arrival_ms, data, key)
        for number, group in enumerate(groups):
            entries = Entries()
            for data, key, shard in group:
                entries.add(data, key, edges[shard % shards])
            router.route(entries)
            assert self.tail.append(entries, router, 0, 1000 * number + number) > 0
            for data, key, shard in group:
                self.rows[shard % shards].append((1000 * number + number, data, key))
            self.tail.write()

    def source(self, shard, index, max_records, max_bytes, how):
        source = FrameSource(shard, index, max_records, max_bytes, SALT, self)
        table, end = self.tail.table, self.tail.appended
        found = source.in_segment(table, end, self.file, self.tail if how == "ring" else None)
        if found is None or how != "pieces":
            return found
        data, spans, at = found.joined(), [], 0
        while at < len(data):  # a piece a frame, each with something before and behind it
            size = HEADER_SIZE + (int.from_bytes(data[at + 12 : at + 16], "little") + 7) // 8 * 8
            spans.append((b"12345678" + data[at : at + size] + b"x", 8, 8 + size))
            at += size
        return FrameSource(shard, index, max_records, max_bytes, SALT, None).in_pieces(iter(spans), len(data))

    def expected(self, shard, index, max_records, max_bytes):
        """(index, arrival_ms, data, key) within the bounds, at least one."""
        found, total = [], 0
        for number, (arrival_ms, data, key) in list(enumerate(self.rows[shard]))[index:]:
            total += len(data) + len(key.encode())
            if len(found) == max_records or (found and total > max_bytes):
                break
            found.append((number, arrival_ms, data, key))
        return found


groups = st.lists(
    st.lists(
        st.tuples(st.binary(max_size=60), st.text("ab\"é", min_size=1, max_size=6), st.integers(0, 2)),
        min_size=1, max_size=12,
    ),
    min_size=1, max_size=8,
)  # fmt: skip


@pytest.mark.parametrize("how", ["ring", "file", "pieces"])
@given(groups, st.integers(1, 3), st.integers(0, 30), st.integers(1, 20), st.integers(1, 400))
@settings(deadline=None, max_examples=60)
def test_frames_are_read_alike_wherever_they_lie(how, groups, shards, index, max_records, max_bytes):
    framed = Framed(groups, shards)
    for shard in range(shards):
        expected = framed.expected(shard, index, max_records, max_bytes)
        # A source holds whole frames for about max_bytes; it may end before them, but never before one record.
        source = framed.source(shard, index, max_records, max_bytes, how)
        if not expected:
            assert source is None
            continue
        batch = source.batch()
        answer = RecordsAnswer(shard, 77)
        answer.take(framed.source(shard, index, max_records, max_bytes, how))
        count = answer.count
        assert 1 <= count == len(batch) <= len(expected)
        assert [(r.ordinal, r.arrival_ms, r.data, r.key) for r in batch] == expected[:count]
        assert (answer.last_index, answer.last_arrival_ms) == expected[count - 1][:2]
        body = json.loads(bytes(answer.finish(0, None)))
        assert body["Records"] == [
            expected_record(77, shard, number, arrival_ms, data, key)
            for number, arrival_ms, data, key in expected[:count]
        ]


@pytest.mark.parametrize("how", ["ring", "file", "pieces"])
def test_answers_of_many_pieces_are_whole(how):
    """More than one piece of 256 KiB, frames of every size up to one record of a mebibyte."""
    sizes = [1 << 20, 0, 1, 100, 1000, 100_000, 250_000, 1 << 20, 7, 100_000, 100_000, 100_000]
    framed = Framed([[(os.urandom(size), f"k{size}", 0)] for size in sizes], 1, ring=2 << 20)
    assert 0 < framed.tail.kept < framed.tail.appended  # the ring has only the last of them
    answer = RecordsAnswer(0, 1)
    answer.take(framed.source(0, 0, 10_000, ANY, how))
    body = answer.finish(5, "next")
    assert len(body) == len(bytes(body)) > 1 << 20
    assert json.loads(bytes(body)) == {
        "Records": [expected_record(1, 0, number, *framed.rows[0][number]) for number in range(len(sizes))],
        "NextShardIterator": "next",
        "MillisBehindLatest": 5,
    }


@pytest.mark.parametrize("how", ["file", "pieces"])
def test_every_flipped_byte_of_a_frame_is_found(how):
    framed = Framed([[(b"some data", "key", 0)], [(b"more", "key", 0)]], 1)
    end = framed.tail.appended
    whole = framed.source(0, 0, 10, ANY, "file").joined()
    padding = {HEADER_SIZE + 8 + 12 + i for i in range(4)} | {end - i for i in range(1, 2)}
    for place in range(end):
        os.pwrite(framed.file, bytes([whole[place] ^ 0x40]), SEGMENT_HEADER_SIZE + place)
        source = FrameSource(0, 0, 10, ANY, SALT, None)
        if how == "file":
            source.in_segment(framed.tail.table, end, framed.file)
        else:
            data = os.pread(framed.file, end, SEGMENT_HEADER_SIZE)
            source.in_pieces(iter([(data, 0, len(data))]), len(data))
        answer = RecordsAnswer(0, 1)
        try:
            answer.take(source)
        except ValueError as problem:
            assert "of what was read" in str(problem)
        else:
            assert place in padding, f"byte {place} was changed and nobody noticed"
            assert answer.count == 2
        os.pwrite(framed.file, whole[place : place + 1], SEGMENT_HEADER_SIZE + place)
    answer = RecordsAnswer(0, 1)
    answer.take(framed.source(0, 0, 10, ANY, how))
    assert answer.count == 2


def test_pieces_beyond_their_bytes_are_refused():
    source = FrameSource(0, 0, 1, 1, SALT, None).in_pieces(iter([(b"short", 0, 6)]), 6)
    with pytest.raises(ValueError, match="frames at 0 to 6 of 5 bytes"):
        RecordsAnswer(0, 1).take(source)


def test_a_file_that_ends_too_early_is_an_error():
    framed = Framed([[(b"x" * 100, "k", 0)]], 1)
    os.ftruncate(framed.file, SEGMENT_HEADER_SIZE + 80)
    with pytest.raises(OSError):
        RecordsAnswer(0, 1).take(framed.source(0, 0, 1, ANY, "file"))


def test_memory_of_an_answer_is_used_again_only_when_nobody_looks_at_it():
    batch = RecordBatch.of([b"a" * 200_000], ["k"], 0, 0, 0)
    other = RecordBatch.of([b"z" * 200_000], ["k"], 0, 0, 0)

    def make(batch):
        answer = RecordsAnswer(0, 1)
        answer.add(batch)
        return answer.finish(0, None)

    _records_answer.trim()
    _records_answer.trim()
    assert _records_answer.kept_size() == 0
    body = make(batch)
    view, text = memoryview(body), bytes(body)
    assert view.readonly
    del body
    assert bytes(make(other)) != text
    assert bytes(view) == text
    kept = _records_answer.kept_size()
    del view
    assert _records_answer.kept_size() > kept
    assert bytes(make(batch)) == text
    _records_answer.trim()  # one was needed since the last call
    assert _records_answer.kept_size() > 0
    _records_answer.trim()
    assert _records_answer.kept_size() == 0


def test_botocore_reads_records_with_their_milliseconds():
    batch = RecordBatch.of(
        [b"\x00\xff", b""], ['a"\\\x01', "ключ 😀"], 3, 9, [1_700_000_000_001, 1_700_000_001_230]
    )
    body = answer_of(batch, shard=3, created_s=5, next_iterator="AAA/+=")
    assert b'"ApproximateArrivalTimestamp":1700000000.001,' in body
    assert b'"ApproximateArrivalTimestamp":1700000001.230,' in body
    found = parsed("kinesis", "GetRecords", body)
    assert [record["Data"] for record in found["Records"]] == [b"\x00\xff", b""]
    assert [record["PartitionKey"] for record in found["Records"]] == ['a"\\\x01', "ключ 😀"]
    times = [record["ApproximateArrivalTimestamp"].astimezone(datetime.UTC) for record in found["Records"]]
    assert [time.microsecond for time in times] == [1000, 230_000]
    assert found["NextShardIterator"] == "AAA/+="
    assert found["MillisBehindLatest"] == 0


def test_an_empty_answer_is_an_empty_list():
    body = answer_of(RecordBatch.empty(), shard=0, created_s=0)
    assert body == b'{"Records":[],"NextShardIterator":null,"MillisBehindLatest":0}'


@pytest.mark.parametrize(("created_s", "arrival_ms"), [(1 << 36, 0), (0, -1), (0, (1 << 36) * 1000)])
def test_records_with_impossible_times_are_refused(created_s, arrival_ms):
    batch = RecordBatch.of([b"x"], ["k"], 0, 0, arrival_ms)
    with pytest.raises(ValueError, match="not within 0 to 68719476735 seconds"):
        answer_of(batch, shard=0, created_s=created_s)
