# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""KinesisService: requests of Data Streams in, answers out.

The way of a put: `PutScan` reads the body natively (or, if that is unusual, the decoded path fills the scan)
→ the stream is looked up → `Stream.append_parts` routes and frames → the answer is written natively → it
waits, as a Pending, until the lanes named with it are committed.

Cost of PutRecord: about 4 µs here, of which the native parts take about half. Nothing is counted or logged
for each record; a stream counts its records once a request.
"""

from __future__ import annotations

from typing import Any

from headrace import limits
from headrace.core._entries import Entries, Router
from headrace.core._wire import PutScan, put_record_answer, put_records_answer
from headrace.errors import Backpressure, Error, NotFound, SerializationError, Throttled, UnknownOperation
from headrace.streams import wire_json
from headrace.streams.answers import Answer, Pending, error_answer
from headrace.streams.operations import OPERATIONS, put
from headrace.streams.operations.operation import dry_run
from headrace.streams.shards import shard_id
from headrace.streams.stream import Stream
from headrace.streams.streams import Streams

_INTERNAL_FAILURE = ("InternalFailure", "Internal Service Failure")


class KinesisService:
    """The service `Kinesis_20131202` over the streams of a store.

    Puts reuse one scanner, so they come from one thread at a time; other operations from any.
    """

    target = "Kinesis_20131202"
    operations = frozenset(OPERATIONS)

    # These wait for the catalogue and, where they change shards, for lanes: a server runs them in a thread.
    blocking = frozenset(
        {
            "CreateStream",
            "DeleteStream",
            "SplitShard",
            "MergeShards",
            "UpdateShardCount",
            "IncreaseStreamRetentionPeriod",
            "DecreaseStreamRetentionPeriod",
            "AddTagsToStream",
            "RemoveTagsFromStream",
            "TagResource",
            "UntagResource",
        }
    )

    __slots__ = ("_hot", "_scan", "streams")

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self._scan = PutScan()
        self._hot = {"PutRecord": self.put_record, "PutRecords": self.put_records}

    def call(self, operation: str, body: bytes | bytearray | memoryview) -> Answer | Pending:
        """Carry out a request. Errors become answers; only bugs raise."""
        try:
            hot = self._hot.get(operation)
            if hot is not None:
                return hot(body)
            return self._call_decoded(operation, body)
        except Error as error:
            return error_answer(error)

    def put_record(self, body: bytes | bytearray | memoryview) -> Pending:
        """PutRecord. The record is framed; the answer may be sent once the lane is committed."""
        scan = self._scan
        if scan.scan_put_record(body):
            stream = self._stream(scan)
        else:
            request = wire_json.decode(OPERATIONS["PutRecord"].input, body)
            stream = put.load_record(self.streams, request, scan)
        if scan.record_size_largest > stream.record_size_max:
            put.check_largest(stream, scan)
        if scan.sequence_number_for_ordering is not None:
            put.check_ordering(stream, scan.sequence_number_for_ordering)
        if scan.dry_run:
            raise dry_run()
        if stream.spreads:
            put.spread(stream, scan)
        entries = scan.entries
        router, offsets, failures = stream.append_parts(entries)
        if failures:
            raise _record_error(stream, entries, router, failures)
        return Pending(put_record_answer(entries, router), offsets)

    def put_records(self, body: bytes | bytearray | memoryview) -> Pending:
        """PutRecords. Entries that a lane refused are reported one by one, the others are framed."""
        scan = self._scan
        if scan.scan_put_records(body):
            stream = self._stream(scan)
        else:
            request = wire_json.decode(OPERATIONS["PutRecords"].input, body)
            stream = put.load_records(self.streams, request, scan)
        if scan.record_size_largest > stream.record_size_max:
            put.check_largest(stream, scan)
        if scan.dry_run:
            raise dry_run()
        if stream.spreads:
            put.spread(stream, scan)
        entries = scan.entries
        router, offsets, failures = stream.append_parts(entries)
        if failures:
            return _partly(stream, entries, router, offsets, failures)
        return Pending(put_records_answer(entries, router), offsets)

    def _stream(self, scan: PutScan) -> Stream:
        """The stream that a scanned request addresses."""
        if scan.stream_arn is None and scan.stream_name is not None:
            stream = self.streams.get(scan.stream_name)
            if stream is not None:
                return stream
        stream = self.streams.stream(scan.stream_name, scan.stream_arn)
        if stream.document.internal:
            raise NotFound(f"Stream {stream.name} under account {self.streams.account} not found.")
        return stream

    def _call_decoded(self, name: str, body: bytes | bytearray | memoryview) -> Answer:
        operation = OPERATIONS.get(name)
        if operation is None or operation.run is None:
            raise UnknownOperation(f"{name} is not an operation of this version of headrace.")
        if len(body) > limits.control_body_size_max:
            raise SerializationError(
                f"The body has {len(body)} bytes; {name} takes at most {limits.control_body_size_max}"
            )
        answer = operation.run(self.streams, wire_json.decode(operation.input, body))
        if isinstance(answer, Answer):
            return answer
        return Answer(200, wire_json.encode(operation.output, answer))


def _rate_exceeded(stream: Stream, shard: int) -> str:
    return (
        f"Rate exceeded for shard {shard_id(shard)} in stream {stream.name} under account "
        f"{stream.streams.account}."
    )


def _record_error(stream: Stream, entries: Entries, router: Router, failures: dict[int, Error]) -> Error:
    """The answer to a PutRecord that its lane refused."""
    error = next(iter(failures.values()))
    if isinstance(error, Backpressure):
        return Throttled(_rate_exceeded(stream, int(entries.shards(router)[0])), hint=str(error))
    return error


def _partly(
    stream: Stream,
    entries: Entries,
    router: Router,
    offsets: list[tuple[Any, int]],
    failures: dict[int, Error],
) -> Pending:
    """The answer to PutRecords of which some entries were refused: one reason for each shard concerned.

    A request touches up to 500 shards and an answer tells 255 reasons apart: shards beyond share the last.
    """
    refused = stream.refused(entries, router, failures)
    shards = entries.shards(router)
    reasons: list[tuple[str, str]] = []
    reason_of: dict[int, int] = {}
    marks = bytearray(entries.count)
    for i in refused.nonzero()[0].tolist():
        shard = int(shards[i])
        if shard not in reason_of and len(reasons) < 255:
            if isinstance(failures[int(refused[i]) - 1], Backpressure):
                reasons.append(("ProvisionedThroughputExceededException", _rate_exceeded(stream, shard)))
            else:
                reasons.append(_INTERNAL_FAILURE)
            reason_of[shard] = len(reasons)
        marks[i] = reason_of.get(shard, len(reasons))
    return Pending(put_records_answer(entries, router, failures=marks, reasons=reasons), offsets)
