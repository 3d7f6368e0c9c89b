# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What is known of a stream at a glance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.streams import Stream as InnerStream


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A stream as it stood at one moment.

    Attributes:
        name, arn: what it is called.
        shards: open shards.
        records: that `Stream.read` gives now; exact, but for what is damaged and not repaired yet, which counts.
        nbytes: of its files. Those of a "disk" stream have the size they will need from the start.
        oldest: arrival of the oldest record that can be read, UTC; None where there is none.
        retention_hours, durability, max_bytes, on_full, record_size_max: what it was made with.
        dropped_records, dropped_bytes: what on_full="drop_oldest" dropped since the stream was made, whether somebody
            had read it or not: records, and bytes of their files. What is dropped by age does not count.
    """

    name: str
    arn: str
    shards: int
    records: int
    nbytes: int
    oldest: datetime | None
    retention_hours: int
    durability: str
    max_bytes: int | None
    on_full: str
    record_size_max: int
    dropped_records: int
    dropped_bytes: int


def stream_info(stream: InnerStream) -> StreamInfo:
    """Cost: a look at each shard's bounds, one read a shard with records, one stat and a look at each file's head.

    Records are counted by what the files say of themselves (log/count.py), never by the difference of two indexes.
    """
    oldest_ms: int | None = None
    records = sum(lane.records() for lane in stream.lanes)
    for shard in stream.shards:
        lane = stream.lane_of(shard.number)
        first, upcoming = lane.bounds(shard.number)
        head = lane.read(shard.number, first, max_records=1) if upcoming > first else None
        if head is not None and len(head):
            arrival_ms = int(head.arrival[0].astype("int64"))
            oldest_ms = arrival_ms if oldest_ms is None else min(oldest_ms, arrival_ms)
    dropped = [lane.dropped() for lane in stream.lanes]
    document = stream.document
    return StreamInfo(
        stream.name, stream.arn, stream.table.open_count, records, sum(lane.file_bytes() for lane in stream.lanes),
        None if oldest_ms is None else datetime.fromtimestamp(oldest_ms / 1000, UTC),
        document.retention_hours, document.durability, document.max_bytes, document.on_full,
        document.record_size_max, sum(records for records, _ in dropped), sum(size for _, size in dropped),
    )  # fmt: skip


class ShardTimes(Mapping[int, int]):
    """When each shard of a stream was made, in seconds since 1970; looked up when asked for."""

    def __init__(self, stream: InnerStream) -> None:
        self._stream = stream

    def __getitem__(self, shard: int) -> int:
        if shard >= self._stream.table.count and not self._stream.streams.log.writer:
            self._stream.streams.refresh(self._stream)
        return self._stream.table.shard(shard).created_s

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __len__(self) -> int:
        return self._stream.table.count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShardTimes) and other._stream is self._stream

    __hash__ = None  # type: ignore[assignment]
