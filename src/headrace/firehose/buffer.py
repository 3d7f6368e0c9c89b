# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The open buffer of a delivery: which records the next object will hold, and when it is due.

The records themselves stay in the log, which is the buffer: here are only ranges of positions, a count and a
size, so that an open buffer costs a few hundred bytes however large its object will be. The object is made
from these ranges when it is due (payload.py), at once or after a restart, by the same code.

Size counts bytes of data before compression. The interval runs from the moment at which the first record
entered the buffer (or, for what is read again after a restart, from when it arrived); an empty one has no
timer. An object is never closed below its size before its interval is over, and exceeds the size by less than
one record.

Cost of a batch: four numpy reductions, 10 µs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace import limits

if TYPE_CHECKING:
    from headrace.core._batch import RecordBatch


class Buffer:
    """Ranges of records, in the order in which they were added within each shard.

    Attributes:
        count, size: records and their bytes of data.
        oldest_ms: the earliest arrival, 0 while there is none.
        opened_ns: when (monotonic) the first record entered, None while there is none.
    """

    __slots__ = ("_interval_ns", "_ranges", "_size_max", "count", "oldest_ms", "opened_ns", "size")

    def __init__(self, size_mb: int, interval_s: int) -> None:
        self._size_max = size_mb * limits.MIB
        self._interval_ns = interval_s * 1_000_000_000
        self._ranges: dict[int, tuple[int, int]] = {}
        self.count = 0
        self.size = 0
        self.oldest_ms = 0
        self.opened_ns: int | None = None

    @property
    def room(self) -> int:
        """Bytes that are missing to the size; at least 1 while it is not full."""
        return max(self._size_max - self.size, 0)

    @property
    def full(self) -> bool:
        return self.size >= self._size_max

    @property
    def due_ns(self) -> int | None:
        """When (monotonic) the interval is over; None for an empty buffer."""
        return None if self.opened_ns is None else self.opened_ns + self._interval_ns

    def add(self, batch: RecordBatch, opened_ns: int) -> None:
        """Take in consecutive records of one shard. opened_ns: when they entered, if they are the first."""
        assert len(batch)
        shard, first, last = int(batch.shards[0]), int(batch.ordinals[0]), int(batch.ordinals[-1])
        start, end = self._ranges.get(shard, (first, first))
        assert first >= end, f"shard {shard}: index {first} after {end}"
        self._ranges[shard] = (start, last + 1)
        oldest_ms = int(batch.arrival[0].view("int64"))  # never decreases within a shard
        self.oldest_ms = min(self.oldest_ms, oldest_ms) if self.count else oldest_ms
        self.count += len(batch)
        self.size += int(batch.lengths.sum(dtype="int64"))
        if self.opened_ns is None:
            self.opened_ns = opened_ns

    def is_due(self, now_ns: int) -> bool:
        """Whether the object should be made now."""
        due_ns = self.due_ns
        return due_ns is not None and (self.full or now_ns >= due_ns)

    def ranges(self) -> list[tuple[int, int, int]]:
        """(shard, first index, end) in the order of the shards' numbers: parents before their children."""
        return [(shard, start, end) for shard, (start, end) in sorted(self._ranges.items())]
