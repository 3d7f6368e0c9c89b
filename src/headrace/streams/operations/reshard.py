# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""SplitShard, MergeShards and UpdateShardCount."""

from __future__ import annotations

from typing import Any

from headrace import limits
from headrace.errors import InvalidArgument, LimitExceeded, NotFound, ValidationError
from headrace.streams.document import PROVISIONED
from headrace.streams.operations.operation import Request, addressed, shard_number
from headrace.streams.shards import Shard, shard_id
from headrace.streams.stream import Stream
from headrace.streams.streams import Streams

_DAY_MS = 86_400_000
_SCALINGS_A_DAY = 10


def split_shard(streams: Streams, request: Request) -> None:
    """Two shards in the place of one, from NewStartingHashKey on and before it."""
    stream = addressed(streams, request)
    number = shard_number(streams, stream.name, request["ShardToSplit"])
    key = int(request["NewStartingHashKey"])
    with streams.control:
        _check_provisioned(streams, stream, "SplitShard")
        shard = _open_shard(streams, stream, number)
        if not shard.start + 1 < key < shard.end:
            raise InvalidArgument(
                f"NewStartingHashKey {key} used in SplitShard() on shard {shard.id} in "
                f"{_of(streams, stream)} is not both greater than one plus the shard's StartingHashKey "
                f"{shard.start} and less than the shard's EndingHashKey {shard.end}."
            )
        _check_count(streams, stream, 1)
        stream.split(number, key)


def merge_shards(streams: Streams, request: Request) -> None:
    """One shard in the place of two neighbours, the one of the lower keys named first."""
    stream = addressed(streams, request)
    first = shard_number(streams, stream.name, request["ShardToMerge"])
    second = shard_number(streams, stream.name, request["AdjacentShardToMerge"])
    with streams.control:
        _check_provisioned(streams, stream, "MergeShards")
        lower, upper = _open_shard(streams, stream, first), _open_shard(streams, stream, second)
        if lower.end + 1 != upper.start:
            raise InvalidArgument(
                f"Shards {lower.id} and {upper.id} in {_of(streams, stream)} are not an adjacent pair of "
                "shards eligible for merging"
            )
        stream.merge(first, second)


def update_shard_count(streams: Streams, request: Request) -> dict[str, Any]:
    """Equal shards, at most twice and at least half as many as there are."""
    stream = addressed(streams, request)
    target = request["TargetShardCount"]
    with streams.control:
        _check_provisioned(streams, stream, "UpdateShardCount")
        current = stream.table.open_count
        counts = f"Current open shard count: {current}, Target shard count: {target}"
        if target > limits.shards_max:
            raise LimitExceeded(
                "Target shard count or number of open shards cannot be greater than "
                f"{limits.shards_max}. {counts}"
            )
        if target > 2 * current:
            raise LimitExceeded(
                f"UpdateShardCount cannot scale up over double your current open shard count. {counts}"
            )
        if 2 * target < current:
            raise LimitExceeded(
                f"UpdateShardCount cannot scale down below half your current open shard count. {counts}"
            )
        if streams.defaults.enforce_limits:
            _count_scaling(streams, stream)
        stream.scale(target)
    return {
        "StreamName": stream.name,
        "CurrentShardCount": current,
        "TargetShardCount": target,
        "StreamARN": stream.arn,
    }


def _count_scaling(streams: Streams, stream: Stream) -> None:
    """Ten a day, where the service's limits are switched on."""
    now_ms = streams.clock.now_ms()
    recent = [at for at in stream.document.scaled_ms if at > now_ms - _DAY_MS]
    if len(recent) >= _SCALINGS_A_DAY:
        raise LimitExceeded(
            f"UpdateShardCount cannot be called more than {_SCALINGS_A_DAY} times per rolling 24-hour period "
            f"on {_of(streams, stream)}."
        )
    stream.update(scaled_ms=[*recent, now_ms])


def _check_provisioned(streams: Streams, stream: Stream, operation: str) -> None:
    if stream.document.mode != PROVISIONED:
        raise ValidationError(
            f"{operation} is supported only for streams in {PROVISIONED} mode; {_of(streams, stream)} is in "
            f"{stream.document.mode} mode."
        )


def _check_count(streams: Streams, stream: Stream, more: int) -> None:
    if stream.table.open_count + more > limits.shards_max:
        raise LimitExceeded(
            f"This request would exceed the shard limit for {_of(streams, stream)}. Current open shard "
            f"count: {stream.table.open_count}. Limit: {limits.shards_max}. Number of additional shards "
            f"that would have resulted from this request: {more}."
        )


def _open_shard(streams: Streams, stream: Stream, number: int) -> Shard:
    if number >= stream.table.count:
        raise NotFound(f"Could not find shard {shard_id(number)} in {_of(streams, stream)}.")
    shard = stream.table.shard(number)
    if not shard.open:
        raise InvalidArgument(
            f"Shard {shard.id} in {_of(streams, stream)} has already been merged or split, and thus is not "
            "eligible for merging or splitting."
        )
    return shard


def _of(streams: Streams, stream: Stream) -> str:
    return f"stream {stream.name} under account {streams.account}"
