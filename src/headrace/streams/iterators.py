# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Shard iterators: where in which shard to read next, sealed.

Payload of the token (see `tokens.py`): stream id (8 bytes), shard (4), running index (8), name of the stream
(ASCII, up to 128). That is at most 240 characters of base64; clients allow 512. The id tells a stream from
a later one of the same name, whose records an old iterator must not skip.
"""

from __future__ import annotations

import struct
import time

import msgspec

from headrace import limits
from headrace.errors import ExpiredIterator, InvalidArgument
from headrace.streams.stream import Stream
from headrace.streams.tokens import SHARD_ITERATOR, Sealer

_PAYLOAD = struct.Struct(">QIQ")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Position(msgspec.Struct, frozen=True, gc=False):
    """What an iterator says."""

    name: str
    stream_id: int
    shard: int
    index: int


def make(stream: Stream, shard: int, index: int, now_ms: int) -> str:
    payload = _PAYLOAD.pack(stream.document.id, shard, index) + stream.name.encode("ascii")
    return stream.streams.sealer.seal(SHARD_ITERATOR, now_ms, payload)


def take(sealer: Sealer, token: str, now_ms: int) -> Position:
    """Open an iterator. Raises InvalidArgument if it is not ours, ExpiredIterator after five minutes."""
    opened = sealer.open(SHARD_ITERATOR, token)
    if opened is None:
        raise InvalidArgument("Invalid ShardIterator.")
    made_ms, payload = opened
    if now_ms - made_ms > limits.token_age_ms_max:
        raise ExpiredIterator(
            f"Iterator expired. The iterator was created at time {moment(made_ms)} while right now it is "
            f"{moment(now_ms)} which is further in the future than the tolerated delay of "
            f"{limits.token_age_ms_max} milliseconds."
        )
    stream_id, shard, index = _PAYLOAD.unpack_from(payload)
    return Position(payload[_PAYLOAD.size :].decode("ascii"), stream_id, shard, index)


def moment(ms: int) -> str:
    """A time in the manner of the service's texts: `Thu Jan 22 01:22:02 UTC 2015`."""
    at = time.gmtime(ms // 1000)
    return (
        f"{_DAYS[at.tm_wday]} {_MONTHS[at.tm_mon - 1]} {at.tm_mday:02d} "
        f"{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} UTC {at.tm_year}"
    )
