# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A small fake Kinesis that waits a known time and spoils records on request: it measures the measurement.

    python -m headrace.bench.stub --delay-ms 50 --fault lose

It keeps records in memory, in the shards that the MD5 of their keys says, and prints its port. Faults (each once,
at the record numbered --at): lose, double, change, reorder, rekey, misplace, renumber, refuse,
hang-up (the connection ends without an answer, and the records are there).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
from typing import Any

FAULTS = ("none", "lose", "double", "change", "reorder", "rekey", "misplace", "renumber", "refuse", "hang-up")
READ_MAX = 1000
HASH_KEYS = 2**128


class Stub:
    """The state: streams of shards of records, and the fault that is still to happen."""

    def __init__(self, delay: float, fault: str, at: int) -> None:
        self.delay = delay
        self.fault = fault
        self.at = at
        self.count = 0
        self.hung_up = False
        self.streams: dict[str, list[list[dict[str, str]]]] = {}

    def put(self, stream: str, record: dict[str, str]) -> dict[str, str]:
        """Take one record, spoiled if its turn has come; the answer is always that of a healthy service."""
        shards = self.streams[stream]
        digest = hashlib.md5(record["PartitionKey"].encode(), usedforsecurity=False).digest()
        shard = int.from_bytes(digest, "big") * len(shards) // HASH_KEYS
        number, self.count = self.count, self.count + 1
        kept = {
            "Data": record["Data"],
            "PartitionKey": record["PartitionKey"],
            "SequenceNumber": f"{number + 1}",
        }
        answer = {"ShardId": f"shardId-{shard:012d}", "SequenceNumber": kept["SequenceNumber"]}
        fault = self.fault if number == self.at else "none"
        target = shards[(shard + (fault == "misplace")) % len(shards)]
        if fault == "refuse":
            return {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"}
        if fault == "change":
            kept["Data"] = kept["Data"][:-8] + "AAAA" + kept["Data"][-4:]
        if fault == "rekey":
            kept["PartitionKey"] = "another"
        if fault == "renumber":
            answer["SequenceNumber"] = f"{number + 2}"
        if fault == "reorder" and target:
            target[-1]["Data"], kept["Data"] = kept["Data"], target[-1]["Data"]
        elif fault == "reorder":
            self.at += 1  # the first of its shard has nothing to change places with
        if fault != "lose":
            target.append(kept)
        if fault == "double":
            target.append({**kept, "SequenceNumber": f"{number + 1}1"})
        return answer

    def call(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer one operation."""
        name = body.get("StreamName", "")
        if operation == "CreateStream":
            self.streams[name] = [[] for _ in range(body["ShardCount"])]
            return {}
        if operation == "DeleteStream":
            del self.streams[name]
            return {}
        if operation == "DescribeStream":
            shards = shard_descriptions(len(self.streams[name]))
            description = {
                "StreamName": name,
                "StreamStatus": "ACTIVE",
                "HasMoreShards": False,
                "Shards": shards,
            }
            return {"StreamDescription": description}
        if operation == "PutRecord":
            return self.put(name, body)
        if operation == "PutRecords":
            answers = [self.put(name, record) for record in body["Records"]]
            return {"FailedRecordCount": sum("ErrorCode" in answer for answer in answers), "Records": answers}
        if operation == "GetShardIterator":
            return {"ShardIterator": f"{name}/{int(body['ShardId'][8:])}/0"}
        if operation == "GetRecords":
            name, shard, at = body["ShardIterator"].split("/")
            records = self.streams[name][int(shard)][int(at) : int(at) + min(body["Limit"], READ_MAX)]
            after = int(at) + len(records)
            behind = 1000 if after < len(self.streams[name][int(shard)]) else 0
            following = f"{name}/{shard}/{after}"
            return {"MillisBehindLatest": behind, "NextShardIterator": following, "Records": records}
        raise KeyError(operation)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection. Puts and reads wait `delay`; answers go out chunked now and then, as some servers do."""
        turn = 0
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                body = await reader.readexactly(int(fields["content-length"]))
                operation = {name.lower(): name for name in OPERATIONS}[fields["x-amz-target"].split(".")[1]]
                if self.delay and operation in ("PutRecord", "PutRecords", "GetRecords"):
                    await asyncio.sleep(self.delay)
                turn += 1
                try:
                    answer = json.dumps(self.call(operation, json.loads(body))).encode()
                    if self.fault == "hang-up" and not self.hung_up and self.count > self.at:
                        self.hung_up = True
                        break
                    writer.write(chunked(answer) if turn % 4 == 0 else plain(answer))
                except KeyError:
                    writer.write(plain(b'{"__type":"ResourceNotFoundException"}', b"400 Bad Request"))
                await writer.drain()
        writer.close()


def shard_descriptions(count: int) -> list[dict[str, Any]]:
    """What DescribeStream says of `count` shards that divide the hash keys evenly."""
    bounds = [-(-HASH_KEYS * number // count) for number in range(count + 1)]
    return [
        {
            "ShardId": f"shardId-{number:012d}",
            "HashKeyRange": {
                "StartingHashKey": str(bounds[number]),
                "EndingHashKey": str(bounds[number + 1] - 1),
            },
        }
        for number in range(count)
    ]


OPERATIONS = (
    "CreateStream",
    "DeleteStream",
    "DescribeStream",
    "PutRecord",
    "PutRecords",
    "GetShardIterator",
    "GetRecords",
)


def plain(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def chunked(body: bytes) -> bytes:
    half = len(body) // 2
    parts = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"


async def run(arguments: argparse.Namespace) -> None:
    """Listen on loopback for ever."""
    stub = Stub(arguments.delay_ms / 1000, arguments.fault, arguments.at)
    server = await asyncio.start_server(stub.serve, "127.0.0.1", arguments.port, limit=1 << 24)
    print(f"listening on port {server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--fault", choices=FAULTS, default="none")
    parser.add_argument("--at", type=int, default=800, help="number of the record that the fault happens to")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
