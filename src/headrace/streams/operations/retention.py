# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""IncreaseStreamRetentionPeriod and DecreaseStreamRetentionPeriod."""

from __future__ import annotations

from headrace import limits
from headrace.errors import InvalidArgument
from headrace.streams.operations.operation import Request, addressed
from headrace.streams.stream import Stream
from headrace.streams.streams import Streams


def increase_retention(streams: Streams, request: Request) -> None:
    """Keep records longer. The hours there are already are accepted and change nothing."""
    stream, hours = addressed(streams, request), _hours(request)
    if hours < stream.retention_hours:
        raise InvalidArgument(
            f"{_requested(stream, hours)} can not be shorter than existing retention period "
            f"({stream.retention_hours} hours). Use DecreaseRetentionPeriod API."
        )
    stream.update(retention_hours=hours)


def decrease_retention(streams: Streams, request: Request) -> None:
    """Keep records shorter; what is older is dropped with the next round of retention."""
    stream, hours = addressed(streams, request), _hours(request)
    if hours > stream.retention_hours:
        raise InvalidArgument(
            f"{_requested(stream, hours)} can not be longer than existing retention period "
            f"({stream.retention_hours} hours). Use IncreaseRetentionPeriod API."
        )
    stream.update(retention_hours=hours)


def _hours(request: Request) -> int:
    hours: int = request["RetentionPeriodHours"]
    if hours < limits.retention_hours_min:
        raise InvalidArgument(
            f"Minimum allowed retention period is {limits.retention_hours_min} hours. "
            f"Requested retention period ({hours} hours) is too short."
        )
    if hours > limits.retention_hours_max:
        raise InvalidArgument(
            f"Maximum allowed retention period is {limits.retention_hours_max} hours. "
            f"Requested retention period ({hours} hours) is too long."
        )
    return hours


def _requested(stream: Stream, hours: int) -> str:
    return f"Requested retention period ({hours} hours) for stream {stream.name}"
