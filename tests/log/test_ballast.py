# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: on a full disk records are refused by name, and deletes, positions, retention and compression go on; when
there is space again, so does intake. Method: a simulated disk of a few MiB that somebody else fills."""

from __future__ import annotations

import os

import pytest
from full_disk import FullDisk
from log_support import put, read_shard, router_of

from headrace import limits
from headrace.clock import FrozenClock
from headrace.errors import Backpressure
from headrace.log import Log

ROUTER = router_of(1)


@pytest.fixture(params=["process", "disk"])
def durability(request):
    return request.param


@pytest.fixture
def full(tmp_path, monkeypatch):
    """(log, disk) with small bounds and a ballast in place."""
    for name, size in {"segment_size_first": 64, "segment_size_max": 64, "disk_free_least": 512}.items():
        monkeypatch.setattr(limits, name, size << 10)
    monkeypatch.setattr(limits, "disk_free_urgent", 64 << 10)
    monkeypatch.setattr(limits, "ballast_size", 256 << 10)
    disk = FullDisk(tmp_path, 8 << 20)
    log = Log.open(tmp_path / "s", clock=FrozenClock(), disk=disk, background=False, max_bytes=1 << 30)
    yield log, disk
    disk.others = 0
    log.close()


def fill_lane(log, durability, records=12):
    lane = log.create_lane(durability)
    for number in range(records):
        put(lane, ROUTER, [(0, "k", os.urandom(15_000))])
        log.clock.advance(1000)
        assert lane.bounds(0)[1] == number + 1
    return lane


def refuse(lane):
    """Records are refused until nothing more is taken; returns how many were taken before."""
    for taken in range(100):
        try:
            put(lane, ROUTER, [(0, "k", bytes(15_000))])
        except Backpressure as problem:
            assert "free" in problem.message or "space" in problem.message
            return taken
    raise AssertionError("a full disk takes records without end")


def test_the_ballast_is_made_when_there_is_something_to_keep_and_given_up_once(full):
    log, disk = full
    log.maintenance.run_once()
    assert not log.ballast.held
    fill_lane(log, "process", 1)
    log.maintenance.run_once()
    assert log.ballast.held
    assert log.ballast.path.stat().st_size == limits.ballast_size
    assert log.ballast.release()
    assert not log.ballast.release()
    disk.fill(limits.disk_free_least + limits.ballast_size)  # not plenty
    log.maintenance.run_once()
    assert not log.ballast.held
    disk.others = 0
    log.maintenance.run_once()
    assert log.ballast.held


def test_intake_leaves_the_least_free_space(full, durability):
    log, disk = full
    lane = fill_lane(log, durability, 2)
    with pytest.raises(Backpressure, match="are kept free"):
        for _ in range(1000):
            put(lane, ROUTER, [(0, "k", bytes(15_000))])
    assert disk.refused == 0
    assert disk.free >= limits.disk_free_least - (limits.segment_size_max + (8 << 10))


def test_positions_go_on_while_records_are_refused(full, durability):
    log, disk = full
    lane = fill_lane(log, durability)
    log.maintenance.run_once()
    disk.fill()
    refuse(lane)
    count = lane.bounds(0)[1]
    for number in range(50):
        lane.commit(lane.append(None, None, 0, positions={b"app": b"%d" % number}))
        assert lane.positions() == {b"app": b"%d" % number}
        if number % 10 == 0:
            with pytest.raises(Backpressure):
                put(lane, ROUTER, [(0, "k", b"x")])
    assert lane.bounds(0)[1] == count
    disk.others = 0
    assert put(lane, ROUTER, [(0, "k", b"again")])[0][0] == count
    log.maintenance.run_once()
    assert log.ballast.held
    before = read_shard(lane, 0)
    lane_id = lane.id
    log.close()
    with_log = Log.open(log.directory, clock=log.clock, background=False)
    assert read_shard(with_log.lane(lane_id), 0) == before
    assert with_log.lane(lane_id).positions() == {b"app": b"49"}
    assert with_log.reports == []
    with_log.close()


def test_records_do_not_ride_on_what_positions_were_given(full):
    log, disk = full
    lane = fill_lane(log, "process")
    log.maintenance.run_once()
    disk.fill()
    free = []
    for number in range(20):
        lane.commit(lane.append(None, None, 0, positions={b"app": b"%d" % number}))
        with pytest.raises(Backpressure):
            put(lane, ROUTER, [(0, "k", bytes(1000))])
        free.append(disk.free)
    assert not log.ballast.held
    assert free[-1] > 0


def test_a_lane_full_by_its_limit_takes_positions(full, durability):
    log, _ = full
    lane = log.create_lane(durability)
    lane.set_limit(300 << 10, "throttle")
    with pytest.raises(Backpressure, match="its limit is"):
        for _ in range(100):
            put(lane, ROUTER, [(0, "k", bytes(15_000))])
    lane.commit(lane.append(None, None, 0, positions={b"app": b"here"}))
    assert lane.positions() == {b"app": b"here"}
    with pytest.raises(Backpressure, match="its limit is"):
        put(lane, ROUTER, [(0, "k", b"x")])


def test_retention_frees_a_full_disk_and_intake_resumes(full, durability):
    log, disk = full
    lane = fill_lane(log, durability, 40)
    log.maintenance.run_once()
    disk.fill()
    refuse(lane)
    free = disk.free
    assert lane.drop_before(log.clock.now_ms() - 5_000) > 0
    assert disk.free > free
    first, upcoming = lane.bounds(0)
    assert 0 < first <= upcoming
    disk.others -= 1 << 20
    assert put(lane, ROUTER, [(0, "k", b"again")])[0][0] == upcoming


def test_all_of_a_lane_may_be_dropped_on_a_full_disk(full, durability):
    log, disk = full
    lane = fill_lane(log, durability)
    log.maintenance.run_once()
    lane.seal_idle(0)
    lane.seal_idle(0)
    disk.fill()
    log.clock.advance(1_000_000)
    assert lane.drop_before(log.clock.now_ms()) > 0
    assert lane.bounds(0) == (12, 12)


def test_streams_and_lanes_are_deleted_on_a_full_disk(full, durability):
    log, disk = full
    lane = fill_lane(log, durability)
    log.maintenance.run_once()
    disk.fill()
    assert log.ballast.held
    log.delete_lane(lane.id)
    assert log.ballast.held  # the files go first, so that the catalogue has the space it asks for
    assert not lane.directory.exists()


def test_compression_goes_on_on_a_full_disk(full):
    log, disk = full
    lane = log.create_lane("process")
    for _ in range(12):
        put(lane, ROUTER, [(0, "k", b"telemetry " * 1500)])
    log.ballast.restore()
    before = read_shard(lane, 0)
    disk.fill()
    assert log.maintenance.backlog > 0
    log.maintenance.run_once()
    assert log.maintenance.backlog == 0
    assert disk.free > 0
    assert read_shard(lane, 0) == before


def test_a_store_on_a_full_disk_closes_in_order(full, durability):
    log, disk = full
    lane = fill_lane(log, durability)
    log.maintenance.run_once()
    disk.fill()
    before, lane_id = read_shard(lane, 0), lane.id
    log.close()
    with_log = Log.open(log.directory, clock=log.clock, background=False)
    assert with_log.was_clean
    assert read_shard(with_log.lane(lane_id), 0) == before
    with_log.close()


def test_a_group_larger_than_the_room_is_refused_whole(full):
    log, _ = full
    log.max_bytes = 2 << 20
    lane = fill_lane(log, "process", 1)
    with pytest.raises(Backpressure, match="the store holds"):
        put(lane, ROUTER, [(0, "k", bytes(3 << 20))])
    assert lane.bounds(0) == (0, 1)
    lane.seal_idle(0)
    lane.seal_idle(0)
    with pytest.raises(Backpressure, match="the store holds"):
        put(lane, ROUTER, [(0, "k", bytes(3 << 20))])
    assert put(lane, ROUTER, [(0, "k", b"small")])[0][0] == 1


def test_unsynced_bytes_of_a_disk_lane_never_exceed_a_segment(full):
    """The budget of unsynced bytes: a segment is synced before the next one begins, whoever commits or not."""
    log, _ = full
    lane = log.create_lane("disk")
    from log_support import entries_of

    most = 0
    for _ in range(60):
        lane.append(entries_of([(0, "k", bytes(9_000))], ROUTER), ROUTER, 0)
        tail = lane._tail
        most = max(most, tail.appended - tail.synced)
    assert 9_000 < most <= limits.segment_size_max + (1 << 10)
    assert lane.bounds(0)[1] > 40  # visible, since they were synced
