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
from headrace.errors import InvalidArgument

if TYPE_CHECKING:
    from headrace.streams import Stream as InnerStream


@dataclass(frozen=True, slots=True)
class Position:
    """One record's place in a stream. Compares by shard and index; can be pickled.

    Attributes:
        shard: number of the shard.
        ordinal: running index within the shard.
        arrival_ms: when it was taken in, milliseconds since 1970.
        created_s: when the shard was made; part of the sequence number.
    """

    shard: int
    ordinal: int
    arrival_ms: int
    created_s: int

    @property
    def shard_id(self) -> str:
        return f"shardId-{self.shard:012d}"

    @property
    def sequence_number(self) -> str:
        """As the service writes it."""
        return str(sequence_number(self.created_s, self.shard, self.ordinal, self.arrival_ms))


class Positions:
    """The places of many records, as arrays; indexing gives a Position.

    shards uint32, ordinals uint64, arrival datetime64[ms], each as long as what was put.
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
"""Where reading starts: a word, a time, an age, a record's Position, or a sequence number."""


def start_of(start: Start, stream: InnerStream) -> Any:
    """A Start as StreamReader takes it. InvalidArgument says what is allowed."""
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
        return position_start(start, stream)
    raise InvalidArgument(
        f"start is a {type(start).__name__}; allowed are 'earliest', 'latest', a datetime, a timedelta, "
        "a Position or a str"
    )


def position_start(position: Position, stream: InnerStream) -> dict[int, int]:
    """From that record on in its shard, and by its arrival in the others."""
    if position.shard >= stream.table.count:
        raise InvalidArgument(
            f"shard {position.shard} of stream {stream.name} does not exist; it has {stream.table.count}"
        )
    starts = {
        s.number: stream.lane_of(s.number).index_at_time(s.number, position.arrival_ms) for s in stream.shards
    }
    starts[position.shard] = position.ordinal
    return starts
