# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What sockets and the load itself carry on this machine: the same workloads on a server that does nothing.

    python -m headrace.bench.ceiling --shape put-1k          the server; it prints its port

No server that does the work can be faster through these sockets with this client. The put figures are those
of a server that throws bodies away, the read figures those of one whose answers lie ready.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
from typing import Any

from headrace.bench import requests
from headrace.bench._sink import serve
from headrace.bench.endpoint import Endpoint
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


def read_answers(shape: Shape) -> list[bytes]:
    """Answers to GetRecords with the records of the load's own templates, 500 KiB of payload each at least."""
    plan = requests.http_plan(Endpoint("http://127.0.0.1:1"), "s", shape, writers=1)
    assert plan.requests is not None and plan.starts is not None and plan.texts is not None
    whole, answers, records = plan.requests.tobytes(), [], []
    text_size = (shape.size + 2) // 3 * 4
    for number in range(plan.count * shape.records):
        start = int(plan.starts[number // shape.records]) + int(plan.texts[number])
        records.append(
            {
                "ApproximateArrivalTimestamp": 1767225600.123,
                "Data": whole[start : start + text_size].decode(),
                "PartitionKey": "web-0001",
                "SequenceNumber": SEQUENCE,
            }
        )
        if len(records) * shape.size >= 500 * 1024:
            answers.append(_answer(MillisBehindLatest=1000, NextShardIterator="A" * 64, Records=records))
            records = []
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--shape", choices=SHAPES, default="put-1k")
    parser.add_argument(
        "--reads", type=int, default=0, help="answers with records on each reading connection"
    )
    arguments = parser.parse_args()
    shape = SHAPES[arguments.shape]
    reads = read_answers(shape) if arguments.reads else []
    with socket.create_server(("127.0.0.1", arguments.port), backlog=256) as listener:
        listener.setblocking(False)
        print(f"listening on port {listener.getsockname()[1]}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            serve(listener.fileno(), control_answers(shape), reads, arguments.reads)


if __name__ == "__main__":
    main()
