# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: delivery streams are made, described, listed, tagged and deleted as the real service does it, in every
state. Method: requests and answers at the service's face, errors included."""

import pytest
from firehose_support import CREATE, KINESIS, ROLE, create, refused, s3

from headrace import limits
from headrace.firehose import document

ARN = "arn:aws:firehose:us-east-1:000000000000:deliverystream/d"


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
