# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The process that is killed while it delivers: puts into a stream, and Firehose writes it to a directory.

Arguments and output as in crash_child.py. It ends by itself when all that it put was delivered."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import threading

from crash_child import put

from headrace.config import Config
from headrace.firehose import Buckets, Deliveries, DeliveryKeeper, FirehoseService
from headrace.log import Log
from headrace.streams import Streams

ROLE = "arn:aws:iam::000000000000:role/firehose"


def create_delivery(deliveries: Deliveries, arn: str) -> None:
    """Delivery `d` of the stream into bucket `logs`; an object as soon as there is something to deliver."""
    request = {
        "DeliveryStreamName": "d",
        "DeliveryStreamType": "KinesisStreamAsSource",
        "KinesisStreamSourceConfiguration": {"KinesisStreamARN": arn, "RoleARN": ROLE},
        "ExtendedS3DestinationConfiguration": {
            "RoleARN": ROLE,
            "BucketARN": "arn:aws:s3:::logs",
            "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 0},
        },
    }
    answer = FirehoseService(deliveries).call("CreateDeliveryStream", json.dumps(request).encode())
    assert getattr(answer, "status", 200) == 200, answer


def put_all(stream, seed: int, rounds: int) -> None:
    numbers, lock = random.Random(seed), threading.Lock()
    base = f"s-{numbers.getrandbits(40)}"
    for turn in range(rounds):
        texts = [f"{base}.0.{turn}.{place}." + "x" * numbers.choice((0, 900)) + "\n" for place in range(5)]
        put(stream, [(text, f"key-{numbers.randrange(3)}") for text in texts], lock)


async def run(log: Log, seed: int, rounds: int) -> None:
    streams = Streams(log)
    stream = streams.get("s") or streams.create("s", 2)
    deliveries = Deliveries(
        streams, Buckets(Config(), log.directory), randomness=random.Random(seed).randbytes
    )
    if not [name for name, _ in deliveries.list() if name == "d"]:
        create_delivery(deliveries, stream.arn)
    keeper = DeliveryKeeper(deliveries)
    await keeper.start()
    await asyncio.to_thread(put_all, stream, seed, rounds)
    while True:
        runner = keeper._runners.get("d")
        pipeline = runner.pipeline if runner is not None else None
        ends = {s.number: stream.lane_of(s.number).bounds(s.number)[1] for s in stream.shards}
        if (  # in this order: a record goes from the first to the last
            pipeline is not None
            and all(pipeline._known.get(shard, 0) >= end for shard, end in ends.items())
            and not pipeline.buffer.count
            and pipeline.under_way is None
        ):
            break
        await asyncio.sleep(0.01)
    await keeper.stop()


def main() -> None:
    directory, seed, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    log = Log.open(directory, max_bytes=1 << 30)
    asyncio.run(run(log, seed, rounds))
    log.close()


if __name__ == "__main__":
    main()
