# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: the load reads any server's answers. Method: answers cut anywhere, JSON compared with Python's own."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bench._load import read_answer, scan_answer


def cut(whole: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(whole) + 1) for place in places} | {0, len(whole)})
    return [whole[start:end] for start, end in itertools.pairwise(ends)]


def chunk(body: bytes, sizes: list[int]) -> bytes:
    out, at = b"", 0
    for size in [*sizes, len(body) + 1]:
        part = body[at : at + size]
        if part:
            out += b"%X;name=value\r\n%b\r\n" % (len(part), part)
        at += size
    return out + b"0\r\nTrailer: x\r\n\r\n"


bodies = st.binary(max_size=300)
places = st.lists(st.integers(0, 2000), max_size=8)


@given(bodies, places, st.sampled_from([b"Content-Length", b"content-length", b"CONTENT-LENGTH"]))
def test_an_answer_with_a_length_is_read_however_it_is_cut(body: bytes, at: list[int], name: bytes) -> None:
    whole = b"HTTP/1.1 200 OK\r\nServer: x\r\n%b:  %d \r\nX-Other: a:b\r\n\r\n%b" % (name, len(body), body)
    assert read_answer(cut(whole, at)) == (200, False, body)


@given(bodies, places, st.lists(st.integers(1, 80), max_size=6))
def test_chunks_are_joined_however_they_are_cut(body: bytes, at: list[int], sizes: list[int]) -> None:
    whole = b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunk(
        body, sizes
    )
    assert read_answer(cut(whole, at)) == (400, True, body)


@given(places)
def test_interim_answers_are_skipped(at: list[int]) -> None:
    whole = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
    assert read_answer(cut(whole, at)) == (204, False, b"")


@given(bodies, st.integers(1, 200))
def test_a_part_of_an_answer_is_not_taken_for_the_whole(body: bytes, missing: int) -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    assert read_answer([whole[: -min(missing, len(whole))]]) is None


@pytest.mark.parametrize(
    "whole",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc",  # more than was announced
        b"HTTP/1.1 200 OK\r\n\r\nabc",  # no length: it would end with the connection
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/2 200\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 20x OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"x" * 70_000,
    ],
)
def test_what_is_not_one_whole_answer_is_refused(whole: bytes) -> None:
    with pytest.raises(ValueError, match="answer"):
        read_answer([whole])


plain_text = st.text(max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | plain_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain_text, inner, max_size=3),
    max_leaves=8,
)
record = st.fixed_dictionaries(
    {},
    optional={
        "Data": plain_text,
        "SequenceNumber": st.none() | plain_text,
        "ErrorCode": st.none() | plain_text,
        "ShardId": plain_text,
        "PartitionKey": plain_text,
        "Extra": json_values,
    },
)
answers = st.fixed_dictionaries(
    {},
    optional={
        "Records": st.lists(record, max_size=4),
        "FailedRecordCount": st.integers(0, 500),
        "MillisBehindLatest": st.integers(0, 10**9),
        "NextShardIterator": st.none() | plain_text,
        "SequenceNumber": st.none() | plain_text,
        "Other": json_values,
    },
)


def as_written(value: Any) -> bytes | None:
    return json.dumps(value)[1:-1].encode() if isinstance(value, str) else None


@given(
    answers, st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]), st.randoms(use_true_random=False)
)
def test_the_members_found_are_those_that_pythons_json_finds(
    answer: dict[str, Any], marks: Any, random: Any
) -> None:
    items = list(answer.items())
    random.shuffle(items)
    found = scan_answer(json.dumps(dict(items), separators=marks).encode())
    assert found["FailedRecordCount"] == answer.get("FailedRecordCount", -1)
    assert found["MillisBehindLatest"] == answer.get("MillisBehindLatest", -1)
    assert found["NextShardIterator"] == as_written(answer.get("NextShardIterator"))
    assert found["SequenceNumber"] == as_written(answer.get("SequenceNumber"))
    assert not found["error"]
    names = ("Data", "PartitionKey", "SequenceNumber", "ErrorCode", "ShardId")
    wanted = [{name: as_written(one.get(name)) for name in names} for one in answer.get("Records", [])]
    assert found["Records"] == wanted
    # A string that holds the text '"FailedRecordCount":' is escaped, so the fast look cannot be misled by it.
    assert found["fast"] in (-1, answer.get("FailedRecordCount"))


def test_an_errors_body_is_known_as_one() -> None:
    for name in ("__type", "code", "ErrorCode"):
        assert scan_answer(json.dumps({name: "x", "message": "y"}).encode())["error"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"a"}', b'{"a":1,}x', b'{"Records":[{]}', b'{"a":"b}', b'{"a":1}x']
)
def test_what_is_not_an_object_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="JSON"):
        scan_answer(body)
