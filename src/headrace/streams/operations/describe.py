# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""DescribeStream, DescribeStreamSummary, ListStreams and ListShards."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from headrace import limits
from headrace.core._wire import sequence_number
from headrace.errors import CallerError, InvalidArgument, NotFound
from headrace.streams.document import ON_DEMAND
from headrace.streams.operations.operation import Request, addressed, refuse_stream_id, shard_number
from headrace.streams.shards import LAST_INDEX, NO_SHARD, Shard, shard_id
from headrace.streams.stream import Stream
from headrace.streams.streams import Streams
from headrace.streams.tokens import LIST_SHARDS, LIST_STREAMS


class ExpiredNextToken(CallerError):
    """A page token older than five minutes."""

    code = "ExpiredNextTokenException"


class ShardPage(msgspec.Struct, array_like=True):
    """What a NextToken of ListShards holds: where to go on, and the filter as first asked for."""

    name: str
    stream_id: int
    after: int
    filter_type: str | None
    filter_shard: str | None
    filter_ms: int | None
    asked_ms: int


_encode = msgspec.json.Encoder().encode
_decode_page = msgspec.json.Decoder(ShardPage).decode


# --- one stream ---


def describe_stream(streams: Streams, request: Request) -> dict[str, Any]:
    """The stream and a page of its shards."""
    stream = addressed(streams, request)
    after = NO_SHARD
    if "ExclusiveStartShardId" in request:
        after = shard_number(streams, stream.name, request["ExclusiveStartShardId"])
    limit = min(request.get("Limit", limits.describe_shards_max), limits.describe_shards_max)
    shards, more = _page(_kept(stream, after, streams.clock.now_ms()), limit)
    return {
        "StreamDescription": {
            **_common(stream),
            "Shards": [_shard(shard) for shard in shards],
            "HasMoreShards": more,
        }
    }


def describe_stream_summary(streams: Streams, request: Request) -> dict[str, Any]:
    """The stream without its shards."""
    stream = addressed(streams, request)
    summary = {
        **_common(stream),
        "OpenShardCount": stream.table.open_count,
        "ConsumerCount": 0,
        "MaxRecordSizeInKiB": stream.record_size_max // 1024,
    }
    if stream.document.mode == ON_DEMAND:
        summary["RecordDistributionStrategy"] = stream.document.distribution
    return {"StreamDescriptionSummary": summary}


def _common(stream: Stream) -> dict[str, Any]:
    return {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "StreamStatus": stream.status,
        "StreamModeDetails": {"StreamMode": stream.document.mode},
        "RetentionPeriodHours": stream.retention_hours,
        "StreamCreationTimestamp": _whole_seconds(stream.created_ms),
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
    }


# --- all streams ---


def list_streams(streams: Streams, request: Request) -> dict[str, Any]:
    """Streams in the order of their names, a page at a time.

    A token wins over the name to start after: boto3's paginator and the AWS CLI send both.
    """
    after = request.get("ExclusiveStartStreamName", "")
    if "NextToken" in request:
        after = _open_token(streams, LIST_STREAMS, request["NextToken"]).decode("ascii")
    limit = min(request.get("Limit", limits.list_streams_max), limits.list_streams_max)
    found = streams.list()
    first = bisect.bisect_right([stream.name for stream in found], after)
    page = found[first : first + limit]
    more = first + limit < len(found)
    answer: dict[str, Any] = {
        "StreamNames": [stream.name for stream in page],
        "HasMoreStreams": more,
        "StreamSummaries": [_summary(stream) for stream in page],
    }
    if more:
        last = page[-1].name.encode("ascii")
        answer["NextToken"] = streams.sealer.seal(LIST_STREAMS, streams.clock.now_ms(), last)
    return answer


def _summary(stream: Stream) -> dict[str, Any]:
    return {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "StreamStatus": stream.status,
        "StreamModeDetails": {"StreamMode": stream.document.mode},
        "StreamCreationTimestamp": _whole_seconds(stream.created_ms),
    }


# --- shards ---


def list_shards(streams: Streams, request: Request) -> dict[str, Any]:
    """Shards that are not expired, a page at a time, all or those that a filter takes."""
    stream, page = _resumed(streams, request) if "NextToken" in request else _begun(streams, request)
    taken = filter(_filter(stream, page), _kept(stream, page.after, page.asked_ms))
    limit = min(request.get("MaxResults", limits.list_shards_max), limits.list_shards_max)
    shards, more = _page(taken, limit)
    answer: dict[str, Any] = {"Shards": [_shard(shard) for shard in shards]}
    if more:
        page.after = shards[-1].number
        answer["NextToken"] = streams.sealer.seal(LIST_SHARDS, streams.clock.now_ms(), _encode(page))
    return answer


def _begun(streams: Streams, request: Request) -> tuple[Stream, ShardPage]:
    """The first page of a list."""
    if "StreamName" not in request and "StreamARN" not in request:
        raise InvalidArgument("Either NextToken or StreamName should be provided.")
    stream = addressed(streams, request)
    created_ms = request.get("StreamCreationTimestamp")
    if created_ms is not None and created_ms // 1000 != stream.created_ms // 1000:
        raise NotFound(
            f"Stream {stream.name} with creation timestamp {created_ms // 1000} under account "
            f"{streams.account} not found."
        )
    wanted = request.get("ShardFilter", {})
    _check_filter(wanted)
    after = NO_SHARD
    for start in (request.get("ExclusiveStartShardId"), wanted.get("ShardId")):
        if start is not None:
            after = max(after, shard_number(streams, stream.name, start))
    page = ShardPage(
        stream.name,
        stream.document.id,
        after,
        wanted.get("Type"),
        wanted.get("ShardId"),
        wanted.get("Timestamp"),
        streams.clock.now_ms(),
    )
    return stream, page


def _resumed(streams: Streams, request: Request) -> tuple[Stream, ShardPage]:
    """A later page: the token alone says of which stream and by which filter."""
    for name in (
        "StreamName",
        "StreamARN",
        "StreamCreationTimestamp",
        "ExclusiveStartShardId",
        "ShardFilter",
    ):
        if name in request:
            raise InvalidArgument(f"NextToken and {name} cannot be provided together.")
    refuse_stream_id(request)
    page = _decode_page(_open_token(streams, LIST_SHARDS, request["NextToken"]))
    stream = streams.stream(page.name)
    if stream.document.id != page.stream_id:
        raise stream.not_found()
    return stream, page


def _check_filter(wanted: dict[str, Any]) -> None:
    """A filter has the members that its type needs and no others."""
    kind = wanted.get("Type", "")
    if kind == "AFTER_SHARD_ID" and "ShardId" not in wanted:
        raise InvalidArgument("ShardId must be provided in ShardFilter of type AFTER_SHARD_ID.")
    if kind != "AFTER_SHARD_ID" and "ShardId" in wanted:
        raise InvalidArgument("ShardId can be provided only in ShardFilter of type AFTER_SHARD_ID.")
    if kind.endswith("_TIMESTAMP") and "Timestamp" not in wanted:
        raise InvalidArgument(f"Timestamp must be provided in ShardFilter of type {kind}.")
    if not kind.endswith("_TIMESTAMP") and "Timestamp" in wanted:
        raise InvalidArgument(
            "Timestamp can be provided only in ShardFilter of type AT_TIMESTAMP or FROM_TIMESTAMP."
        )


def _filter(stream: Stream, page: ShardPage) -> Callable[[Shard], bool]:
    """What a filter takes. Times before the trim horizon count as the trim horizon."""
    horizon_ms = max(page.asked_ms - stream.retention_hours * 3_600_000, stream.created_ms)
    match page.filter_type:
        case "AT_LATEST":
            return lambda shard: shard.open
        case "AT_TRIM_HORIZON" | "AT_TIMESTAMP":
            open_at = stream.table.open_at(max(page.filter_ms or 0, horizon_ms))
            return lambda shard: open_at(shard.number)
        case "FROM_TIMESTAMP":
            from_ms = max(page.filter_ms or 0, horizon_ms)
            return lambda shard: shard.closed_ms is None or shard.closed_ms >= from_ms
        case _:  # none, AFTER_SHARD_ID, FROM_TRIM_HORIZON: all that is kept
            return lambda shard: True


def _kept(stream: Stream, after: int, now_ms: int) -> Iterator[Shard]:
    """Shards with a number above `after` that are open, or closed no longer than records are kept."""
    table = stream.table
    for number in range(after + 1, table.count):
        shard = table.shard(number)
        if not expired(stream, shard, now_ms):
            yield shard


def expired(stream: Stream, shard: Shard, now_ms: int) -> bool:
    """Whether a shard closed so long ago that none of its records is kept."""
    return shard.closed_ms is not None and shard.closed_ms < now_ms - stream.retention_hours * 3_600_000


def _page(shards: Iterator[Shard], limit: int) -> tuple[list[Shard], bool]:
    """Up to `limit` shards, and whether there are more."""
    page: list[Shard] = []
    for shard in shards:
        if len(page) == limit:
            return page, True
        page.append(shard)
    return page, False


def _shard(shard: Shard) -> dict[str, Any]:
    # Arrival 0 keeps the first number below that of every record, whatever the clock did.
    sequence = {"StartingSequenceNumber": sequence_number(shard.created_s, shard.number, 0, 0)}
    if shard.closed_ms is not None:
        sequence["EndingSequenceNumber"] = sequence_number(
            shard.created_s, shard.number, LAST_INDEX, shard.closed_ms
        )
    described: dict[str, Any] = {"ShardId": shard.id}
    if shard.parent != NO_SHARD:
        described["ParentShardId"] = shard_id(shard.parent)
    if shard.adjacent != NO_SHARD:
        described["AdjacentParentShardId"] = shard_id(shard.adjacent)
    described["HashKeyRange"] = hash_key_range(shard)
    described["SequenceNumberRange"] = sequence
    return described


def hash_key_range(shard: Shard) -> dict[str, str]:
    return {"StartingHashKey": str(shard.start), "EndingHashKey": str(shard.end)}


def _open_token(streams: Streams, purpose: int, token: str) -> bytes:
    """What a NextToken holds. Raises InvalidArgument or ExpiredNextToken."""
    opened = streams.sealer.open(purpose, token)
    if opened is None:
        raise InvalidArgument("NextToken is not valid.")
    made_ms, payload = opened
    if streams.clock.now_ms() - made_ms > limits.token_age_ms_max:
        raise ExpiredNextToken(
            f"NextToken expired. It was created more than {limits.token_age_ms_max} milliseconds ago."
        )
    return payload


def _whole_seconds(ms: int) -> int:
    """Some SDKs stumble over fractions in times of creation."""
    return ms // 1000 * 1000
