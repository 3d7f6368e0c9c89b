# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""EIO and ENOSPC at a disk call: a clear error, intake goes on, a retry leaves one copy.

Method: one fixed piece of work is done once to count the disk calls it makes; then it is done anew with the
n-th call failing, for each n, once with the call not made and, for writes, once with half of it done. An
append or commit that fails is tried again until it is taken. At the end, and after opening the store again,
each record is there exactly once, in order.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from log_support import entries_of, read_shard, router_of

from headrace.clock import FrozenClock
from headrace.disk import SystemDisk
from headrace.errors import Backpressure, Error, Fenced, StorageError
from headrace.log import Log

ROUTER = router_of(2)
GROUPS = 14


class FailingDisk(SystemDisk):
    """Counts the calls that may fail, and fails the n-th. It syncs nothing: the power stays."""

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
        raise OSError(self.code, os.strerror(self.code))

    def open(self, path, flags):
        if flags & os.O_CREAT and self._call("open"):
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

    def rename(self, source, target):
        if self._call("rename"):
            self._fail()
        super().rename(source, target)

    def unlink(self, path):
        if self._call("unlink"):
            self._fail()
        super().unlink(path)

    def make_directory(self, path):
        if self._call("make_directory"):
            self._fail()
        super().make_directory(path)


def insist(action):
    """Do it until it is done; every refusal must be one of ours, with words."""
    for _ in range(5):
        try:
            return action()
        except (StorageError, Backpressure, Fenced) as problem:
            assert "lane" in problem.message or "store" in problem.message
    return action()


def work(directory, disk, durability):
    """Puts, rolls, a seal, cold files and a drop; returns (records by shard, first index kept, lane id)."""
    clock = FrozenClock()
    log = insist(lambda: Log.open(directory, disk=disk, clock=clock, background=False, max_bytes=1 << 30))
    lane = log.create_lane(durability)
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
    first = lane.bounds(0)[0]
    seen = {shard: read_shard(lane, shard) for shard in (0, 1)}
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


def fail_each(
    directory: Path, durability: str, code: int, half: bool, *, start: int = 0, step: int = 1
) -> int:
    """The work once for every `step`-th disk call, which fails; returns how many calls that were."""
    counting = FailingDisk()
    run(directory / "count", counting, durability)
    assert {"open", "pwrite", "sync", "sync_directory", "rename"} <= set(counting.made)
    chosen = [n for n, name in enumerate(counting.made, 1) if not half or name == "pwrite"][start::step]
    for number in chosen:
        disk = FailingDisk(number, code, half)
        try:
            run(directory / f"{number}", disk, durability)
        except BaseException:
            print(f"call {number} of {counting.calls}, {disk.failed}")
            raise
        assert disk.failed == counting.made[number - 1]
    return len(chosen)
