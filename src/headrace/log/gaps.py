# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Gaps: running indexes of a lane that no record has, found by walking over its segments in order.

A repair leaves them where something was damaged (log/repair.py), and a loss of power or a repair moves the indexes
of every shard ahead by a multiple of INDEX_STEP, whatever was lost. What was dropped on purpose is none: it lies
before the first SNAPSHOT.

Memory: a number a shard, and the first GAPS_KEPT gaps of a lane. The others are counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from headrace.core._states import ShardStates
from headrace.log.count import INDEX_STEP

GAPS_KEPT = 100  # of a lane
Indexes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Gap:
    """Indexes `first` to `last` of a shard, which no record has."""

    lane: int
    shard: int
    first: int
    last: int

    @property
    def stepped(self) -> bool:
        """Whether the index moved ahead there: how many records were lost is then not known, and may be none."""
        return self.last - self.first + 1 >= INDEX_STEP


@dataclass(slots=True)
class LaneGaps:
    """The walk over one lane: for each segment `begin` with its SNAPSHOT, then `take` its frames of records."""

    lane: int
    count: int = 0
    found: list[Gap] = field(default_factory=list)
    _next: dict[int, int] = field(default_factory=dict)
    _begun: bool = False

    def begin(self, states: ShardStates) -> None:
        """A segment starts; its SNAPSHOT says which index comes next in each shard."""
        for shard in states.shards():
            index = states.get(shard)[0]
            if self._begun:
                self._reach(shard, index)
            self._next[shard] = index
        self._begun = True

    def take(self, shards: Indexes, firsts: Indexes, counts: Indexes) -> None:
        """Frames of records, those of each shard in order: shard, index of the first record, records."""
        order = np.argsort(shards, kind="stable")
        shards, firsts, ends = shards[order], firsts[order], (firsts + counts)[order]
        same = shards[1:] == shards[:-1]
        for at in np.flatnonzero(np.append(True, ~same)[: len(shards)]).tolist():
            self._reach(int(shards[at]), int(firsts[at]))
        for at in np.flatnonzero(same & (firsts[1:] > ends[:-1])).tolist():
            self._note(int(shards[at]), int(ends[at]), int(firsts[at + 1]))
        for at in np.flatnonzero(np.append(~same, True)[: len(shards)]).tolist():
            self._next[int(shards[at])] = int(ends[at])

    def _reach(self, shard: int, index: int) -> None:
        expected = self._next.get(shard, index - index % INDEX_STEP)
        if index > expected:
            self._note(shard, expected, index)

    def _note(self, shard: int, expected: int, index: int) -> None:
        self.count += 1
        if len(self.found) < GAPS_KEPT:
            self.found.append(Gap(self.lane, shard, expected, index - 1))
