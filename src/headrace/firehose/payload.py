# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The bytes of an object, made from the ranges of its plan, chunk by chunk.

The same plan gives the same bytes whenever they are made: records in the order of the ranges, one after
another without a separator, and a gzip stream without a time that is fed in pieces of one fixed size (what
igzip writes depends on how its input is cut).

Memory: one read of the log and one piece. Cost: a read (a copy and a checksum), one copy to join, and for
GZIP one more and about 1 ns a byte in igzip; all of it without the GIL but for a few calls a mebibyte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from headrace import limits
from headrace.firehose.document import GZIP, Plan

if TYPE_CHECKING:
    from headrace.streams.stream import Stream

_READ_SIZE = 4 * limits.MIB
_PIECE_SIZE = limits.MIB
_GZIP_LEVEL = 2  # as fast as 1 on telemetry in JSON, and a little smaller
_GZIP_WINDOW = 31  # zlib's way to say: a gzip header; its time is 0


class Payload:
    """Makes the bytes of one object; iterate it once.

    Attributes:
        count: records read so far. At the end it is less than the plan's where the log did not keep them.
        size: their bytes before compression.
    """

    def __init__(
        self, stream: Stream, plan: Plan, allowed: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._stream = stream
        self._plan = plan
        self._allowed = allowed  # raises where the work was given up
        self.count = 0
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        self.count = self.size = 0
        joined = self._joined()
        return _compressed(joined) if self._plan.codec == GZIP else joined

    def _joined(self) -> Iterator[bytes]:
        for shard, start, end in self._plan.ranges:
            lane = self._stream.lane_of(shard)
            index = start
            while index < end:
                with self._allowed():
                    batch = lane.read(shard, index, max_bytes=_READ_SIZE)
                if not len(batch):
                    break
                index = int(batch.ordinals[-1]) + 1
                if index > end:
                    batch = batch[: int(batch.ordinals.searchsorted(end))]
                if len(batch):
                    self.count += len(batch)
                    data = batch.joined()
                    self.size += len(data)
                    yield data


def _compressed(parts: Iterator[bytes]) -> Iterator[bytes]:
    """A gzip stream of the parts."""
    from isal import isal_zlib

    encoder = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)
    for piece in _pieces(parts):
        packed = encoder.compress(piece)
        if packed:
            yield packed
    yield encoder.flush()


def _pieces(parts: Iterator[bytes]) -> Iterator[bytes | memoryview]:
    """The same bytes in pieces of exactly _PIECE_SIZE, but for the last."""
    rest = bytearray()
    for part in parts:
        view = memoryview(part)
        at = 0
        if rest:
            at = min(_PIECE_SIZE - len(rest), len(view))
            rest += view[:at]
            if len(rest) < _PIECE_SIZE:
                continue
            yield bytes(rest)
            rest.clear()
        while len(view) - at >= _PIECE_SIZE:
            yield view[at : at + _PIECE_SIZE]
            at += _PIECE_SIZE
        rest += view[at:]
    if rest:
        yield bytes(rest)
