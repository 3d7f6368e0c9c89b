# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: each operation of Data Streams takes what the public service model lets it take, and refuses everything else
with an error that the model knows. Method: requests made from botocore's copy of the model, one for each member and
each constraint of it, sent as raw JSON to a server in its own process."""

import copy
import itertools
import json
import urllib.error
import urllib.request

import botocore.session
import pytest

from headrace.streams import OPERATIONS

MODEL = botocore.session.get_session().get_service_model("kinesis")
ACCOUNT = "000000000000"
SHARD = "shardId-000000000000"
NAMES = sorted(OPERATIONS)
# What the service may answer to any operation, beside the errors that the model names for it.
COMMON = {"ValidationException", "SerializationException", "InvalidArgumentException"}
UNADDRESSED = {"CreateStream", "ListStreams", "GetRecords"}  # these take no stream by name
BY_RESOURCE = {"TagResource", "UntagResource", "ListTagsForResource"}
_numbers = itertools.count()


def arn_of(name):
    return f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/{name}"


@pytest.fixture
def send(endpoint):
    """Send members, or bytes as they are; status and decoded answer."""

    def post(operation, members):
        body = members if isinstance(members, bytes) else json.dumps(members).encode()
        headers = {
            "X-Amz-Target": f"Kinesis_20131202.{operation}",
            "Content-Type": "application/x-amz-json-1.1",
        }
        try:
            with urllib.request.urlopen(
                urllib.request.Request(endpoint, body, headers), timeout=60
            ) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    return post


@pytest.fixture
def refuse(send):
    """(code, message) of a request that must fail, with an error that the model names."""

    def post(operation, members):
        status, answer = send(operation, members)
        assert status == 400, (members, answer)
        known = {shape.name for shape in MODEL.operation_model(operation).error_shapes}
        assert answer["__type"] in known | COMMON
        return answer["__type"], answer["message"]

    return post


@pytest.fixture
def stream(send):
    """A new stream of two shards."""
    name = f"shapes-{next(_numbers)}"
    assert send("CreateStream", {"StreamName": name, "ShardCount": 2})[0] == 200
    yield name
    send("DeleteStream", {"StreamName": name})


def valid(operation, name, send):
    """Members with which an operation succeeds, but for the stream's address."""
    place = {"ShardId": SHARD, "ShardIteratorType": "TRIM_HORIZON"}
    members = {
        "CreateStream": {"StreamName": f"shapes-{next(_numbers)}", "ShardCount": 1},
        "PutRecord": {"Data": "eA==", "PartitionKey": "k"},
        "PutRecords": {"Records": [{"Data": "eA==", "PartitionKey": "k"}]},
        "GetShardIterator": place,
        "SplitShard": {"ShardToSplit": SHARD, "NewStartingHashKey": "1000"},
        "MergeShards": {"ShardToMerge": SHARD, "AdjacentShardToMerge": "shardId-000000000001"},
        "UpdateShardCount": {"TargetShardCount": 4, "ScalingType": "UNIFORM_SCALING"},
        "IncreaseStreamRetentionPeriod": {"RetentionPeriodHours": 48},
        "DecreaseStreamRetentionPeriod": {"RetentionPeriodHours": 24},
        "AddTagsToStream": {"Tags": {"k": "v"}},
        "RemoveTagsFromStream": {"TagKeys": ["k"]},
        "TagResource": {"Tags": {"k": "v"}, "ResourceARN": arn_of(name)},
        "UntagResource": {"TagKeys": ["k"], "ResourceARN": arn_of(name)},
        "ListTagsForResource": {"ResourceARN": arn_of(name)},
    }
    if operation == "GetRecords":
        found = send("GetShardIterator", {"StreamName": name, **place})[1]
        return {"ShardIterator": found["ShardIterator"]}
    return members.get(operation, {})


def addressed(operation, name):
    """The ways in which an operation can be told its stream."""
    if operation in UNADDRESSED | BY_RESOURCE:
        return [{}]
    by_name, by_arn = {"StreamName": name}, {"StreamARN": arn_of(name)}
    return [by_name, by_arn, by_name | by_arn]


def check_answer(shape, value, path):
    """An answer has the members that its shape requires, no others, and each is of its type."""
    kind = {
        "structure": dict,
        "list": list,
        "string": str,
        "blob": str,
        "boolean": bool,
        "timestamp": (int, float),
        "integer": int,
        "long": int,
    }[shape.type_name]
    assert isinstance(value, kind), path
    if shape.type_name == "structure":
        assert set(shape.required_members) <= set(value) <= set(shape.members), path
        for name, item in value.items():
            check_answer(shape.members[name], item, f"{path}.{name}")
    elif shape.type_name == "list":
        for item in value:
            check_answer(shape.member, item, path + "[]")


@pytest.mark.parametrize("operation", NAMES)
def test_it_succeeds_by_name_arn_and_both_and_answers_in_its_shape(send, operation):
    for way in range(3):
        name = f"shapes-{next(_numbers)}"
        assert send("CreateStream", {"StreamName": name, "ShardCount": 2})[0] == 200
        send("PutRecord", {"StreamName": name, "Data": "eA==", "PartitionKey": "k", "ExplicitHashKey": "0"})
        ways = addressed(operation, name)
        members = valid(operation, name, send) | ways[way % len(ways)]
        status, answer = send(operation, members)
        assert status == 200, answer
        output = MODEL.operation_model(operation).output_shape
        if output is None:
            assert answer is None
        else:
            check_answer(output, answer, operation)
        send("DeleteStream", {"StreamName": name})


@pytest.mark.parametrize("operation", [name for name in NAMES if name not in UNADDRESSED])
def test_a_stream_that_is_not_there_is_said_so(send, refuse, operation, stream):
    gone = "nowhere"
    members = valid(operation, stream, send)
    if operation in BY_RESOURCE:
        members = members | {"ResourceARN": arn_of(gone)}
        found = [refuse(operation, members)]
    else:
        found = [refuse(operation, members | address) for address in addressed(operation, gone)]
    text = f"Stream {gone} under account {ACCOUNT} not found."
    if operation == "GetShardIterator":
        text = f"Shard {SHARD} in stream {gone} under account {ACCOUNT} does not exist"
    assert set(found) == {("ResourceNotFoundException", text)}


@pytest.mark.parametrize("operation", [name for name in NAMES if name not in UNADDRESSED | BY_RESOURCE])
def test_no_address_and_two_that_differ_are_refused(send, refuse, operation, stream):
    members = valid(operation, stream, send)
    assert refuse(operation, members)[0] == "InvalidArgumentException"
    both = members | {"StreamName": stream, "StreamARN": arn_of("other")}
    assert refuse(operation, both)[0] == "InvalidArgumentException"


@pytest.mark.parametrize(
    "operation", [n for n in NAMES if "StreamId" in MODEL.operation_model(n).input_shape.members]
)
def test_stream_ids_are_refused_not_ignored(send, refuse, operation, stream):
    members = valid(operation, stream, send) | addressed(operation, stream)[0]
    identifier = "abcdefghij0123456789-abc"
    code, message = refuse(operation, members | {"StreamId": identifier})
    assert (code, "StreamId is not supported" in message) == ("InvalidArgumentException", True)


@pytest.mark.parametrize(
    "operation", [n for n in NAMES if "DryRun" in MODEL.operation_model(n).input_shape.members]
)
def test_a_dry_run_does_nothing_and_finds_what_is_wrong(send, refuse, operation, stream):
    members = valid(operation, stream, send) | addressed(operation, stream)[0]
    assert refuse(operation, members | {"DryRun": True}) == (
        "DryRunOperationException",
        "Request would have succeeded, but DryRun flag is set.",
    )
    assert send(operation, members | {"DryRun": False})[0] == 200
    for name in MODEL.operation_model(operation).input_shape.required_members:
        less = {key: value for key, value in members.items() if key != name}
        assert refuse(operation, less | {"DryRun": True})[0] == "ValidationException"
    iterator = send(
        "GetShardIterator", {"StreamName": stream, "ShardId": SHARD, "ShardIteratorType": "TRIM_HORIZON"}
    )[1]["ShardIterator"]
    kept = len(send("GetRecords", {"ShardIterator": iterator})[1]["Records"])
    assert kept <= 1  # what the dry run would have put is not there


# --- wrong values, one for each member and constraint of the model ---

_WRONG = {"string": 5, "blob": 5, "integer": "five", "boolean": "maybe", "timestamp": "now"}


def places(shape, path=()):
    """Every (path, shape) inside an input: names of members, 0 for the item of a list."""
    for name, member in shape.members.items():
        yield (*path, name), member
        if member.type_name == "structure":
            yield from places(member, (*path, name))
        elif member.type_name == "list" and member.member.type_name == "structure":
            yield from places(member.member, (*path, name, 0))


def put_at(members, path, value):
    """A copy of the members with a value at a path; what is missing on the way is made."""
    changed = place = copy.deepcopy(members)
    for step, follower in itertools.pairwise(path):
        if isinstance(place, dict) and step not in place:
            place[step] = [{}] if follower == 0 else {}
        place = place[step]
    place[path[-1]] = value
    return changed


def shown(path):
    """A path as error texts write it."""
    steps = ("1.member" if step == 0 else step[0].lower() + step[1:] for step in path)
    return ".".join(steps)


def breaches(shape):
    """(a value that breaks one constraint, the words for that constraint)."""
    limits, raw = shape.metadata, shape._shape_model
    if shape.type_name == "string":
        if raw.get("enum"):
            yield "SIDEWAYS", "Member must satisfy enum value set: ["
        if "pattern" in raw:
            yield "! !", "Member must satisfy regular expression pattern: "
        if "max" in limits:
            yield "a" * (limits["max"] + 1), f"Member must have length less than or equal to {limits['max']}"
        if limits.get("min"):
            yield "", f"Member must have length greater than or equal to {limits['min']}"
    elif shape.type_name == "integer":
        if "max" in limits:
            yield limits["max"] + 1, f"Member must have value less than or equal to {limits['max']}"
        if "min" in limits:
            yield limits["min"] - 1, f"Member must have value greater than or equal to {limits['min']}"
    elif shape.type_name in ("list", "map"):
        many, few = limits.get("max"), limits.get("min")
        item = {"PartitionKey": "k", "Data": "eA=="} if shape.type_name == "list" else None
        if shape.type_name == "list" and shape.member.type_name == "string":
            item = "k"
        if many:
            full = [item] * (many + 1) if item else {f"k{i}": "v" for i in range(many + 1)}
            yield full, f"Member must have length less than or equal to {many}"
        if few:
            yield [] if item else {}, f"Member must have length greater than or equal to {few}"


@pytest.mark.parametrize("operation", NAMES)
def test_each_constraint_of_the_model_is_held_to_in_its_words(send, refuse, operation, stream):
    base = valid(operation, stream, send) | addressed(operation, stream)[0]
    for path, shape in places(MODEL.operation_model(operation).input_shape):
        for value, words in breaches(shape):
            code, message = refuse(operation, put_at(base, path, value))
            assert code == "ValidationException", (path, message)
            assert f"at '{shown(path)}' failed to satisfy constraint: {words}" in message, (path, message)


@pytest.mark.parametrize("operation", NAMES)
def test_each_required_member_must_be_there(send, refuse, operation, stream):
    base = valid(operation, stream, send) | addressed(operation, stream)[0]
    for name in MODEL.operation_model(operation).input_shape.required_members:
        for less in ({k: v for k, v in base.items() if k != name}, base | {name: None}):
            assert refuse(operation, less) == (
                "ValidationException",
                f"1 validation error detected: Value null at '{shown((name,))}' failed to satisfy constraint: "
                "Member must not be null",
            )


@pytest.mark.parametrize("operation", NAMES)
def test_each_member_of_a_wrong_type_is_refused(send, refuse, operation, stream):
    base = valid(operation, stream, send) | addressed(operation, stream)[0]
    for path, shape in places(MODEL.operation_model(operation).input_shape):
        wrong = [_WRONG[shape.type_name], [], {}] if shape.type_name in _WRONG else ["text", 5, True]
        for value in wrong:
            code, message = refuse(operation, put_at(base, path, value))
            assert code == "SerializationException", (path, value, message)


@pytest.mark.parametrize("operation", NAMES)
def test_each_unknown_member_is_passed_over(send, operation, stream):
    base = valid(operation, stream, send) | addressed(operation, stream)[0]
    assert send(operation, base | {"Unheard": {"of": [1, None, {"x": "\x00"}]}})[0] == 200


NOT_JSON_OBJECTS = (
    b"",
    b"null",
    b"[]",
    b"5",
    b'"text"',
    b"{",
    b'{"StreamName":"a"',
    b'{"StreamName":"a"}}',
    b'{"StreamName":"a",}',
    b"{'StreamName':'a'}",
    b'{"StreamName":"\xff"}',
    b'{"Unheard":"\xff"}',
    b'{"StreamName":"\\ud800"}',
    b'{"StreamName":"a\x00"}',
    b"\x00",
    b'{"x":' + b"[" * 70 + b"]" * 70 + b"}",
    b'{"x":' * 100_000,
    b"[" * 1_000_000,
    b'{"StreamName":NaN}',
)


@pytest.mark.parametrize("operation", NAMES)
def test_what_is_not_a_json_object_is_refused(refuse, operation):
    for body in NOT_JSON_OBJECTS:
        assert refuse(operation, body)[0] == "SerializationException", body[:40]
