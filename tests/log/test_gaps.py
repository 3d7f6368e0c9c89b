# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The walk that finds gaps, against a plain set of indexes.

Method: shards get records in random frames, some of which are left out; the walk sees them cut into segments.
"""

from __future__ import annotations

import random

import numpy as np

from headrace.core._states import ShardStates
from headrace.log.count import INDEX_STEP
from headrace.log.gaps import GAPS_KEPT, Gap, LaneGaps

SEED = random.randrange(1 << 30)


def states_of(indexes: dict[int, int]) -> ShardStates:
    states = ShardStates()
    for shard, index in indexes.items():
        states.set(shard, index, 0, 0)
    return states


def take(gaps: LaneGaps, rows: list[tuple[int, int, int]]) -> None:
    gaps.take(*np.array(rows, np.int64).reshape(-1, 3).T)


def test_what_is_missing_is_found_whatever_is_left_out():
    print("seed", SEED)
    numbers = random.Random(SEED)
    for _ in range(200):
        gaps, upcoming = LaneGaps(7), {shard: numbers.randrange(5) for shard in range(3)}
        missing: set[tuple[int, int]] = set()
        for _ in range(4):
            gaps.begin(states_of(upcoming))
            rows = []
            for _ in range(numbers.randrange(12)):
                shard, count = numbers.randrange(3), numbers.randrange(1, 4)
                if numbers.random() < 0.7:
                    rows.append((shard, upcoming[shard], count))
                else:
                    missing |= {(shard, upcoming[shard] + i) for i in range(count)}
                upcoming[shard] += count
            take(gaps, rows)
        gaps.begin(states_of(upcoming))
        found = [(gap.shard, index) for gap in gaps.found for index in range(gap.first, gap.last + 1)]
        assert len(found) == len(set(found)) and set(found) == missing
        assert gaps.count == len(gaps.found) and {gap.lane for gap in gaps.found} <= {7}


def test_a_step_of_the_index_is_told_from_a_gap_and_a_new_shard_from_both():
    gaps = LaneGaps(1)
    gaps.begin(states_of({0: 3}))
    gaps.begin(states_of({0: 3 + INDEX_STEP, 1: INDEX_STEP}))
    take(gaps, [(0, 3 + INDEX_STEP, 2), (0, 7 + INDEX_STEP, 1), (2, 0, 4)])
    step, gap = gaps.found
    assert step == Gap(1, 0, 3, 2 + INDEX_STEP) and step.stepped
    assert gap == Gap(1, 0, 5 + INDEX_STEP, 6 + INDEX_STEP) and not gap.stepped


def test_many_gaps_are_counted_and_the_first_kept():
    gaps = LaneGaps(1)
    gaps.begin(states_of({0: 0}))
    take(gaps, [(0, 2 * number + 1, 1) for number in range(GAPS_KEPT + 50)])
    assert (gaps.count, len(gaps.found)) == (GAPS_KEPT + 50, GAPS_KEPT)
    assert gaps.found[-1].last == 2 * (GAPS_KEPT - 1)
