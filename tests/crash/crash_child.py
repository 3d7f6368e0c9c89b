# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The process that is killed: puts records without end and says on standard output which were acknowledged.

Arguments: directory, seed, acknowledgements after which it ends by itself. Each line is a JSON list of
[stream, shard, index, text] that were acknowledged together; it is written after the commit returned, so a
line that the parent reads names records that must survive.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading

from headrace import limits
from headrace.core._entries import Entries
from headrace.log import Log
from headrace.streams import Streams


def small_segments() -> None:
    """So that rolls, seals, cold files and drops happen within a second."""
    limits.segment_size_first = limits.segment_size_max = 48 << 10
    limits.segment_idle_ns = 200_000_000


def put_forever(stream, number: int, seed: int, rounds: int, lock: threading.Lock) -> None:
    """Random groups; texts count up, so that order and copies can be judged."""
    random_numbers = random.Random(seed * 1000 + number)
    base = f"{stream.name}-{random_numbers.getrandbits(40)}"
    for turn in range(rounds):
        entries = Entries()
        texts = []
        for place in range(random_numbers.choice((1, 1, 3, 20))):
            text = f"{base}.{number}.{turn}.{place}." + "x" * random_numbers.choice((0, 10, 300, 3000))
            entries.add(text, f"key-{number}-{random_numbers.randrange(3)}")
            texts.append(text)
        tickets = stream.append(entries)
        for lane, ticket in tickets:
            lane.commit(ticket)
        shards, indexes = entries.shards(stream.router).tolist(), entries.indexes.tolist()
        line = json.dumps([[stream.name, *row] for row in zip(shards, indexes, texts, strict=True)])
        with lock:
            os.write(1, line.encode() + b"\n")


def main() -> None:
    """Two streams, one for each promise, two threads each, and the store's own background work."""
    directory, seed, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    small_segments()
    log = Log.open(directory, max_bytes=1 << 30)
    streams = Streams(log)
    lock = threading.Lock()
    threads = []
    for name, durability in (("process", "process"), ("disk", "disk")):
        stream = streams.get(name) or streams.create(name, 3, durability=durability)
        if os.environ.get("CRASH_LIMIT"):
            for lane in stream.lanes:
                lane.set_limit(300 << 10, "drop_oldest")
        for number in range(2):
            threads.append(threading.Thread(target=put_forever, args=(stream, number, seed, rounds, lock)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()


if __name__ == "__main__":
    main()
