# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What an operation is: a name, the shapes of its input and output, and a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.errors import CallerError, InvalidArgument, NotFound
from headrace.streams.shapes import Structure
from headrace.streams.stream import Stream

if TYPE_CHECKING:
    from headrace.streams.answers import Answer
    from headrace.streams.streams import Streams

Request = dict[str, Any]  # a decoded and validated input


class Operation(NamedTuple):
    """One row of the table.

    `run` takes the streams and the decoded input, and returns the members of the output (None for an
    operation without), or the answer itself where it is written natively. It is None for the two puts, whose
    way is `service.py`.
    """

    name: str
    input: Structure
    output: Structure | None
    run: Callable[[Streams, Request], dict[str, Any] | Answer | None] | None


class DryRun(CallerError):
    """The request would have succeeded; nothing was done, as asked."""

    code = "DryRunOperationException"


def dry_run() -> DryRun:
    return DryRun("Request would have succeeded, but DryRun flag is set.")


def addressed(streams: Streams, request: Request) -> Stream:
    """The stream that a request names by StreamName, StreamARN or both.

    Streams that headrace keeps for itself cannot be addressed.
    """
    refuse_stream_id(request)
    stream = streams.stream(request.get("StreamName"), request.get("StreamARN"))
    if stream.document.internal:
        raise NotFound(f"Stream {stream.name} under account {streams.account} not found.")
    return stream


def refuse_stream_id(request: Request) -> None:
    """StreamId is reserved in the service's model and stands for nothing; it is refused, not ignored."""
    if "StreamId" in request:
        raise InvalidArgument("StreamId is not supported. Use StreamARN or StreamName.")


def shard_number(streams: Streams, stream_name: str, shard_id: str) -> int:
    """The number in a shard id; any text before the first hyphen is taken, as by the real service."""
    head, hyphen, rest = shard_id.partition("-")
    digits = rest.partition("-")[0] if hyphen else head
    if digits.isdigit() and int(digits) <= _NUMBER_MAX:
        return int(digits)
    raise NotFound(
        f"Could not find shard {shard_id} in stream {stream_name} under account {streams.account}."
    )


_NUMBER_MAX = (1 << 31) - 1
