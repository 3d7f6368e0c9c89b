# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The table of a stream's shards: hash ranges, lineage, and how splits, merges and scaling change it.

The ranges of the open shards always partition [0, 2^128 − 1]. Shard numbers are given in order and never
used twice. A shard lives in one lane for life; children stay in the lane of their (first) parent.

The shards that a stream is created with are not stored one by one: their ranges follow from their number,
so that ten thousand idle shards cost nothing. Each later shard is one row.

A change is planned first (`Plan`, pure) and applied when the log holds it (`topology.py`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

import msgspec

HASH_KEY_MAX = (1 << 128) - 1
LAST_INDEX = 0x7FFF_FFFF_FFFF_FFFF  # running index in the ending sequence number of a closed shard
NO_SHARD = -1


class Shard(NamedTuple):
    """One shard, open or closed."""

    number: int
    start: int  # first hash key
    end: int  # last hash key, inclusive
    parent: int  # NO_SHARD without one
    adjacent: int  # second parent of a merge, or NO_SHARD
    created_s: int
    lane: int  # ordinal within the stream's lanes
    closed_ms: int | None

    @property
    def id(self) -> str:
        return shard_id(self.number)

    @property
    def parents(self) -> list[int]:
        return [number for number in (self.parent, self.adjacent) if number != NO_SHARD]

    @property
    def open(self) -> bool:
        return self.closed_ms is None


class Row(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A shard made by a split or merge. Hash keys are hexadecimal text: JSON numbers end at 64 bits."""

    start: str
    end: str
    parent: int
    adjacent: int
    created_s: int
    lane: int


class Change(msgspec.Struct, array_like=True, frozen=True):
    """What a split, merge or scaling does to a table: rows to append, shards to close and when (ms)."""

    first: int  # number of the first opened shard
    opened: list[Row]
    closed: list[tuple[int, int]]

    def not_before(self, now_ms: int) -> Change:
        """The same, carried out at `now_ms`: what took records until then closed no earlier."""
        closed = [(number, max(at, now_ms) if number < self.first else at) for number, at in self.closed]
        return Change(self.first, self.opened, closed)


def shard_id(number: int) -> str:
    return f"shardId-{number:012d}"


class ShardTable:
    """All shards of a stream.

    Cost: a few hundred bytes a stream, 150 bytes for each shard that a split or merge made.
    """

    __slots__ = ("_children", "closed", "created_s", "even", "lane_count", "rows")

    def __init__(
        self, even: int, created_s: int, lane_count: int, rows: list[Row], closed: dict[int, int]
    ) -> None:
        self.even = even
        self.created_s = created_s
        self.lane_count = lane_count
        self.rows = rows
        self.closed = closed
        self._children: dict[int, list[int]] | None = None

    @property
    def count(self) -> int:
        """Shards ever made; the next one gets this number."""
        return self.even + len(self.rows)

    @property
    def open_count(self) -> int:
        return self.count - len(self.closed)

    def shard(self, number: int) -> Shard:
        """Raises IndexError where there is no such shard."""
        closed_ms = self.closed.get(number)
        if 0 <= number < self.even:
            step = (HASH_KEY_MAX + 1) // self.even
            end = HASH_KEY_MAX if number == self.even - 1 else (number + 1) * step - 1
            lane = number * self.lane_count // self.even
            return Shard(number, number * step, end, NO_SHARD, NO_SHARD, self.created_s, lane, closed_ms)
        if number < self.even:
            raise IndexError(number)
        row = self.rows[number - self.even]
        start, end = int(row.start, 16), int(row.end, 16)
        return Shard(number, start, end, row.parent, row.adjacent, row.created_s, row.lane, closed_ms)

    def all(self) -> list[Shard]:
        return [self.shard(number) for number in range(self.count)]

    def open(self) -> list[Shard]:
        """The open shards in the order of their ranges."""
        numbers = [number for number in range(self.count) if number not in self.closed]
        return sorted((self.shard(number) for number in numbers), key=lambda shard: shard.start)

    def covers_all(self) -> bool:
        """Whether the open shards partition the hash keys, as they always should."""
        shards = self.open()
        ends = [-1, *(shard.end for shard in shards)]
        return ends[-1] == HASH_KEY_MAX and all(
            s.start == end + 1 for s, end in zip(shards, ends, strict=False)
        )

    def children(self, number: int) -> list[int]:
        """The shards that followed this one."""
        if self._children is None:
            index: dict[int, list[int]] = {}
            for child, row in enumerate(self.rows, self.even):
                for parent in (row.parent, row.adjacent):
                    if parent != NO_SHARD:
                        index.setdefault(parent, []).append(child)
            self._children = index
        return self._children.get(number, [])

    def open_at(self, at_ms: int) -> Callable[[int], bool]:
        """Whether a shard is one of those that partitioned the hash keys at a time, as a function of its number.

        A shard is open from the close of its last parent, not from `created_s`, which lies ahead of it, until it
        closed, inclusive: what arrived in that very millisecond is in it. One that a reshard made and closed again
        was never open. Where only one of two parents has ended, it stands in for the child until the other has.
        Cost: one look at each closed shard.
        """
        ended: set[int] = set()
        for number, closed_ms in sorted(self.closed.items()):  # parents before their children
            parents = self._parents(number)
            short_lived = bool(parents) and closed_ms == self.rows[number - self.even].created_s * 1000
            if ended.issuperset(parents) and (short_lived or closed_ms < at_ms):
                ended.add(number)

        def entered(number: int) -> bool:
            return ended.issuperset(self._parents(number))

        def is_open(number: int) -> bool:
            left = number in ended and all(entered(child) for child in self.children(number))
            return entered(number) and not left

        return is_open

    def _parents(self, number: int) -> list[int]:
        if number < self.even:
            return []
        row = self.rows[number - self.even]
        return [parent for parent in (row.parent, row.adjacent) if parent != NO_SHARD]

    def after(self, change: Change) -> ShardTable:
        """The table with a planned change carried out; this one stays as it is, for those who read it now.

        Carrying out a change that is there already changes nothing.
        """
        rows = [*self.rows, *change.opened] if self.count == change.first else self.rows
        closed = {**self.closed, **dict(change.closed)}
        return ShardTable(self.even, self.created_s, self.lane_count, rows, closed)


class Plan:
    """A change in the making: splits and merges upon a table that itself stays as it is.

    Children are created in the second after their parent closes. A child that is split or merged again
    within the same plan closes at its creation, so that its own children come one second later still. One that
    took records and is closed before its creation, as the clock has it, closes a millisecond after: that is how
    `open_at` tells them apart.
    """

    def __init__(self, table: ShardTable, now_ms: int) -> None:
        self._table = table
        self._now_ms = now_ms
        self._opened: list[Row] = []
        self._closed: dict[int, int] = {}

    def change(self) -> Change:
        return Change(self._table.count, self._opened, list(self._closed.items()))

    def shard(self, number: int) -> Shard:
        if number < self._table.count:
            shard = self._table.shard(number)
        else:
            row = self._opened[number - self._table.count]
            start, end = int(row.start, 16), int(row.end, 16)
            shard = Shard(number, start, end, row.parent, row.adjacent, row.created_s, row.lane, None)
        return shard._replace(closed_ms=self._closed.get(number, shard.closed_ms))

    def split(self, number: int, at: int) -> tuple[int, int]:
        """Close a shard and open [start, at − 1] and [at, end]."""
        parent = self.shard(number)
        assert parent.open, "an open shard"
        assert parent.start < at <= parent.end, "both children hold a key"
        created_s = self._close(parent)
        left = self._open(parent.start, at - 1, parent, NO_SHARD, created_s)
        right = self._open(at, parent.end, parent, NO_SHARD, created_s)
        return left, right

    def merge(self, number: int, adjacent: int) -> int:
        """Close two neighbours, lower range first, and open one over both."""
        first, second = self.shard(number), self.shard(adjacent)
        assert first.open and second.open, "open shards"
        assert first.end + 1 == second.start, "neighbours, lower range first"
        created_s = max(self._close(first), self._close(second))
        return self._open(first.start, second.end, first, adjacent, created_s)

    def scale(self, target: int) -> None:
        """Make `target` open shards of equal ranges.

        Every open shard is cut at the new boundaries inside it, then the pieces of each new range are
        merged. A new boundary that misses an old one by the rounding of 2^128 / n only is the old one.
        """
        pieces = self._table.open()
        bounds = self._boundaries([piece.start for piece in pieces], target)
        ranges: list[list[int]] = [[] for _ in bounds]
        for piece in pieces:
            number = piece.number
            slot = bisect_left(bounds, piece.start + 1) - 1
            while slot + 1 < len(bounds) and bounds[slot + 1] <= piece.end:
                left, number = self.split(number, bounds[slot + 1])
                ranges[slot].append(left)
                slot += 1
            ranges[slot].append(number)
        for group in ranges:
            merged = group[0]
            for number in group[1:]:
                merged = self.merge(merged, number)

    @staticmethod
    def _boundaries(starts: list[int], target: int) -> list[int]:
        """First keys of the new ranges, snapped to first keys of old ones within rounding."""
        slack = max(len(starts), target)
        bounds = []
        for i in range(target):
            bound = i * ((HASH_KEY_MAX + 1) // target)
            near = bisect_left(starts, bound - slack)
            if near < len(starts) and starts[near] <= bound + slack:
                bound = starts[near]
            bounds.append(bound)
        return bounds

    def _close(self, shard: Shard) -> int:
        """Close a shard; return when its children are created (epoch seconds)."""
        took_records = shard.number < self._table.count and shard.parent != NO_SHARD
        closed_ms = max(self._now_ms, shard.created_s * 1000 + took_records)
        self._closed[shard.number] = closed_ms
        return closed_ms // 1000 + 1

    def _open(self, start: int, end: int, parent: Shard, adjacent: int, created_s: int) -> int:
        row = Row(f"{start:x}", f"{end:x}", parent.number, adjacent, created_s, parent.lane)
        self._opened.append(row)
        return self._table.count + len(self._opened) - 1
