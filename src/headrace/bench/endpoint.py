# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The control calls of a benchmark: make a stream, find its shards, get iterators, on any endpoint."""

from __future__ import annotations

import datetime
import http.client
import json
import socket
import time
import urllib.parse
from typing import Any

from headrace import __version__
from headrace.errors import InvalidArgument, RemoteError, Unsupported

CONTENT_TYPE = "application/x-amz-json-1.1"
TARGET_PREFIX = "Kinesis_20131202"

# Some servers look at the form of this header and none of those that are measured here at the signature
# itself. It is sent to all of them alike, so that every one has the same bytes to read.
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/kinesis/aws4_request, "
    "SignedHeaders=content-type;host;x-amz-date;x-amz-target, "
    "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
)


class RefusedCall(RemoteError):
    """The endpoint answered a control call with an error."""


class Endpoint:
    """A Kinesis endpoint on plain HTTP, given as a URL such as http://127.0.0.1:4567.

    The calls here are for setting up and looking up, one connection a call; the load itself is native.
    """

    def __init__(self, url: str, *, timeout: float = 60.0) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme == "https":
            raise Unsupported(f"endpoint {url}: the load generator speaks plain HTTP only")
        if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
            raise InvalidArgument(f"endpoint {url!r} is not of the form http://host:port")
        self.url = url
        self.host = parts.hostname
        self.port = parts.port or 80
        self.timeout = timeout

    @property
    def address(self) -> tuple[str, int]:
        """The IPv4 address and port that the native load connects to."""
        return socket.gethostbyname(self.host), self.port

    def head(self, operation: str) -> bytes:
        """The head of a request without Content-Length and without the empty line."""
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        return (
            f"POST / HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Type: {CONTENT_TYPE}\r\n"
            f"X-Amz-Target: {TARGET_PREFIX}.{operation}\r\nX-Amz-Date: {stamp}\r\n"
            f"User-Agent: headrace-bench/{__version__}\r\nAuthorization: {AUTHORIZATION}\r\n"
        ).encode("ascii")

    def call(self, operation: str, **members: Any) -> dict[str, Any]:
        """Call one operation; returns the answer's members. Raises RefusedCall, or OSError."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        head = dict(line.split(": ", 1) for line in self.head(operation).decode().split("\r\n")[1:-1])
        try:
            connection.request("POST", "/", json.dumps(members), head)
            answer = connection.getresponse()
            body = answer.read()
        except http.client.HTTPException as error:
            raise OSError(f"{self.url} does not answer in HTTP: {error!r}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise RefusedCall(f"{operation}: HTTP {answer.status}: {body[:300].decode('utf-8', 'replace')}")
        return json.loads(body) if body else {}

    def create_stream(self, name: str, shards: int, *, wait: float = 60.0) -> None:
        """Create a stream and wait until it is ACTIVE."""
        self.call("CreateStream", StreamName=name, ShardCount=shards)
        until = time.monotonic() + wait
        while self.call("DescribeStream", StreamName=name)["StreamDescription"]["StreamStatus"] != "ACTIVE":
            if time.monotonic() > until:
                raise RefusedCall(f"stream {name} is not ACTIVE after {wait:g} s")
            time.sleep(0.05)

    def delete_stream(self, name: str) -> None:
        """Delete a stream; a stream that is not there is no error."""
        try:
            self.call("DeleteStream", StreamName=name)
        except RefusedCall as error:
            if "ResourceNotFoundException" not in str(error):
                raise

    def shards(self, name: str) -> list[dict[str, Any]]:
        """All shards of a stream, open and closed, in the order in which the endpoint lists them."""
        found: list[dict[str, Any]] = []
        more: dict[str, Any] = {}
        while True:
            description = self.call("DescribeStream", StreamName=name, **more)["StreamDescription"]
            found += description["Shards"]
            if not description.get("HasMoreShards") or not description["Shards"]:
                return found
            more = {"ExclusiveStartShardId": found[-1]["ShardId"]}

    def hash_key_ranges(self, name: str) -> list[tuple[int, int]]:
        """First and last hash key of each shard, in the order of `iterators`."""
        ranges = [shard["HashKeyRange"] for shard in self.shards(name)]
        return [(int(span["StartingHashKey"]), int(span["EndingHashKey"])) for span in ranges]

    def iterators(self, name: str, kind: str = "TRIM_HORIZON") -> list[bytes]:
        """One iterator for each shard, as the JSON text between its quotes."""
        answers = [
            self.call("GetShardIterator", StreamName=name, ShardId=shard["ShardId"], ShardIteratorType=kind)
            for shard in self.shards(name)
        ]
        return [json.dumps(answer["ShardIterator"])[1:-1].encode("ascii") for answer in answers]
