# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The process that is killed while it reshards: splits, merges and scales a stream of each promise, while
another thread puts into it. Arguments and output as in crash_child.py; `rounds` counts the reshards."""

from __future__ import annotations

import random
import sys
import threading

from crash_child import put, small_segments

from headrace.log import Log
from headrace.streams import StreamDefaults, Streams


def reshard(stream, numbers: random.Random) -> None:
    """One change of the stream's open shards, between two and eight of them."""
    shards = sorted((shard for shard in stream.shards if shard.open), key=lambda shard: shard.start)
    if len(shards) < 3 or (len(shards) < 7 and numbers.random() < 0.4):
        shard = numbers.choice(shards)
        stream.split(shard.number, (shard.start + shard.end) // 2 + 1)
    elif numbers.random() < 0.5:
        at = numbers.randrange(len(shards) - 1)
        stream.merge(shards[at].number, shards[at + 1].number)
    else:
        stream.scale(numbers.choice([count for count in (2, 3, 4, 6) if count != len(shards)]))


def put_until(stream, number: int, seed: int, over: threading.Event, lock: threading.Lock) -> None:
    numbers = random.Random(seed * 1000 + number)
    base, turn = f"{stream.name}-{numbers.getrandbits(40)}", 0
    while not over.is_set():
        records = [(f"{base}.{number}.{turn}.{i}.", f"key-{numbers.randrange(40)}") for i in range(4)]
        put(stream, records, lock)
        turn += 1
        over.wait(0.001)


def main() -> None:
    directory, seed, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    small_segments()
    log = Log.open(directory, max_bytes=1 << 30)
    streams = Streams(log, defaults=StreamDefaults(cores=4))
    made = [streams.get(name) or streams.create(name, 4, durability=name) for name in ("process", "disk")]
    lock, over, numbers = threading.Lock(), threading.Event(), random.Random(seed)
    threads = [
        threading.Thread(target=put_until, args=(stream, number, seed, over, lock))
        for number, stream in enumerate(made)
    ]
    for thread in threads:
        thread.start()
    for _ in range(rounds):
        reshard(numbers.choice(made), numbers)
    over.set()
    for thread in threads:
        thread.join()
    log.close()


if __name__ == "__main__":
    main()
