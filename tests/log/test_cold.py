# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Cold files, zstd and lz4: the same records, bounds and times as the raw segment, by the byte table above them.

Method: a raw segment is compressed and both are asked the same questions; then blocks and footer are damaged.
"""

from __future__ import annotations

import errno
import os
import random
import struct

import pytest
from log_support import put, read_of, router_of

from headrace.clock import FrozenClock
from headrace.core import _frames
from headrace.disk import SystemDisk
from headrace.errors import Corrupt, Unsupported
from headrace.log import Log
from headrace.log.cold import (
    CODECS,
    HEADER_SIZE,
    ColdSegment,
    compressor_of,
    rewrite_without_damage,
    write_cold,
)

SHARDS = 4
DISK = SystemDisk()


@pytest.fixture(params=["zstd", "lz4"])
def codec(request):
    return request.param


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A sealed raw segment of a megabyte, and what stands at its end."""
    log = Log.open(tmp_path_factory.mktemp("cold") / "s", clock=FrozenClock(), background=False)
    lane, router, numbers = log.create_lane("process"), router_of(SHARDS), random.Random(3)
    for turn in range(60):
        put(lane, router, [
            (numbers.randrange(SHARDS), f"key-{n}", b"reading %d " % n * numbers.choice((1, 20, 200)) + numbers.randbytes(40))
            for n in range(12)
        ])  # fmt: skip
        if turn == 30:
            put(lane, router, [(2, "large", numbers.randbytes(300_000))])  # a block of its own
        log.clock.advance(7)
    lane.seal_idle(0)
    lane.seal_idle(0)
    (segment,) = lane._segments
    yield segment, lane.end_of(segment)
    log.close()


@pytest.fixture
def cold(raw, codec, tmp_path):
    """(raw, cold, path) in a directory of its own."""
    segment, (snapshot, crc, arrival, epoch) = raw
    path = write_cold(segment, snapshot, crc, arrival, DISK, codec, epoch + 3)
    there = path.rename(tmp_path / path.name)
    return segment, ColdSegment.open(there, DISK), there


def rows_of(batch):
    if batch is None:
        return None
    arrivals = batch.arrival.astype("int64").tolist()
    return list(zip(batch.ordinals.tolist(), arrivals, batch.keys, batch.data, strict=True))


def test_it_answers_every_question_as_the_raw_segment_does(cold):
    raw, cold, _ = cold
    numbers = random.Random(4)
    for shard in range(SHARDS + 1):
        assert cold.bounds(shard, raw.end) == raw.bounds(shard, raw.end)
        assert rows_of(read_of(cold, shard, 0, 10_000, 1 << 30, raw.end)) == rows_of(
            read_of(raw, shard, 0, 10_000, 1 << 30, raw.end)
        )
        first = FrozenClock().now_ms()
        for _ in range(60):
            at = first + numbers.randrange(-5, 500)
            assert cold.index_at_time(shard, at, raw.end) == raw.index_at_time(shard, at, raw.end)
            index, count = numbers.randrange(220), numbers.randrange(1, 40)
            batch = rows_of(read_of(cold, shard, index, count, 1 << 30, raw.end))
            assert batch == rows_of(read_of(raw, shard, index, count, 1 << 30, raw.end))
            size = numbers.randrange(1, 100_000)
            limited = rows_of(read_of(cold, shard, index, 10_000, size, raw.end))
            assert limited == (
                batch and rows_of(read_of(raw, shard, index, 10_000, 1 << 30, raw.end))[: len(limited)]
            )
            total = sum(len(key) + len(data) for _, _, key, data in limited or [])
            assert not limited or len(limited) == 1 or total <= size
    assert cold.start_snapshot() == raw.start_snapshot()
    assert cold.start_states().shards() == raw.start_states().shards()


def test_the_header_s_bytes_stand_where_the_table_says(cold, codec):
    raw, cold, path = cold
    data = path.read_bytes()
    rows = raw.table(raw.end).rows()
    expected = struct.pack(
        "<8sII16sIIQQII", b"HRCLD001", 1, CODECS[codec], raw.header.store_id, raw.header.lane, raw.salt, raw.base, raw.end,
        cold.last_crc, len(cold._load()),
    )  # fmt: skip
    assert data[:64] == expected
    arrivals = (raw.arrival_before_ms, max(row[3] for row in rows))
    assert struct.unpack_from("<qq", data, 64) == arrivals
    at, size, crc = struct.unpack_from("<QII", data, 80)
    assert at + size == len(data) and _frames.crc32c(data[at:]) == crc
    assert struct.unpack_from("<QQI", data, 96) == (
        sum(row[2] for row in rows),
        sum(row[5] for row in rows),
        3,
    )
    assert _frames.crc32c(data[:116]) == int.from_bytes(data[116:120], "little")
    assert not any(data[120:HEADER_SIZE])
    assert len(data) < raw.size // 2


def test_blocks_hold_whole_frames_by_shard_and_index(cold):
    raw, cold, _ = cold
    seen = []
    for number, row in enumerate(cold._load()):
        block = cold._block(number)
        assert len(block) == row["raw_size"]
        at = 0
        while at < len(block):
            fields = _frames.read_header(block, at, raw.salt)
            seen.append((fields["shard"], fields["first_index"], number))
            at += 64 + -(-fields["body_size"] // 8) * 8
        assert len(block) <= 64 << 10 or seen[-2][2] != number
    assert seen == sorted(seen)
    assert len(seen) == len(raw.table(raw.end).rows())


def test_a_damaged_block_costs_its_own_records_only_and_a_rewrite_leaves_them_out(cold):
    raw, cold, path = cold
    row = cold._load()[1]
    data = bytearray(path.read_bytes())
    data[int(row["position"]) + 5] ^= 1
    path.write_bytes(data)
    damaged = ColdSegment.open(path, DISK)
    with pytest.raises(Corrupt, match="checksum of block 1 at byte"):
        damaged._block(1)
    assert [message for message in damaged.check() if "block 1" in message]
    path.write_bytes(rewrite_without_damage(path, DISK))
    mended = ColdSegment.open(path, DISK)
    assert list(mended.check()) == []
    gone = {(int(f["shard"]), int(f["first_index"])) for f in cold._frames if f["block"] == 1}
    kept = {(int(f["shard"]), int(f["first_index"])) for f in mended._frames}
    assert kept == {(row[0], row[1]) for row in raw.table(raw.end).rows()} - gone
    for shard in range(SHARDS):
        whole = rows_of(read_of(raw, shard, 0, 10_000, 1 << 30, raw.end))
        found, index = [], 0
        while batch := rows_of(read_of(mended, shard, index, 10_000, 1 << 30, raw.end)):
            found += batch
            index = batch[-1][0] + 1
        assert set(found) <= set(whole) and found == sorted(found)


@pytest.mark.parametrize(
    ("at", "words"), [(0, "damaged header"), (40, "damaged header"), (-3, "footer's checksum")]
)
def test_damage_in_head_and_footer_is_named(cold, at, words):
    _, _, path = cold
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(Corrupt, match=words):
        ColdSegment.open(path, DISK).bounds(0, 0)
    assert rewrite_without_damage(path, DISK) is None


def test_a_file_under_another_s_name_and_one_of_another_version_are_refused(cold):
    _, _, path = cold
    other = path.rename(path.with_name("00000000000000000123.cold"))
    with pytest.raises(Corrupt, match="says that it starts at lane offset 0"):
        ColdSegment.open(other, DISK)
    data = bytearray(other.read_bytes())
    data[8] = 9
    data[116:120] = struct.pack("<I", _frames.crc32c(bytes(data[:116])))
    other.write_bytes(data)
    with pytest.raises(Corrupt, match="version 9, codec"):
        ColdSegment.open(other, DISK)


def test_a_damaged_raw_segment_is_not_compressed(raw, codec, tmp_path):
    segment, (snapshot, crc, arrival, epoch) = raw
    whole = segment.path.read_bytes()
    data = bytearray(whole)
    data[5000] ^= 1
    try:
        segment.path.write_bytes(data)
        with pytest.raises(Corrupt, match="headrace verify"):
            write_cold(segment, snapshot, crc, arrival, DISK, codec, epoch)
    finally:
        segment.path.write_bytes(whole)
    assert not list(segment.path.parent.glob("*.cold*"))


def test_a_failed_write_leaves_no_file(raw, codec):
    class Full(SystemDisk):
        def pwrite(self, file, data, position):
            if position > 20_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().pwrite(file, data, position)

    segment, (snapshot, crc, arrival, epoch) = raw
    with pytest.raises(OSError):
        write_cold(segment, snapshot, crc, arrival, Full(), codec, epoch)
    assert not list(segment.path.parent.glob("*.cold*"))


def test_an_unknown_codec_is_refused_by_name():
    with pytest.raises(Unsupported, match="cold codec 'brotli'; expected 'zstd' or 'lz4'"):
        compressor_of("brotli")
