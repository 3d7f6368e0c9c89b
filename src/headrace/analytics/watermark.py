# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Watermarks: how far the time of the events has come, in each shard and in the whole stream.

A shard's watermark is the latest time seen in it less the delay: a function of its records alone. The
stream's watermark, the frontier, is the lowest of its active shards' and never goes back. So a row's fate
does not depend on how shards are read in turn: it is late if its window had ended by the watermark of its
own shard before it, and windows close when the frontier reaches their end, when every active shard is past
it. A shard in which nothing arrives is judged idle once, by whoever watches the clock, and is left out until
it speaks again; when all are idle the foremost counts. The judgement is part of the state, so a replay does
not have to guess. Rows of a shard that comes back, in windows that were closed meanwhile, are late.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


class Watermarks:
    """The watermarks of a stream's shards. Times are microseconds since 1970."""

    def __init__(self, delay: int = 0) -> None:
        self.delay = delay
        self.shards: dict[int, int | None] = {}  # active shards; None: no time seen yet
        self.idle: dict[int, int | None] = {}
        self.closed: int | None = None  # windows up to here are closed

    def add(self, shard: int, watermark: int | None = None) -> None:
        """A shard that takes part from now on; it holds the frontier until its first time is seen."""
        if shard not in self.shards and shard not in self.idle:
            self.shards[shard] = watermark

    def remove(self, shard: int) -> int | None:
        """A shard that was read to its end; its last watermark, for its children to begin with."""
        last = self.shards.pop(shard, None)
        return self.idle.pop(shard, last) if shard in self.idle else last

    def of(self, shard: int) -> int | None:
        """A shard's watermark, idle or not."""
        return self.shards[shard] if shard in self.shards else self.idle.get(shard)

    def judge_idle(self, shard: int) -> None:
        """Leave a shard out until it speaks again."""
        if shard in self.shards:
            self.idle[shard] = self.shards.pop(shard)

    def advance(self, shard: int, times: Integers, ends: Integers) -> npt.NDArray[np.bool_] | None:
        """Take note of a shard's next times.

        Args:
            times: in the order of the records.
            ends: the end of each one's window.

        Returns:
            The rows that are late, or None if none is.
        """
        if shard in self.idle and len(times):
            self.shards[shard] = self.idle.pop(shard)
        before = self.shards.setdefault(shard, None)
        if not len(times):
            return None
        latest = int(times.max()) - self.delay
        after = latest if before is None else max(before, latest)
        self.shards[shard] = after
        floor = self._floor(before)
        if int(ends.min()) > (after if floor is None else max(after, floor)):
            return None  # the common case: nothing could be late even for the last row
        reached = np.maximum.accumulate(times)
        at_row = np.empty(len(times), np.int64)
        at_row[1:] = reached[:-1] - self.delay
        at_row[0] = np.iinfo(np.int64).min
        if floor is not None:
            np.maximum(at_row, floor, out=at_row)
        late = ends <= at_row
        return late if late.any() else None

    def _floor(self, watermark: int | None) -> int | None:
        """What is late whatever comes: the shard's own watermark, and what was closed."""
        known = [value for value in (watermark, self.closed) if value is not None]
        return max(known, default=None)

    def frontier(self) -> int | None:
        """How far all active shards have come, or None where that is not known; remembered as closed.

        Where every shard is idle it is as far as the foremost of them came: nobody is left to wait for.
        """
        values = list(self.shards.values())
        known = [value for value in values or self.idle.values() if value is not None]
        if values and len(known) == len(values):
            self.close(min(known))
        elif not values and known:
            self.close(max(known))
        return self.closed

    def close(self, until: int) -> None:
        """Windows that end by `until` are closed from now on."""
        self.closed = until if self.closed is None else max(self.closed, until)

    def save(self) -> dict[str, Any]:
        """The state, as plain values."""
        return {"shards": list(self.shards.items()), "idle": list(self.idle.items()), "closed": self.closed}

    def load(self, saved: dict[str, Any]) -> None:
        """Take up what `save` gave."""
        self.shards = {int(shard): value for shard, value in saved["shards"]}
        self.idle = {int(shard): value for shard, value in saved["idle"]}
        self.closed = saved["closed"]
