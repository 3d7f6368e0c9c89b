# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The background work: ends what is idle, compresses what is ended, makes files ahead, and goes on after failures."""

from __future__ import annotations

import errno
import threading
import time

import pytest
from log_support import damage, put, read_shard, router_of

from headrace import limits
from headrace.clock import FrozenClock
from headrace.disk import SystemDisk
from headrace.errors import StorageError
from headrace.log import Log, maintenance

ROUTER = router_of(1)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(limits, "segment_size_first", 16 << 10)
    monkeypatch.setattr(limits, "segment_size_max", 16 << 10)


def open_log(tmp_path, **options):
    return Log.open(
        tmp_path / "s", **{"clock": FrozenClock(), "background": False, "max_bytes": 1 << 30, **options}
    )


def fill(lane, groups=12):
    for number in range(groups):
        put(lane, ROUTER, [(0, f"k{number}", b"telemetry %d " % number * 250)])
    return read_shard(lane, 0)


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.005)


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_the_thread_compresses_what_was_ended_and_nobody_sees_a_difference(tmp_path, codec):
    log = open_log(tmp_path, background=True, codec=codec)
    lane = log.create_lane("process")
    expected = fill(lane)
    log.maintenance.wake(lane)
    until(lambda: log.maintenance.backlog == 0 and not lane.raw_sealed())
    assert read_shard(lane, 0) == expected
    assert log.maintenance.cold_bytes < log.maintenance.compressed_bytes
    log.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "headrace-maintenance"]
    for path in lane.directory.glob("*.cold"):
        assert path.read_bytes()[12] == {"zstd": 1, "lz4": 2}[codec]


def test_a_store_may_hold_both_codecs_and_none(tmp_path):
    expected, lane_id = [], 0
    for codec in ("zstd", "lz4", None, "zstd"):
        log = open_log(tmp_path, codec=codec)
        lane = log.lane(lane_id) if lane_id else log.create_lane("process")
        lane_id = lane.id
        expected = fill(lane, 6)
        if codec:
            log.maintenance.run_once()
        assert log.maintenance.backlog == 0
        assert read_shard(lane, 0) == expected
        log.close()
    assert {path.read_bytes()[12] for path in lane.directory.glob("*.cold")} == {1, 2}


def test_an_idle_segment_is_ended_after_its_time_and_a_busy_one_is_not(tmp_path):
    log = open_log(tmp_path, codec=None)
    idle, busy = log.create_lane("process"), log.create_lane("process")
    put(idle, ROUTER, [(0, "k", b"x")])
    for _ in range(4):
        put(busy, ROUTER, [(0, "k", b"x")])
        log.maintenance.run_once()
        log.clock.advance(limits.segment_idle_ns // 1_000_000 // 2)
    log.maintenance.run_once()
    assert (len(idle.raw_sealed()), len(busy.raw_sealed())) == (1, 0)
    log.close()


def test_a_damaged_segment_stays_as_it_is_and_the_others_are_compressed(tmp_path):
    log = open_log(tmp_path)
    lane = log.create_lane("process")
    fill(lane)
    first, second = lane.raw_sealed()[:2]
    damage(first.path, 6000, 8)
    data = first.path.read_bytes()
    for _ in range(2):
        log.maintenance.run_once()
    assert lane.raw_sealed() == [first]
    assert first.path.read_bytes() == data
    assert second.path.with_suffix(".cold").exists()
    log.close()


def test_a_disk_that_refuses_does_not_end_the_thread(tmp_path):
    class Failing(SystemDisk):
        failing = True

        def rename(self, source, target):
            if self.failing and target.suffix == ".cold":
                raise OSError(errno.EIO, "told to fail")
            super().rename(source, target)

    disk = Failing()
    log = open_log(tmp_path, disk=disk)
    lane = log.create_lane("process")
    expected = fill(lane)
    for _ in range(2):
        with pytest.raises(OSError, match="told to fail"):
            log.maintenance.run_once()
        assert read_shard(lane, 0) == expected
    disk.failing = False
    log.maintenance.run_once()
    assert log.maintenance.backlog == 0
    assert read_shard(lane, 0) == expected
    log.close()
    assert not list(lane.directory.glob("*.tmp"))


def test_a_segment_dropped_while_it_waited_is_left_alone(tmp_path):
    log = open_log(tmp_path)
    lane = log.create_lane("process")
    fill(lane)
    raw = lane.raw_sealed()[0]
    assert lane.drop_before_indexes({0: 8}) >= 1
    assert log.maintenance.compress(lane, raw)
    assert not raw.path.with_suffix(".cold").exists()
    log.close()


def test_files_for_disk_lanes_are_made_ahead_and_removed_at_the_next_opening(tmp_path):
    log = open_log(tmp_path, codec=None)
    lane = log.create_lane("disk")
    assert log.maintenance.ahead.take(lane.id, 1) is None
    while lane.next_file_size() is None:
        put(lane, ROUTER, [(0, "k", bytes(2000))])
    log.maintenance.run_once()
    (spare,) = lane.directory.glob("*.tmp")
    assert spare.stat().st_size >= (lane.next_file_size() or 0) > 0
    inode = spare.stat().st_ino
    fill(lane, 6)
    assert inode in {path.stat().st_ino for path in lane.directory.glob("*.raw")}
    lane_id = lane.id
    log.close()
    log = open_log(tmp_path, codec=None)
    assert len(read_shard(log.lane(lane_id), 0)) > 6
    assert not list(lane.directory.glob("*.tmp"))
    log.close()


def test_what_rooms_above_add_is_called_until_the_store_closes(tmp_path, monkeypatch):
    """Before and after the threads began, and again after an error; never where nothing runs in the background."""
    calls, twice = {"before": 0, "after": 0}, threading.Event()

    def count(name):
        calls[name] += 1
        if min(calls.values()) >= 2:
            twice.set()
        if calls[name] == 1:
            raise StorageError("once")

    monkeypatch.setattr(maintenance, "PAUSE_S", 0.01)
    monkeypatch.setattr(maintenance, "PAUSE_FAILED_S", 0.01)
    log = open_log(tmp_path)
    log.maintenance.add("before", lambda: count("before"))
    assert calls == {"before": 0, "after": 0}
    log.maintenance.start()
    log.maintenance.add("after", lambda: count("after"))
    assert twice.wait(20)
    log.close()
    seen = dict(calls)
    time.sleep(0.05)
    assert calls == seen
