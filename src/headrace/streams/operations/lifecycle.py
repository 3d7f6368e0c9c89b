# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""CreateStream and DeleteStream."""

from __future__ import annotations

from headrace import limits
from headrace.errors import InvalidArgument, ValidationError
from headrace.streams import model
from headrace.streams.document import AUTO, ON_DEMAND, PROVISIONED, USER_PARTITION_KEY
from headrace.streams.operations import tags
from headrace.streams.operations.operation import Request, addressed
from headrace.streams.shapes import violation
from headrace.streams.streams import Streams


def create_stream(streams: Streams, request: Request) -> None:
    """A provisioned stream has the shards asked for, an on-demand one starts with four."""
    name = request["StreamName"]
    mode = request.get("StreamModeDetails", {}).get("StreamMode", PROVISIONED)
    count = request.get("ShardCount")
    if mode == ON_DEMAND:
        if count is not None:
            raise InvalidArgument("ShardCount cannot be specified for a stream in ON_DEMAND mode.")
        count = streams.defaults.on_demand_shards
    elif count is None:
        text = violation(None, model.POSITIVE, "shardCount", "Member must not be null")
        raise ValidationError(f"1 validation error detected: {text}")
    if request.get("WarmThroughputMiBps"):
        raise InvalidArgument(
            "WarmThroughputMiBps is not supported: every stream takes what the machine does."
        )
    distribution = request.get("RecordDistributionStrategy", USER_PARTITION_KEY)
    if distribution == AUTO and mode != ON_DEMAND:
        raise InvalidArgument(
            f"RecordDistributionStrategy AUTO is supported only for streams in {ON_DEMAND} mode."
        )
    given = request.get("Tags", {})
    tags.check(streams, name, "add", list(given), list(given.values()))
    tags.check_count(streams, name, given)
    streams.create(
        name,
        count,
        record_size_max=request.get("MaxRecordSizeInKiB", limits.record_size_default // 1024) * 1024,
        mode=mode,
        tags=given,
        distribution=distribution,
    )


def delete_stream(streams: Streams, request: Request) -> None:
    """EnforceConsumerDeletion asks for nothing here: no stream has registered consumers."""
    streams.delete(addressed(streams, request).name)
