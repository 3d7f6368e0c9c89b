# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Simulated losses of power: the lives of a store whose disk stops at any call.

Method: a store on a SimulatedDisk does random work on a lane of each promise; at a random disk call the
power goes; the store is opened from what the device may then hold, in a new boot, and goes on over the
same files. Checked after each opening: every record that a `disk` lane acknowledged is there, at its index;
whatever is there was put under that index (nothing invented, nothing stale); a `process` lane holds, of
each life, a beginning; both take records again. No index is ever given twice, over all lives.
"""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

from disk import PowerCut, SimulatedDisk
from log_support import entries_of, read_shard, router_of

from headrace import limits
from headrace.clock import FrozenClock
from headrace.log import Log

SHARDS = 3


class Life:
    """What was put over all lives of a store."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.numbers = random.Random(seed)
        self.clock = FrozenClock()
        self.router = router_of(SHARDS)
        self.given: dict[tuple[int, int, int], bytes] = {}  # (lane, shard, index): data
        self.order: dict[int, list[tuple[int, int]]] = {}  # of this life, by lane: (shard, index)
        self.promised: set[tuple[int, int, int]] = set()
        self.dropped: dict[tuple[int, int], int] = {}
        self.lanes: dict[str, int] = {}
        self.count = 0
        self.disk: SimulatedDisk | None = None

    def work(self, log: Log) -> None:
        """Random work until the power goes."""
        for durability in ("disk", "process"):
            if durability not in self.lanes:
                self.lanes[durability] = log.create_lane(durability).id
        self.order = {}
        while True:
            durability, lane_id = self.numbers.choice(list(self.lanes.items()))
            lane = log.lane(lane_id)
            what = self.numbers.random()
            self.clock.advance(self.numbers.randrange(100))
            if what < 0.80:
                self.put(lane, durability)
            elif what < 0.85:
                lane.seal_idle(0)
                lane.seal_idle(0)
            elif what < 0.91:
                log.maintenance.look_ahead()
            elif what < 0.94:
                log.maintenance.run_once()
            elif what < 0.96:
                before = {shard: lane.bounds(shard)[1] for shard in range(SHARDS)}
                cut = {shard: self.numbers.randrange(end + 1) for shard, end in before.items()}
                for shard, index in cut.items():
                    key = (lane_id, shard)
                    self.dropped[key] = max(self.dropped.get(key, 0), index)
                lane.drop_before_indexes(cut)
            else:
                owner, payload = b"o%d" % self.numbers.randrange(3), self.numbers.randbytes(20)
                lane.commit(lane.append(None, None, 0, positions={owner: payload}))

    def put(self, lane, durability: str) -> None:
        records = []
        for _ in range(self.numbers.choice((1, 2, 8))):
            self.count += 1
            text = b"%d." % self.count + self.numbers.randbytes(self.numbers.choice((0, 100, 900, 3000)))
            records.append((self.numbers.randrange(SHARDS), f"k{self.count}", text))
        entries = entries_of(records, self.router)
        ticket = lane.append(entries, self.router, 0)
        keys = [
            (lane.id, shard, index)
            for (shard, _, _), index in zip(records, entries.indexes.tolist(), strict=True)
        ]
        for key, (_, _, data) in zip(keys, records, strict=True):
            assert key not in self.given, f"{key} was given twice"
            self.given[key] = data
            self.order.setdefault(lane.id, []).append(key[1:])
        if self.numbers.random() < 0.85:
            lane.commit(ticket)
            if durability == "disk":
                self.promised.update(keys)

    def check(self, log: Log) -> None:
        for durability, lane_id in self.lanes.items():
            lane = log.lane(lane_id)
            found = set()
            for shard in range(SHARDS):
                for index, _, data in read_shard(lane, shard):
                    key = (lane_id, shard, index)
                    assert self.given.get(key) == data, f"{key} of the {durability} lane was never put so"
                    found.add(key)
            if durability == "disk":
                missing = {key for key in self.promised - found if key[2] >= self.dropped.get(key[:2], 0)}
                assert not missing, f"the disk lane lost {sorted(missing)[:5]}"
                self.promised |= found  # what was shown stays
            kept = [
                (lane_id, *place) in found
                for place in self.order.get(lane_id, [])
                if place[1] >= self.dropped.get((lane_id, place[0]), 0)
            ]
            assert kept == sorted(kept, reverse=True), f"the {durability} lane has a hole: {kept}"
        assert not [note for note in log.reports if "although" in note or "follows" in note], log.reports

    def live(self, cut_at: int) -> None:
        """One life: open, check, work until the call `cut_at`, lose power."""
        lanes = self.directory / "lanes"
        self.disk = disk = SimulatedDisk(lanes, self.numbers.getrandbits(40), cut_at)
        log = None
        try:
            log = Log.open(
                self.directory, clock=self.clock, disk=disk, background=False, max_bytes=1 << 30, codec="zstd"
            )
            self.check(log)
            self.work(log)
        except PowerCut:
            pass
        cut_power(log, disk)
        self.harm_control()

    def harm_control(self) -> None:
        """The control file is mapped memory that nobody syncs: it may be anything of its past."""
        path, choice = self.directory / "control", self.numbers.random()
        with contextlib.suppress(FileNotFoundError):
            if choice < 0.1:
                path.unlink()
            elif choice < 0.2:
                path.write_bytes(bytes(path.stat().st_size))


def cut_power(log: Log | None, disk: SimulatedDisk) -> None:
    """What was open is gone, without a word to anybody, and what was not synced perhaps with it."""
    if log is not None:
        os.close(log._lock_file)
        log.catalogue.close()
        log.control.close()
    disk.cut()


def small(monkeypatch):
    monkeypatch.setattr(limits, "segment_size_first", 8 << 10)
    monkeypatch.setattr(limits, "segment_size_max", 16 << 10)
    monkeypatch.setattr(limits, "direct_write_least", 600)  # some groups by whole blocks, some not


def lose_power(directory: Path, cuts: int, seed: int) -> int:
    """Several stores one after the other, ten cuts each; returns how many records were given in all."""
    given = 0
    for store in range(-(-cuts // 10)):
        (directory / f"{store}" / "lanes").mkdir(parents=True)
        life = Life(directory / f"{store}", seed + store)
        try:
            for _ in range(min(10, cuts - 10 * store)):
                life.live(life.numbers.randrange(1, 300))
            with Log_of(life) as log:
                life.check(log)
        except BaseException:
            print(f"store {store}, seed {seed + store}")
            raise
        given += len(life.given)
    return given


@contextlib.contextmanager
def Log_of(life: Life):
    log = Log.open(life.directory, clock=life.clock, background=False)
    yield log
    log.close()
