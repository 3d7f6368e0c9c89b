# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: the declared table says what the public service model says, and no member of CreateDeliveryStream is
accepted and then ignored. Method: compare with botocore's copy of the model, and walk all of it."""

import copy

import botocore.session
import pytest
from firehose_support import ROLE, s3

from headrace.firehose import OPERATIONS
from headrace.streams.shapes import Blob, Boolean, Double, Integer, List, Map, String, Structure, Timestamp

MODEL = botocore.session.get_session().get_service_model("firehose")
KINDS = {
    "string": String,
    "integer": Integer,
    "long": Integer,
    "double": Double,
    "boolean": Boolean,
    "blob": Blob,
    "timestamp": Timestamp,
    "list": List,
    "map": Map,
    "structure": Structure,
}
# What our answers never hold because it cannot have been asked for.
NEVER_ANSWERED = (
    "DeliveryStreamEncryptionConfiguration",
    "S3BackupDescription",
    "DirectPutSourceDescription",
    "MSKSourceDescription",
    "DatabaseSourceDescription",
)
# Checked in operations.py (the pattern is beyond `re`), and never anything but what we write.
OTHER_PATTERN = ("TagKey", "TagValue", "DeliveryStreamFailureType", "PutResponseRecordId")


def differences(ours, theirs, path):
    """What our shape says otherwise than the model's, as texts."""
    raw = theirs._shape_model
    if not isinstance(ours, KINDS[raw["type"]]):
        yield f"{path}: {type(ours).__name__} for {raw['type']}"
        return
    for bound in ("min", "max"):
        if getattr(ours, bound, None) != raw.get(bound):
            yield f"{path}: {bound} {getattr(ours, bound, None)} for {raw.get(bound)}"
    if isinstance(ours, String) and theirs.name not in OTHER_PATTERN:
        if set(ours.enum) != set(raw.get("enum", ())):
            yield f"{path}: enum {ours.enum} for {raw.get('enum')}"
        if ours.pattern != raw.get("pattern"):
            yield f"{path}: pattern {ours.pattern} for {raw.get('pattern')}"
    elif isinstance(ours, List):
        yield from differences(ours.member, theirs.member, path + "[]")
    elif isinstance(ours, Structure):
        yield from structure_differences(ours, theirs, path)


def structure_differences(ours, theirs, path):
    if ours.name != theirs.name:
        yield f"{path}: name {ours.name} for {theirs.name}"
    if not ours.members and theirs.members:
        return  # refused by name whatever is in it; the walk below sees to that
    if set(ours.required) != set(theirs.required_members):
        yield f"{path}: required {ours.required} for {theirs.required_members}"
    missing = set(ours.members) ^ set(theirs.members)
    if path.startswith("out"):
        missing = {m for m in missing if m not in NEVER_ANSWERED and not m.endswith("Description")}
    if missing:
        yield f"{path}: members {missing}"
    for name in set(ours.members) & set(theirs.members):
        yield from differences(ours.members[name], theirs.members[name], f"{path}.{name}")


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_shapes_are_those_of_the_service_model(name):
    model, ours = MODEL.operation_model(name), OPERATIONS[name]
    assert list(differences(ours.input, model.input_shape, "in")) == []
    assert list(differences(ours.output, model.output_shape, "out")) == []


def sample(shape, seen=()):
    """A value that asks for something: the last of an enumeration, true, the least number, all members."""
    kind = shape.type_name
    if kind == "structure":
        return {
            name: sample(member, (*seen, shape.name))
            for name, member in shape.members.items()
            if member.name not in seen
        }
    if kind == "list":
        return [sample(shape.member, seen)]
    if kind == "map":
        return {"a": sample(shape.value, seen)}
    if kind == "string":
        return text_for(shape)
    if kind == "timestamp":
        return 1_700_000_000
    return {"boolean": True, "integer": max(1, shape.metadata.get("min", 1)), "double": 0.5}[kind]


def text_for(shape):
    if shape.enum:
        return shape.enum[-1]
    known = {"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::other", "FileExtension": ".json"}
    known |= {"AWSKMSKeyARN": "arn:aws:kms:us-east-1:000000000000:key/k", "CustomTimeZone": "Asia/Tokyo"}
    return known.get(shape.name, "a" * max(1, shape.metadata.get("min", 1)))


def paths(shape, path=(), seen=()):
    """Every member of a structure, its own and those inside."""
    if shape.type_name == "structure" and shape.name not in seen:
        for name, member in shape.members.items():
            yield (*path, name)
            yield from paths(member, (*path, name), (*seen, shape.name))
    elif shape.type_name == "list":
        yield from paths(shape.member, (*path, 0), seen)


def shape_at(shape, path):
    for step in path:
        shape = shape.member if step == 0 else shape.members[step]
    return shape


def put(value, path, shape, leaf):
    """`value` with `leaf` at the path, and whatever the members on the way require."""
    step = path[0]
    member = shape.member if step == 0 else shape.members[step]
    inner = leaf if len(path) == 1 else put(blank(member, value, step), path[1:], member, leaf)
    if step == 0:
        return [inner]
    return {**value, step: inner}


def blank(shape, value, step):
    if shape.type_name == "list":
        return []
    found = copy.deepcopy(value.get(step, {})) if isinstance(value, dict) else {}
    for name in shape.required_members:
        found.setdefault(name, sample(shape.members[name]))
    return found


CREATE = MODEL.operation_model("CreateDeliveryStream").input_shape
ALL = list(paths(CREATE))
# What is carried out, and where Describe shows that.
DONE = {
    "RoleARN", "BucketARN", "Prefix", "ErrorOutputPrefix", "BufferingHints", "SizeInMBs", "IntervalInSeconds",
    "EncryptionConfiguration", "NoEncryptionConfig", "FileExtension", "CustomTimeZone",
}  # fmt: skip


def carried_out(path):
    return path[0] in ("DeliveryStreamName", "Tags") or (
        path[0] in ("S3DestinationConfiguration", "ExtendedS3DestinationConfiguration")
        and set(path[1:]) <= DONE
        and len(path) > 1
        and path[-1] != "EncryptionConfiguration"  # all of it asks for KMS too
    )


def test_the_walk_sees_the_whole_model():
    assert len(ALL) > 500
    assert ("ExtendedS3DestinationConfiguration", "ProcessingConfiguration", "Processors", 0, "Type") in ALL


def request_with(path):
    """A request that is complete but for one thing more that it asks for."""
    base = {"DeliveryStreamName": "walk"}
    if path[0] == "S3DestinationConfiguration":
        base["S3DestinationConfiguration"] = {"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::logs"}
    else:
        base["ExtendedS3DestinationConfiguration"] = s3()
    request = put(base, path, CREATE, sample(shape_at(CREATE, path)))
    hints = request.get(path[0], {})
    if path[1:2] == ("BufferingHints",):
        hints["BufferingHints"] = {"SizeInMBs": 1, "IntervalInSeconds": 1, **hints["BufferingHints"]}
    return request


def test_every_member_is_carried_out_or_refused_by_name(place):
    accepted, unnamed = [], []
    for number, path in enumerate(ALL):
        request = request_with(path)
        request["DeliveryStreamName"] = f"walk-{number}"
        status, code, answer = place.call("CreateDeliveryStream", **request)
        names = {str(step) for step in path}
        if carried_out(path):
            if status != 200:
                unnamed.append((path, answer))
        elif status == 200:
            accepted.append(path)
        elif code not in ("InvalidArgumentException", "ValidationException") or not any(
            name.lower() in answer["message"].lower() for name in names
        ):
            unnamed.append((path, answer))
    assert accepted == []
    assert unnamed == []
