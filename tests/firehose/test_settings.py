# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: every member of CreateDeliveryStream is carried out or refused by name, and none is accepted and then
ignored. Method: walk all members of botocore's copy of the service model, with every value of an enumeration;
each asks for something and must be refused with its name, or stands in a list here with what it does to an
object. What is switched off must come back from Describe as it was given."""

import gzip
import re

import botocore.session
import pytest
from firehose_support import CREATE, KINESIS, ROLE, refused, s3

from headrace.errors import InvalidArgument
from headrace.firehose import settings
from headrace.firehose.pipeline import Read

INPUT = botocore.session.get_session().get_service_model("firehose").shape_for("CreateDeliveryStreamInput")
S3, EXTENDED = "S3DestinationConfiguration", "ExtendedS3DestinationConfiguration"
SOURCE = "KinesisStreamSourceConfiguration"


# --- all members ---


def leaves(shape, path=()):
    """(path, value that asks for something) of every member that holds no others, as the model allows it."""
    kind = shape.type_name
    if kind == "structure" and shape.members:
        for name, member in shape.members.items():
            yield from leaves(member, (*path, name))
    elif kind == "list":
        yield from leaves(shape.member, (*path, 0))
    elif kind == "map":
        yield path, {"a": "b"}
    elif kind == "string" and shape.enum:
        for value in shape.enum:
            yield path, value
    else:
        yield path, value_of(shape)


def value_of(shape):
    """A value that a member must have which is required beside another."""
    kind = shape.type_name
    if kind == "structure":
        return {name: value_of(shape.members[name]) for name in shape.required_members}
    if kind == "list":
        return [value_of(shape.member)]
    if kind == "string":
        return (
            shape.enum[0] if shape.enum else TEXTS.get(shape.name, "a" * max(1, shape.metadata.get("min", 1)))
        )
    return {
        "boolean": True,
        "integer": max(1, shape.metadata.get("min", 1)),
        "double": 0.5,
        "timestamp": 1_700_000_000,
        "map": {"a": "b"},
    }[kind]


TEXTS = {
    "RoleARN": ROLE,
    "BucketARN": "arn:aws:s3:::other",
    "KinesisStreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/s",
    "AWSKMSKeyARN": "arn:aws:kms:us-east-1:000000000000:key/k",
    "FileExtension": ".json",
    "CustomTimeZone": "Asia/Tokyo",
}


def put(value, shape, path, leaf):
    """`value` with `leaf` at the path, and beside each step what the model requires there."""
    if not path:
        return leaf
    step, *rest = path
    member = shape.member if step == 0 else shape.members[step]
    if step == 0:
        return [put(value[0] if value else value_of(member), member, rest, leaf)]
    found = {**value_of(shape), **(value or {})}
    return {**found, step: put(found.get(step), member, rest, leaf)}


def request_with(path, value):
    """A request that is complete and would be accepted, but for one thing more that it asks for."""
    base = {"DeliveryStreamName": "d"}
    if path[0] == S3:
        base[S3] = {"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::logs"}
    else:
        base[EXTENDED] = s3()
    request = put(base, INPUT, path, value)
    if path[0] == SOURCE:
        request |= KINESIS
    elif value == KINESIS["DeliveryStreamType"]:
        request[SOURCE] = value_of(INPUT.members[SOURCE])
    if path[1:2] == ("BufferingHints",):
        request[path[0]]["BufferingHints"] = {
            "SizeInMBs": 1,
            "IntervalInSeconds": 1,
            **request[path[0]]["BufferingHints"],
        }
    return request


ALL = list(leaves(INPUT))
ON = {  # destination's member: (value, what the object's name or its bytes then are)
    ("RoleARN",): (ROLE, None),
    ("BucketARN",): ("arn:aws:s3:::other", None),
    ("Prefix",): ("a/", r"a/2023/11/14/22/d-1-.*"),
    ("ErrorOutputPrefix",): ("a", None),  # nothing goes there: what fails is tried again without end
    ("BufferingHints", "SizeInMBs"): (1, None),
    ("BufferingHints", "IntervalInSeconds"): (1, None),
    ("CompressionFormat", "UNCOMPRESSED"): ("UNCOMPRESSED", r".*[0-9a-f]{12}"),
    ("CompressionFormat", "GZIP"): ("GZIP", r".*\.gz"),
    ("EncryptionConfiguration", "NoEncryptionConfig"): ("NoEncryption", None),
}
ON_EXTENDED = {
    ("FileExtension",): (".json", r".*\.json"),
    ("CustomTimeZone",): ("Asia/Tokyo", r"2023/11/15/07/d-1-2023-11-15-07-.*"),
    ("S3BackupMode", "Disabled"): ("Disabled", None),
}
ELSEWHERE = {  # what is no destination's, and where its effect is tested
    (
        "DeliveryStreamName",
    ): "test_operations.py: test_a_created_delivery_stream_is_described_as_it_was_asked_for",
    ("DeliveryStreamType", "DirectPut"): "test_keeper.py: test_a_delivery_that_was_there_before_goes_on",
    (
        "DeliveryStreamType",
        "KinesisStreamAsSource",
    ): "test_pipeline.py: test_every_record_is_in_exactly_one_object",
    (SOURCE, "KinesisStreamARN"): "test_pipeline.py: test_every_record_is_in_exactly_one_object",
    (SOURCE, "RoleARN"): "test_operations.py: test_a_stream_as_source_is_described_with_it",
    ("Tags", 0, "Key"): "test_operations.py: test_tags_are_kept_added_listed_and_removed",
    ("Tags", 0, "Value"): "test_operations.py: test_tags_are_kept_added_listed_and_removed",
}


def carried_out(path, value):
    """Whether the lists above say that it is."""
    known = {S3: ON, EXTENDED: ON | ON_EXTENDED}.get(path[0], {})
    return any(
        found in ELSEWHERE or (found[0] == path[0] and found[1:] in known)
        for found in (path, (*path, str(value)))
    )


def refused_name(path):
    """What a refusal calls the thing: the member of a destination that is ours, or all of another's."""
    return ".".join(path[:2]) if path[0] in (S3, EXTENDED) else path[0]


def name_of(case):
    return ".".join(map(str, case[0])) + f"={case[1]}"


def test_the_walk_sees_the_whole_model():
    paths = {path for path, _ in ALL}
    assert len(paths) > 300
    assert {path[0] for path in paths} == set(INPUT.members)
    assert (EXTENDED, "ProcessingConfiguration", "Processors", 0, "Parameters", 0, "ParameterName") in paths
    listed = {(S3, *path) for path in ON} | {(EXTENDED, *path) for path in ON | ON_EXTENDED} | set(ELSEWHERE)
    assert listed <= paths | {(*path, value) for path, value in ALL if isinstance(value, str)}


def test_every_member_is_carried_out_or_refused_by_name(place):
    place.streams.create("s")
    wrong = []
    for case in ALL:
        path, value = case
        status, code, answer = place.call("CreateDeliveryStream", **request_with(path, value))
        if status == 200:
            place.deliveries.remove(request_with(path, value)["DeliveryStreamName"])
        if carried_out(path, value):
            if status != 200:
                wrong.append((name_of(case), answer))
        elif code != "InvalidArgumentException" or not re.match(
            re.escape(refused_name(path)) + r"\b.* is not supported by this version of headrace\.$",
            answer["message"],
        ):
            wrong.append((name_of(case), status, code, answer))
    assert wrong == []


def test_the_tests_named_here_are_there(request):
    for place in ELSEWHERE.values():
        file, name = place.split(": ")
        assert f"def {name}(" in request.path.with_name(file).read_text(), place


# --- what is carried out ---


def delivered(place, request, record=b"record\n"):
    """Make the delivery stream, put a record, and deliver it: (name, bytes) of the object by bucket."""
    place.ok("CreateDeliveryStream", **request)
    place.put("$firehose:d", [(record, None)])
    pipeline = place.pipeline("d")
    pipeline.open_plan()
    while pipeline.poll() is not Read.NOTHING:
        pass
    pipeline.deliver(pipeline.begin(), again=False)
    found = {bucket: place.objects(bucket) for bucket in ("logs", "other")}
    return {bucket: objects.popitem() for bucket, objects in found.items() if objects}


def effects():
    for top, known in ((S3, ON), (EXTENDED, ON | ON_EXTENDED)):
        for path, (value, name) in known.items():
            found = path[:-1] if path[-1] == value else path
            yield pytest.param((top, *found), value, name, id=name_of(((top, *found), value)))


@pytest.mark.parametrize(("path", "value", "name"), list(effects()))
def test_what_is_carried_out_shows_in_the_object_and_in_its_description(place, path, value, name):
    request = request_with(path, value)
    ((bucket, (key, data)),) = delivered(place, request).items()
    assert bucket == ("other" if path[-1] == "BucketARN" else "logs")
    assert re.fullmatch(name or r"2023/11/14/22/d-1-2023-11-14-22-13-20-[0-9a-f-]{36}", key)
    assert (gzip.decompress(data) if value == "GZIP" else data) == b"record\n"
    found = place.ok("DescribeDeliveryStream", DeliveryStreamName="d")["DeliveryStreamDescription"]
    described = found["Destinations"][0][path[0].replace("Configuration", "Description")]
    assert described | request[path[0]] == described


@pytest.mark.parametrize("top", [S3, EXTENDED])
def test_hints_close_an_object_at_their_size_and_at_their_interval(place, top):
    hints = {"SizeInMBs": 2, "IntervalInSeconds": 7}
    place.ok("CreateDeliveryStream", DeliveryStreamName="d", **{top: s3(BufferingHints=hints)})
    pipeline = place.pipeline("d")
    pipeline.open_plan()

    def due(records):
        place.put("$firehose:d", [(b"x" * (1 << 20), None)] * records)
        pipeline.poll()
        return pipeline.buffer.is_due(place.clock.monotonic_ns())

    assert (due(1), due(1)) == (False, True)
    pipeline.deliver(pipeline.begin(), again=False)
    assert not due(1)
    place.clock.advance(6_999)
    assert not due(0)
    place.clock.advance(1)
    assert due(0)


# --- what asks for nothing ---


def everything(shape):
    """A value with all members of a shape."""
    if shape.type_name == "structure":
        return {name: everything(member) for name, member in shape.members.items()}
    return [everything(shape.member)] if shape.type_name == "list" else value_of(shape)


def off(name):
    """All members of an optional part, and that it is off."""
    return {**everything(INPUT.members[EXTENDED].members[name]), "Enabled": False}


OFF = [
    {name: off(name)}
    for name in (
        "CloudWatchLoggingOptions",
        "ProcessingConfiguration",
        "DataFormatConversionConfiguration",
        "DynamicPartitioningConfiguration",
    )
] + [{"S3BackupMode": "Disabled"}, {"CloudWatchLoggingOptions": {}}, {"ProcessingConfiguration": {}}]


@pytest.mark.parametrize("members", OFF, ids="+".join)
def test_what_is_off_is_accepted_and_described_as_it_was_given(place, members):
    ((_, (key, data)),) = delivered(place, {"DeliveryStreamName": "d", EXTENDED: s3(**members)}).items()
    assert (data, key.startswith("2023/11/14/22/d-1-")) == (b"record\n", True)
    found = place.ok("DescribeDeliveryStream", DeliveryStreamName="d")["DeliveryStreamDescription"]
    described = found["Destinations"][0]["ExtendedS3DestinationDescription"]
    assert {name: described[name] for name in members} == members


def test_a_backup_that_is_off_is_described_with_the_services_defaults(place):
    backup = s3(BucketARN="arn:aws:s3:::backup", Prefix="raw/")
    given = s3(S3BackupMode="Disabled", S3BackupConfiguration=backup)
    place.ok("CreateDeliveryStream", DeliveryStreamName="d", ExtendedS3DestinationConfiguration=given)
    found = place.ok("DescribeDeliveryStream", DeliveryStreamName="d")["DeliveryStreamDescription"]
    described = found["Destinations"][0]["ExtendedS3DestinationDescription"]
    assert described["S3BackupMode"] == "Disabled"
    assert described["S3BackupDescription"] == {
        **backup,
        "BufferingHints": {"SizeInMBs": 5, "IntervalInSeconds": 300},
        "CompressionFormat": "UNCOMPRESSED",
        "EncryptionConfiguration": {"NoEncryptionConfig": "NoEncryption"},
        "CloudWatchLoggingOptions": {"Enabled": False},
    }
    assert "S3BackupConfiguration" not in described


@pytest.mark.parametrize("name", ["DataFormatConversionConfiguration", "DynamicPartitioningConfiguration"])
def test_what_is_on_unless_it_is_switched_off_is_refused_when_it_is_empty(place, name):
    request = {"DeliveryStreamName": "d", EXTENDED: s3(**{name: {}})}
    code, message = refused(place, "CreateDeliveryStream", **request)
    assert (code, message.startswith(f"{EXTENDED}.{name} is not supported")) == (
        "InvalidArgumentException",
        True,
    )


# --- what cannot be ---


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


@pytest.mark.parametrize("name", ["a", "a.b", "a-b_c", "A9"])
def test_a_bucket_has_the_name_in_its_arn(name):
    assert settings.bucket_name(f"arn:aws:s3:::{name}") == name
    assert settings.bucket_name(f"arn:aws-cn:s3:::{name}") == name


@pytest.mark.parametrize("name", [".", "..", ".hidden", "a."])
def test_a_name_that_no_bucket_has_is_refused(name):
    with pytest.raises(InvalidArgument, match="is not a bucket's name"):
        settings.bucket_name(f"arn:aws:s3:::{name}")
