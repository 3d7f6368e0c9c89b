# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""EIO and ENOSPC at a disk call: a clear error, intake goes on, a retry leaves one copy.

Method: one fixed piece of work is done once to count the disk calls it makes; then it is done anew with the
n-th call failing, for each n, once with the call not made and, for writes, once with half of it done. A call of the
log that fails is made again until it succeeds, and says which file, in the system's words, and whose lane or store
it is: nothing else may leave the log. At the end, and after opening the store again, each record is there exactly
once, in order.

Two pieces of work: one begins a store, fills it, and drops from it; the other opens one that a killed writer left,
with raw and cold segments, reads all of it, and goes on. All calls of a Disk fail in turn, those that look and read
with EIO. The reads of records go past it (core/_frame_source.pyx): those fail in tests/log/test_lane_reader.py.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path

from log_support import entries_of, put, read_shard, router_of

from headrace import limits
from headrace.clock import FrozenClock
from headrace.disk import SystemDisk
from headrace.errors import Backpressure, Error, Fenced, StorageError
from headrace.log import Log

ROUTER = router_of(2)
GROUPS = 14
LOOKS = {"open to read", "pread", "size", "names", "free_bytes", "pin", "unpinned"}


class FailingDisk(SystemDisk):
    """Counts the calls, and fails the n-th. It syncs nothing: the power stays."""

    native = False

    def __init__(self, fail_at: int = -1, code: int = errno.EIO, half: bool = False) -> None:
        self.calls = 0
        self.fail_at = fail_at
        self.code = code
        self.half = half
        self.failed = ""
        self.made: list[str] = []

    def _call(self, name: str) -> bool:
        self.calls += 1
        self.made.append(name)
        if self.calls == self.fail_at:
            self.failed = name
            return True
        return False

    def _fail(self) -> None:
        code = errno.EIO if self.failed in LOOKS else self.code
        raise OSError(code, os.strerror(code))

    def open(self, path, flags):
        if self._call("open" if flags & os.O_CREAT else "open to read"):
            self._fail()
        return super().open(path, flags)

    def pwrite(self, file, data, position):
        if self._call("pwrite"):
            if self.half:
                super().pwrite(file, data[: len(data) // 2], position)
            self._fail()
        return super().pwrite(file, data, position)

    def sync(self, file):
        if self._call("sync"):
            self._fail()

    def sync_directory(self, path):
        if self._call("sync_directory"):
            self._fail()


def _failing(name):
    made = getattr(SystemDisk, name)

    def method(self, *arguments):
        if self._call(name):
            self._fail()
        return made(self, *arguments)

    return method


for _name in (
    "pread", "rename", "unlink", "size", "names", "make_directory", "remove_directory", "free_bytes", "allocate", "pin",
    "unpinned",
):  # fmt: skip
    setattr(FailingDisk, _name, _failing(_name))


def insist(action):
    """Do it until it is done; every refusal must be one of ours, with words."""
    for _ in range(5):
        try:
            return action()
        except (StorageError, Backpressure, Fenced) as problem:
            assert "lane" in problem.message or "store" in problem.message
            assert (
                isinstance(problem, Backpressure)
                or "(EIO)" in problem.message
                or "(ENOSPC)" in problem.message
            )
    return action()


def work(directory, disk, durability):
    """Puts, rolls, a seal, cold files and a drop; returns (records by shard, first index kept, lane id)."""
    clock = FrozenClock()
    log = insist(lambda: Log.open(directory, disk=disk, clock=clock, background=False, max_bytes=1 << 30))
    lane = insist(lambda: log.create_lane(durability))
    expected: dict[int, list] = {0: [], 1: []}
    for group in range(GROUPS):
        records = [(shard, f"k{group}", bytes([65 + group]) * 1500) for shard in (0, 1, 0)]

        def put(records=records):
            entries = entries_of(records, ROUTER)
            lane.commit(lane.append(entries, ROUTER, 0))
            return entries.indexes.tolist()

        for (shard, key, data), index in zip(records, insist(put), strict=True):
            expected[shard].append((index, key, data))
        clock.advance(10)
        if group == 9:
            insist(lambda: (lane.seal_idle(0), lane.seal_idle(0)))
            for _ in range(3):
                with contextlib.suppress(OSError):  # its thread logs it and tries again later
                    log.maintenance.run_once()
    insist(lambda: lane.drop_before_indexes({0: 4, 1: 2}))
    first = insist(lambda: lane.bounds(0))[0]
    seen = {shard: insist(lambda shard=shard: read_shard(lane, shard)) for shard in (0, 1)}
    try:
        log.close()
    except (Error, OSError):
        assert disk.failed
    return expected, seen, first, lane.id


def run(directory, disk, durability):
    expected, seen, first, lane_id = work(directory, disk, durability)
    for shard in (0, 1):
        kept = [row for row in expected[shard] if not seen[shard] or row[0] >= seen[shard][0][0]]
        assert seen[shard] == kept
        assert [index for index, _, _ in expected[shard]] == list(range(len(expected[shard])))
    assert first <= 4
    log = Log.open(directory, background=False)
    lane = log.lane(lane_id)
    assert {shard: read_shard(lane, shard) for shard in (0, 1)} == seen
    entries = entries_of([(0, "k", b"next")], ROUTER)
    lane.commit(lane.append(entries, ROUTER, 0))
    assert entries.indexes.tolist() == [len(expected[0])]
    log.close()


def left_by_a_killed_writer(directory, durability):
    """A store with cold and raw segments whose writer did not close it; returns (its lane, records by shard)."""
    clock = FrozenClock()
    log = Log.open(directory / "written", clock=clock, background=False, max_bytes=1 << 30)
    lane = log.create_lane(durability)
    for group in range(GROUPS):
        put(lane, ROUTER, [(shard, f"k{group}", bytes([65 + group]) * 1500) for shard in (0, 1, 0)])
        clock.advance(10)
        if group == GROUPS // 2:
            log.maintenance.run_once()
    lane.commit(lane.append(None, None, 0, positions={b"owner": b"there"}))
    lane.drop_before_indexes({0: 4, 1: 2})
    shutil.copytree(directory / "written", directory / "left")
    expected = {shard: read_shard(lane, shard) for shard in (0, 1)}
    log.close()
    return lane.id, expected


def run_again(directory, disk, lane_id, expected):
    """Open what is left, read all of it, in every way, put one record more, compress, drop, close."""
    log = insist(lambda: Log.open(directory, disk=disk, clock=FrozenClock(), background=False))
    lane = insist(lambda: log.lane(lane_id))
    for shard in (0, 1):
        bounds = expected[shard][0][0], expected[shard][-1][0] + 1
        assert insist(lambda shard=shard: lane.bounds(shard)) == bounds
        assert insist(lambda shard=shard: read_shard(lane, shard)) == expected[shard]
        assert insist(lambda shard=shard: lane.index_at_time(shard, 0)) == bounds[0]
        assert insist(lambda shard=shard: lane.last_arrival(shard)) > 0
    assert insist(lane.records) == sum(len(rows) for rows in expected.values())
    assert insist(lane.positions) == {b"owner": b"there"}
    assert insist(lane.file_bytes) > 0 and insist(lane.dropped) == (0, 0)
    insist(lambda: put(lane, ROUTER, [(0, "k", b"next")]))
    for _ in range(3):
        with contextlib.suppress(OSError):  # its thread logs it and tries again later
            log.maintenance.run_once()
    insist(lambda: lane.drop_before_indexes({0: 8, 1: 4}))
    first = insist(lambda: lane.bounds(0))[0]
    with contextlib.suppress(StorageError, Backpressure):  # that is the disk's last call to fail
        log.close()
    assert not [report for report in log.reports if "whole" in report or "byte" in report]
    log = Log.open(directory, background=False)
    found = read_shard(log.lane(lane_id), 0)
    kept = [row for row in expected[0] if row[0] >= first]
    assert found == [*kept, (kept[-1][0] + 1, "k", b"next")] and first <= 8
    log.close()


def fail_each(
    directory: Path, durability: str, code: int, half: bool, *, start: int = 0, step: int = 1
) -> int:
    """The work of a new store once for every `step`-th disk call, which fails; returns how many that were."""
    wanted = {"open", "pwrite", "sync", "sync_directory", "rename", "names", "free_bytes", "pread"}
    return _each(directory, lambda place, disk: run(place, disk, durability), wanted, code, half, start, step)


def fail_each_again(
    directory: Path, durability: str, code: int, half: bool, *, start: int = 0, step: int = 1
) -> int:
    """The same for a store that is there."""
    lane_id, expected = left_by_a_killed_writer(directory, durability)

    def work_again(place, disk):
        shutil.copytree(directory / "left", place)
        run_again(place, disk, lane_id, expected)
        shutil.rmtree(place)

    wanted = {"open to read", "pread", "size", "names", "free_bytes", "pwrite", "sync", "rename"}
    return _each(directory, work_again, wanted, code, half, start, step)


def _each(directory, action, wanted, code, half, start, step) -> int:
    counting = FailingDisk()
    action(directory / "count", counting)
    assert wanted <= set(counting.made)
    chosen = [
        number
        for number, name in enumerate(counting.made, 1)
        if (name == "pwrite" if half else code == errno.EIO or name not in LOOKS)
    ][start::step]
    for number in chosen:
        disk = FailingDisk(number, code, half)
        try:
            action(directory / f"{number}", disk)
        except BaseException:
            print(f"call {number} of {counting.calls}, {disk.failed}")
            raise
        assert disk.failed == counting.made[number - 1]
    return len(chosen)


def make_segments_small(monkeypatch) -> None:
    """Some eight groups a store, some groups written by whole blocks and some not."""
    monkeypatch.setattr(limits, "segment_size_first", 8 << 10)
    monkeypatch.setattr(limits, "segment_size_max", 8 << 10)
    monkeypatch.setattr(limits, "direct_write_least", 600)
