# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: records are counted and the last of them found as reading does, wherever indexes were left out.

Method: a lane is filled, rolled, compressed, opened after a loss of power, damaged and repaired in random turns;
after each, what is told is compared with what is read, by the writer and by a reader beside it.
"""

from __future__ import annotations

import random

import pytest
from log_support import damage, forget_boot, put, read_shard, router_of

from headrace import limits
from headrace.log import Log, indexes_between
from headrace.log.count import INDEX_STEP
from headrace.log.repair import repair

SHARDS = 3
ROUTER = router_of(SHARDS)


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(limits, "segment_size_first", 4 << 10)
    monkeypatch.setattr(limits, "segment_size_max", 4 << 10)


def compare(lane) -> dict[int, list[int]]:
    """Check everything that is told of a lane; returns the indexes that are read."""
    found = {shard: [row[0] for row in read_shard(lane, shard)] for shard in range(SHARDS)}
    assert lane.records() == sum(map(len, found.values()))
    for shard, indexes in found.items():
        end = lane.bounds(shard)[1]
        for before in {end, *indexes[-9:], *(index + 1 for index in indexes[:3])}:
            kept = [index for index in indexes if index < before]
            for count in (0, 1, 2, 3, 7, len(kept) - 1, len(kept), len(kept) + 1):
                expected = kept[-count:] if count > 0 else []
                first = expected[0] if expected else before
                assert lane.last(shard, count, before) == (first, len(expected))
        for index in {0, end - 1, *(index + add for index in indexes for add in (-1, 0, 1))} - {-1}:
            assert lane.reached(shard, index, end) == (not indexes or index > indexes[-1])
    return found


def look(directory) -> None:
    """The same by the writer and by a reader that knows only the files."""
    log = Log.open(directory, background=False)
    try:
        found = compare(log.lane(1))
        reader = Log.open_reader(directory)
        assert compare(reader.lane(1)) == found
        reader.close()
    finally:
        log.close()
    reader = Log.open_reader(directory)
    assert compare(reader.lane(1)) == found
    reader.close()


@pytest.mark.parametrize("seed", range(6))
def test_counts_are_what_reading_gives(tmp_path, durability, seed):
    numbers, directory = random.Random(seed), tmp_path / "store"
    print(f"seed {seed}")
    log = Log.open(directory, background=False, max_bytes=1 << 30)
    log.create_lane(durability)
    log.close()
    for _ in range(12):
        log = Log.open(directory, background=False)
        lane = log.lane(1)
        for _ in range(numbers.randrange(6)):
            shards = numbers.choices(range(SHARDS), (8, 3, 1), k=numbers.randrange(1, 12))
            put(lane, ROUTER, [(shard, "k", numbers.randbytes(100)) for shard in shards])
        compare(lane)
        if numbers.random() < 0.3:
            log.maintenance.run_once()
            compare(lane)
        log.close()
        if numbers.random() < 0.4:
            forget_boot(directory)
        files = [
            path
            for path in sorted((directory / "lanes" / "00000001").glob("0*"))
            if path.stat().st_size > 4500
        ]
        if files and numbers.random() < 0.3:
            file = numbers.choice(files)  # of a raw one any frame but the SNAPSHOT, of a cold one a block
            at = numbers.randrange(4260, file.stat().st_size - 60) if file.suffix == ".raw" else 4100
            damage(file, at, 40)
            repair(directory, numbers.choice(["skip", "skip", "cut"]))
        look(directory)


@pytest.mark.parametrize("before", [0, 1, 4])
@pytest.mark.parametrize("between", [0, 1, 3])
@pytest.mark.parametrize("after", [0, 1, 5])
def test_a_step_may_stand_anywhere_before_the_last_records(tmp_path, durability, before, between, after):
    directory = tmp_path / "store"
    for turn, count in enumerate((before, between, after)):
        log = Log.open(directory, background=False, max_bytes=1 << 30)
        lane = log.lane(1) if turn else log.create_lane(durability)
        for number in range(count):
            put(lane, ROUTER, [(0, "k", b"%d" % number), (2, "k", b"x")])
        put(lane, ROUTER, [(1, "k", b"other")])  # so that there is a segment
        log.close()
        forget_boot(directory)
    look(directory)
    log = Log.open_reader(directory)
    indexes = [row[0] for row in read_shard(log.lane(1), 0)]
    assert len(indexes) == before + between + after
    assert [index // INDEX_STEP for index in indexes] == [0] * before + [1] * between + [2] * after
    log.close()


def test_what_is_sealed_and_whole_is_counted_by_its_snapshots_alone(tmp_path, durability):
    log = Log.open(tmp_path / "store", background=False, codec=None, max_bytes=1 << 30)
    lane = log.create_lane(durability)
    for _ in range(40):
        put(lane, ROUTER, [(1, "k", b"x" * 500)])
    reader = Log.open_reader(tmp_path / "store")
    assert reader.lane(1).records() == 40
    segments = reader.lane(1)._all()
    assert len(segments) > 3
    assert all(segment._table is None for segment in segments[:-1])
    reader.close()
    log.close()


def test_steps_are_no_indexes_between():
    assert indexes_between(3, 10) == 7
    assert indexes_between(3, 10 + 5 * INDEX_STEP) == 7
    assert indexes_between(3, 3 + INDEX_STEP) == indexes_between(3, 3) == indexes_between(10, 3) == 0
    # 100 was read, the power took the last 20 of them, and the next one got what follows the 80th.
    assert indexes_between(100, 80 + INDEX_STEP) == 0
