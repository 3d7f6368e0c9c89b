# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a violated limit is reported in the service's words, every kind of limit and every place.
Method: one small shape that has all of them."""

import pytest

from headrace.errors import ValidationError
from headrace.streams import model
from headrace.streams.shapes import (
    Blob,
    Boolean,
    Double,
    Integer,
    List,
    Map,
    String,
    Structure,
    Timestamp,
    validate,
)

ENTRY = Structure("Entry", {"Key": String(1, 4), "Data": Blob(0, 3)}, ("Data",))
SHAPE = Structure(
    "Request",
    {
        "StreamName": String(1, 5, r"[a-z]+"),
        "HashKey": String(pattern=r"^(0|([1-9]\d{0,38}))$"),
        "Mode": String(enum=("ON", "OFF")),
        "Limit": Integer(1, 10),
        "Rate": Double(0.5, 1.5),
        "Flag": Boolean(),
        "At": Timestamp(),
        "Data": Blob(1, 3),
        "Entries": List(ENTRY, 1, 2),
        "Keys": List(String(1, 3), 1, 50),
        "Numbers": List(Integer(1, 3)),
        "Tags": Map(String(1, 3), String(0, 2), 1, 2),
        "Nested": Map(String(), ENTRY),
    },
    ("StreamName",),
)
GOOD = {"StreamName": "abc"}


def refused(**members):
    with pytest.raises(ValidationError) as caught:
        validate(SHAPE, {**GOOD, **members})
    assert (caught.value.code, caught.value.status) == ("ValidationException", 400)
    return caught.value.message


def one(value, path, constraint):
    return (
        f"1 validation error detected: Value {value} at '{path}' failed to satisfy constraint: {constraint}"
    )


def test_what_keeps_all_limits_passes():
    validate(SHAPE, GOOD)
    validate(
        SHAPE,
        {
            "StreamName": "abcde",
            "HashKey": "0",
            "Mode": "ON",
            "Limit": 10,
            "Rate": 1.5,
            "Flag": False,
            "At": 0,
            "Data": b"abc",
            "Entries": [{"Data": b""}],
            "Keys": ["a"],
            "Numbers": [],
            "Tags": {"a": ""},
            "Nested": {"a": {"Data": b""}},
        },
    )


def test_an_absent_required_member_must_not_be_null():
    with pytest.raises(ValidationError) as caught:
        validate(SHAPE, {})
    assert caught.value.message == one("null", "streamName", "Member must not be null")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"StreamName": "A"},
            one("'A'", "streamName", "Member must satisfy regular expression pattern: [a-z]+"),
        ),
        (
            {"StreamName": "a\n"},
            one("'a\n'", "streamName", "Member must satisfy regular expression pattern: [a-z]+"),
        ),
        (
            {"StreamName": "abcdef"},
            one("'abcdef'", "streamName", "Member must have length less than or equal to 5"),
        ),
        (
            {"HashKey": "01"},
            one("'01'", "hashKey", r"Member must satisfy regular expression pattern: 0|([1-9]\d{0,38})"),
        ),
        ({"Mode": "on"}, one("'on'", "mode", "Member must satisfy enum value set: [ON, OFF]")),
        ({"Limit": 0}, one("'0'", "limit", "Member must have value greater than or equal to 1")),
        ({"Limit": 11}, one("'11'", "limit", "Member must have value less than or equal to 10")),
        ({"Rate": 0.25}, one("'0.25'", "rate", "Member must have value greater than or equal to 0.5")),
        (
            {"Data": b"abcd"},
            one(
                "'java.nio.HeapByteBuffer[pos=0 lim=4 cap=4]'",
                "data",
                "Member must have length less than or equal to 3",
            ),
        ),
        ({"Entries": []}, one("'[]'", "entries", "Member must have length greater than or equal to 1")),
        (
            {"Entries": [{"Data": b""}, {"Data": b"", "Key": ""}]},
            one("''", "entries.2.member.key", "Member must have length greater than or equal to 1"),
        ),
        ({"Entries": [{}]}, one("null", "entries.1.member.data", "Member must not be null")),
        ({"Entries": [None]}, one("null", "entries.1.member", "Member must not be null")),
        (
            {"Keys": ["a", "abcd"]},
            one(
                "'[a, abcd]'",
                "keys",
                "Member must satisfy constraint: [Member must have length less than or equal to 3, "
                "Member must have length greater than or equal to 1]",
            ),
        ),
        (
            {"Numbers": [1, 4]},
            one(
                "'[1, 4]'",
                "numbers",
                "Member must satisfy constraint: [Member must have value less than or equal to 3, "
                "Member must have value greater than or equal to 1]",
            ),
        ),
        ({"Tags": {}}, one("'{}'", "tags", "Member must have length greater than or equal to 1")),
        (
            {"Tags": {"long": "v"}},
            one(
                "'{long=v}'",
                "tags",
                "Map keys must satisfy constraint: [Member must have length less than or equal to 3, "
                "Member must have length greater than or equal to 1]",
            ),
        ),
        (
            {"Tags": {"k": "long"}},
            one(
                "'{k=long}'",
                "tags",
                "Map value must satisfy constraint: [Member must have length less than or equal to 2, "
                "Member must have length greater than or equal to 0]",
            ),
        ),
        ({"Nested": {"x": {}}}, one("null", "nested.x.member.data", "Member must not be null")),
    ],
)
def test_each_limit_has_the_service_s_text(members, message):
    assert refused(**members) == message


def test_violations_are_counted_and_joined_pattern_before_length():
    assert refused(StreamName="", Limit=0) == (
        "3 validation errors detected: "
        "Value '' at 'streamName' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: [a-z]+; "
        "Value '' at 'streamName' failed to satisfy constraint: "
        "Member must have length greater than or equal to 1; "
        "Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1"
    )


def test_no_more_than_ten_violations_are_named():
    entries = {"Nested": {str(i): {} for i in range(30)}}
    assert refused(**entries).startswith("10 validation errors detected: ")


def test_lengths_count_utf_16_units():
    emoji = "\N{GRINNING FACE}"
    validate(SHAPE, {**GOOD, "Entries": [{"Data": b"", "Key": emoji * 2}]})
    assert "less than or equal to 4" in refused(Entries=[{"Data": b"", "Key": emoji * 3}])


def test_a_huge_value_is_cut_in_the_text():
    assert len(refused(StreamName="a" * 1_000_000)) < 5_000
    assert len(refused(Keys=["a" * 1_000] * 51)) < 10_000


def test_the_real_services_texts_for_an_empty_get_shard_iterator():
    with pytest.raises(ValidationError) as caught:
        validate(model.GET_SHARD_ITERATOR, {"StreamName": "", "ShardIteratorType": "", "ShardId": ""})
    assert caught.value.message == (
        "5 validation errors detected: "
        "Value '' at 'shardId' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+; "
        "Value '' at 'shardId' failed to satisfy constraint: "
        "Member must have length greater than or equal to 1; "
        "Value '' at 'shardIteratorType' failed to satisfy constraint: Member must satisfy enum value set: "
        "[AFTER_SEQUENCE_NUMBER, LATEST, AT_TIMESTAMP, AT_SEQUENCE_NUMBER, TRIM_HORIZON]; "
        "Value '' at 'streamName' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+; "
        "Value '' at 'streamName' failed to satisfy constraint: "
        "Member must have length greater than or equal to 1"
    )
