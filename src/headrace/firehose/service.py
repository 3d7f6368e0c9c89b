# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""FirehoseService: requests of Firehose in, answers out.

The way of a put is that of Data Streams (streams/service.py), into the internal stream that a DirectPut
delivery reads: `PutScan` reads the body natively (or the decoded path fills the scan) → the intake is looked
up → routed and framed → the answer waits, as a Pending, until the lane is committed.

Cost of PutRecord: about 4 µs here, as in Data Streams.
"""

from __future__ import annotations

from typing import Any

from headrace import limits
from headrace.core._wire import PutScan, firehose_batch_answer, firehose_record_answer
from headrace.errors import (
    Backpressure,
    Error,
    InvalidArgument,
    RemoteError,
    SerializationError,
    UnknownOperation,
)
from headrace.firehose.deliveries import Deliveries
from headrace.firehose.operations import OPERATIONS
from headrace.streams import wire_json
from headrace.streams.answers import Answer, Pending, error_answer

Body = bytes | bytearray | memoryview

_SLOW_DOWN = ("ServiceUnavailableException", "Slow down.")
_INTERNAL_FAILURE = ("InternalFailure", "Internal Service Failure")


class Unavailable(RemoteError):
    """The store cannot take more just now; the SDKs repeat the request by themselves."""

    code = "ServiceUnavailableException"
    status = 500


class FirehoseService:
    """The service `Firehose_20150804`. Puts reuse one scanner, so they come from one thread at a time."""

    target = "Firehose_20150804"
    operations = frozenset(OPERATIONS)
    # These wait for the catalogue's device, and creating for a directory's.
    blocking = frozenset(
        ("CreateDeliveryStream", "DeleteDeliveryStream", "TagDeliveryStream", "UntagDeliveryStream")
    )

    __slots__ = ("_hot", "_scan", "deliveries")

    def __init__(self, deliveries: Deliveries) -> None:
        self.deliveries = deliveries
        self._scan = PutScan()
        self._hot = {"PutRecord": self.put_record, "PutRecordBatch": self.put_record_batch}

    def call(self, operation: str, body: Body) -> Answer | Pending:
        """Carry out a request. Errors become answers; only bugs raise."""
        try:
            hot = self._hot.get(operation)
            if hot is not None:
                return hot(body)
            return self._call_decoded(operation, body)
        except Error as error:
            return error_answer(error)

    def put_record(self, body: Body) -> Pending:
        """PutRecord. The record is framed; the answer may be sent once the lane is committed."""
        scan = self._scan
        if not scan.scan_firehose_record(body):
            request = wire_json.decode(OPERATIONS["PutRecord"].input, body)
            scan.fill([(request["Record"]["Data"], None, None)], stream_name=request["DeliveryStreamName"])
        stream = self.deliveries.intake(scan.stream_name or "")
        router, offsets, failures = stream.append_parts(scan.entries)
        if failures:
            error = next(iter(failures.values()))
            raise Unavailable("Slow down.", hint=str(error)) if isinstance(error, Backpressure) else error
        return Pending(firehose_record_answer(scan.entries, router), offsets)

    def put_record_batch(self, body: Body) -> Pending:
        """PutRecordBatch. The stream has one lane, which takes the whole batch or refuses all of it."""
        scan = self._scan
        if not scan.scan_firehose_batch(body):
            request = wire_json.decode(OPERATIONS["PutRecordBatch"].input, body)
            records = [(record["Data"], None, None) for record in request["Records"]]
            scan.fill(records, stream_name=request["DeliveryStreamName"])
            if scan.total_size > limits.firehose_batch_size_max:
                raise InvalidArgument(
                    f"Records size exceeds {limits.firehose_batch_size_max // limits.MIB} MB limit"
                )
        stream = self.deliveries.intake(scan.stream_name or "")
        entries = scan.entries
        router, offsets, failures = stream.append_parts(entries)
        if not failures:
            return Pending(firehose_batch_answer(entries, router), offsets)
        busy = isinstance(next(iter(failures.values())), Backpressure)
        reasons = [_SLOW_DOWN if busy else _INTERNAL_FAILURE]
        marks = b"\1" * entries.count
        return Pending(firehose_batch_answer(entries, router, failures=marks, reasons=reasons), offsets)

    def _call_decoded(self, name: str, body: Body) -> Answer:
        operation = OPERATIONS.get(name)
        if operation is None or operation.run is None:
            raise UnknownOperation(f"{name} is not an operation of this version of headrace.")
        if len(body) > limits.control_body_size_max:
            raise SerializationError(
                f"The body has {len(body)} bytes; {name} takes at most {limits.control_body_size_max}"
            )
        answer: dict[str, Any] = operation.run(self.deliveries, wire_json.decode(operation.input, body))
        return Answer(200, wire_json.encode(operation.output, answer))
