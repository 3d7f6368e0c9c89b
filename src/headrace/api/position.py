# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Where a record stands: positions, and the ways to say where reading starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from headrace.core._wire import parse_sequence_number, sequence_number
from headrace.errors import ExpiredPosition, InvalidArgument

if TYPE_CHECKING:
    from headrace.streams import Stream as InnerStream


@dataclass(frozen=True, slots=True)
class Position:
    """One record's place in a stream. Compares by its attributes; can be pickled. Reading may start at it.

    Attributes:
        shard: number of the shard.
        ordinal: running index within the shard.
        arrival_ms: when it was taken in, milliseconds since 1970 UTC.
        created_s: when the shard was made, seconds since 1970 UTC; part of the sequence number.
    """

    shard: int
    ordinal: int
    arrival_ms: int
    created_s: int

    @property
    def shard_id(self) -> str:
        """As in "shardId-000000000007"."""
        return f"shardId-{self.shard:012d}"

    @property
    def sequence_number(self) -> str:
        """As the service writes it: a decimal number of 56 digits."""
        return str(sequence_number(self.created_s, self.shard, self.ordinal, self.arrival_ms))


class Positions:
    """The places of many records, in the order in which they were put; indexing and iterating give Positions.

    Arrays of the shape (n,) for n records put: shards uint32, ordinals uint64 (running index within the shard), arrival
    datetime64[ms] in UTC.
    """

    __slots__ = ("_arrivals", "_created", "ordinals", "shards")

    def __init__(
        self,
        shards: npt.NDArray[Any],
        ordinals: npt.NDArray[Any],
        arrivals: npt.NDArray[Any],
        created: Mapping[int, int],
    ) -> None:
        self.shards: npt.NDArray[np.uint32] = shards
        self.ordinals: npt.NDArray[np.uint64] = ordinals
        self._arrivals = arrivals
        self._created = created

    @staticmethod
    def concat(several: Sequence[Positions]) -> Positions:
        """The places of all, in order; all of one stream."""
        return Positions(
            np.concatenate([positions.shards for positions in several]),
            np.concatenate([positions.ordinals for positions in several]),
            np.concatenate([positions._arrivals for positions in several]),
            several[-1]._created,
        )

    @property
    def arrival(self) -> npt.NDArray[np.datetime64]:
        """When each record was taken in, UTC: datetime64[ms], shape (len(self),)."""
        return self._arrivals.view("datetime64[ms]")

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, place: int) -> Position:
        shard = int(self.shards[place])
        return Position(shard, int(self.ordinals[place]), int(self._arrivals[place]), self._created[shard])

    def __iter__(self) -> Iterator[Position]:
        return (self[place] for place in range(len(self)))

    def __repr__(self) -> str:
        return f"Positions({len(self)} records)"


Start = Literal["earliest", "latest"] | datetime | timedelta | Position | str
"""Where reading starts: "earliest"; "latest", what comes from now on; a datetime (without a zone: local time) or a
timedelta ago, by arrival; a record's Position or sequence number: that record, and in other shards what arrived when it
did, or later."""


def start_of(start: Start, stream: InnerStream, *, kept: bool = False) -> Any:
    """A Start as StreamReader takes it. InvalidArgument says what is allowed. kept: a record that it names must still
    be there; raises ExpiredPosition."""
    if start in ("earliest", "latest"):
        return start
    if isinstance(start, timedelta):
        return stream.streams.clock.now_ms() - int(start.total_seconds() * 1000)
    if isinstance(start, datetime):
        return int(start.astimezone(UTC).timestamp() * 1000)
    if isinstance(start, str):
        parsed = parse_sequence_number(start) if start.isdigit() else None
        if parsed is None:
            raise InvalidArgument(
                f"start is {start!r}; allowed are 'earliest', 'latest', a datetime, a timedelta (ago), "
                "a Position or a sequence number"
            )
        created_s, shard, ordinal, arrival_s = parsed
        start = Position(shard, ordinal, arrival_s * 1000, created_s)
    if isinstance(start, Position):
        return position_start(start, stream, kept)
    raise InvalidArgument(
        f"start is a {type(start).__name__}; allowed are 'earliest', 'latest', a datetime, a timedelta, "
        "a Position or a str"
    )


def position_start(position: Position, stream: InnerStream, kept: bool) -> dict[int, int]:
    """From that record on in its shard, and by its arrival in the others."""
    if position.shard >= stream.table.count:
        raise InvalidArgument(
            f"shard {position.shard} of stream {stream.name} does not exist; it has {stream.table.count}"
        )
    first, upcoming = stream.lane_of(position.shard).bounds(position.shard)
    if kept and position.ordinal < first:
        left = "the oldest one is" if first < upcoming else "there is none, the next one will be"
        raise ExpiredPosition(
            f"record {position.ordinal} of shard {position.shard} of stream {stream.name} is no longer kept: {left} {first}",
            hint="start='earliest' begins with the oldest record that is there",
        )
    starts = {
        s.number: stream.lane_of(s.number).index_at_time(s.number, position.arrival_ms) for s in stream.shards
    }
    starts[position.shard] = position.ordinal
    return starts
