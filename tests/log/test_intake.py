# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""One native step from routed entries to lanes does what a call of each lane's `append` does.

Method: the same entries to lanes of two logs, once by append_lanes and once lane by lane; lanes that are idle,
failed, or full; entries that were routed for others.
"""

from __future__ import annotations

import pytest
from log_support import entries_of, read_shard

from headrace.clock import FrozenClock
from headrace.core._entries import Entries, Router
from headrace.errors import Backpressure
from headrace.log import Log
from headrace.log._intake import append_lanes, appended

LANES = 3
STEP = (1 << 128) // 6
# Six shards, two a lane.
ROUTER = Router(
    [(i * STEP, (i + 1) * STEP - 1 if i < 5 else (1 << 128) - 1, i, i % LANES, 1) for i in range(6)]
)


def routed(rows):
    """Entries of (shard, data), routed."""
    entries = Entries()
    for shard, data in rows:
        entries.add(data, "key", shard * STEP)
    ROUTER.route(entries)
    return entries


@pytest.fixture
def logs(tmp_path):
    made = [
        Log.open(tmp_path / name, clock=FrozenClock(), background=False, max_bytes=1 << 30) for name in "ab"
    ]
    yield made
    for log in made:
        log.close()


def test_lanes_hold_the_same_as_if_each_had_been_called(logs):
    lanes = [[log.create_lane("process") for _ in range(LANES)] for log in logs]
    framed: dict[int, int] = {}
    before = appended()
    for turn in range(20):
        rows = [(i % 6, b"%d-%d" % (turn, i)) for i in range(turn % 5 + 1)]
        entries = routed(rows)
        tickets, failures, refused = append_lanes(entries, ROUTER, lanes[0], logs[0].clock, framed)
        assert failures is None and refused == 0
        assert [lane for lane, _ in tickets] == lanes[0][: min(len(rows), LANES)]
        assert all(framed[lanes[0].index(lane)] == ticket for lane, ticket in tickets)
        for lane, ticket in tickets:
            lane.commit(ticket)
        again = routed(rows)
        for ordinal in range(min(len(rows), LANES)):
            lanes[1][ordinal].commit(lanes[1][ordinal].append(again, ROUTER, ordinal))
        assert entries.indexes.tolist() == again.indexes.tolist()
        assert entries.arrivals.tolist() == again.arrivals.tolist()
    assert appended() - before == sum(turn % 5 + 1 for turn in range(20))
    for shard in range(6):
        one, other = (read_shard(lanes[i][shard % LANES], shard) for i in range(2))
        assert one == other and (shard == 5 or one)


def test_a_lane_that_refuses_is_told_apart_from_those_that_took_theirs(logs):
    log = logs[0]
    lanes = [log.create_lane("process") for _ in range(LANES)]
    lanes[1].set_limit(1, "throttle")
    framed: dict[int, int] = {}
    before = appended()
    entries = routed([(0, b"a"), (1, b"b"), (2, b"c"), (4, b"d")])
    tickets, failures, refused = append_lanes(entries, ROUTER, lanes, log.clock, framed)
    assert [lane for lane, _ in tickets] == [lanes[0], lanes[2]] and sorted(framed) == [0, 2]
    assert list(failures) == [1] and isinstance(failures[1], Backpressure) and refused == 2
    assert appended() - before == 2
    lanes[1].set_limit(None, "throttle")
    tickets, failures, refused = append_lanes(routed([(1, b"b")]), ROUTER, lanes, log.clock, framed)
    assert (len(tickets), failures, refused) == (1, None, 0)
    for lane, ticket in tickets:
        lane.commit(ticket)
    assert [data for _, _, data in read_shard(lanes[1], 1)] == [b"b"]


def test_a_lane_that_was_given_up_fails_and_the_others_do_not(logs):
    log = logs[0]
    lanes = [log.create_lane("process") for _ in range(LANES)]
    append_lanes(routed([(i, b"x") for i in range(6)]), ROUTER, lanes, log.clock, {})
    lanes[2].abandon()
    tickets, failures, refused = append_lanes(
        routed([(i, b"y") for i in range(6)]), ROUTER, lanes, log.clock, {}
    )
    assert len(tickets) == 2 and list(failures) == [2] and refused == 2


def test_entries_that_were_not_routed_by_this_router_are_refused(logs):
    log = logs[0]
    lanes = [log.create_lane("process") for _ in range(LANES)]
    entries = Entries()
    entries.add(b"data", "key", 0)
    with pytest.raises(ValueError, match="routed to 0 of 3 lanes"):
        append_lanes(entries, ROUTER, lanes, log.clock, {})
    with pytest.raises(ValueError, match="2 given"):
        append_lanes(routed([(0, b"x")]), ROUTER, lanes[:2], log.clock, {})
    other = Router([(0, (1 << 128) - 1, 0, 0, 1)])
    with pytest.raises(ValueError, match="routed to 1 of 3 lanes"):
        append_lanes(entries_of([(0, "k", b"x")], other), ROUTER, lanes, log.clock, {})
