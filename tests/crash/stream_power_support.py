# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Simulated losses of power over whole streams: what the catalogue says and what the lanes hold, together.

Method: a store on a SimulatedDisk with a SimulatedCatalogue makes, fills, splits, merges, scales, changes and deletes
streams of both promises; at a random call of the disk, or in a durable commit, the power goes; the store is
opened from what the device may then hold, in a new boot, and goes on over the same files. Checked after each opening:

* each stream whose making was answered is there, and none whose deletion was; what was under way is there or not;
* its shards are those of the last answered reshard, or of the one that was under way, whole;
* each record in it was put into this stream, this shard and under this index, and its key belongs there;
* what a `disk` stream acknowledged is there; a lane of a `process` stream holds, of each life, a beginning;
* no lane's files are without a row, and the lanes know no shard that the catalogue does not.

No index is ever given twice, over all lives.
"""

from __future__ import annotations

import gc
import random
from dataclasses import dataclass
from pathlib import Path

from catalogue import SimulatedCatalogue, watch
from disk import PowerCut, SimulatedDisk
from log_support import read_shard
from power_support import cut_power

from headrace.clock import FrozenClock
from headrace.core._entries import Entries, hash_key
from headrace.log import Log
from headrace.log.verify import verify
from headrace.streams import Stream, StreamDefaults, Streams
from headrace.streams.shards import Plan, ShardTable

STREAMS_MAX = 6
LIVES = 10  # of a store
WRONG = ("although", "follows", "owns", "taken over", "could not", "left out", "not all gone")

Shape = tuple[int, tuple[object, ...], tuple[tuple[int, int], ...]]


def shape_of(table: ShardTable) -> Shape:
    """What can be compared of a table."""
    return table.even, tuple(table.rows), tuple(sorted(table.closed.items()))


@dataclass
class Made:
    """A stream as its owner was told of it."""

    id: int
    durability: str
    retention_hours: int
    shape: Shape


class StreamLife:
    """What was done over all lives of a store."""

    def __init__(self, directory: Path, seed: int, stores: dict[Path, SimulatedCatalogue]) -> None:
        self.directory = directory
        self.stores = stores
        self.numbers = random.Random(seed)
        self.clock = FrozenClock()
        self.made: dict[str, Made] = {}
        self.given: dict[tuple[int, int, int], bytes] = {}  # (stream, shard, index): data
        self.order: dict[int, list[tuple[int, int, int]]] = {}  # of this life, by lane
        self.promised: set[tuple[int, int, int]] = set()
        # The change that the power came into: what, which stream, what would then be so.
        self.pending: tuple[str, str, Made | None] | None = None
        self.counts = dict.fromkeys(("create", "delete", "reshard", "update", "cuts"), 0)

    # ---------------------------------------------------------------- work

    def work(self, log: Log, streams: Streams) -> None:
        """Random work until the power goes."""
        self.order = {}
        while True:
            self.clock.advance(self.numbers.randrange(2000))
            name = self.numbers.choice(sorted(self.made)) if self.made else None
            what = self.numbers.random()
            if name is None or (what < 0.06 and len(self.made) < STREAMS_MAX):
                self.create(streams)
            elif what < 0.10:
                self.delete(streams, name)
            elif what < 0.20:
                self.reshard(streams.stream(name))
            elif what < 0.23:
                self.update(streams.stream(name))
            elif what < 0.30:
                for lane in streams.stream(name).lanes:
                    lane.seal_idle(0)
                    lane.seal_idle(0)
            elif what < 0.36:
                log.maintenance.run_once()
            else:
                self.put(streams.stream(name))

    def create(self, streams: Streams) -> None:
        name = self.numbers.choice([name for name in "abcdefghij" if name not in self.made])
        durability = self.numbers.choice(("process", "disk"))
        self.pending = ("create", name, None)
        stream = streams.create(name, self.numbers.randrange(1, 4), durability=durability)
        self.told(stream)
        self.done("create")

    def delete(self, streams: Streams, name: str) -> None:
        self.pending = ("delete", name, None)
        streams.delete(name)
        del self.made[name]
        self.done("delete")

    def reshard(self, stream: Stream) -> None:
        """A split, merge or scaling; what it will lead to is planned here once more."""
        open_shards, how = stream.table.open(), self.numbers.random()
        at = self.numbers.randrange(len(open_shards))
        shard = open_shards[at]
        plan = Plan(stream.table, self.clock.now_ms())
        if how < 0.2:
            count = self.numbers.randrange(1, 6)
            if count == len(open_shards):
                return
            plan.scale(count)
            self.resharding(stream, plan)
            stream.scale(count)
        elif how < 0.5 and at + 1 < len(open_shards):
            plan.merge(shard.number, open_shards[at + 1].number)
            self.resharding(stream, plan)
            stream.merge(shard.number, open_shards[at + 1].number)
        else:
            key = self.numbers.randrange(shard.start + 1, shard.end + 1)
            plan.split(shard.number, key)
            self.resharding(stream, plan)
            stream.split(shard.number, key)
        self.told(stream)
        self.done("reshard")

    def resharding(self, stream: Stream, plan: Plan) -> None:
        made = self.made[stream.name]
        after = Made(
            made.id, made.durability, made.retention_hours, shape_of(stream.table.after(plan.change()))
        )
        self.pending = ("reshard", stream.name, after)

    def update(self, stream: Stream) -> None:
        made, hours = self.made[stream.name], self.numbers.randrange(24, 8760)
        self.pending = ("update", stream.name, Made(made.id, made.durability, hours, made.shape))
        stream.update(retention_hours=hours)
        self.told(stream)
        self.done("update")

    def done(self, what: str) -> None:
        self.pending = None
        self.counts[what] += 1

    def told(self, stream: Stream) -> None:
        self.made[stream.name] = self.seen(stream)

    @staticmethod
    def seen(stream: Stream) -> Made:
        return Made(stream.document.id, stream.durability, stream.retention_hours, shape_of(stream.table))

    def put(self, stream: Stream) -> None:
        entries, texts = Entries(), []
        for _ in range(self.numbers.choice((1, 2, 8))):
            text = b"%d." % len(self.given) + self.numbers.randbytes(self.numbers.choice((0, 100, 900)))
            texts.append(text)
            entries.add(text, f"key {self.numbers.getrandbits(40)}")
        stream.append(entries)
        shards = entries.shards(stream.router).tolist()
        keys = [
            (stream.document.id, shard, index)
            for shard, index in zip(shards, entries.indexes.tolist(), strict=True)
        ]
        for key, text in zip(keys, texts, strict=True):
            assert key not in self.given, f"{key} was given twice"
            self.given[key] = text
            self.order.setdefault(stream.lane_of(key[1]).id, []).append(key)
        if self.numbers.random() < 0.85:
            stream.commit()
            if stream.durability == "disk":
                self.promised.update(keys)

    # ---------------------------------------------------------------- what must hold

    def check(self, log: Log, streams: Streams) -> None:
        self.check_streams(streams)
        found: set[tuple[int, int, int]] = set()
        for stream in streams.list():
            there = self.check_records(stream)
            found |= there
            if stream.durability == "disk":
                missing = {key for key in self.promised - there if key[0] == stream.document.id}
                assert not missing, f"disk stream {stream.name} lost {sorted(missing)[:5]}"
                self.promised |= there  # what was shown stays
            for lane in stream.lanes:
                kept = [key in there for key in self.order.get(lane.id, ())]
                assert kept == sorted(kept, reverse=True), (
                    f"lane {lane.id} of {stream.name} has a hole: {kept}"
                )
        assert not [note for note in log.reports if any(word in note for word in WRONG)], log.reports
        self.pending = None

    def check_streams(self, streams: Streams) -> None:
        what, pending, after = self.pending or ("", "", None)
        there = {stream.name: stream for stream in streams.list()}
        for name, made in list(self.made.items()):
            stream = there.pop(name, None)
            if stream is None:
                assert (what, pending) == ("delete", name), f"stream {name} is gone"
                del self.made[name]
                continue
            seen = self.seen(stream)
            assert seen == made or (name == pending and seen == after), (name, seen, made, after)
            assert stream.table.covers_all()
            self.made[name] = seen
        for name, stream in there.items():
            assert (what, name) == ("create", pending), f"stream {name} should not be there"
            self.told(stream)

    def check_records(self, stream: Stream) -> set[tuple[int, int, int]]:
        found = set()
        for shard in stream.shards:
            for index, key, data in read_shard(stream.lane_of(shard.number), shard.number):
                place = (stream.document.id, shard.number, index)
                assert self.given.get(place) == data, (
                    f"{place} of {stream.name} was never put so: {data[:20]!r}"
                )
                assert shard.start <= hash_key(key) <= shard.end, f"{place} of {stream.name}: not its shard"
                found.add(place)
        return found

    # ---------------------------------------------------------------- lives

    def open_log(self, disk: SimulatedDisk | None = None) -> Log:
        return Log.open(self.directory, clock=self.clock, disk=disk, background=False, max_bytes=1 << 30)

    def open_streams(self, log: Log) -> Streams:
        return Streams(log, clock=self.clock, defaults=StreamDefaults(cores=3))

    def live(self, cut_at: int) -> None:
        """One life: open, check, work until the call `cut_at`, lose power."""
        disk = SimulatedDisk(self.directory / "lanes", self.numbers.getrandbits(40), cut_at)
        catalogue = self.stores[self.directory] = SimulatedCatalogue(self.directory, disk)
        log = None
        try:
            log = self.open_log(disk)
            streams = self.open_streams(log)
            self.check(log, streams)
            self.work(log, streams)
        except PowerCut:
            pass
        del self.stores[self.directory]
        gc.collect()  # a log that was never opened: its connection must not close over what comes now
        cut_power(log, disk)
        catalogue.cut()
        self.counts["cuts"] += 1

    def end(self) -> None:
        """A last look, with all power."""
        log = self.open_log()
        self.check(log, self.open_streams(log))
        log.close()
        report = verify(self.directory)
        assert report.findings == [], report.findings
        assert not [note for note in report.notes if "no lane" in note and " 0 bytes" not in note], (
            report.notes
        )


def lose_streams_power(directory: Path, cuts: int, seed: int, monkeypatch) -> dict[str, int]:
    """Several stores one after the other, ten cuts each; returns what was done in all."""
    stores: dict[Path, SimulatedCatalogue] = {}
    watch(monkeypatch, stores)
    total: dict[str, int] = {}
    for store in range(-(-cuts // LIVES)):
        (directory / f"{store}" / "lanes").mkdir(parents=True)
        life = StreamLife(directory / f"{store}", seed + store, stores)
        try:
            for _ in range(min(LIVES, cuts - LIVES * store)):
                life.live(life.numbers.randrange(1, 300))
            life.end()
        except BaseException:
            print(f"store {store}, seed {seed + store}")
            raise
        for name, count in [*life.counts.items(), ("records", len(life.given))]:
            total[name] = total.get(name, 0) + count
    return total
