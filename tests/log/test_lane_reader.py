# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Reading a lane, from the writer's process and from others, while it rolls, is compressed and is dropped from.

Method: the same questions go to the writer's lane, to a second view of the directory, and to a true process beside.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from log_support import damage, forget_boot, put, read_shard, router_of

from headrace import limits
from headrace.clock import FrozenClock
from headrace.errors import Corrupt, NotFound, StorageError
from headrace.log import Log

ROUTER = router_of(2)
HOUR_MS = 3_600_000


@pytest.fixture(params=["process", "disk"])
def durability(request):
    return request.param


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "segment_size_first", 16 << 10)
    monkeypatch.setattr(limits, "segment_size_max", 16 << 10)
    found = Log.open(tmp_path / "s", clock=FrozenClock(), background=False, max_bytes=1 << 30)
    yield found
    found.close()


@pytest.fixture
def reader(log):
    found = Log.open_reader(log.directory)
    yield found
    found.close()


def fill(lane, clock, groups=30, step_ms=10):
    """Groups of two records, one of each shard; returns each group's arrival."""
    arrivals = []
    for number in range(groups):
        (_, arrival), _ = put(
            lane, ROUTER, [(shard, f"k{number}", b"%d " % number * 400) for shard in (0, 1)]
        )
        arrivals.append(arrival)
        clock.advance(step_ms)
    return arrivals


def test_reader_and_writer_agree_while_the_lane_rolls_is_compressed_and_dropped_from(log, reader, durability):
    lane = log.create_lane(durability)
    other = reader.lane(lane.id)
    assert other.bounds(0) == (0, 0) and len(other.read(0, 0)) == 0
    turns = [
        log.maintenance.run_once,
        lambda: lane.drop_before_indexes({0: 9, 1: 9}),
        lambda: (lane.seal_idle(0), lane.seal_idle(0)),
        lambda: lane.commit(lane.append(None, None, 0, positions={b"o": b"p"})),
        log.maintenance.run_once,
    ]
    for turn in turns:
        fill(lane, log.clock, 12)
        turn()
        for shard in (0, 1):
            assert read_shard(other, shard) == read_shard(lane, shard)
            assert other.bounds(shard) == lane.bounds(shard)
            assert other.last_arrival(shard) == lane.last_arrival(shard)
        assert other.positions() == lane.positions()
    assert lane.bounds(0)[0] > 0
    assert {segment.kind for segment in other._all()} == {".raw", ".cold"}


def test_times_are_found_in_cold_and_raw_segments_and_between_them(log, reader, durability):
    lane = log.create_lane(durability)
    arrivals = fill(lane, log.clock, 20)
    log.maintenance.run_once()
    arrivals += fill(lane, log.clock, 20)
    lane.drop_before_indexes({0: 5, 1: 5})
    first = lane.bounds(0)[0]
    for view in (lane, reader.lane(lane.id)):
        for shard in (0, 1):
            for number, at in enumerate(arrivals):
                for exact in (at - 3, at):
                    assert max(view.index_at_time(shard, exact), first) == max(number, first)
            assert view.index_at_time(shard, 0) == first
            assert view.index_at_time(shard, arrivals[-1] + 1) == len(arrivals)
        assert view.index_at_time(7, 0) == 0


def test_a_clock_that_jumps_back_an_hour_keeps_arrivals_times_and_retention_sane(log, durability):
    lane, clock = log.create_lane(durability), log.clock
    arrivals = fill(lane, clock, 10, 1000)
    clock.jump(-HOUR_MS)
    arrivals += fill(lane, clock, 10, 1000)
    assert arrivals == sorted(arrivals)
    assert arrivals[10:] == [arrivals[9]] * 10  # until the clock has caught up
    for number, at in enumerate(arrivals[:10]):
        assert lane.index_at_time(0, at) == number
    assert lane.index_at_time(0, clock.now_ms()) == 0
    assert lane.drop_before(clock.now_ms() - 24 * HOUR_MS) == 0
    assert lane.drop_before(clock.now_ms()) == 0  # by the clock now, nothing is that old
    clock.jump(HOUR_MS)
    assert fill(lane, clock, 1)[0] >= arrivals[-1]
    lane_id, directory = lane.id, log.directory
    log.close()
    later = Log.open(directory, clock=clock, background=False)
    lane = later.lane(lane_id)
    clock.jump(-HOUR_MS)
    assert put(lane, ROUTER, [(0, "k", b"x")])[0][1] >= arrivals[-1]  # also over a restart
    clock.jump(HOUR_MS)
    clock.advance(24 * HOUR_MS)
    lane.seal_idle(0)
    lane.seal_idle(0)
    assert lane.drop_before(clock.now_ms() - HOUR_MS) > 0
    assert lane.bounds(0) == (22, 22)
    later.close()


def test_bounds_of_a_read_are_kept_over_segments(log, durability):
    lane = log.create_lane(durability)
    fill(lane, log.clock, 40)
    log.maintenance.run_once()
    for count in (1, 3, 100):
        index, found = 0, []
        while len(batch := lane.read(1, index, max_records=count)):
            assert len(batch) <= count
            found += batch.ordinals.tolist()
            index = found[-1] + 1
        assert found == list(range(40))
    assert len(lane.read(1, 0, max_bytes=1)) == 1
    assert len(lane.read(1, 39)) == 1 and len(lane.read(1, 40)) == 0 and len(lane.read(1, 1 << 40)) == 0


BESIDE = """
import json, sys
from headrace.log import Log
log = Log.open_reader(sys.argv[1])
lane, index, shard = log.lane(int(sys.argv[2])), 0, 1
print(json.dumps("ready"), flush=True)
while index < int(sys.argv[3]):
    visible = lane.visible
    batch = lane.read(shard, index)
    if not len(batch):
        lane.wait(visible, 1.0)
        continue
    for record in batch:
        assert record.ordinal == index, (record.ordinal, index)
        index += 1
        print(json.dumps([record.ordinal, record.key, record.data.decode()]), flush=True)
"""


def test_a_process_beside_follows_the_tip_through_rolls_and_compression(log, durability):
    lane, groups = log.create_lane(durability), 60
    child = subprocess.Popen(
        [sys.executable, "-c", BESIDE, log.directory, str(lane.id), str(groups)], stdout=subprocess.PIPE
    )
    lines: list = []
    thread = threading.Thread(target=lambda: lines.extend(json.loads(line) for line in child.stdout))
    try:
        assert json.loads(child.stdout.readline()) == "ready"
        thread.start()
        for number in range(0, groups, 10):
            fill(lane, log.clock, 10)
            if number % 20:
                log.maintenance.run_once()
        assert child.wait(30) == 0
    finally:
        child.kill()
        child.wait()
        if thread.ident:
            thread.join()
        child.stdout.close()
    assert [tuple(line) for line in lines] == [
        (n, key, data.decode()) for n, key, data in read_shard(lane, 1)
    ]


def test_a_file_that_goes_away_under_a_reader_is_looked_for_again(log, reader):
    lane = log.create_lane("process")
    fill(lane, log.clock, 30)
    other = reader.lane(lane.id)
    assert other.bounds(0) == (0, 30)  # has listed the files, opened only some
    for segment in other._all()[:-1]:
        segment.rest()
    log.maintenance.run_once()
    assert read_shard(other, 0) == read_shard(lane, 0)
    assert not [path for path in lane.directory.glob("*.raw") if int(path.stem) < other._segments[-1].base]


@pytest.mark.parametrize("visible", [1 << 40, (1 << 64) - 1])
def test_a_published_offset_that_cannot_be_is_named(log, reader, visible):
    lane = log.create_lane("process")
    put(lane, ROUTER, [(0, "k", b"x")])
    log.control.words.store64(log.control.slot(lane.id), visible)
    for look in (
        lambda other: other.read(0, 0),
        lambda other: other.bounds(0),
        lambda other: other.positions(),
    ):
        with pytest.raises(Corrupt, match="the frames end at byte"):
            look(reader.lane(lane.id))


def test_a_lane_made_after_the_reader_opened_is_found_and_an_unknown_one_is_named(log, reader):
    with pytest.raises(NotFound, match="there is no lane 1"):
        reader.lane(1)
    lane = log.create_lane("process")
    put(lane, ROUTER, [(0, "k", b"x")])
    assert read_shard(reader.lane(lane.id), 0) == [(0, "k", b"x")]
    assert os.listdir(lane.directory)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file whose reads fail")
@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "cold"])
def test_a_record_that_the_device_does_not_give_is_a_storage_error_and_read_when_it_does(
    tmp_path, monkeypatch, durability, compressed
):
    """Reads of records go past the Disk. Where the segment's descriptor leads to one's own memory, at an address where
    nothing is, the system answers as a device with a bad sector does: EIO."""
    monkeypatch.setattr(limits, "segment_size_first", 16 << 10)
    monkeypatch.setattr(limits, "segment_size_max", 16 << 10)
    log = Log.open(tmp_path / "s", clock=FrozenClock(), background=False, max_bytes=1 << 30)
    lane = log.create_lane(durability)
    fill(lane, log.clock, 12)
    if compressed:
        log.maintenance.run_once()
    lane_id = lane.id
    log.close()
    log = Log.open(tmp_path / "s", clock=FrozenClock(), background=False)
    lane = log.lane(lane_id)
    lane.read(0, 0, max_records=1)
    segment = lane._segments[0]
    assert segment.kind == (".cold" if compressed else ".raw")
    if compressed:
        segment._cache.clear()
    kept, memory = os.dup(segment.file), os.open("/proc/self/mem", os.O_RDONLY)
    os.dup2(memory, segment.file)
    try:
        with pytest.raises(
            StorageError, match=rf"lane {lane_id} could not be read: .*{segment.path.name}.*EIO"
        ) as caught:
            lane.read(0, 0)
        assert "headrace verify" in caught.value.hint
    finally:
        os.dup2(kept, segment.file)
        os.close(kept)
        os.close(memory)
    assert len(read_shard(lane, 0)) == 12
    log.close()


def test_a_file_that_somebody_removed_is_not_read_as_if_it_were_empty(tmp_path, log):
    lane = log.create_lane("process")
    fill(lane, log.clock)
    lane_id = lane.id
    log.close()
    other = Log.open(log.directory, clock=FrozenClock(), background=False)
    lane = other.lane(lane_id)
    lane._ensure()
    sorted(lane.directory.glob("*.raw"))[0].unlink()
    with pytest.raises(StorageError, match=r"0\.raw: No such file or directory \(ENOENT\)"):
        lane.read(0, 0)
    with pytest.raises(StorageError, match="ENOENT"):  # nor is it called synced
        other.close()


def test_what_a_lane_holds_is_seen_after_a_loss_of_power_before_a_writer_looks_at_it(tmp_path):
    directory, router = tmp_path / "store", router_of(1)
    log = Log.open(directory, background=False, max_bytes=1 << 30)
    lane = log.create_lane("process")
    put(lane, router, [(0, "k", b"%d" % number) for number in range(10)])
    log.close()
    forget_boot(directory)
    Log.open(directory, background=False).close()  # counts the epoch and does nothing else
    reader = Log.open_reader(directory)
    assert reader.control.visible(lane.id) == 0
    seen = reader.lane(lane.id)
    assert [row[2] for row in read_shard(seen, 0)] == [b"%d" % number for number in range(10)]
    assert seen.records() == 10
    log = Log.open(directory, background=False)
    assert read_shard(log.lane(lane.id), 0) == read_shard(seen, 0)
    put(log.lane(lane.id), router, [(0, "k", b"later")])
    assert read_shard(seen, 0)[-1] == (10 + (1 << 32), "k", b"later")
    assert read_shard(seen, 0) == read_shard(log.lane(lane.id), 0)
    log.close()
    reader.close()


def test_nothing_is_seen_behind_a_hole_that_a_loss_of_power_left(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "segment_size_first", 8 << 10)
    monkeypatch.setattr(limits, "segment_size_max", 8 << 10)
    directory, router = tmp_path / "store", router_of(1)
    log = Log.open(directory, background=False, codec=None, max_bytes=1 << 30)
    lane = log.create_lane("process")
    for number in range(60):
        put(lane, router, [(0, "k", b"%060d" % number * 10)])
    log.close()
    damage(sorted(directory.glob("lanes/*/*.raw"))[1], 6000)
    forget_boot(directory)
    Log.open(directory, background=False).close()
    reader = Log.open_reader(directory)
    seen = read_shard(reader.lane(lane.id), 0)
    reader.close()
    assert 0 < len(seen) < 60
    log = Log.open(directory, background=False)
    assert read_shard(log.lane(lane.id), 0) == seen
    log.close()


def test_a_file_below_the_floor_is_not_there_for_readers(log, reader, durability):
    """As one that a compression leaves which ended after its segment was dropped, until somebody removes it."""
    lane = log.create_lane(durability)
    fill(lane, log.clock, 60)
    log.maintenance.run_once()
    dropped = next(path for path in sorted(lane.directory.iterdir()) if path.suffix == ".cold")
    left = dropped.read_bytes()
    assert lane.drop_before_indexes({0: 25, 1: 25}) > 1
    first, end = lane.bounds(0)
    assert first > 10 and not dropped.exists()
    dropped.write_bytes(left)
    other = reader.lane(lane.id)
    assert other.bounds(0) == (first, end)
    assert read_shard(other, 0) == read_shard(lane, 0)
