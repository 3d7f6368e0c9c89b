# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What sockets and the load itself carry on this machine: the same workloads on a server that does nothing.

    python -m headrace.bench.ceiling --shape put-1k                     the server; it prints its port
    python -m headrace.bench.ceiling --replay http://… --stream NAME    the same, with records for readers

No server that does the work can be faster through these sockets with this client. The put figures are those
of a server that throws bodies away. The read figures are those of one that has recorded every answer of a real
server and gives it again from memory: the same bytes, which the load checks as it does for the real one.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import socket
from typing import Any

from headrace.bench import requests
from headrace.bench._sink import serve
from headrace.bench.endpoint import Endpoint, RefusedCall
from headrace.bench.requests import Shape
from headrace.bench.stub import plain

SHARDS = 4
SHAPES = {"put-1k": requests.PUT_1K, "put-100": requests.PUT_100, "put-single": requests.PUT_SINGLE}
SEQUENCE = "49590338271490256608559692538361571095921575989136588898"


def _answer(**members: Any) -> bytes:
    return plain(json.dumps(members, separators=(",", ":")).encode())


def control_answers(shape: Shape) -> dict[bytes, bytes]:
    """What every operation of a run is answered with; GetRecords: that there is nothing more."""
    shards = [{"ShardId": f"shardId-{number:012d}"} for number in range(SHARDS)]
    description = {"StreamStatus": "ACTIVE", "HasMoreShards": False, "Shards": shards}
    one = {"SequenceNumber": SEQUENCE, "ShardId": "shardId-000000000000"}
    return {
        b"CreateStream": _answer(),
        b"DeleteStream": _answer(),
        b"DescribeStream": _answer(StreamDescription=description),
        b"GetShardIterator": _answer(ShardIterator="A" * 64),
        b"PutRecord": _answer(**one),
        b"PutRecords": _answer(FailedRecordCount=0, Records=[one] * shape.records),
        b"GetRecords": _answer(MillisBehindLatest=0, NextShardIterator="A" * 64, Records=[]),
    }


def recorded(url: str, stream: str) -> list[list[bytes]]:
    """What a server answers to GetRecords, for each shard from its beginning to its end, as whole HTTP answers."""
    endpoint = Endpoint(url)
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=endpoint.timeout)
    head = dict(line.split(": ", 1) for line in endpoint.head("GetRecords").decode().split("\r\n")[1:-1])
    series: list[list[bytes]] = []
    for iterator in endpoint.iterators(stream):
        answers: list[bytes] = []
        following: str | None = iterator.decode()
        while following is not None:
            connection.request("POST", "/", json.dumps({"ShardIterator": following}), head)
            answer = connection.getresponse()
            body = answer.read()
            members = json.loads(body)
            if answer.status != 200:
                raise RefusedCall(f"GetRecords: HTTP {answer.status}: {body[:300]!r}")
            if not members["Records"]:
                break
            answers.append(plain(body))
            following = members["NextShardIterator"]
        series.append(answers)
    connection.close()
    return series


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--shape", choices=SHAPES, default="put-1k")
    parser.add_argument("--replay", metavar="URL", help="give readers what this server answers them")
    parser.add_argument("--stream", default="", help="the stream whose records are replayed")
    arguments = parser.parse_args()
    shape = SHAPES[arguments.shape]
    series = recorded(arguments.replay, arguments.stream) if arguments.replay else []
    with socket.create_server(("127.0.0.1", arguments.port), backlog=256) as listener:
        listener.setblocking(False)
        print(f"listening on port {listener.getsockname()[1]}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            serve(listener.fileno(), control_answers(shape), series)


if __name__ == "__main__":
    main()
