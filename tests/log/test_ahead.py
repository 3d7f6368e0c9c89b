# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A roll of a `disk` lane makes, fills and drops nothing: its file stands ready, and one sync begins it.

Method: a disk that writes down each call that changes files or waits for the device; a clock that stands
still, so that the background's work is done where the test says.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os

import pytest
from log_support import entries_of, put, read_shard, router_of

from headrace import limits
from headrace.clock import FrozenClock
from headrace.disk import SystemDisk
from headrace.errors import StorageError
from headrace.log import Log
from headrace.log.segment import HEADER_SIZE

SEGMENT = 64 << 10
RECORD = 20_000  # three fill a segment


class NotingDisk(SystemDisk):
    """Writes down what is called, and fails the calls that it is told to."""

    native = False

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failing: set[str] = set()

    def _note(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def open(self, path, flags):
        if flags & os.O_CREAT:
            self._note("create")
        return super().open(path, flags)

    def pwrite(self, file, data, position):
        self._note("pwrite")
        return super().pwrite(file, data, position)

    def sync(self, file):
        self._note("sync")
        super().sync(file)

    def sync_directory(self, path):
        self._note("sync_directory")
        super().sync_directory(path)

    def rename(self, source, target):
        self._note("rename")
        super().rename(source, target)

    def unlink(self, path):
        self._note("unlink")
        super().unlink(path)


@pytest.fixture
def disk(monkeypatch):
    monkeypatch.setattr(limits, "segment_size_first", SEGMENT)
    monkeypatch.setattr(limits, "segment_size_max", SEGMENT)
    return NotingDisk()


@pytest.fixture
def log(tmp_path, disk):
    log = Log.open(
        tmp_path / "s", clock=FrozenClock(), disk=disk, background=False, max_bytes=1 << 30, codec=None
    )
    yield log
    disk.failing.clear()
    log.close()


def fill(lane, router, first, count):
    """Puts of one record each, told apart by their first bytes."""
    for number in range(first, first + count):
        put(lane, router, [(0, "k", b"%06d" % number + bytes(RECORD))])


def texts(lane):
    return [int(data[:6]) for _, _, data in read_shard(lane, 0)]


def test_a_roll_waits_only_for_the_groups_own_sync_and_the_name(log, disk):
    lane, router = log.create_lane("disk"), router_of(1)
    fill(lane, router, 0, 3)
    log.maintenance.look_ahead()
    disk.calls.clear()
    fill(lane, router, 3, 1)
    # name, header, SNAPSHOT, group; then the device
    assert disk.calls == ["rename", "pwrite", "pwrite", "pwrite", "sync", "sync_directory"]
    disk.calls.clear()
    fill(lane, router, 4, 1)
    assert disk.calls == ["pwrite", "sync"]
    assert texts(lane) == list(range(5))


def test_a_roll_before_the_file_stands_ready_makes_it_itself(log, disk):
    lane, router = log.create_lane("disk"), router_of(1)
    fill(lane, router, 0, 3)
    disk.calls.clear()
    fill(lane, router, 3, 1)
    assert disk.calls.count("create") == 1 and disk.calls[-2:] == ["sync", "sync_directory"]
    assert texts(lane) == list(range(4))


def test_what_the_limit_drops_is_dropped_ahead_counted_once_and_its_file_used_again(log, disk):
    lane, router = log.create_lane("disk"), router_of(1)
    lane.set_limit(4 * SEGMENT, "drop_oldest")
    files = set()
    for number in range(30):
        fill(lane, router, number, 1)
        log.maintenance.look_ahead()
        disk.calls.clear()
        files.update(path.stat().st_ino for path in lane.directory.glob("*.raw"))
        assert lane.size <= 4 * SEGMENT
    assert lane.dropped_records == lane.bounds(0)[0] > 10
    assert texts(lane) == list(range(lane.bounds(0)[0], 30))
    assert len(files) <= 6
    fill(lane, router, 30, 1)
    assert "unlink" not in disk.calls and "create" not in disk.calls


def cached_pages(path) -> int:
    """Pages of a file that the page cache holds (mincore)."""
    library = ctypes.CDLL(None, use_errno=True)
    size = path.stat().st_size
    pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), size) as mapped:
        first = ctypes.c_char.from_buffer(mapped)
        failed = library.mincore(ctypes.byref(first), ctypes.c_size_t(size), pages)
        del first
    assert not failed, os.strerror(ctypes.get_errno())
    return sum(page & 1 for page in pages)


@pytest.mark.parametrize("least", [8 << 10, 1 << 20])
def test_a_file_leaves_the_page_cache_before_it_is_written_past_it(tmp_path, monkeypatch, least):
    """What the cache holds of it would have to be found and dropped by each write, and is wanted by others."""
    monkeypatch.setattr(limits, "segment_size_first", SEGMENT)
    monkeypatch.setattr(limits, "segment_size_max", SEGMENT)
    monkeypatch.setattr(limits, "direct_write_least", least)
    monkeypatch.setattr(limits, "direct_speed_min", 0)
    probe = tmp_path / "probe"
    probe.write_bytes(bytes(SEGMENT))
    os.sync()
    log = Log.open(tmp_path / "log", clock=FrozenClock(1_700_000_000_000), background=False)
    log.drop_cache(probe)
    if cached_pages(probe):
        pytest.skip("the file system keeps its files in memory")
    lane, router = log.create_lane("disk"), router_of(1)
    lane.set_limit(4 * SEGMENT, "drop_oldest")
    for number in range(20):
        fill(lane, router, number, 1)
        assert texts(lane)[-1] == number  # read: through the cache where the ring is behind
        log.maintenance.look_ahead()
        ready = log.maintenance.ahead._ready.get(lane.id)
        if number > 10 and ready is not None:
            assert (cached_pages(ready.path) == 0) == lane.past_cache
            assert lane.past_cache == (least < RECORD)
    assert texts(lane) == list(range(lane.bounds(0)[0], 20))
    log.close()


def test_a_floor_that_was_moved_ahead_is_not_moved_or_counted_again(log):
    """A limit that drops in the background and one that drops at a roll meet at the same segment."""
    lane, router = log.create_lane("disk"), router_of(1)
    fill(lane, router, 0, 12)
    first, second = lane._segments[:2]
    lane._move_floor(first, second, count=True)  # as the background does, which has not let go yet
    lane.set_limit(lane.size + HEADER_SIZE + SEGMENT - 1, "drop_oldest")  # one has to go for the next
    lane.keep_within(0)
    assert lane.dropped_records == lane.bounds(0)[0] == second.start_states().get(0)[0]
    assert texts(lane) == list(range(lane.bounds(0)[0], 12))


@pytest.mark.parametrize("what", ["sync", "sync_directory"])
@pytest.mark.parametrize("ahead", [True, False])
def test_a_segment_whose_first_sync_failed_was_never_begun(log, disk, what, ahead):
    lane, router = log.create_lane("disk"), router_of(1)
    fill(lane, router, 0, 3)
    if ahead:
        log.maintenance.look_ahead()
    ticket = lane.append(entries_of([(0, "k", b"000003" + bytes(RECORD))], router), router, 0)
    disk.failing.add(what)
    with pytest.raises(StorageError, match="could not be synced"):
        lane.commit(ticket)
    disk.failing.clear()
    assert texts(lane) == [0, 1, 2]
    assert len(list(lane.directory.glob("*.raw"))) == 1
    with pytest.raises(StorageError, match="could not be synced"):
        lane.commit(ticket)
    fill(lane, router, 3, 2)
    assert texts(lane) == list(range(5))
    lane_id = lane.id
    log.close()
    with_log = Log.open(log.directory, background=False)
    assert with_log.reports == []
    assert texts(with_log.lane(lane_id)) == list(range(5))
    with_log.close()


def test_files_ahead_go_with_their_lane_and_with_the_store(log):
    lane, router = log.create_lane("disk"), router_of(1)
    fill(lane, router, 0, 3)
    log.maintenance.look_ahead()
    assert len(list(lane.directory.glob("*.tmp"))) == 1
    log.close()
    assert list(lane.directory.glob("*.tmp")) == []


def test_a_fast_lane_has_its_file_before_it_is_half_full_and_is_compressed_later(tmp_path, monkeypatch):
    """Method: segments that fill in a millisecond by the clock, which then goes on by ten seconds."""
    monkeypatch.setattr(limits, "segment_size_first", 1 << 20)
    monkeypatch.setattr(limits, "segment_size_max", 1 << 20)
    clock = FrozenClock()
    log = Log.open(tmp_path / "s", clock=clock, background=False, max_bytes=1 << 30)
    lane, router = log.create_lane("disk"), router_of(1)
    for number in range(5):
        put(lane, router, [(0, "k", b"%06d" % number + bytes(1 << 19))])
        clock.advance(1)
    assert lane.intake_rate() > limits.compression_intake_max
    log.maintenance.run_once()
    assert len(list(lane.directory.glob("*.tmp"))) == 1
    waiting = log.maintenance.backlog
    assert waiting > 0
    lane.set_limit(lane.size, "throttle")  # now room is wanted
    log.maintenance.run_once()
    assert log.maintenance.backlog < waiting and lane.size * 2 <= lane._size_limit
    lane.set_limit(None, "throttle")
    for number in range(5, 8):
        put(lane, router, [(0, "k", b"%06d" % number + bytes(1 << 19))])
        clock.advance(1)
    log.maintenance.run_once()
    assert log.maintenance.backlog > 0
    clock.advance(10_000)
    log.maintenance.run_once()
    assert log.maintenance.backlog == 0
    assert texts(lane) == list(range(8))
    log.close()


def test_a_lane_whose_directory_was_removed_is_not_compressed_for_ever(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(limits, "segment_size_first", SEGMENT)
    log = Log.open(tmp_path / "s", background=False, max_bytes=1 << 30)
    lane, router = log.create_lane("process"), router_of(1)
    fill(lane, router, 0, 10)
    waiting = lane.raw_sealed()
    assert waiting
    kept = lane.directory.rename(tmp_path / "elsewhere")
    log.maintenance.compress_all()  # came back only when the process ended
    assert all(f"{raw.path} is gone" in caplog.text for raw in waiting)
    assert lane.raw_sealed() == waiting
    assert texts(lane) == list(range(10))  # read from what is open
    kept.rename(lane.directory)
    log.close()
