# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: Firehose takes records as the real service does, and answers in its words when it does not. Method:
requests and answers at the service's face, errors included; a lane that is really full."""

import json

import pytest
from firehose_support import CREATE, KINESIS, ROLE, create, refused, text

from headrace import limits
from headrace.errors import Backpressure

# --- records in ---


def test_records_are_taken_and_stand_in_the_log_once_answered(place):
    create(place)
    one = place.ok("PutRecord", DeliveryStreamName="d", Record={"Data": text(b"a")})
    assert one["Encrypted"] is False
    batch = place.ok(
        "PutRecordBatch", DeliveryStreamName="d", Records=[{"Data": text(b"b")}, {"Data": text(b"")}]
    )
    assert batch["FailedPutCount"] == 0
    ids = [one["RecordId"], *(entry["RecordId"] for entry in batch["RequestResponses"])]
    assert len(set(ids)) == 3
    stored = place.deliveries.intake("d").lanes[0].read(0, 0)
    assert stored.data == [b"a", b"b", b""]


def test_requests_that_the_native_scan_declines_are_taken_as_well(place):
    create(place)
    body = b'{"Record": {"Data": "YQ\\u003d=", "Other": [1]}, "DeliveryStreamName": "d", "More": {}}'
    answer = place.service.call("PutRecord", body)
    assert json.loads(answer.body)["RecordId"]
    body = b'{"Records": [{"Data": "YQ\\u003d="}], "DeliveryStreamName": "d"}'
    assert json.loads(place.service.call("PutRecordBatch", body).body)["FailedPutCount"] == 0


@pytest.mark.parametrize(
    ("operation", "members", "code", "message"),
    [
        ("PutRecord", {"DeliveryStreamName": "none", "Record": {"Data": ""}}, "ResourceNotFoundException",
         "Firehose none under account 000000000000 not found."),
        ("PutRecord", {"DeliveryStreamName": "d", "Record": {"Data": text(b"x" * 1_024_001)}},
         "ValidationException", "at 'record.data' failed to satisfy constraint: Member must have length less"),
        ("PutRecord", {"DeliveryStreamName": "d"}, "ValidationException", "'record'"),
        ("PutRecord", {"DeliveryStreamName": "d", "Record": {"Data": "?"}}, "SerializationException", "Base64"),
        ("PutRecordBatch", {"DeliveryStreamName": "d", "Records": []}, "ValidationException", "'records'"),
        ("PutRecordBatch", {"DeliveryStreamName": "d", "Records": [{"Data": ""}] * 501},
         "ValidationException", "Member must have length less than or equal to 500"),
        ("PutRecordBatch", {"DeliveryStreamName": "d", "Records": [{"Data": text(b"x" * 1_000_000)}] * 5},
         "InvalidArgumentException", "Records size exceeds 4 MB limit"),
    ],
)  # fmt: skip
def test_puts_that_break_a_limit_are_refused(place, operation, members, code, message):
    create(place)
    found = refused(place, operation, **members)
    assert found[0] == code
    assert message in found[1]


def test_the_largest_record_and_the_largest_batch_are_taken(place):
    create(place)
    place.ok("PutRecord", DeliveryStreamName="d", Record={"Data": text(b"x" * 1_024_000)})
    records = [{"Data": text(b"x" * (4 * limits.MIB // 500))}] * 500
    assert place.ok("PutRecordBatch", DeliveryStreamName="d", Records=records)["FailedPutCount"] == 0


def test_a_delivery_of_a_stream_takes_no_puts(place):
    place.streams.create("s")
    source = {"KinesisStreamARN": place.streams.stream("s").arn, "RoleARN": ROLE}
    place.ok("CreateDeliveryStream", **CREATE, **KINESIS, KinesisStreamSourceConfiguration=source)
    assert refused(place, "PutRecord", DeliveryStreamName="d", Record={"Data": ""}) == (
        "InvalidArgumentException",
        "This operation is not permitted on KinesisStreamAsSource delivery stream type.",
    )


def test_a_full_store_asks_to_slow_down(place, monkeypatch):
    create(place)
    stream = place.deliveries.intake("d")
    monkeypatch.setattr(
        type(stream), "append_parts", lambda self, entries: (self.router, [], {0: Backpressure("full")})
    )
    status, code, answer = place.call("PutRecord", DeliveryStreamName="d", Record={"Data": ""})
    assert (status, code, answer["message"]) == (500, "ServiceUnavailableException", "Slow down.")


def test_a_batch_that_the_lane_refuses_fails_entry_by_entry(place):
    create(place)
    lane = place.deliveries.intake("d").lanes[0]
    lane.set_limit(65_536, "throttle")
    records = [{"Data": text(b"x" * 500_000)}] * 3
    for _ in range(20):
        answer = place.ok("PutRecordBatch", DeliveryStreamName="d", Records=records)
        if answer["FailedPutCount"]:
            break
    assert answer["FailedPutCount"] == 3
    assert answer["RequestResponses"][0] == {
        "ErrorCode": "ServiceUnavailableException",
        "ErrorMessage": "Slow down.",
    }


# --- what is not there ---


def test_operations_that_are_not_built_are_named(place):
    code, message = refused(place, "UpdateDestination", DeliveryStreamName="d")
    assert code == "UnknownOperationException"
    assert "UpdateDestination" in message


def test_bodies_that_are_no_json_and_bodies_that_are_too_long_are_refused(place):
    assert place.service.call("CreateDeliveryStream", b"{").code == "SerializationException"
    assert place.service.call("CreateDeliveryStream", b" " * 3_000_000).code == "SerializationException"


def test_record_ids_are_unique(place):
    create(place)
    ids = {place.ok("PutRecord", DeliveryStreamName="d", Record={"Data": ""})["RecordId"] for _ in range(5)}
    assert len(ids) == 5
