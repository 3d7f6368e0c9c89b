# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: boto3 uses Firehose unchanged, each operation and its errors. Method: a server in its own process that
delivers into directories; what it wrote is read back."""

import gzip
import itertools
import time

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::000000000000:role/firehose"
_names = itertools.count()


@pytest.fixture
def firehose(endpoint):
    client = boto3.client(
        "firehose",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )
    yield client
    client.close()


@pytest.fixture
def name():
    return f"delivery-{next(_names)}"


def create(firehose, name, **members):
    destination = {
        "RoleARN": ROLE,
        "BucketARN": f"arn:aws:s3:::{name}",
        "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 1},
        "CompressionFormat": "GZIP",
    }
    return firehose.create_delivery_stream(
        DeliveryStreamName=name, ExtendedS3DestinationConfiguration=destination, **members
    )


def refused(call, **members):
    with pytest.raises(ClientError) as caught:
        call(**members)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_records_are_delivered_and_the_stream_deleted(firehose, name, server):
    arn = create(firehose, name)["DeliveryStreamARN"]
    assert arn == f"arn:aws:firehose:us-east-1:000000000000:deliverystream/{name}"
    assert name in firehose.list_delivery_streams(Limit=1000)["DeliveryStreamNames"]
    description = firehose.describe_delivery_stream(DeliveryStreamName=name)["DeliveryStreamDescription"]
    assert description["DeliveryStreamStatus"] == "ACTIVE"
    answer = firehose.put_record_batch(DeliveryStreamName=name, Records=[{"Data": b"a\n"}, {"Data": b"b\n"}])
    assert answer["FailedPutCount"] == 0
    assert firehose.put_record(DeliveryStreamName=name, Record={"Data": b"c\n"})["RecordId"]
    firehose.delete_delivery_stream(DeliveryStreamName=name)
    deadline = time.monotonic() + 20
    while name in firehose.list_delivery_streams(Limit=1000)["DeliveryStreamNames"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    files = sorted((server.directory / "buckets" / name).rglob("*.gz"))
    assert b"".join(gzip.decompress(file.read_bytes()) for file in files) == b"a\nb\nc\n"


def test_tags_are_kept(firehose, name):
    create(firehose, name, Tags=[{"Key": "team", "Value": "blue"}])
    firehose.tag_delivery_stream(DeliveryStreamName=name, Tags=[{"Key": "stage"}])
    firehose.untag_delivery_stream(DeliveryStreamName=name, TagKeys=["team"])
    found = firehose.list_tags_for_delivery_stream(DeliveryStreamName=name)
    assert found["Tags"] == [{"Key": "stage", "Value": ""}]


def test_errors_have_the_services_codes_and_texts(firehose, name):
    create(firehose, name)
    assert refused(lambda: create(firehose, name)) == (
        "ResourceInUseException",
        f"Firehose {name} under accountId 000000000000 already exists",
    )
    missing = ("ResourceNotFoundException", "Firehose none under account 000000000000 not found.")
    record = {"Data": b""}
    assert refused(firehose.put_record, DeliveryStreamName="none", Record=record) == missing
    assert refused(firehose.put_record_batch, DeliveryStreamName="none", Records=[record]) == missing
    assert refused(firehose.describe_delivery_stream, DeliveryStreamName="none") == missing
    assert refused(firehose.delete_delivery_stream, DeliveryStreamName="none") == missing
    code, message = refused(
        firehose.create_delivery_stream,
        DeliveryStreamName="more",
        HttpEndpointDestinationConfiguration={
            "EndpointConfiguration": {"Url": "https://example.com"},
            "S3Configuration": {"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::b"},
        },
    )
    assert (code, "HttpEndpointDestinationConfiguration" in message) == ("InvalidArgumentException", True)
    code, _ = refused(firehose.update_destination, DeliveryStreamName=name, CurrentDeliveryStreamVersionId="1",
                      DestinationId="d")  # fmt: skip
    assert code == "UnknownOperationException"


def test_a_large_batch_and_a_large_record_are_taken(firehose, name):
    create(firehose, name)
    records = [{"Data": b"x" * 8000}] * 500
    assert firehose.put_record_batch(DeliveryStreamName=name, Records=records)["FailedPutCount"] == 0
    firehose.put_record(DeliveryStreamName=name, Record={"Data": b"x" * 1_024_000})
    code, message = refused(firehose.put_record, DeliveryStreamName=name, Record={"Data": b"x" * 1_024_001})
    assert code == "ValidationException"
    assert "Member must have length less than or equal to 1024000" in message
