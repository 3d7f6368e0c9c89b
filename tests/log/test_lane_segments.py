# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A lane's segments on the real file system: rolling, compression, limits, retention, restarts, failures."""

from __future__ import annotations

import errno
import os

import pytest
from log_support import entries_of, put, read_shard, reopen, router_of

from headrace.disk import SystemDisk
from headrace.errors import Backpressure, StorageError
from headrace.log import Log


def small_segments(monkeypatch, size=64 << 10):
    from headrace import limits

    monkeypatch.setattr(limits, "segment_size_first", size)
    monkeypatch.setattr(limits, "segment_size_max", size)


def test_records_span_segments_and_restarts(log, durability, monkeypatch):
    small_segments(monkeypatch)
    lane, router = log.create_lane(durability), router_of(4)
    lane_id = lane.id
    expected: dict[int, list] = {shard: [] for shard in range(4)}
    for round_number in range(40):
        records = [(i % 4, "k", os.urandom(500)) for i in range(20)]
        for (index, _), (shard, key, data) in zip(put(lane, router, records), records, strict=True):
            expected[shard].append((index, key, data))
        if round_number % 15 == 14:
            log2 = reopen(log)
            log.__dict__.update(log2.__dict__)
            lane = log.lane(lane_id)
    assert len(list(lane.directory.glob("*.raw"))) > 5
    for shard in range(4):
        assert read_shard(lane, shard) == expected[shard]
        assert read_shard(lane, shard, 123) == expected[shard][123:]
        assert [index for index, _, _ in expected[shard]] == list(range(200))


def test_a_group_larger_than_ring_and_segment_is_taken_whole(log, durability):
    lane, router = log.create_lane(durability), router_of(2)
    big = os.urandom(3 << 20)
    put(lane, router, [(0, "small", b"s"), (0, "k", big), (1, "k", big), (0, "k2", big)])
    assert read_shard(lane, 0) == [(0, "small", b"s"), (1, "k", big), (2, "k2", big)]
    assert read_shard(lane, 1) == [(0, "k", big)]


def test_cold_segments_give_the_same_records(log, durability, monkeypatch, clock):
    small_segments(monkeypatch)
    lane, router = log.create_lane(durability), router_of(3)
    records = [(i % 3, f"k{i % 7}", (b"telemetry %d " % i) * 20) for i in range(900)]
    times = []
    for start in range(0, 900, 30):
        times.append(clock.now_ms())
        put(lane, router, records[start : start + 30])
        clock.advance(3)
    before = {shard: read_shard(lane, shard) for shard in range(3)}
    size = lane.size
    log.maintenance.run_once()
    assert len(list(lane.directory.glob("*.cold"))) > 3
    assert log.maintenance.backlog == 0
    assert lane.size < size
    assert {shard: read_shard(lane, shard) for shard in range(3)} == before
    assert read_shard(lane, 1, 77, max_records=3) == before[1][77:]
    for number, at in enumerate(times):
        assert lane.index_at_time(2, at) == number * 10
    lane_id = lane.id
    log2 = reopen(log)
    log.__dict__.update(log2.__dict__)
    lane = log.lane(lane_id)
    assert {shard: read_shard(lane, shard) for shard in range(3)} == before
    assert put(lane, router, [(0, "k", b"next")])[0][0] == 300


def test_an_idle_lane_is_sealed_compressed_and_goes_on(log, clock):
    lane, router = log.create_lane("process"), router_of(1)
    put(lane, router, [(0, "k", b"a" * 1000)])
    log.maintenance.run_once()
    clock.advance(61_000)
    log.maintenance.run_once()
    assert [path.suffix for path in sorted(lane.directory.glob("*.*"))] == [".cold"]
    assert read_shard(lane, 0) == [(0, "k", b"a" * 1000)]
    put(lane, router, [(0, "k", b"b")])
    assert read_shard(lane, 0) == [(0, "k", b"a" * 1000), (1, "k", b"b")]
    lane_id = lane.id
    log2 = reopen(log)
    log.__dict__.update(log2.__dict__)
    assert read_shard(log.lane(lane_id), 0) == [(0, "k", b"a" * 1000), (1, "k", b"b")]


def test_drop_oldest_keeps_within_the_limit_and_counts(log, monkeypatch):
    small_segments(monkeypatch)
    lane, router = log.create_lane("process"), router_of(1)
    lane.set_limit(512 << 10, "drop_oldest")
    for i in range(60):
        put(lane, router, [(0, "k", bytes([i]) * 30_000)])
    assert lane.size <= 512 << 10
    first, upcoming = lane.bounds(0)
    assert upcoming == 60
    assert lane.dropped_records == first > 0
    assert [index for index, _, _ in read_shard(lane, 0)] == list(range(first, 60))


def test_throttle_refuses_and_keeps_everything(log, monkeypatch):
    small_segments(monkeypatch)
    lane, router = log.create_lane("process"), router_of(1)
    lane.set_limit(300 << 10, "throttle")
    taken = 0
    with pytest.raises(Backpressure, match="its limit is"):
        for i in range(60):
            put(lane, router, [(0, "k", bytes([i]) * 30_000)])
            taken += 1
    assert [index for index, _, _ in read_shard(lane, 0)] == list(range(taken))
    lane.set_limit(None, "throttle")
    put(lane, router, [(0, "k", b"again")])
    assert read_shard(lane, 0)[-1] == (taken, "k", b"again")


def test_retention_drops_whole_old_segments_and_keeps_the_indexes_going(log, clock, monkeypatch):
    small_segments(monkeypatch)
    lane, router = log.create_lane("process"), router_of(1)
    for _ in range(20):
        put(lane, router, [(0, "k", bytes(30_000))])
        clock.advance(1000)
    assert lane.drop_before(clock.now_ms() - 10_500) > 0
    first, upcoming = lane.bounds(0)
    assert 0 < first <= 10
    assert upcoming == 20
    clock.advance(1_000_000)
    lane.seal_idle(0)
    lane.seal_idle(0)
    lane.drop_before(clock.now_ms())
    assert lane.bounds(0) == (20, 20)
    lane_id = lane.id
    log2 = reopen(log)
    log.__dict__.update(log2.__dict__)
    lane = log.lane(lane_id)
    assert lane.bounds(0) == (20, 20)
    assert put(lane, router, [(0, "k", b"x")])[0][0] == 20


def test_files_of_disk_lanes_are_used_again_but_not_while_a_reader_has_them(log, monkeypatch):
    small_segments(monkeypatch)
    lane, router = log.create_lane("disk"), router_of(1)
    lane.set_limit(400 << 10, "drop_oldest")
    data = [os.urandom(10_000) for _ in range(80)]
    seen: set[int] = set()
    held = None
    for i in range(80):
        put(lane, router, [(0, "k", data[i])])
        if i == 20:
            held = lane._segments[0]
            before = held.frames(0, 0, 10_000, 1 << 20, held.end).batch().data
        log.maintenance.run_once()
        seen.update(path.stat().st_ino for path in lane.directory.glob("*.raw"))
    assert lane.dropped_records > 0
    assert len(seen) < 10  # of some fifteen segments
    assert held.frames(0, 0, 10_000, 1 << 20, held.end).batch().data == before
    first, upcoming = lane.bounds(0)
    assert [found for _, _, found in read_shard(lane, 0)] == data[first:upcoming]
    lane_id = lane.id
    log2 = reopen(log)
    log.__dict__.update(log2.__dict__)
    assert [found for _, _, found in read_shard(log.lane(lane_id), 0)] == data[first:upcoming]
    assert log.reports == []


@pytest.mark.parametrize("left", ["zeroes", "an earlier use", "half a header"])
def test_a_file_made_ahead_that_never_got_its_header_holds_nothing(tmp_path, left):
    log = Log.open(tmp_path / "s", background=False)
    lane, router = log.create_lane("disk"), router_of(1)
    put(lane, router, [(0, "k", b"a"), (0, "k", b"b")])
    lane.seal_idle(0)
    lane.seal_idle(0)
    end, (first,), lane_id = lane.end, list(lane.directory.glob("*.raw")), lane.id
    content = {"zeroes": bytes(1 << 20), "half a header": first.read_bytes()[:23]}.get(
        left, first.read_bytes()
    )
    (lane.directory / f"{end:020d}.raw").write_bytes(content)
    os.close(log._lock_file)  # as if the process had ended here
    log = Log.open(tmp_path / "s", background=False)
    lane = log.lane(lane_id)
    assert read_shard(lane, 0) == [(0, "k", b"a"), (1, "k", b"b")]
    assert put(lane, router, [(0, "k", b"c")])[0][0] == 2
    assert "holds nothing" in log.reports[0]
    log.close()


class FailingDisk(SystemDisk):
    """The system's disk, whose next calls of a name fail."""

    native = False

    def __init__(self):
        self.failing: dict[str, int] = {}
        self.short = 0

    def _maybe(self, name):
        if name in self.failing:
            raise OSError(self.failing[name], os.strerror(self.failing[name]))

    def pwrite(self, file, data, position):
        if self.short and len(data) > self.short:
            done = super().pwrite(file, data[: self.short], position)
            self.failing["pwrite"] = self.short_error
            self.short = 0
            return done
        self._maybe("pwrite")
        return super().pwrite(file, data, position)

    def sync(self, file):
        self._maybe("sync")
        super().sync(file)

    def open(self, path, flags):
        if flags & os.O_CREAT:
            self._maybe("create")
        return super().open(path, flags)


@pytest.mark.parametrize("short", [0, 10, 5000])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_failed_write_is_answered_and_a_retry_leaves_one_copy(tmp_path, durability, short, code):
    disk = FailingDisk()
    log = Log.open(tmp_path / "s", disk=disk, background=False, max_bytes=1 << 30)
    lane, router = log.create_lane(durability), router_of(2)
    put(lane, router, [(0, "k", b"a"), (1, "k", b"b")])
    if short:
        disk.short, disk.short_error = short, code
    else:
        disk.failing["pwrite"] = code
    tickets = [lane.append(entries_of([(0, "k", bytes(3000))], router), router, 0) for _ in range(3)]
    with pytest.raises((StorageError, Backpressure)):
        lane.commit(tickets[0])
    for ticket in tickets:
        with pytest.raises((StorageError, Backpressure)):
            lane.commit(ticket)
    assert read_shard(lane, 0) == [(0, "k", b"a")]
    disk.failing.clear()
    assert put(lane, router, [(0, "k", bytes(3000)), (1, "k", b"c")])[0][0] == 1
    expected = [(0, "k", b"a"), (1, "k", bytes(3000))], [(0, "k", b"b"), (1, "k", b"c")]
    assert (read_shard(lane, 0), read_shard(lane, 1)) == expected
    lane_id = lane.id
    log.close()
    log = Log.open(tmp_path / "s", background=False)
    lane = log.lane(lane_id)
    assert (read_shard(lane, 0), read_shard(lane, 1)) == expected
    log.close()


def test_a_failed_sync_fences_until_the_lane_was_read_again(tmp_path):
    disk = FailingDisk()
    log = Log.open(tmp_path / "s", disk=disk, background=False, max_bytes=1 << 30)
    lane, router = log.create_lane("disk"), router_of(1)
    put(lane, router, [(0, "k", b"a")])
    disk.failing["sync"] = errno.EIO
    ticket = lane.append(entries_of([(0, "k", b"lost")], router), router, 0)
    with pytest.raises(StorageError, match="could not be synced"):
        lane.commit(ticket)
    with pytest.raises(StorageError, match="could not be synced"):
        lane.commit(ticket)
    assert read_shard(lane, 0) == [(0, "k", b"a")]
    disk.failing.clear()
    assert put(lane, router, [(0, "k", b"retried")])[0][0] == 1
    assert read_shard(lane, 0) == [(0, "k", b"a"), (1, "k", b"retried")]
    log.close()


@pytest.mark.parametrize("share", [0.3, 0.6, 1.0])
def test_a_store_killed_after_a_write_that_failed_with_bytes_in_the_file_is_not_called_damaged(
    tmp_path, durability, share
):
    """The system may have taken a part of what it refused: none of it may look like something behind a hole."""

    class Torn(SystemDisk):
        native, failing = False, False

        def pwrite(self, file, data, position):
            if self.failing:
                self.failing = False
                super().pwrite(file, data[: int(len(data) * share)], position)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().pwrite(file, data, position)

    disk = Torn()
    log = Log.open(tmp_path / "s", disk=disk, background=False)
    lane, router = log.create_lane(durability), router_of(2)
    put(lane, router, [(0, "k", b"a"), (1, "k", b"b")])
    tickets = [lane.append(entries_of([(n % 2, "k", bytes(300))], router), router, 0) for n in range(9)]
    disk.failing = True
    with pytest.raises(StorageError):
        lane.commit(tickets[0])
    os.close(log._lock_file)  # as if the process had ended here
    log = Log.open(tmp_path / "s", background=False)
    lane = log.lane(lane.id)
    assert read_shard(lane, 0) == [(0, "k", b"a")]
    assert not [report for report in log.reports if "follows" in report]
    assert put(lane, router, [(0, "k", b"again")])[0][0] == 1
    log.close()


@pytest.mark.parametrize("size", [100, 5_000, 60_000, 200_000])
def test_a_limit_that_throttles_is_never_exceeded(log, durability, size):
    """Whatever the size of the groups: nearly all of it is used, and asking again adds nothing."""
    lane, router = log.create_lane(durability), router_of(1)
    limit = 1 << 20
    lane.set_limit(limit, "throttle")
    count = 0
    with pytest.raises(Backpressure, match=f"its limit is {limit}"):
        while True:
            put(lane, router, [(0, "k", bytes(size))] * max(1, 2_000 // size))
            count += max(1, 2_000 // size)
            assert lane.size <= limit
    full = lane.size
    assert full > limit - (64 << 10) - 2 * max(size, 2_000) * (3 if size > 50_000 else 1)
    for _ in range(20):
        with pytest.raises(Backpressure):
            put(lane, router, [(0, "k", bytes(size))] * 50)
    assert lane.size <= limit
    assert len(read_shard(lane, 0)) == count


@pytest.mark.parametrize("size", [100, 5_000, 60_000])
@pytest.mark.parametrize("limit", [128 << 10, 1 << 20])
def test_a_limit_that_drops_is_never_exceeded_either(log, durability, size, limit):
    """The whole of the next segment is made room for, not what it begins with; half and more is kept."""
    lane, router = log.create_lane(durability), router_of(1)
    lane.set_limit(limit, "drop_oldest")
    count, turns = max(1, 2_000 // size), 8 * limit // max(size, 2_000)
    for turn in range(turns):
        put(lane, router, [(0, "k", bytes(size))] * count)
        assert lane.size <= limit
        if turn % 7 == 0:
            log.maintenance.look_ahead()
    first, upcoming = lane.bounds(0)
    assert upcoming == turns * count
    assert lane.dropped_records == first > 0
    assert lane.size > limit // 3


def fill_until_refused(lane, router, size=10_000):
    """Puts into a lane that throttles until there is no room."""
    with pytest.raises(Backpressure, match="the store holds"):
        for _ in range(10_000):
            put(lane, router, [(0, "k", bytes(size))])


@pytest.fixture
def small_store(tmp_path):
    found = Log.open(tmp_path / "small", background=False, max_bytes=3 << 20)
    yield found
    found.close()


def test_at_the_stores_limit_a_stream_drops_its_own_oldest_and_nobody_elses(small_store, durability):
    router = router_of(1)
    lane, other = small_store.create_lane(durability), small_store.create_lane("process")
    lane.set_limit(None, "drop_oldest")
    put(other, router, [(0, "k", bytes(10_000))] * 50)
    for number in range(1_000):
        put(lane, router, [(0, "k", b"%06d" % number + bytes(10_000))])
        assert small_store.size <= 3 << 20
    first, upcoming = lane.bounds(0)
    assert upcoming == 1_000 and 500 < first < 950  # nearly all that the other one leaves is used
    assert lane.dropped_records == first
    assert [int(data[:6]) for _, _, data in read_shard(lane, 0)] == list(range(first, 1_000))
    assert other.bounds(0) == (0, 50)
    fill_until_refused(other, router)
    assert small_store.size <= 3 << 20
    assert lane.bounds(0) == (first, 1_000)


def test_a_stream_that_has_nothing_left_to_drop_is_refused(small_store, durability):
    router = router_of(1)
    fill_until_refused(small_store.create_lane("process"), router)
    lane = small_store.create_lane(durability)
    lane.set_limit(None, "drop_oldest")
    with pytest.raises(Backpressure, match="the store holds"):
        put(lane, router, [(0, "k", bytes(100_000))])


def test_a_lane_without_anything_takes_the_room_of_its_streams_other_lanes(small_store):
    """One lane of a stream has filled the store: the first record for another one finds room, at a cost."""
    router = router_of(1)
    full, empty, third = (small_store.create_lane("process") for _ in range(3))
    for lane in (full, empty, third):
        lane.set_limit(None, "drop_oldest", [full, empty, third])
    for _ in range(400):
        put(full, router, [(0, "k", bytes(10_000))])
    fill_until_refused(small_store.create_lane("process"), router)  # a stranger takes what is left
    before = full.bounds(0)[0]
    for _ in range(10):
        put(empty, router, [(0, "k", bytes(10_000))])
    assert empty.bounds(0) == (0, 10)
    assert full.bounds(0)[0] > before and full.bounds(0)[1] == 400
    assert small_store.size <= 3 << 20


def test_what_is_dropped_is_counted_by_records_also_over_a_step_of_the_index(tmp_path, monkeypatch):
    """The power went in between: the index has moved ahead by 2**32, and nobody dropped so many."""

    class AnotherBoot(SystemDisk):
        def boot_id(self):
            return b"another boot id."

    small_segments(monkeypatch)
    router = router_of(1)
    log = Log.open(tmp_path / "s", background=False, max_bytes=1 << 30)
    lane_id = log.create_lane("process").id
    for _ in range(8):
        put(log.lane(lane_id), router, [(0, "k", bytes(20_000))])
    os.close(log._lock_file)  # as if the machine had stopped here
    log = Log.open(tmp_path / "s", disk=AnotherBoot(), background=False)
    lane = log.lane(lane_id)
    for _ in range(8):
        put(lane, router, [(0, "k", bytes(20_000))])
    assert lane.bounds(0)[1] == 16 + (1 << 32)
    lane.set_limit(200_000, "drop_oldest")
    for _ in range(8):
        put(lane, router, [(0, "k", bytes(20_000))])
    assert len(read_shard(lane, 0)) + lane.dropped_records == 24
    assert lane.dropped_records > 8 and lane.dropped() == (lane.dropped_records, lane.dropped_bytes)
    log.close()
