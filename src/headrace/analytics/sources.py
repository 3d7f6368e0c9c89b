# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Where a query's records come from: a stream of the store, or records in memory."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from headrace import limits
from headrace.core._batch import RecordBatch
from headrace.core.encoding import record_json
from headrace.errors import ExpiredPosition
from headrace.log import indexes_between
from headrace.streams.reader import Start, StreamReader
from headrace.streams.stream import Stream

logger = logging.getLogger(__name__)

POLL_BYTES = (
    4 * limits.MIB
)  # of 2, 4, 8 and 16 MiB the fastest: the batch, its columns and temporaries stay near


class Source(Protocol):
    """What a query reads. `gaps`: how often records were dropped before they were read."""

    gaps: int

    @property
    def bounded(self) -> bool:
        """Whether it ends."""
        ...

    @property
    def positions(self) -> dict[int, int]:
        """The next index to read of each shard that takes part now."""
        ...

    def poll(self) -> list[RecordBatch]:
        """What is new: consecutive records, one batch for each of some shards."""
        ...

    def wait(self, timeout: float) -> bool:
        """Until there may be something new."""
        ...

    def done(self) -> bool:
        """Whether it is bounded and was read to its end."""
        ...

    def caught_up(self, shard: int) -> bool:
        """Whether a shard has nothing that was not read yet."""
        ...

    def parents(self, shard: int) -> list[int]:
        """The shards that a shard came out of."""
        ...

    def read(self, shard: int, start: int, end: int) -> Iterator[RecordBatch]:
        """A range of a shard once more."""
        ...

    def sample(self) -> list[RecordBatch]:
        """Some records, to find columns in."""
        ...


class StreamSource:
    """All shards of a stream, from a start to the tip, or to where the tip was when this was made.

    Args:
        start: see StreamReader.
        until: "latest": what is there now; milliseconds since 1970: what arrived before; None: without end.
    """

    def __init__(self, stream: Stream, start: Start = "earliest", until: str | int | None = None) -> None:
        self.stream = stream
        self.ends: dict[int, int] | None = None
        if until is not None:
            self.ends = {}
            for shard in stream.shards:
                lane = stream.lane_of(shard.number)
                end = (
                    lane.bounds(shard.number)[1]
                    if until == "latest"
                    else lane.index_at_time(shard.number, int(until))
                )
                self.ends[shard.number] = end
        self.reader = StreamReader(stream, start)
        self._read: dict[int, int] = dict(self.reader.positions)
        self.gaps = 0
        self._initial = stream.table.count
        self._begun = set(start) if isinstance(start, Mapping) else set()  # shards read from where they stood
        self._empty = False

    @property
    def bounded(self) -> bool:
        return self.ends is not None

    @property
    def positions(self) -> dict[int, int]:
        return self.reader.positions

    def poll(self) -> list[RecordBatch]:
        batches = self.reader.poll(POLL_BYTES)
        self._empty = not batches
        for batch in batches:
            self._look_for_gap(int(batch.shards[0]), int(batch.ordinals[0]))
            self._read[int(batch.shards[0])] = int(batch.ordinals[-1]) + 1
        if self.ends is not None:
            batches = [part for part in map(self._within, batches) if len(part)]
        return sorted(batches, key=lambda batch: int(batch.shards[0]))

    def _look_for_gap(self, shard: int, first: int) -> None:
        """Whether what came before `first` was dropped unread. Indexes alone do not tell: they may jump."""
        expected = self._read.get(shard, 0)
        known = shard in self._begun or shard >= self._initial
        self._begun.add(shard)
        if not known or first <= expected:
            return
        dropped = indexes_between(expected, min(self.stream.lane_of(shard).bounds(shard)[0], first))
        if dropped:
            self.gaps += 1
            logger.warning(
                "%d records of shard %d of %s, from index %d on, were dropped before a query read them",
                dropped, shard, self.stream.name, expected,
            )  # fmt: skip

    def _within(self, batch: RecordBatch) -> RecordBatch:
        """The records before the end; a shard made later has none."""
        assert self.ends is not None
        end = self.ends.get(int(batch.shards[0]), 0)
        return batch[: int(np.searchsorted(batch.ordinals, end))]

    def wait(self, timeout: float) -> bool:
        return self.reader.wait(timeout)

    def done(self) -> bool:
        if self.ends is None:
            return False
        return all(self._passed(shard, end) for shard, end in self.ends.items()) or (
            self._empty and self._all_read()
        )

    def _passed(self, shard: int, end: int) -> bool:
        return self._read.get(shard, 0) >= end

    def _all_read(self) -> bool:
        """After an empty poll: what is missing was dropped, or was never asked for by the start."""
        assert self.ends is not None
        return all(
            self._passed(shard, end) or shard not in self.reader.positions or self.caught_up(shard)
            for shard, end in self.ends.items()
        )

    def caught_up(self, shard: int) -> bool:
        position = self.reader.positions.get(shard)
        if position is None:
            return True
        lane = self.stream.lane_of(shard)
        return lane.reached(shard, position, lane.bounds(shard)[1])

    def parents(self, shard: int) -> list[int]:
        return self.stream.table.shard(shard).parents

    def read(self, shard: int, start: int, end: int) -> Iterator[RecordBatch]:
        lane, position = self.stream.lane_of(shard), start
        while position < end:
            batch = lane.read(shard, position, max_bytes=POLL_BYTES)
            if not len(batch) or int(batch.ordinals[0]) != position:
                raise ExpiredPosition(
                    f"shard {shard} of {self.stream.name} no longer holds record {position}, which an open window needs",
                    hint="keep records longer than the longest window, or delete the application and start it anew",
                )
            batch = batch[: int(np.searchsorted(batch.ordinals, end))]
            position = int(batch.ordinals[-1]) + 1
            yield batch

    def sample(self) -> list[RecordBatch]:
        """From every shard the first records and the last: one shard's first need not be like the others'."""
        shards = self.stream.shards[: limits.sql_discovery_records_max // 2]
        share = max(limits.sql_discovery_records_max // (2 * max(len(shards), 1)), 1)
        batches: list[RecordBatch] = []
        for shard in shards:
            lane = self.stream.lane_of(shard.number)
            first, end = lane.bounds(shard.number)
            position = self._read.get(shard.number, first)
            for start in (position, max(position + share, lane.last(shard.number, share, end)[0])):
                batch = lane.read(shard.number, start, max_records=share, max_bytes=POLL_BYTES)
                if len(batch):
                    batches.append(batch)
        return batches


class MemorySource:
    """Records that are in memory: bounded, and read once, shard by shard in turn."""

    bounded = True
    gaps = 0

    def __init__(self, batches: Iterable[RecordBatch]) -> None:
        self._batches = [part for batch in batches for part in by_shard(batch)]
        self._next = 0
        self.positions: dict[int, int] = {int(batch.shards[0]): 0 for batch in self._batches}

    @classmethod
    def of(cls, records: RecordBatch | Iterable[Any]) -> MemorySource:
        """A source of a batch, or of rows: dicts, or JSON texts."""
        if isinstance(records, RecordBatch):
            return cls([records])
        data = [
            row if isinstance(row, bytes) else row.encode() if isinstance(row, str) else record_json(row)
            for row in records
        ]
        return cls([RecordBatch.of(data)] if data else [])

    def poll(self) -> list[RecordBatch]:
        if self._next >= len(self._batches):
            return []
        self._next += 1
        batch = self._batches[self._next - 1]
        self.positions[int(batch.shards[0])] = int(batch.ordinals[-1]) + 1
        return [batch]

    def wait(self, timeout: float) -> bool:
        return self._next < len(self._batches)

    def done(self) -> bool:
        return self._next >= len(self._batches)

    def caught_up(self, shard: int) -> bool:
        return self.done()

    def parents(self, shard: int) -> list[int]:
        return []

    def read(self, shard: int, start: int, end: int) -> Iterator[RecordBatch]:
        for batch in self._batches:
            if int(batch.shards[0]) == shard:
                low, high = np.searchsorted(batch.ordinals, [start, end]).tolist()
                if high > low:
                    yield batch[low:high]

    def sample(self) -> list[RecordBatch]:
        """Batches from all over, its first and last among them."""
        count = min(len(self._batches), limits.sql_discovery_records_max)
        return [self._batches[i] for i in np.linspace(0, len(self._batches) - 1, count).astype(int).tolist()]


def by_shard(batch: RecordBatch) -> list[RecordBatch]:
    """A batch cut into one for each shard, in the order of shards."""
    shards = np.unique(batch.shards)
    if len(shards) <= 1:
        return [batch] if len(batch) else []
    return [batch.filter(batch.shards == shard) for shard in shards]


def sources_by_name(given: Mapping[str, Any]) -> dict[str, Any]:
    """Streams as they are; everything else as records in memory."""
    return {
        name: value if isinstance(value, Stream) else MemorySource.of(value) for name, value in given.items()
    }
