# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What is left of a step whose output stream was resharded while its records were on their way.

A lane knows how many of a step's records it has, but which those are depends on the shards that there were
when they were routed; a merge across lanes moves later records of one lane to another. So a plan names its
*generation*, the number of shards ever made at that time, from which the shards that were open follow. When
another generation is found, the step's stage ends: what each lane has is counted and written down, and the
rest is routed anew, as the next stage of the same step:

    generation 4: lane 0 got 3 of its 7 records, lane 1 all 5       finished stages, in the plan
    generation 5: the remaining 4 (that went to lane 0), routed to the shards of now

Doing the step again means to pass its records, which are the same again, through the finished stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from headrace.core._entries import Entries, Router
from headrace.streams.shards import Shard, ShardTable

Stage = tuple[int, dict[int, int]]
"""A generation, and how many records each lane got in it."""


def open_at(table: ShardTable, generation: int) -> list[Shard]:
    """The shards that were open when so many had been made, in the order of their ranges."""
    numbers = [
        number for number in range(generation) if all(child >= generation for child in table.children(number))
    ]
    return sorted((table.shard(number) for number in numbers), key=lambda shard: shard.start)


def remaining(pieces: list[Entries], table: ShardTable, stages: list[Stage]) -> list[Entries]:
    """The records that no finished stage brought into a lane, in their order."""
    for generation, got in stages:
        pieces = [rest for rest in _after(pieces, table, generation, got) if rest.count]
    return pieces


def _after(
    pieces: list[Entries], table: ShardTable, generation: int, got: Mapping[int, int]
) -> Iterator[Entries]:
    """Each piece without the first records of each lane."""
    shards = open_at(table, generation)
    router = Router([(s.start, s.end, s.number, s.lane, s.created_s) for s in shards])
    lane_of = np.zeros(generation, np.int64)
    for shard in shards:
        lane_of[shard.number] = shard.lane
    left = dict(got)
    for entries in pieces:
        router.route(entries)
        lanes = lane_of[np.asarray(entries.shards(router))].tolist()
        rest = Entries()
        for data, key, lane in zip(entries.data, entries.keys, lanes, strict=True):
            if left.get(lane, 0) > 0:
                left[lane] -= 1
            else:
                rest.add(data, key)
        yield rest
