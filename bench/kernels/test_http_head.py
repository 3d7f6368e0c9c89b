# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The head of a request: the native parser with its Python face beside httptools and the standard library.

Bias: ours makes one Python object a request and keeps nine headers; the others hand over every header.
The server takes neither path: it calls the C function and makes no object.
"""

import email.parser
import io

import httptools
import pytest

from headrace.core import _http

LEAN = (
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1:4567\r\nX-Amz-Target: Kinesis_20131202.PutRecord\r\n"
    b"Content-Type: application/x-amz-json-1.1\r\nContent-Length: 1420\r\n\r\n"
)
SIGNED = (
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1:4567\r\nAccept-Encoding: identity\r\n"
    b"X-Amz-Target: Kinesis_20131202.PutRecords\r\nContent-Type: application/x-amz-json-1.1\r\n"
    b"User-Agent: Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.1 md/arch#x86_64 lang/python#3.11.7\r\n"
    b"X-Amz-Date: 20261124T000000Z\r\nAuthorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261124/us-east-1/"
    b"kinesis/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature="
    + b"0123456789abcdef"
    * 4
    + b"\r\namz-sdk-invocation-id: 7f6f0d0e-2d33-4f4e-9f0e-0f7c8d1f2a3b\r\namz-sdk-request: attempt=1\r\n"
    b"Content-Length: 707123\r\n\r\n"
)
HEADS = {"lean": LEAN, "signed": SIGNED}


class Collector:
    """What httptools calls."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))


@pytest.mark.parametrize("kind", HEADS)
def test_native(benchmark, kind):
    benchmark.group = f"http head, {kind}"
    head = benchmark(_http.parse, HEADS[kind])
    assert head.method == "POST" and head.head_size == len(HEADS[kind])


@pytest.mark.parametrize("kind", HEADS)
def test_httptools(benchmark, kind):
    benchmark.group = f"http head, {kind}"

    def parse() -> Collector:
        collector = Collector()
        httptools.HttpRequestParser(collector).feed_data(HEADS[kind])
        return collector

    assert len(benchmark(parse).headers) == HEADS[kind].count(b"\r\n") - 2


@pytest.mark.parametrize("kind", HEADS)
def test_standard_library(benchmark, kind):
    benchmark.group = f"http head, {kind}"

    def parse():
        source = io.BytesIO(HEADS[kind])
        return source.readline(), email.parser.BytesParser().parse(source)

    assert benchmark(parse)[1]["Host"] == "127.0.0.1:4567"
