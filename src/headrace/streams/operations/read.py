# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""GetShardIterator and GetRecords.

Cost of GetRecords: about 15 µs and what the log's read and the writing of the answer cost.
"""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec

from headrace import limits
from headrace.core._records_answer import RecordsAnswer
from headrace.core._wire import parse_sequence_number
from headrace.errors import InvalidArgument, NotFound
from headrace.streams import iterators
from headrace.streams.answers import Answer
from headrace.streams.operations.describe import expired, hash_key_range
from headrace.streams.operations.operation import (
    Request,
    addressed,
    dry_run,
    refuse_stream_id,
    shard_number,
)
from headrace.streams.shards import Shard, shard_id
from headrace.streams.stream import Stream
from headrace.streams.streams import Streams

_encode = msgspec.json.Encoder().encode
_OLD_NUMBERS_END = 1 << 124  # sequence numbers of the service's first form lie below, or are moved above
_OLD_DATE_END_S = 16_025_175_000


def get_shard_iterator(streams: Streams, request: Request) -> dict[str, Any]:
    """Resolve a starting point to a running index and seal it."""
    number, stream = _shard_of(streams, request)
    shard = _readable(streams, stream, number)
    index = _start(streams, stream, shard, request)
    if request.get("DryRun"):
        raise dry_run()
    return {"ShardIterator": iterators.make(stream, number, index, streams.clock.now_ms())}


def _shard_of(streams: Streams, request: Request) -> tuple[int, Stream]:
    """The service speaks of a missing shard where the whole stream is missing."""
    wanted = request["ShardId"]
    name = request.get("StreamName") or request.get("StreamARN", "").rpartition("/")[2]
    if name:
        number = shard_number(streams, name, wanted)
    try:
        stream = addressed(streams, request)
    except NotFound as error:
        if name and error.message.endswith(" not found."):
            _no_shard(streams, number, name)
        raise
    return number, stream


def _readable(streams: Streams, stream: Stream, number: int) -> Shard:
    """A shard that exists and is not expired."""
    if number < stream.table.count:
        shard = stream.table.shard(number)
        if not expired(stream, shard, streams.clock.now_ms()):
            return shard
    _no_shard(streams, number, stream.name)


def _no_shard(streams: Streams, number: int, stream_name: str) -> NoReturn:
    raise NotFound(
        f"Shard {shard_id(number)} in stream {stream_name} under account {streams.account} does not exist"
    )


def _start(streams: Streams, stream: Stream, shard: Shard, request: Request) -> int:
    """The running index that a type of iterator stands for."""
    kind = request["ShardIteratorType"]
    numbered = request.get("StartingSequenceNumber")
    by_number = kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER")
    if by_number != (numbered is not None):
        found = "also a" if numbered is not None else "no"
        raise InvalidArgument(
            "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber "
            "or (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. "
            f"Request specified {kind} and {found} StartingSequenceNumber."
        )
    lane = stream.lanes[shard.lane]
    if kind == "AT_TIMESTAMP":
        at = lane.index_at_time(shard.number, _moment(streams, request))
        return int(max(at, stream.horizon(shard)))
    first, end = lane.bounds(shard.number)
    if kind == "TRIM_HORIZON":
        return int(max(first, stream.horizon(shard)))
    if kind == "LATEST":
        return end
    index = _index_of(streams, stream, shard, numbered or "")
    return min(index + int(kind == "AFTER_SEQUENCE_NUMBER"), int(end))


def _moment(streams: Streams, request: Request) -> int:
    """The time asked for, which must have come."""
    at_ms: int | None = request.get("Timestamp")
    if at_ms is None:
        raise InvalidArgument(
            "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. "
            "Current request has no timestamp parameter."
        )
    now_ms = streams.clock.now_ms()
    if at_ms > now_ms:
        raise InvalidArgument(
            "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. "
            f"timestampInMillis: {at_ms}, currentTimestampInMillis: {now_ms}"
        )
    return at_ms


def _index_of(streams: Streams, stream: Stream, shard: Shard, text: str) -> int:
    """The running index in a sequence number that must be of this shard of this stream."""
    place = f"shard {shard.id} in stream {stream.name} under account {streams.account}"
    used = f"used in GetShardIterator on {place}"
    parts = parse_sequence_number(text)
    if parts is None:
        parts, text = _old_number(text)
    if parts is None or parts[1] >> 31 or parts[2] >> 63:
        raise InvalidArgument(f"StartingSequenceNumber {text} {used} is invalid.")
    created_s, number, index, _ = parts
    if number != shard.number:
        raise InvalidArgument(
            f"Invalid StartingSequenceNumber. It encodes {shard_id(number)}, while it was used in a call to "
            f"a shard with {shard.id}"
        )
    if created_s != shard.created_s:
        raise InvalidArgument(
            f"StartingSequenceNumber {text} {used} is invalid because it did not come from this stream."
        )
    return index


def _old_number(text: str) -> tuple[tuple[int, int, int, int] | None, str]:
    """A number of the service's first form: never of ours, but it names a shard and a time of creation.

    As 32 hex digits: 1, creation in epoch seconds (9), 2 and 16 of no meaning here, shard (4).
    """
    number = int(text)
    if number < _OLD_NUMBERS_END:
        number += _OLD_NUMBERS_END
    if number >= 2 * _OLD_NUMBERS_END:
        return None, text
    created_s = number >> 88 & 0xFFFFFFFFF
    if created_s >= _OLD_DATE_END_S:
        return None, str(number)
    return (-1, number & 0xFFFF, 0, 0), str(number)


def get_records(streams: Streams, request: Request) -> Answer:
    """Records of one shard from where an iterator stands, and the iterator after them."""
    refuse_stream_id(request)
    now_ms = streams.clock.now_ms()
    position = iterators.take(streams.sealer, request["ShardIterator"], now_ms)
    stream = _stream_of(streams, position, request)
    shard = _readable(streams, stream, position.shard)
    if request.get("DryRun"):
        raise dry_run()
    lane = stream.lanes[shard.lane]
    # `shard` was taken before the bounds: if it was closed then, they are final.
    first, end = lane.bounds(shard.number)
    limit = request.get("Limit", limits.get_records_count_max)
    index = max(position.index, first, stream.horizon(shard))
    answer = RecordsAnswer(shard.number, shard.created_s)
    lane.read_into(answer, shard.number, index, max_records=limit, max_bytes=limits.get_records_size_max)
    behind_ms = 0
    if answer.count:
        index = answer.last_index + 1
        if index < end and not lane.reached(shard.number, index, end):
            behind_ms = max(now_ms - answer.last_arrival_ms, 1)
    # An empty answer before the end: numbers moved on after a crash and nothing is kept in between.
    over = not shard.open and (index >= end or not answer.count)
    body = answer.finish(
        behind_ms,
        None if over else iterators.make(stream, shard.number, index, now_ms),
        _encode(_children(stream, shard)) if over else None,
    )
    return Answer(200, body)


def _stream_of(streams: Streams, position: iterators.Position, request: Request) -> Stream:
    """The stream an iterator was made for, if it still exists and is the one addressed."""
    try:
        stream = streams.stream(position.name)
    except NotFound:
        _no_shard(streams, position.shard, position.name)
    if stream.document.id != position.stream_id:
        _no_shard(streams, position.shard, position.name)
    if "StreamARN" in request and addressed(streams, request) is not stream:
        raise InvalidArgument(f"ShardIterator is not of the stream {request['StreamARN']}.")
    return stream


def _children(stream: Stream, shard: Shard) -> list[dict[str, Any]]:
    """What follows a shard that was read to its end."""
    children = [stream.table.shard(number) for number in stream.table.children(shard.number)]
    return [
        {
            "ShardId": child.id,
            "ParentShards": [shard_id(parent) for parent in child.parents],
            "HashKeyRange": hash_key_range(child),
        }
        for child in children
    ]
