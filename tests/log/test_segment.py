# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A segment's header, SNAPSHOT and POSITION by their byte tables, and a raw segment read as readers read it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_support import put, read_of, read_shard, router_of

from headrace.core import _frames
from headrace.core._states import ShardStates
from headrace.errors import Corrupt
from headrace.log import Log
from headrace.log.segment import (
    HEADER_SIZE,
    SegmentHeader,
    decode_header,
    decode_position,
    decode_snapshot,
    encode_position,
    encode_snapshot,
    name_of,
)

PATH = Path("00000000000000000000.raw")
word, number = st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 62) - 1)
headers = st.builds(
    SegmentHeader,
    st.binary(min_size=16, max_size=16),
    word,
    st.booleans(),
    number,
    word,
    word,
    number,
    number,
    word,
)


@given(headers)
def test_a_header_comes_back_and_its_bytes_stand_where_the_table_says(header):
    data = header.encode()
    assert len(data) == HEADER_SIZE == 4096
    assert decode_header(data, PATH) == header
    expected = b"HRSEG001" + struct.pack(
        "<II16sIIQIIqqI", 1, 0, header.store_id, header.lane, header.disk, header.base, header.previous_crc, header.salt,
        header.created_ms, header.arrival_before_ms, header.epoch,
    )  # fmt: skip
    assert len(expected) == 76
    assert data[:80] == data[2048:2128] == expected + struct.pack("<I", _frames.crc32c(expected))
    assert not any(data[80:2048]) and not any(data[2128:])
    assert header.chain == int.from_bytes(data[76:80], "little")


@given(headers, st.integers(0, 79), st.integers(1, 255))
def test_one_bad_copy_does_not_cost_the_segment_and_two_are_named(header, at, change):
    data = bytearray(header.encode())
    data[at] ^= change
    assert decode_header(bytes(data), PATH) == header
    data[2048 + at] ^= change
    with pytest.raises(Corrupt, match=r"00000000000000000000\.raw has"):
        decode_header(bytes(data), PATH)


@pytest.mark.parametrize("size", [0, 79, 2000])
def test_a_header_that_is_cut_short_is_named(size):
    header = SegmentHeader(b"s" * 16, 1, False, 0, 0, 5, 0, 0)
    with pytest.raises(Corrupt) if size < 80 else pytest.MonkeyPatch.context():
        assert decode_header(header.encode()[:size], PATH) == header


@pytest.mark.parametrize("at", [8, 12])
def test_an_unknown_version_or_feature_is_refused(at):
    data = bytearray(SegmentHeader(b"s" * 16, 1, False, 0, 0, 5, 0, 0).encode())
    data[at] = 2
    data[76:80] = struct.pack("<I", _frames.crc32c(bytes(data[:76])))
    with pytest.raises(Corrupt, match="this headrace reads version 1"):
        decode_header(bytes(data), PATH)


owners = st.dictionaries(st.binary(max_size=20), st.binary(max_size=40), max_size=4)
producers = st.dictionaries(number, number, max_size=4)
shards = st.dictionaries(st.integers(0, 200), st.tuples(number, number, st.integers(0, 1)), max_size=6)


@given(shards, producers, owners, st.data())
def test_a_snapshot_comes_back_and_a_part_of_one_is_refused(shards, producers, owners, draw):
    states = ShardStates()
    for shard, state in shards.items():
        states.set(shard, *state)
    body = encode_snapshot(states, producers, owners)
    found, same_producers, same_owners = decode_snapshot(body)
    assert {shard: found.get(shard) for shard in found.shards()} == shards
    assert (same_producers, same_owners) == (producers, owners)
    with pytest.raises(ValueError, match="cut short"):
        cut = draw.draw(st.integers(0, len(body) - 1))
        decode_snapshot(body[:cut])
    with pytest.raises(ValueError, match="1 bytes too many"):
        decode_snapshot(body + b"\0")


@given(st.binary(max_size=300), st.binary(max_size=50))
def test_a_position_comes_back(owner, payload):
    assert decode_position(encode_position(owner, payload)) == (owner, payload)


def test_names_sort_like_their_bases():
    assert name_of(7) == "00000000000000000007.raw"
    assert sorted([name_of(10**12), name_of(9), name_of(10)]) == [name_of(9), name_of(10), name_of(10**12)]


@pytest.fixture
def sealed(tmp_path):
    """(lane, segment, what it holds) of a raw segment that was ended."""
    log = Log.open(tmp_path / "s", background=False)
    lane, router = log.create_lane("process"), router_of(2)
    for start in range(0, 40, 8):
        put(lane, router, [(n % 2, f"k{n}", b"%d" % n * 9) for n in range(start, start + 8)])
    expected = {shard: read_shard(lane, shard) for shard in (0, 1)}
    lane.seal_idle(0)
    lane.seal_idle(0)
    yield lane, lane._segments[0], expected
    log.close()


def test_a_segment_reads_its_records_again_after_a_rest(sealed):
    _, segment, expected = sealed
    for _ in range(2):
        for shard in (0, 1):
            batch = read_of(segment, shard, 3, 100, 1 << 20, segment.end)
            found = list(zip(batch.ordinals.tolist(), batch.keys, batch.data, strict=True))
            assert found == expected[shard][3:]
            assert segment.bounds(shard, segment.end)[:2] == (0, 20)
        assert read_of(segment, 0, 20, 100, 1 << 20, segment.end) is None
        assert read_of(segment, 7, 0, 100, 1 << 20, segment.end) is None
        segment.rest()


def test_a_segment_is_read_no_further_than_what_is_visible(sealed):
    _, segment, expected = sealed
    rows = segment.table(segment.end).rows()
    segment.end = None  # as while it grows
    for shard, first, count, _, offset, stride in rows:
        end = segment.base + offset + stride
        assert segment.bounds(shard, end)[1] == first + count
        assert segment.bounds(shard, end - 1) is None or segment.bounds(shard, end - 1)[1] == first
        batch = read_of(segment, shard, first, 100, 1 << 20, end)
        assert batch.data == [data for _, _, data in expected[shard][first : first + count]]


def test_damage_in_a_header_and_in_a_body_is_named_with_its_place(sealed):
    lane, segment, _ = sealed
    rows = segment.table(segment.end).rows()
    _, first, _, _, offset, _ = rows[2]
    data = bytearray(segment.path.read_bytes())
    data[HEADER_SIZE + offset + 100] ^= 1
    segment.path.write_bytes(data)
    with pytest.raises(Corrupt, match="bad body checksum at byte 0 of what was read"):
        read_of(segment, 0, first, 100, 1 << 20, segment.end)
    data[HEADER_SIZE + offset + 20] ^= 1
    segment.path.write_bytes(data)
    segment.rest()
    with pytest.raises(Corrupt, match=f"bad header checksum at byte {HEADER_SIZE + offset}"):
        read_of(segment, 0, first, 100, 1 << 20, segment.end)
    assert lane is not None
