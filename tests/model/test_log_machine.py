# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A lane against a dictionary: whatever is done in whatever order, reads give what was put.

Method: a Hypothesis state machine over one lane of each promise with three shards: appends of one and many
shards and of large records, writes and syncs apart from appends, sealing, compression, drops by time and
index, a size limit, reopening, and a second, reading view of the store as another process would have it.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from log_support import entries_of, read_shard, router_of

from headrace import limits
from headrace.clock import FrozenClock
from headrace.log import Log

SHARDS = 3
ROUTER = router_of(SHARDS)
SIZES = st.sampled_from([0, 1, 7, 200, 3000, 20_000])


class LogMachine(RuleBasedStateMachine):
    """`rows[shard]`: (key, data, arrival ms) by index. What is not committed yet is in `open`."""

    @initialize(durability=st.sampled_from(["process", "disk"]), codec=st.sampled_from(["zstd", "lz4"]))
    def begin(self, durability, codec):
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(limits, "segment_size_first", 16 << 10)
        self.patch.setattr(limits, "segment_size_max", 64 << 10)
        self.patch.setattr(limits, "ring_size_first", 16 << 10)
        self.directory = Path(tempfile.mkdtemp(prefix="headrace-model-"))
        self.clock, self.codec, self.count = FrozenClock(), codec, 0
        self.log = Log.open(
            self.directory / "s", clock=self.clock, codec=codec, background=False, max_bytes=1 << 30
        )
        self.lane_id = self.log.create_lane(durability).id
        self.reader = Log.open_reader(self.directory / "s")
        self.rows: dict[int, list[tuple[str, bytes, int]]] = {shard: [] for shard in range(SHARDS)}
        self.seen = dict.fromkeys(range(SHARDS), 0)  # committed, by shard
        self.first = dict.fromkeys(range(SHARDS), 0)  # no record before it need be there
        self.tickets: list[int] = []
        self.positions: dict[bytes, bytes] = {}

    @property
    def lane(self):
        return self.log.lane(self.lane_id)

    def commit_all(self):
        for ticket in self.tickets:
            self.lane.commit(ticket)
        self.tickets = []
        self.seen = {shard: len(rows) for shard, rows in self.rows.items()}

    @rule(
        shards=st.lists(st.integers(0, SHARDS - 1), min_size=1, max_size=12), size=SIZES, commit=st.booleans()
    )
    def append(self, shards, size, commit):
        records = []
        for shard in shards:
            self.count += 1
            records.append(
                (shard, f"key-{self.count}", b"%d:" % self.count + bytes([self.count % 256]) * size)
            )
        entries = entries_of(records, ROUTER)
        self.tickets.append(self.lane.append(entries, ROUTER, 0))
        arrivals, indexes = entries.arrivals.tolist(), entries.indexes.tolist()
        for (shard, key, data), index, arrival in zip(records, indexes, arrivals, strict=True):
            assert index == len(self.rows[shard])
            self.rows[shard].append((key, data, arrival))
        if commit:
            self.commit_all()

    @rule(milliseconds=st.integers(-3_600_000, 60_000))
    def time_goes_on_or_jumps(self, milliseconds):
        if milliseconds < 0:
            self.clock.jump(milliseconds)
        else:
            self.clock.advance(milliseconds)

    @rule()
    def commit(self):
        self.commit_all()

    @rule(owner=st.sampled_from([b"a", b"b"]), payload=st.binary(max_size=40))
    def position(self, owner, payload):
        self.tickets.append(self.lane.append(None, None, 0, positions={owner: payload}))
        self.positions[owner] = payload
        self.commit_all()

    @rule()
    def seal(self):
        self.lane.seal_idle(0)
        self.lane.seal_idle(0)

    @rule()
    def compress(self):
        self.log.maintenance.run_once()

    @rule(share=st.floats(0, 1))
    def drop_by_index(self, share):
        self.commit_all()
        cut = {shard: int(len(rows) * share) for shard, rows in self.rows.items()}
        self.lane.drop_before_indexes(cut)
        self.first = {shard: max(self.first[shard], cut[shard]) for shard in cut}

    @rule(back=st.integers(0, 200_000))
    def drop_by_time(self, back):
        self.commit_all()
        cut = self.clock.now_ms() - back
        self.lane.drop_before(cut)
        for shard, rows in self.rows.items():
            gone = [index + 1 for index, row in enumerate(rows) if row[2] < cut]
            self.first[shard] = max([self.first[shard], *gone])

    @rule()
    def limit_for_a_while(self):
        self.commit_all()
        self.lane.set_limit(300 << 10, "drop_oldest")
        self.append([0, 1, 2, 0], 20_000, True)
        self.lane.set_limit(None, "throttle")
        self.first = {shard: max(self.first[shard], self.lane.bounds(shard)[0]) for shard in range(SHARDS)}

    @rule()
    def reopen(self):
        self.log.close()
        self.log = Log.open(self.directory / "s", clock=self.clock, codec=self.codec, background=False)
        assert self.log.reports == []
        self.tickets = []
        self.seen = {shard: len(rows) for shard, rows in self.rows.items()}

    @rule(
        shard=st.integers(0, SHARDS - 1),
        share=st.floats(0, 1.1),
        records=st.integers(1, 30),
        size=st.integers(1, 30_000),
    )
    def read_from_anywhere(self, shard, share, records, size):
        rows = self.rows[shard]
        index = int(len(rows) * share)
        batch = self.lane.read(shard, index, max_records=records, max_bytes=size)
        got = list(zip(batch.ordinals.tolist(), batch.keys, batch.data, strict=True))
        assert got == [(n, *rows[n][:2]) for n, _, _ in got]
        assert [n for n, _, _ in got] == list(range(got[0][0], got[0][0] + len(got))) if got else True
        assert len(got) <= records
        assert len(got) <= 1 or sum(len(key) + len(data) for _, key, data in got) <= size
        if index < self.seen[shard] and index >= self.first[shard]:
            assert got and got[0][0] == index

    @rule(shard=st.integers(0, SHARDS - 1), share=st.floats(0, 1))
    def find_by_time(self, shard, share):
        rows, first = self.rows[shard], self.lane.bounds(shard)[0]
        if rows and first <= int((len(rows) - 1) * share) < self.seen[shard]:
            arrival = rows[int((len(rows) - 1) * share)][2]
            expected = next(n for n in range(len(rows)) if rows[n][2] >= arrival)
            assert max(self.lane.index_at_time(shard, arrival), first) == max(expected, first)

    @invariant()
    def everything_is_there(self):
        for lane in (self.lane, self.reader.lane(self.lane_id)):
            for shard, rows in self.rows.items():
                found = read_shard(lane, shard)
                assert found == [(n, *rows[n][:2]) for n, _, _ in found]
                numbers = [n for n, _, _ in found]
                assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
                missing = set(range(self.first[shard], self.seen[shard])) - set(numbers)
                assert not missing
                first, end = lane.bounds(shard)
                assert end >= self.seen[shard] and (
                    not numbers or (first, end) == (numbers[0], numbers[-1] + 1)
                )
            assert lane.positions() == self.positions

    def teardown(self):
        self.log.close()
        self.reader.close()
        self.patch.undo()
        shutil.rmtree(self.directory)


LogMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLogMachine = LogMachine.TestCase
