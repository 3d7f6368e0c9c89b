# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A small client of the Data Streams and Firehose APIs over plain HTTP, for commands given an endpoint."""

from __future__ import annotations

import base64
import http.client
import itertools
from typing import Any
from urllib.parse import urlsplit

import msgspec

from headrace.errors import Backpressure, ConfigurationError, Error, NotFound, Unreachable

TIMEOUT_S = 60.0


class RemoteStreams:
    """One connection, one call at a time."""

    target = "Kinesis_20131202"
    lists = "headrace streams"

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme != "http" or not parts.hostname:
            raise ConfigurationError(
                f"{endpoint!r} is not an http URL", hint="as in http://127.0.0.1:4567; TLS is not built yet"
            )
        self.endpoint = endpoint
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=TIMEOUT_S)
        self._answered = False  # on this connection, which the server may therefore have closed as idle

    def call(self, operation: str, **members: Any) -> dict[str, Any]:
        """One operation; its error becomes an Error with the service's code and text."""
        body = msgspec.json.encode(members)
        headers = {
            "X-Amz-Target": f"{self.target}.{operation}",
            "Content-Type": "application/x-amz-json-1.1",
        }
        status, data = self._ask("POST", "/", body, headers)
        found: dict[str, Any] = msgspec.json.decode(data, type=dict[str, Any]) if data else {}
        if status != 200:
            raise _error(found, self.lists)
        return found

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        while True:
            try:
                self._connection.request(method, path, body, headers or {})
                answer = self._connection.getresponse()
                data = answer.read()
                self._answered = True
                return answer.status, data
            except (OSError, http.client.HTTPException) as problem:
                self._connection.close()
                idle, self._answered = self._answered and isinstance(problem, ConnectionError), False
                if not idle:
                    raise Unreachable(f"{self.endpoint} does not answer: {problem}") from problem

    def put(self, stream: str, records: list[tuple[str, bytes]]) -> dict[int, tuple[str, str]]:
        """PutRecords of up to 500 (key, data); code and text of those that failed, by their number."""
        entries = [{"Data": base64.b64encode(data).decode(), "PartitionKey": key} for key, data in records]
        answer = self.call("PutRecords", StreamName=stream, Records=entries)
        return {
            number: (found["ErrorCode"], found.get("ErrorMessage") or "no text")
            for number, found in enumerate(answer["Records"])
            if found.get("ErrorCode")
        }

    def shards(self, stream: str) -> list[str]:
        """The ids of all shards, parents before their children."""
        return [shard["ShardId"] for shard in self.shard_list(stream)]

    def shard_list(self, stream: str) -> list[dict[str, Any]]:
        """All shards as the service describes them."""
        found: list[dict[str, Any]] = []
        answer = self.call("ListShards", StreamName=stream)
        while True:
            found += answer["Shards"]
            token = answer.get("NextToken")
            if not token:
                return found
            answer = self.call("ListShards", NextToken=token)

    def iterator(self, stream: str, shard: str, **start: Any) -> str:
        """A shard iterator."""
        answer = self.call("GetShardIterator", StreamName=stream, ShardId=shard, **start)
        return str(answer["ShardIterator"])

    def records(self, iterator: str) -> tuple[list[dict[str, Any]], str | None, int]:
        """(records with decoded Data, next iterator, milliseconds behind)."""
        answer = self.call("GetRecords", ShardIterator=iterator)
        for record in answer["Records"]:
            record["Data"] = base64.b64decode(record["Data"])
        return answer["Records"], answer.get("NextShardIterator"), int(answer["MillisBehindLatest"])

    def close(self) -> None:
        self._connection.close()


class RemoteDeliveries(RemoteStreams):
    """The same for Firehose, with what the server's metrics tell of deliveries."""

    target = "Firehose_20150804"
    lists = "headrace firehose"

    def names(self) -> list[str]:
        """All delivery streams."""
        found: list[str] = []
        more = True
        while more:
            start = {"ExclusiveStartDeliveryStreamName": found[-1]} if found else {}
            answer = self.call("ListDeliveryStreams", Limit=10_000, **start)
            found += answer["DeliveryStreamNames"]
            more = bool(answer["HasMoreDeliveryStreams"])
        return found

    def describe(self, name: str) -> dict[str, Any]:
        answer = self.call("DescribeDeliveryStream", DeliveryStreamName=name)
        found: dict[str, Any] = answer["DeliveryStreamDescription"]
        return found

    def metrics(self) -> dict[str, dict[str, float]]:
        """delivery -> metric without its `headrace_firehose_` -> value."""
        status, data = self._ask("GET", "/-/metrics")
        if status != 200:
            hint = "beyond loopback they need a token" if status == 403 else "is it headrace?"
            raise Unreachable(f"{self.endpoint}/-/metrics answers {status}", hint=hint)
        found: dict[str, dict[str, float]] = {}
        for line in data.decode().splitlines():
            name, brace, rest = line.partition('{delivery="')
            if brace and name.startswith("headrace_firehose_"):
                delivery, _, value = rest.partition('"} ')
                found.setdefault(delivery, {})[name.removeprefix("headrace_firehose_")] = float(value)
        return found


def _error(found: dict[str, Any], lists: str) -> Error:
    code = str(found.get("__type", "InternalFailure")).rpartition("#")[2]
    message = str(found.get("message") or found.get("Message") or code)
    if code == "ResourceNotFoundException":
        return NotFound(message, hint=f"{lists} lists what is there")
    if code == "ProvisionedThroughputExceededException":
        return Backpressure(message)
    return Error(message, code=code)


def spread_key(numbers: itertools.count[int]) -> str:
    """A key for a record without one, so that records spread over the shards."""
    return f"{next(numbers):x}"
