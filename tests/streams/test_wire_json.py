# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: JSON bodies become values of the declared types, or a SerializationException in the service's words.
Method: tables of values for each type; round trips of generated values (Hypothesis)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import limits
from headrace.errors import SerializationError
from headrace.streams import wire_json
from headrace.streams.shapes import Blob, Boolean, Double, Integer, List, Map, String, Structure, Timestamp

INNER = Structure("Inner", {"Data": Blob(), "Key": String()})
SHAPE = Structure(
    "Request",
    {
        "Name": String(),
        "Count": Integer(),
        "Long": Integer(bits=64),
        "Rate": Double(),
        "Flag": Boolean(),
        "At": Timestamp(),
        "Data": Blob(),
        "Inner": INNER,
        "List": List(INNER),
        "Map": Map(String(), String()),
    },
)
NUMBER = "class com.amazon.coral.value.json.numbers.TruncatingBigNumber"
LIST = "Start of list found where not expected"
MAP = "Start of structure or map found where not expected."


def parsed(**members):
    return wire_json.parse(SHAPE, json.dumps(members).encode())


def refused(body):
    with pytest.raises(SerializationError) as caught:
        wire_json.parse(SHAPE, body)
    assert (caught.value.code, caught.value.status) == ("SerializationException", 400)
    return caught.value.message


def test_each_type_is_decoded():
    members = {
        "Name": "é",
        "Count": 2147483647,
        "Long": -(1 << 63),
        "Rate": 2,
        "Flag": False,
        "At": 1700000000.25,
        "Data": "AAH/",
        "Inner": {"Data": "", "Other": 1},
        "List": [{"Key": "k"}, None],
        "Map": {"a": "b", "c": None},
        "Unknown": [[[{}]]],
    }
    assert parsed(**members) == {
        "Name": "é",
        "Count": 2147483647,
        "Long": -(1 << 63),
        "Rate": 2.0,
        "Flag": False,
        "At": 1700000000250,
        "Data": b"\x00\x01\xff",
        "Inner": {"Data": b""},
        "List": [{"Key": "k"}, None],
        "Map": {"a": "b"},
    }


def test_null_is_absent_and_the_last_of_duplicate_keys_wins():
    assert wire_json.parse(SHAPE, b'{"Name":null,"Count":1,"Count":2}') == {"Count": 2}


def test_whole_numbers_are_taken_from_fractions_downwards():
    assert parsed(Count=5.9)["Count"] == 5
    assert parsed(Count=-5.1)["Count"] == -6


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("Name", True, "class java.lang.Boolean can not be converted to an String"),
        ("Name", 23, f"{NUMBER} can not be converted to an String"),
        ("Name", 34.56, f"{NUMBER} can not be converted to an String"),
        ("Name", [], LIST),
        ("Name", {}, MAP),
        ("Count", "23", "class java.lang.String can not be converted to an Integer"),
        ("Count", True, "class java.lang.Boolean can not be converted to an Integer"),
        ("Count", 1 << 31, f"{NUMBER} can not be converted to an Integer"),
        ("Count", [], LIST),
        ("Count", {}, MAP),
        ("Long", "23", "class java.lang.String can not be converted to an Long"),
        ("Long", 1 << 63, f"{NUMBER} can not be converted to an Long"),
        ("Rate", "1", "class java.lang.String can not be converted to an Double"),
        ("Rate", 10**400, f"{NUMBER} can not be converted to an Double"),
        ("Flag", "true", "'TRUE' can not be converted to an Boolean"),
        ("Flag", 1, f"{NUMBER} can not be converted to an Boolean"),
        ("Flag", [], LIST),
        ("At", "now", "class java.lang.String can not be converted to milliseconds since epoch"),
        ("At", 1e30, f"{NUMBER} can not be converted to milliseconds since epoch"),
        ("Data", 23, f"{NUMBER} can not be converted to a Blob"),
        ("Data", True, "class java.lang.Boolean can not be converted to a Blob"),
        ("Data", {}, MAP),
        (
            "Data",
            "23456",
            "'23456' can not be converted to a Blob: "
            "Base64 encoded length is expected a multiple of 4 bytes but found: 5",
        ),
        ("Data", "=+/=", "'=+/=' can not be converted to a Blob: Invalid Base64 character: '='"),
        ("Data", "AA A", "'AA A' can not be converted to a Blob: Invalid Base64 character: ' '"),
        ("Data", "é" * 4, "'éééé' can not be converted to a Blob: Invalid Base64 character: 'é'"),
        (
            "Data",
            "+/+=",
            "'+/+=' can not be converted to a Blob: Invalid last non-pad Base64 character dectected",
        ),
        (
            "Data",
            "AAAA+x==",
            "'AAAA+x==' can not be converted to a Blob: Invalid last non-pad Base64 character dectected",
        ),
        ("List", "23", "Expected list or null"),
        ("List", 23, "Expected list or null"),
        ("List", {}, MAP),
        ("List", ["x"], "Expected null"),
        ("List", [[]], LIST),
        ("Map", "23", "Expected map or null"),
        ("Map", [], LIST),
        ("Map", {"a": 1}, f"{NUMBER} can not be converted to an String"),
        ("Inner", "x", "Expected null"),
        ("Inner", [], LIST),
    ],
)
def test_a_wrong_type_has_the_service_s_text(member, value, message):
    assert refused(json.dumps({member: value}, ensure_ascii=False).encode()) == message


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"null", b"{} {}", b'{"Name":}', b'{"Name":"\xff"}', b'{"Unheard":"\xff"}', b'{"\xff":1}',
     b'{"Name":"\\ud800"}',
     b'{"Count":NaN}', b'{"Count":' + b"9" * 5000 + b"}", b'{"Rate":1e999}', b"\xef\xbb\xbf{}", b"\x00"],
)  # fmt: skip
def test_what_is_not_a_json_object_is_refused(body):
    assert refused(body).startswith("The body is not valid JSON: ")


def test_depth_is_bounded_wherever_it_is():
    deep = limits.json_depth_max
    assert wire_json.parse(SHAPE, b'{"Unknown":' + b"[" * (deep - 1) + b"]" * (deep - 1) + b"}") == {}
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        body = b'{"Unknown":' + opening * deep + b"1" + closing * deep + b"}"
        assert refused(body) == f"The body is nested deeper than {deep} levels"
    assert refused(b"[" * 1_000_000) == f"The body is nested deeper than {deep} levels"


def test_brackets_in_strings_and_side_by_side_are_not_depth():
    assert parsed(Name="[" * 1000 + '"{\\' * 100)["Name"].startswith("[[")
    assert len(parsed(List=[{"Key": "]"}] * 500)["List"]) == 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=60,
)


def nesting(value):
    """The plain model of `depth`."""
    if isinstance(value, list):
        return 1 + max(map(nesting, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(nesting, value.values()), default=0)
    return 0


@given(JSON, st.integers(0, 3))
def test_depth_agrees_with_a_plain_count(value, times):
    value = [value] * 40 if times else value
    found = wire_json.depth(json.dumps(value).encode())
    if found > limits.json_depth_max:
        raise AssertionError("nothing generated is that deep")
    assert found >= nesting(value)


@given(JSON)
def test_depth_is_exact_where_there_are_many_brackets(value):
    value = [value, [[]] * limits.json_depth_max]
    assert wire_json.depth(json.dumps(value).encode()) == nesting(value)


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "Name": st.text(),
        "Count": st.integers(-(1 << 31), (1 << 31) - 1),
        "Long": st.integers(-(1 << 63), (1 << 63) - 1),
        "Rate": st.floats(allow_nan=False, allow_infinity=False),
        "Flag": st.booleans(),
        "At": st.integers(0, 4_000_000_000_000),
        "Data": st.binary(),
        "List": st.lists(st.fixed_dictionaries({}, optional={"Data": st.binary(), "Key": st.text()})),
        "Map": st.dictionaries(st.text(), st.text()),
    },
)


@given(VALUES)
def test_what_is_encoded_decodes_to_itself(value):
    assert wire_json.parse(SHAPE, wire_json.encode(SHAPE, value)) == value


@given(st.binary())
def test_any_bytes_decode_or_are_refused(body):
    try:
        wire_json.decode(SHAPE, body)
    except SerializationError:
        pass


def test_an_operation_without_output_answers_nothing():
    assert wire_json.encode(None, None) == b""


def test_times_are_whole_seconds_where_they_are():
    assert wire_json.encode(SHAPE, {"At": 1_700_000_000_000}) == b'{"At":1700000000}'
    assert wire_json.encode(SHAPE, {"At": 1_700_000_000_001}) == b'{"At":1700000000.001}'


def test_absent_members_are_left_out_of_answers():
    assert wire_json.encode(SHAPE, {"Name": None, "Data": b"x"}) == b'{"Data":"eA=="}'
