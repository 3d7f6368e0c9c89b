# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: whatever is split, merged and scaled, open ranges partition the key space and lineage is right.
Method: a Hypothesis machine beside a plain model that keeps a sorted list of (start, end, number) tuples."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace.core._entries import Router
from headrace.streams.document import StreamDocument, decode_stream, encode
from headrace.streams.shards import HASH_KEY_MAX, NO_SHARD, Plan, ShardTable

NOW_MS = 1_700_000_000_250


def table_of(shards, lanes=1):
    return ShardTable(shards, NOW_MS // 1000, lanes, [], {})


class Resharding(RuleBasedStateMachine):
    """The table against a plain list of open ranges."""

    @initialize(shards=st.integers(1, 12), lanes=st.integers(1, 8))
    def create(self, shards, lanes):
        self.now_ms = NOW_MS
        self.table = table_of(shards, min(shards, lanes))
        step = (HASH_KEY_MAX + 1) // shards
        starts = [i * step for i in range(shards)]
        ends = [start - 1 for start in starts[1:]] + [HASH_KEY_MAX]
        self.model = list(zip(starts, ends, range(shards), strict=True))
        self.parents = {number: [] for number in range(shards)}

    def carry_out(self, plan):
        before = self.table
        self.table = before.after(plan.change())
        assert before.count + len(plan.change().opened) == self.table.count
        again = self.table.after(plan.change())  # carrying out twice changes nothing
        assert (again.rows, again.closed) == (self.table.rows, self.table.closed)

    @rule(data=st.data(), ms=st.integers(0, 5_000))
    def split(self, data, ms):
        self.now_ms += ms
        at = data.draw(st.integers(0, len(self.model) - 1))
        start, end, number = self.model[at]
        if start == end:
            return
        key = data.draw(st.integers(start + 1, end))
        plan = Plan(self.table, self.now_ms)
        left, right = plan.split(number, key)
        self.carry_out(plan)
        self.model[at : at + 1] = [(start, key - 1, left), (key, end, right)]
        self.parents[left] = self.parents[right] = [number]

    @precondition(lambda self: len(self.model) > 1)
    @rule(data=st.data(), ms=st.integers(0, 5_000))
    def merge(self, data, ms):
        self.now_ms += ms
        at = data.draw(st.integers(0, len(self.model) - 2))
        (start, _, first), (_, end, second) = self.model[at : at + 2]
        plan = Plan(self.table, self.now_ms)
        child = plan.merge(first, second)
        self.carry_out(plan)
        self.model[at : at + 2] = [(start, end, child)]
        self.parents[child] = [first, second]

    @rule(count=st.integers(1, 24), ms=st.integers(0, 5_000))
    def scale(self, count, ms):
        self.now_ms += ms
        plan = Plan(self.table, self.now_ms)
        plan.scale(count)
        self.carry_out(plan)
        assert self.table.open_count == count
        size = (HASH_KEY_MAX + 1) // count
        for shard in self.table.open():
            assert abs(shard.end - shard.start + 1 - size) <= 100
        for shard in self.table.all():
            self.parents.setdefault(shard.number, shard.parents)
        self.model = [(shard.start, shard.end, shard.number) for shard in self.table.open()]

    @invariant()
    def open_ranges_partition_the_keys(self):
        shards = self.table.open()
        assert [(shard.start, shard.end, shard.number) for shard in shards] == self.model
        assert (shards[0].start, shards[-1].end) == (0, HASH_KEY_MAX)
        for lower, upper in pairwise(shards):
            assert lower.end + 1 == upper.start

    @invariant()
    def lineage_is_right(self):
        for shard in self.table.all():
            parents = [self.table.shard(number) for number in shard.parents]
            assert [parent.number for parent in parents] == self.parents[shard.number]
            for parent in parents:
                assert not parent.open
                assert parent.number < shard.number
                assert shard.number in self.table.children(parent.number)
                assert shard.created_s > parent.closed_ms // 1000 >= parent.created_s
            if parents:
                assert shard.lane == parents[0].lane
            if len(parents) == 2:
                assert (shard.start, shard.end) == (parents[0].start, parents[1].end)
            elif parents:
                assert parents[0].start <= shard.start <= shard.end <= parents[0].end

    @invariant()
    def at_any_time_the_open_shards_partition_the_keys(self):
        closed = sorted(set(self.table.closed.values()))
        every = sorted(self.table.all(), key=lambda shard: shard.start)
        for at_ms in sorted({NOW_MS, *(at + ms for at in closed[-8:] for ms in (0, 1, 999))}):
            is_open = self.table.open_at(at_ms)
            shards = [shard for shard in every if is_open(shard.number)]
            assert (shards[0].start, shards[-1].end) == (0, HASH_KEY_MAX)
            for lower, upper in pairwise(shards):
                assert lower.end + 1 == upper.start
        is_open = self.table.open_at(1 << 60)
        assert [shard.number for shard in every if is_open(shard.number)] == [item[2] for item in self.model]

    @invariant()
    def the_router_agrees(self):
        rows = [(s.start, s.end, s.number, s.lane, s.created_s) for s in self.table.open()]
        router = Router(rows)
        for start, end, number in self.model:
            assert router.locate(start) == router.locate(end) == number

    @invariant()
    def the_catalogue_gives_it_back(self):
        document = StreamDocument(
            1, NOW_MS, "process", list(range(self.table.lane_count)), self.table.even,
            rows=self.table.rows, closed=list(self.table.closed.items()),
        )  # fmt: skip
        again = decode_stream("a", encode(document)).table()
        assert again.all() == self.table.all()


TestResharding = Resharding.TestCase
TestResharding.settings = settings(max_examples=40, stateful_step_count=12, deadline=None)


@given(st.integers(1, 10_000))
@settings(max_examples=50)
def test_shards_of_a_new_stream_step_evenly_and_fill_its_lanes(shards):
    lanes = min(shards, 8)
    table = table_of(shards, lanes)
    found = table.all()
    step = (HASH_KEY_MAX + 1) // shards
    assert [shard.start for shard in found] == [i * step for i in range(shards)]
    assert found[-1].end == HASH_KEY_MAX
    assert {shard.lane for shard in found} == set(range(lanes))
    assert all(shard.parent == shard.adjacent == NO_SHARD for shard in found)


def test_doubling_and_halving_make_no_short_lived_shards():
    table = table_of(4)
    plan = Plan(table, NOW_MS)
    plan.scale(8)
    assert len(plan.change().opened) == 8
    table = table.after(plan.change())
    plan = Plan(table, NOW_MS)
    plan.scale(4)
    assert len(plan.change().opened) == 4


def test_children_come_one_second_after_their_parents():
    table = table_of(1)
    plan = Plan(table, NOW_MS)
    left, _ = plan.split(0, 100)
    plan.split(left, 50)
    table = table.after(plan.change())
    assert [shard.created_s - NOW_MS // 1000 for shard in table.all()] == [0, 1, 1, 2, 2]
    assert table.shard(left).closed_ms == (NOW_MS // 1000 + 1) * 1000


def open_at(table, at_ms):
    is_open = table.open_at(at_ms)
    return [number for number in range(table.count) if is_open(number)]


def test_children_are_open_from_the_close_of_their_parent():
    plan = Plan(table_of(2), NOW_MS)
    plan.split(0, 100)
    table = table_of(2).after(plan.change())
    assert open_at(table, NOW_MS) == [0, 1]
    assert open_at(table, NOW_MS + 1) == [1, 2, 3]


def test_a_shard_that_a_scaling_makes_and_closes_was_never_open():
    plan = Plan(table_of(4), NOW_MS)
    plan.scale(3)
    table = table_of(4).after(plan.change())
    assert any(shard.closed_ms for shard in table.all()[4:])
    assert open_at(table, NOW_MS) == [0, 1, 2, 3]
    assert open_at(table, NOW_MS + 1) == [shard.number for shard in table.all() if shard.open]


def test_a_shard_that_is_split_in_its_first_second_was_open():
    """It took records: who starts among its children would not see them."""
    table = table_of(1)
    plan = Plan(table, NOW_MS)
    left, right = plan.split(0, 100)
    table = table.after(plan.change())
    plan = Plan(table, NOW_MS + 200)
    children = plan.split(left, 50)
    table = table.after(plan.change())
    assert open_at(table, NOW_MS + 100) == [left, right]
    assert open_at(table, NOW_MS + 2_000) == [right, *children]


def test_what_took_records_closes_no_earlier_than_the_change_is_carried_out():
    plan = Plan(table_of(4), NOW_MS)
    plan.scale(3)
    planned, made = plan.change(), plan.change().not_before(NOW_MS + 3_000)
    assert [(number, at) for number, at in made.closed if number < 4] == [
        (number, NOW_MS + 3_000) for number, _ in planned.closed if number < 4
    ]
    assert [c for c in made.closed if c[0] >= 4] == [c for c in planned.closed if c[0] >= 4] != []


def test_a_shard_that_does_not_exist_is_an_index_error():
    for number in (-1, 3):
        with pytest.raises(IndexError):
            table_of(3).shard(number)


def test_ten_thousand_shards_are_a_few_bytes_in_the_catalogue():
    document = StreamDocument(1, NOW_MS, "process", [1], 10_000)
    assert len(msgspec.json.encode(document)) < 200
