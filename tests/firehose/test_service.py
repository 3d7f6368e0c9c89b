# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: Firehose answers as the real one does, in every state of a delivery stream. Method: requests and
answers at the service's face, errors included."""

import json
from base64 import b64encode

import pytest
from firehose_support import ROLE, s3

from headrace import limits
from headrace.errors import Backpressure
from headrace.firehose import document

ARN = "arn:aws:firehose:us-east-1:000000000000:deliverystream/d"


def create(place, name="d", **members):
    return place.ok(
        "CreateDeliveryStream", DeliveryStreamName=name, ExtendedS3DestinationConfiguration=s3(**members)
    )


def refused(place, operation, **members):
    status, code, answer = place.call(operation, **members)
    assert status in (400, 500), answer
    return code, answer["message"]


def text(data: bytes) -> str:
    return b64encode(data).decode()


# --- creating and describing ---


def test_a_created_delivery_stream_is_described_as_it_was_asked_for(place):
    given = s3(
        Prefix="a/!{timestamp:yyyy}/",
        ErrorOutputPrefix="e/!{firehose:error-output-type}/",
        BufferingHints={"SizeInMBs": 3, "IntervalInSeconds": 60},
        CompressionFormat="GZIP",
        EncryptionConfiguration={"NoEncryptionConfig": "NoEncryption"},
        CloudWatchLoggingOptions={"Enabled": False, "LogGroupName": "group"},
        ProcessingConfiguration={"Enabled": False, "Processors": []},
        S3BackupMode="Disabled",
        DataFormatConversionConfiguration={"Enabled": False},
        DynamicPartitioningConfiguration={"Enabled": False},
        FileExtension=".json.gz",
        CustomTimeZone="Asia/Tokyo",
    )
    answer = place.ok(
        "CreateDeliveryStream", DeliveryStreamName="d", ExtendedS3DestinationConfiguration=given
    )
    assert answer == {"DeliveryStreamARN": ARN}
    place.reopen()
    found = place.ok("DescribeDeliveryStream", DeliveryStreamName="d")["DeliveryStreamDescription"]
    (destination,) = found.pop("Destinations")
    seconds = place.clock.now_ms() / 1000
    assert found == {
        "DeliveryStreamName": "d",
        "DeliveryStreamARN": ARN,
        "DeliveryStreamStatus": "ACTIVE",
        "DeliveryStreamType": "DirectPut",
        "VersionId": "1",
        "CreateTimestamp": seconds,
        "LastUpdateTimestamp": seconds,
        "HasMoreDestinations": False,
    }
    assert destination["DestinationId"] == "destinationId-000000000001"
    assert destination["ExtendedS3DestinationDescription"] == given
    plain = destination["S3DestinationDescription"]
    assert plain == {name: value for name, value in given.items() if name in plain}


def test_what_is_left_open_is_described_with_the_services_defaults(place):
    place.ok("CreateDeliveryStream", DeliveryStreamName="d", S3DestinationConfiguration=s3())
    found = place.ok("DescribeDeliveryStream", DeliveryStreamName="d")["DeliveryStreamDescription"]
    (destination,) = found["Destinations"]
    assert "ExtendedS3DestinationDescription" not in destination
    assert destination["S3DestinationDescription"] == s3(
        BufferingHints={"SizeInMBs": 5, "IntervalInSeconds": 300},
        CompressionFormat="UNCOMPRESSED",
        EncryptionConfiguration={"NoEncryptionConfig": "NoEncryption"},
        CloudWatchLoggingOptions={"Enabled": False},
    )


def test_a_stream_as_source_is_described_with_it(place):
    place.streams.create("s", 2)
    arn = place.streams.stream("s").arn
    source = {"KinesisStreamARN": arn, "RoleARN": ROLE}
    place.ok(
        "CreateDeliveryStream",
        DeliveryStreamName="d",
        DeliveryStreamType="KinesisStreamAsSource",
        KinesisStreamSourceConfiguration=source,
        ExtendedS3DestinationConfiguration=s3(),
    )
    found = place.ok("DescribeDeliveryStream", DeliveryStreamName="d")["DeliveryStreamDescription"]
    described = found["Source"]["KinesisStreamSourceDescription"]
    assert described == {**source, "DeliveryStartTimestamp": place.clock.now_ms() / 1000}


def test_destinations_after_the_only_one_are_none(place):
    create(place)
    found = place.ok(
        "DescribeDeliveryStream",
        DeliveryStreamName="d",
        ExclusiveStartDestinationId="destinationId-000000000001",
    )
    assert found["DeliveryStreamDescription"]["Destinations"] == []


CREATE = {"DeliveryStreamName": "d", "ExtendedS3DestinationConfiguration": s3()}
KINESIS = {"DeliveryStreamType": "KinesisStreamAsSource"}


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        ({"DeliveryStreamName": "d"}, "InvalidArgumentException", "Exactly one destination configuration"),
        (
            {**CREATE, "S3DestinationConfiguration": s3()},
            "InvalidArgumentException",
            "Exactly one destination configuration",
        ),
        (
            {**CREATE, "DeliveryStreamName": "a b"},
            "ValidationException",
            "Value 'a b' at 'deliveryStreamName' failed to satisfy constraint: Member must satisfy regular "
            "expression pattern: [a-zA-Z0-9_.-]+",
        ),
        (
            {"DeliveryStreamName": "d", "ExtendedS3DestinationConfiguration": {"RoleARN": ROLE}},
            "ValidationException",
            "Value null at 'extendedS3DestinationConfiguration.bucketARN' failed to satisfy constraint: "
            "Member must not be null",
        ),
        (
            {"DeliveryStreamName": "d", "ExtendedS3DestinationConfiguration": s3(RoleARN="me")},
            "ValidationException",
            "at 'extendedS3DestinationConfiguration.roleARN'",
        ),
        (
            {
                "DeliveryStreamName": "d",
                "ExtendedS3DestinationConfiguration": s3(
                    BufferingHints={"SizeInMBs": 129, "IntervalInSeconds": 901}
                ),
            },
            "ValidationException",
            "2 validation errors detected",
        ),
        (
            {
                "DeliveryStreamName": "d",
                "ExtendedS3DestinationConfiguration": s3(BufferingHints={"SizeInMBs": 5}),
            },
            "InvalidArgumentException",
            "you must also specify a value for the other",
        ),
        (
            {
                "DeliveryStreamName": "d",
                "ExtendedS3DestinationConfiguration": s3(Prefix="!{timestamp:yyyy}/"),
            },
            "InvalidArgumentException",
            "Ths supplied prefix(es) do not satisfy the following constraint: ErrorOutputPrefix cannot be null "
            "or empty when Prefix contains expressions",
        ),
        (
            {"DeliveryStreamName": "d", "ExtendedS3DestinationConfiguration": s3(CustomTimeZone="Mars")},
            "InvalidArgumentException",
            "CustomTimeZone Mars is not a time zone",
        ),
        ({**CREATE, **KINESIS}, "InvalidArgumentException", "KinesisStreamSourceConfig is required"),
        (
            {
                **CREATE,
                "KinesisStreamSourceConfiguration": {
                    "KinesisStreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/s",
                    "RoleARN": ROLE,
                },
            },
            "InvalidArgumentException",
            "KinesisStreamSourceConfig is only applicable for KinesisStreamAsSource stream type",
        ),
        (
            {
                **CREATE,
                **KINESIS,
                "KinesisStreamSourceConfiguration": {
                    "KinesisStreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/none",
                    "RoleARN": ROLE,
                },
            },
            "InvalidArgumentException",
            "Stream none under account 000000000000 not found.",
        ),
        (
            {
                "DeliveryStreamName": "d",
                "ExtendedS3DestinationConfiguration": s3(BucketARN="arn:aws:s3:::.."),
            },
            "InvalidArgumentException",
            "is not a bucket's name",
        ),
        ({**CREATE, "Tags": [{"Key": "aws:x"}]}, "ValidationException", "at 'tags.1.member.key'"),
        ({**CREATE, "Tags": [{"Key": "a"}, {"Key": "a"}]}, "InvalidArgumentException", "must be unique"),
        ({**CREATE, "DeliveryStreamType": "Other"}, "ValidationException", "enum value set"),
    ],
)
def test_requests_that_cannot_be_carried_out_are_refused(place, request_, code, message):
    found = refused(place, "CreateDeliveryStream", **request_)
    assert found[0] == code
    assert message in found[1]
    assert place.deliveries.list() == []


def test_a_name_can_be_used_once(place):
    create(place)
    assert refused(place, "CreateDeliveryStream", **CREATE) == (
        "ResourceInUseException",
        "Firehose d under accountId 000000000000 already exists",
    )


def test_there_is_a_limit_on_delivery_streams(place, monkeypatch):
    monkeypatch.setattr(limits, "firehose_streams_max", 1)
    create(place, "a")
    assert refused(place, "CreateDeliveryStream", **CREATE)[0] == "LimitExceededException"


def test_internal_streams_cannot_be_a_source(place):
    create(place, "a")
    source = {
        "KinesisStreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/$firehose:a",
        "RoleARN": ROLE,
    }
    code, _ = refused(
        place, "CreateDeliveryStream", **CREATE, **KINESIS, KinesisStreamSourceConfiguration=source
    )
    assert code == "ValidationException"


# --- listing ---


def test_names_are_listed_in_order_and_in_pages(place):
    for number in range(12):
        create(place, f"d{number:02d}")
    first = place.ok("ListDeliveryStreams")
    assert first["HasMoreDeliveryStreams"]
    assert first["DeliveryStreamNames"] == [f"d{number:02d}" for number in range(10)]
    rest = place.ok("ListDeliveryStreams", ExclusiveStartDeliveryStreamName="d09", Limit=2)
    assert rest == {"DeliveryStreamNames": ["d10", "d11"], "HasMoreDeliveryStreams": False}
    assert place.ok("ListDeliveryStreams", DeliveryStreamType="KinesisStreamAsSource") == {
        "DeliveryStreamNames": [],
        "HasMoreDeliveryStreams": False,
    }


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


# --- the end of a delivery stream ---


def test_a_deleted_delivery_stream_takes_nothing_more(place):
    create(place)
    place.ok("DeleteDeliveryStream", DeliveryStreamName="d")
    found = place.ok("DescribeDeliveryStream", DeliveryStreamName="d")["DeliveryStreamDescription"]
    assert found["DeliveryStreamStatus"] == "DELETING"
    assert refused(place, "PutRecord", DeliveryStreamName="d", Record={"Data": ""}) == (
        "ResourceNotFoundException",
        "Firehose d under account 000000000000 is not active: DELETING.",
    )
    place.ok("DeleteDeliveryStream", DeliveryStreamName="d")  # once more is no error


@pytest.mark.parametrize("operation", ["DeleteDeliveryStream", "DescribeDeliveryStream"])
def test_what_is_not_there_is_not_found(place, operation):
    assert refused(place, operation, DeliveryStreamName="none") == (
        "ResourceNotFoundException",
        "Firehose none under account 000000000000 not found.",
    )


def test_what_is_being_created_cannot_be_deleted(place):
    create(place)
    place.deliveries.update("d", status=document.CREATING)
    assert refused(place, "DeleteDeliveryStream", DeliveryStreamName="d")[0] == "ResourceInUseException"


def test_what_failed_to_be_created_is_described_with_the_reason_and_can_be_deleted(place):
    create(place)
    place.deliveries.update("d", status=document.CREATING_FAILED, failure="no such bucket")
    found = place.ok("DescribeDeliveryStream", DeliveryStreamName="d")["DeliveryStreamDescription"]
    assert found["FailureDescription"] == {"Type": "UNKNOWN_ERROR", "Details": "no such bucket"}
    place.ok("DeleteDeliveryStream", DeliveryStreamName="d")
    assert place.deliveries.list() == []
    assert place.streams.list(internal=True) == []


def test_what_failed_to_be_deleted_goes_by_force_only(place):
    create(place)
    place.deliveries.update("d", status=document.DELETING_FAILED, failure="down")
    code, message = refused(place, "DeleteDeliveryStream", DeliveryStreamName="d")
    assert code == "ResourceInUseException"
    assert "AllowForceDelete" in message
    place.ok("DeleteDeliveryStream", DeliveryStreamName="d", AllowForceDelete=True)
    assert place.deliveries.get("d").force


def test_a_crash_while_removing_leaves_no_buffer_behind(place):
    create(place)
    place.log.catalogue.delete(document.DELIVERY, "d")
    place.reopen()
    assert place.streams.list(internal=True) == []


# --- tags ---


def test_tags_are_kept_added_listed_and_removed(place):
    place.ok("CreateDeliveryStream", **CREATE, Tags=[{"Key": "b", "Value": "1"}, {"Key": "a"}])
    place.ok("TagDeliveryStream", DeliveryStreamName="d", Tags=[{"Key": "b", "Value": "2"}, {"Key": "c"}])
    place.ok("UntagDeliveryStream", DeliveryStreamName="d", TagKeys=["a", "none"])
    assert place.ok("ListTagsForDeliveryStream", DeliveryStreamName="d") == {
        "Tags": [{"Key": "b", "Value": "2"}, {"Key": "c", "Value": ""}],
        "HasMoreTags": False,
    }
    page = place.ok("ListTagsForDeliveryStream", DeliveryStreamName="d", Limit=1)
    assert page == {"Tags": [{"Key": "b", "Value": "2"}], "HasMoreTags": True}
    rest = place.ok("ListTagsForDeliveryStream", DeliveryStreamName="d", ExclusiveStartTagKey="b")
    assert [tag["Key"] for tag in rest["Tags"]] == ["c"]


def test_tags_have_a_limit_and_an_alphabet(place):
    create(place)
    tags = [{"Key": f"k{number}"} for number in range(50)]
    place.ok("TagDeliveryStream", DeliveryStreamName="d", Tags=tags)
    code, _ = refused(place, "TagDeliveryStream", DeliveryStreamName="d", Tags=[{"Key": "more"}])
    assert code == "LimitExceededException"
    code, message = refused(
        place, "TagDeliveryStream", DeliveryStreamName="d", Tags=[{"Key": "k", "Value": "a;b"}]
    )
    assert (code, "tags.1.member.value" in message) == ("ValidationException", True)


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
