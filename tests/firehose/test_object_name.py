# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: objects are named as the service names them, and prefixes it would refuse are refused. Method: known
names under known randomness; every rule of the documentation, kept and broken."""

import re
from datetime import UTC

import pytest

from headrace.errors import InvalidArgument
from headrace.firehose import java_time
from headrace.firehose.object_name import ObjectName, Prefix

MOMENT = 1_700_000_000_123  # 2023-11-14T22:13:20Z
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def counting():
    """Bytes that differ from call to call."""
    state = [0]

    def more(size):
        state[0] += 1
        return bytes([state[0]]) * size

    return more


def name(prefix, extension="", zone=UTC):
    return ObjectName(Prefix(prefix, zone), "logs", "1", extension, zone).make(MOMENT, counting())


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", "2023/11/14/22/"),
        ("raw/", "raw/2023/11/14/22/"),
        ("raw", "raw2023/11/14/22/"),
        ("y=!{timestamp:yyyy}/", "y=2023/"),
        ("!{timestamp:'dt='yyyy-MM-dd}/", "dt=2023-11-14/"),
        ("!{timestamp:yyyy}/!{timestamp:HH}/", "2023/22/"),
        ("a!b/!c/", "a!b/!c/2023/11/14/22/"),
    ],
)
def test_names_begin_with_the_evaluated_prefix(prefix, expected):
    found = name(prefix)
    assert re.fullmatch(re.escape(expected) + r"logs-1-2023-11-14-22-13-20-" + UUID, found), found


def test_the_extension_comes_last():
    assert name("", ".gz").endswith(".gz")


def test_times_are_those_of_the_zone_in_prefix_and_suffix():
    found = name("", zone=java_time.zone("Asia/Tokyo"))
    assert found.startswith("2023/11/15/07/logs-1-2023-11-15-07-13-20-")


def test_random_strings_have_11_characters_and_are_new_each_time():
    prefix = Prefix("!{firehose:random-string}/!{firehose:random-string}/!{timestamp:yyyy}/")
    first, second, year, _ = prefix.evaluate(MOMENT, counting()).split("/")
    assert (len(first), len(second), year) == (11, 11, "2023")
    assert first != second


def test_a_prefix_with_only_a_random_string_gets_the_default_time():
    assert re.fullmatch(
        r"[0-9a-f-]{11}/2023/11/14/22/", Prefix("!{firehose:random-string}/").evaluate(MOMENT, counting())
    )


def test_names_differ_though_everything_else_is_the_same():
    namer, random = ObjectName(Prefix(""), "logs", "1", "", UTC), counting()
    assert len({namer.make(MOMENT, random) for _ in range(100)}) == 100


def test_an_error_prefix_may_name_the_error_type_and_gets_no_time():
    prefix = Prefix("errors/!{firehose:error-output-type}/!{timestamp:yyyy}/", member="ErrorOutputPrefix")
    assert prefix.expressions
    assert prefix.evaluate(MOMENT, counting()) == "errors//2023/"
    assert Prefix("errors/", member="ErrorOutputPrefix").evaluate(MOMENT, counting()) == "errors/"


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("!{timestamp:yyyy", "can only appear in"),
        ("!{timestamp:!{x}}", "can only appear in"),
        ("!{}", "expressions have the form"),
        ("!{timestamp:}", "expressions have the form"),
        ("!{timestamp:F}", "letter F is not supported"),
        ("!{timestamp:'a}", "incomplete string literal"),
        ("!{firehose:error-output-type}", "Prefix cannot contain !{firehose:error-output-type}"),
        ("!{firehose:random}", "is not an expression"),
        ("!{date:yyyy}", "is not an expression"),
        ("!{partitionKeyFromQuery:id}", "DynamicPartitioningConfiguration"),
        ("!{partitionKeyFromLambda:id}", "DynamicPartitioningConfiguration"),
        ("/a/", "cannot begin with a slash"),
        ("a//b/", "cannot begin with a slash"),
        ("../b/", "cannot begin with a slash"),
        ("a/./", "cannot begin with a slash"),
        ("!{timestamp:'..'}/", "cannot begin with a slash"),
        ("a\nb/", "control characters"),
        ("a" * 600 + "/", "cannot be greater than 512 characters after it is evaluated"),
        ("a/" * 250 + "!{timestamp:EEEE/MMMM}/", "cannot be greater than 512 characters"),
        ("a" * 300 + "/b/", "have at most 240 bytes"),
    ],
)
def test_prefixes_that_cannot_be_are_refused(prefix, message):
    with pytest.raises(InvalidArgument) as caught:
        name(prefix)
    assert message in caught.value.message


def test_an_error_prefix_with_expressions_must_name_the_error_type():
    with pytest.raises(InvalidArgument, match=r"at least one instance of !{firehose:error-output-type}"):
        Prefix("!{timestamp:yyyy}/", member="ErrorOutputPrefix")


@pytest.mark.parametrize("prefix", ["/raw/", "a//b/", "a/../b/", "a/" + "x" * 250 + "/"])
def test_a_refused_prefix_is_shown_as_it_was_written(prefix):
    with pytest.raises(InvalidArgument) as raised:
        name(prefix)
    assert raised.value.message.endswith(f": {prefix}")
    assert "2027" not in raised.value.message
