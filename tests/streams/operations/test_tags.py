# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: the six operations on tags, by stream and by ARN, every refusal included."""

import pytest

ACCOUNT = "000000000000"
ARN = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/a"


@pytest.fixture
def stream(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=1)
    return kinesis


def tags(kinesis):
    return {tag["Key"]: tag["Value"] for tag in kinesis("ListTagsForResource", ResourceARN=ARN)["Tags"]}


def test_tags_are_added_replaced_and_removed(stream):
    assert stream("AddTagsToStream", StreamName="a", Tags={"a": "1", "b": "2"}) is None
    assert stream("TagResource", ResourceARN=ARN, Tags={"b": "3", "c d_./=+-@:é": ""}) is None
    assert tags(stream) == {"a": "1", "b": "3", "c d_./=+-@:é": ""}
    stream.reopen()
    assert stream("RemoveTagsFromStream", StreamName="a", TagKeys=["a", "absent"]) is None
    assert stream("UntagResource", ResourceARN=ARN, TagKeys=["c d_./=+-@:é"]) is None
    assert tags(stream) == {"b": "3"}


def test_tags_are_listed_by_key_in_pages(stream):
    stream("AddTagsToStream", StreamARN=ARN, Tags={f"k{i}": str(i) for i in range(5)})
    first = stream("ListTagsForStream", StreamName="a", Limit=3)
    assert ([tag["Key"] for tag in first["Tags"]], first["HasMoreTags"]) == (["k0", "k1", "k2"], True)
    rest = stream("ListTagsForStream", StreamName="a", ExclusiveStartTagKey="k2")
    assert ([tag["Key"] for tag in rest["Tags"]], rest["HasMoreTags"]) == (["k3", "k4"], False)


def test_a_stream_has_at_most_fifty_tags(stream):
    stream("AddTagsToStream", StreamName="a", Tags={str(i): "" for i in range(50)})
    stream("AddTagsToStream", StreamName="a", Tags={"0": "changed"})
    refused = (
        "InvalidArgumentException",
        f"Failed to add tags to stream a under account {ACCOUNT} because a given stream cannot have more than 50 "
        "tags associated with it.",
    )
    assert stream.refused("AddTagsToStream", StreamName="a", Tags={"more": ""}) == refused
    assert stream.refused("TagResource", ResourceARN=ARN, Tags={"more": ""}) == refused
    assert len(tags(stream)) == 50


def test_characters_that_tags_may_not_have(stream):
    invalid = (
        "InvalidArgumentException",
        "Some tags contain invalid characters. Valid characters: "
        "Unicode letters, digits, white space, _ . / = + - % @ :.",
    )
    for given in ({"a*": ""}, {"a": "#"}, {"a\u0000": ""}):
        assert stream.refused("AddTagsToStream", StreamName="a", Tags=given) == invalid
        assert stream.refused("TagResource", ResourceARN=ARN, Tags=given) == invalid
    assert stream.refused("RemoveTagsFromStream", StreamName="a", TagKeys=["a*"]) == invalid
    for operation, members, start in (
        ("AddTagsToStream", {"Tags": {"a": "5%"}}, "Failed to add tags to"),
        ("RemoveTagsFromStream", {"TagKeys": ["5%"]}, "Failed to remove tags from"),
    ):
        assert stream.refused(operation, StreamName="a", **members) == (
            "InvalidArgumentException",
            f"{start} stream a under account {ACCOUNT} because some tags contained illegal characters. The allowed "
            "characters are Unicode letters, white-spaces, '_',',','/','=','+','-','@',':'.",
        )


def test_keys_that_are_reserved_for_the_service_cannot_be_added(stream):
    for key in ("aws:a", "AWS:", "Aws:cloudformation:stack-name"):
        for name, operation, members in (
            ("a", "AddTagsToStream", {"StreamName": "a"}),
            ("a", "TagResource", {"ResourceARN": ARN}),
            ("b", "CreateStream", {"StreamName": "b", "ShardCount": 1}),
        ):
            assert stream.refused(operation, Tags={"k": "", key: "v"}, **members) == (
                "InvalidArgumentException",
                f"Failed to add tags to stream {name} under account {ACCOUNT} because some tag keys start with aws:, "
                "which is reserved for system use.",
            )
    assert tags(stream) == {} and stream("ListStreams")["StreamNames"] == ["a"]
    stream("AddTagsToStream", StreamName="a", Tags={"aws": "aws:v", "x-aws:": ""})
    assert stream("RemoveTagsFromStream", StreamName="a", TagKeys=["aws:a"]) is None


def test_shapes_are_held_to(stream):
    for operation, members, place in (
        ("AddTagsToStream", {}, "Value null at 'tags'"),
        ("AddTagsToStream", {"Tags": {}}, "Value '{}' at 'tags'"),
        ("AddTagsToStream", {"Tags": {"k" * 129: ""}}, "Map keys must satisfy constraint"),
        ("AddTagsToStream", {"Tags": {"k": "v" * 257}}, "Map value must satisfy constraint"),
        ("RemoveTagsFromStream", {"TagKeys": []}, "Value '[]' at 'tagKeys'"),
        ("RemoveTagsFromStream", {"TagKeys": ["k" * 129]}, "Member must satisfy constraint"),
        ("RemoveTagsFromStream", {"TagKeys": ["k"] * 51}, "less than or equal to 50"),
        ("ListTagsForStream", {"Limit": 51}, "less than or equal to 50"),
    ):
        code, message = stream.refused(operation, StreamName="a", **members)
        assert code == "ValidationException" and place in message


def test_resources_that_are_not_there(stream):
    code = "ResourceNotFoundException"
    other = ARN[:-1] + "b"
    missing = f"Stream b under account {ACCOUNT} not found."
    assert stream.refused("TagResource", ResourceARN=other, Tags={"k": ""}) == (code, missing)
    assert stream.refused("UntagResource", ResourceARN=other, TagKeys=["k"]) == (code, missing)
    assert stream.refused("ListTagsForResource", ResourceARN=other) == (code, missing)
    for operation in ("AddTagsToStream", "RemoveTagsFromStream", "ListTagsForStream"):
        members = {"AddTagsToStream": {"Tags": {"k": ""}}, "RemoveTagsFromStream": {"TagKeys": ["k"]}}.get(
            operation, {}
        )
        assert stream.refused(operation, StreamName="b", **members) == (code, missing)
    consumer = ARN + "/consumer/c:1"
    queue = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:queue/q"
    for arn in (consumer, queue):
        assert stream.refused("ListTagsForResource", ResourceARN=arn) == (
            code,
            f"Resource {arn} under account {ACCOUNT} not found.",
        )
    assert stream.refused("ListTagsForResource", ResourceARN="nonsense")[0] == "ValidationException"
