# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: what is left of an interrupted step is what no lane got. Method: shard tables with splits and merges."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.analytics.stages import open_at, remaining
from headrace.core._entries import Entries
from headrace.core._entry_parts import lane_entries
from headrace.log import Log
from headrace.streams import StreamDefaults, Streams


def entries_of(count: int) -> Entries:
    entries = Entries()
    entries.extend([b"%d" % n for n in range(count)], [f"key-{n % 13}" for n in range(count)])
    return entries


@pytest.fixture
def stream(tmp_path: Path):
    log = Log.open(tmp_path / "s")
    yield Streams(log, defaults=StreamDefaults(cores=4)).create("x", 4)
    log.close()


def test_the_shards_that_were_open_follow_from_the_number_ever_made(stream):
    seen = {stream.table.count: [shard.number for shard in stream.table.open()]}
    stream.merge(0, 1)
    seen[stream.table.count] = [shard.number for shard in stream.table.open()]
    stream.split(3, stream.table.shard(3).start + 5)
    seen[stream.table.count] = [shard.number for shard in stream.table.open()]
    stream.scale(2)
    seen[stream.table.count] = [shard.number for shard in stream.table.open()]
    for generation, numbers in seen.items():
        assert [shard.number for shard in open_at(stream.table, generation)] == numbers


def test_the_first_records_of_each_lane_are_left_out_stage_after_stage(stream):
    pieces, generation = [entries_of(30), entries_of(20)], stream.table.count
    lanes: dict[int, list[tuple[int, bytes]]] = {}
    for number, piece in enumerate(pieces):
        stream.router.route(piece)
        for shard, data in zip(piece.shards(stream.router), piece.data, strict=True):
            lanes.setdefault(stream.table.shard(int(shard)).lane, []).append((number, data))
    got = {lane: len(rows) // 2 for lane, rows in lanes.items()}
    stream.merge(1, 2)
    left = remaining(pieces, stream.table, [(generation, got)])
    wanted = sorted(row for lane, rows in lanes.items() for row in rows[got[lane] :])
    assert sorted(data for piece in left for data in piece.data) == sorted(data for _, data in wanted)
    for piece in left:
        assert piece.data == sorted(piece.data, key=int)  # in their order
    rest = remaining(left, stream.table, [(stream.table.count, dict.fromkeys(range(4), 10**6))])
    assert rest == []
    assert remaining(pieces, stream.table, []) == pieces


def test_a_lane_without_open_shards_gets_nothing(stream):
    stream.scale(1)
    entries = entries_of(9)
    stream.router.route(entries)
    assert sum(lane_entries(entries, lane) for lane in range(stream.router.lane_count)) == 9
