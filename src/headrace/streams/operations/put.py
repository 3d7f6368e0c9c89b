# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""PutRecord and PutRecords as the decoded path sees them: what the native scan did not take.

Both end where the scanned path does (`service.py`): in a PutScan that holds the entries. What is checked
here and not there: the presence of partition keys, hash keys beyond 2^128 − 1, and sizes.
"""

from __future__ import annotations

from typing import Any

from headrace import limits
from headrace.core._wire import PutScan, parse_sequence_number
from headrace.errors import InvalidArgument, ValidationError
from headrace.streams import model
from headrace.streams.operations.operation import Request, addressed
from headrace.streams.shapes import violation
from headrace.streams.shards import HASH_KEY_MAX
from headrace.streams.stream import Stream
from headrace.streams.streams import Streams

Record = tuple[bytes, str | None, int | None]  # data, partition key, explicit hash key


def load_record(streams: Streams, request: Request, scan: PutScan) -> Stream:
    """Fill the scan from a decoded PutRecord."""
    stream = addressed(streams, request)
    missing = None if stream.spreads else _missing_key(request, "")
    _raise([missing] if missing else [])
    record = _record(request)
    check_size(stream, record, "data")
    scan.fill(
        [record],
        stream_name=stream.name,
        dry_run=request.get("DryRun", False),
        sequence_number_for_ordering=request.get("SequenceNumberForOrdering"),
    )
    return stream


def load_records(streams: Streams, request: Request, scan: PutScan) -> Stream:
    """Fill the scan from a decoded PutRecords."""
    stream = addressed(streams, request)
    entries = request["Records"]
    if not stream.spreads:
        found = (_missing_key(entry, f"records.{number}.member.") for number, entry in enumerate(entries, 1))
        _raise([text for text in found if text])
    records = [_record(entry) for entry in entries]
    for number, record in enumerate(records, 1):
        check_size(stream, record, f"records.{number}.member.data")
    scan.fill(records, stream_name=stream.name, dry_run=request.get("DryRun", False))
    check_total(scan)
    return stream


def check_largest(stream: Stream, scan: PutScan) -> None:
    """Refuse a request with a record beyond the stream's limit, naming the first one."""
    if scan.record_size_largest > stream.record_size_max:
        records = scan.records()
        for number, record in enumerate(records, 1):
            check_size(stream, record, "data" if len(records) == 1 else f"records.{number}.member.data")


def check_size(stream: Stream, record: Record, path: str) -> None:
    """Refuse a record whose data, or data and key together, exceed the stream's limit."""
    data, key, _ = record
    limit = stream.record_size_max
    if len(data) > limit:
        text = violation(data, model.DATA, path, f"Member must have length less than or equal to {limit}")
        raise ValidationError(f"1 validation error detected: {text}")
    size = len(data) + len((key or "").encode("utf-8"))
    if size > limit:
        raise InvalidArgument(
            f"The size of the record's data and partition key is {size} bytes; stream {stream.name} under "
            f"account {stream.streams.account} takes records of at most {limit} bytes."
        )


def check_total(scan: PutScan) -> None:
    if scan.total_size > limits.put_records_size_max:
        raise InvalidArgument(f"Records size exceeds {limits.put_records_size_max // limits.MIB} MB limit")


def check_ordering(stream: Stream, text: str) -> None:
    """Refuse a SequenceNumberForOrdering that no record here can have had.

    A number that is accepted needs no further work: records of one shard are numbered in the order in which
    they are put, so each is above all before it.
    """
    parts = parse_sequence_number(text)
    now_s = stream.streams.clock.now_ms() // 1000
    if parts is None or parts[2] >> 63 or parts[3] > now_s + 1:
        raise InvalidArgument(
            f"ExclusiveMinimumSequenceNumber {text} used in PutRecord on stream {stream.name} under account "
            f"{stream.streams.account} is invalid."
        )


def spread(stream: Stream, scan: PutScan) -> None:
    """For a stream that distributes records itself: give each a hash key in turn, whatever came with it."""
    records = scan.records()
    keys = stream.spread_keys(len(records))
    scan.fill(
        [(data, key or None, hash_key) for (data, key, _), hash_key in zip(records, keys, strict=True)],
        stream_name=scan.stream_name,
        stream_arn=scan.stream_arn,
        dry_run=scan.dry_run,
        sequence_number_for_ordering=scan.sequence_number_for_ordering,
    )


def _record(members: dict[str, Any]) -> Record:
    hash_key = members.get("ExplicitHashKey")
    if hash_key is not None:
        number = int(hash_key)
        if number > HASH_KEY_MAX:
            raise InvalidArgument(
                "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. "
                f"Specified value was {hash_key}"
            )
        return members["Data"], members.get("PartitionKey"), number
    return members["Data"], members.get("PartitionKey"), None


def _missing_key(members: dict[str, Any], prefix: str) -> str | None:
    """The violation of a record without a partition key."""
    if "PartitionKey" in members:
        return None
    return violation(None, model.PARTITION_KEY, f"{prefix}partitionKey", "Member must not be null")


def _raise(texts: list[str]) -> None:
    if texts:
        shown = texts[: limits.validation_errors_max]
        plural = "s" if len(shown) > 1 else ""
        raise ValidationError(f"{len(shown)} validation error{plural} detected: {'; '.join(shown)}")
