# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Answers are well-formed HTTP whatever their body, and their ids look as they should."""

import http.client
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.server._answers import AnswerWriter, Route


class Socket(io.BytesIO):
    def makefile(self, *_args) -> io.BytesIO:
        return self


def parsed(data: bytes) -> tuple[http.client.HTTPResponse, bytes]:
    response = http.client.HTTPResponse(Socket(data))
    response.begin()
    return response, response.read()


@given(st.sampled_from([200, 400, 403, 413, 431, 500, 503]), st.binary(max_size=300), st.booleans())
def test_any_answer_is_read_back_by_the_standard_library(status, body, close):
    data = AnswerWriter().encode(status, body, b"application/x-amz-json-1.1", b"Allow: POST\r\n", close)
    response, content = parsed(data)
    assert (response.status, content) == (status, body)
    assert response.getheader("Allow") == "POST" and response.getheader("Content-Length") == str(len(body))
    assert response.getheader("Connection") == ("close" if close else None)
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}",
        response.getheader("x-amzn-RequestId"),
    )
    assert re.fullmatch(r"[A-Za-z0-9+/]{76}", response.getheader("x-amz-id-2"))


def test_large_bodies_are_handed_over_beside_their_head():
    body = bytes(300_000)
    assert parsed(AnswerWriter().encode(200, body))[1] == body


def test_the_same_seed_gives_the_same_ids_and_another_does_not():
    first, second, third = (AnswerWriter(seed).encode(200, b"") for seed in (b"a" * 16, b"a" * 16, b"b" * 16))
    assert first == second != third


def test_headers_that_are_too_large_are_refused_not_cut():
    with pytest.raises(ValueError, match="1,024"):
        AnswerWriter().encode(200, b"", b"x" * 2000)


def test_a_route_begins_without_counts():
    route = Route(print, "Echo_1", "Echo")
    assert route.counts == {} and route.latency == (0.0, [0] * 28) and not route.blocking
