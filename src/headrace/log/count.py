# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""How many records a segment holds, and where the last of them begin, without reading one.

Running indexes do not tell by themselves: they move ahead by multiples of INDEX_STEP where records may have been
lost (log/recovery.py), and a repair leaves out the indexes of what was damaged (log/repair.py). They do tell

* within a raw segment and, between its SNAPSHOT and that of the next one, modulo INDEX_STEP: a step is made only
  between two segments, and none holds so many records of a shard (offsets in it are 32 bits wide);
* unless a repair made one of the two: the header says so, and the frames are counted instead, as they are in a
  cold segment, whose header has the sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headrace.log.segment import RawSegment

if TYPE_CHECKING:
    from headrace.log.cold import ColdSegment

    Segment = RawSegment | ColdSegment

INDEX_STEP = 1 << 32


def indexes_between(low: int, high: int) -> int:
    """How many indexes lie from `low` on before `high`, apart from steps; 0 where `high` is not beyond `low`."""
    between = (high - low) % INDEX_STEP
    return between if high > low and between < INDEX_STEP // 2 else 0


def records_in(segment: Segment, following: Segment | None, visible: int) -> int:
    """Records of a segment before lane offset `visible`.

    following: the one behind it, if there is one. Cost: a look at each shard where a raw one follows, or nothing does;
    at each frame of a raw segment where a repair was.
    """
    if not isinstance(segment, RawSegment):
        return int(segment.records)
    if segment.unbroken and following is None:
        bounds = [segment.bounds(shard, visible) for shard in segment.table(visible).shards()]
        return sum(found[1] - found[0] for found in bounds if found is not None)
    if segment.unbroken and isinstance(following, RawSegment) and following.unbroken:
        before, after = segment.start_states(), following.start_states()
        return sum((after.get(shard)[0] - before.get(shard)[0]) % INDEX_STEP for shard in after.shards())
    return sum(row[2] for row in segment.rows(visible))


def last_in(segment: Segment, shard: int, count: int, end: int, visible: int) -> tuple[int, int]:
    """(index, how many) of the last `count` records of a shard in a segment, or of all there are, before index
    `end`; (end, 0) where there is none."""
    if isinstance(segment, RawSegment) and segment.unbroken:
        found = segment.bounds(shard, visible)
        upcoming = min(found[1], end) if found is not None else 0
        if found is None or upcoming <= found[0]:
            return end, 0
        number = min(count, upcoming - found[0])
        return upcoming - number, number
    if isinstance(segment, RawSegment):
        rows = [row[1:3] for row in segment.rows(visible) if row[0] == shard]
        firsts, counts = np.array(rows, np.int64).reshape(-1, 2).T
    else:
        firsts, counts = segment.indexes(shard)
    return _last_of(firsts, counts, count, end)


def _last_of(firsts: np.ndarray, counts: np.ndarray, count: int, end: int) -> tuple[int, int]:
    """The same, of frames in order: the index of each one's first record, and its records."""
    before = firsts < end
    firsts = firsts[before]
    counts = np.minimum(counts[before], end - firsts)
    from_here = np.cumsum(counts[::-1])[::-1]
    if not len(firsts):
        return end, 0
    if from_here[0] <= count:
        return int(firsts[0]), int(from_here[0])
    at = int((from_here >= count).sum()) - 1
    return int(firsts[at] + from_here[at]) - count, count
