# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The gate of the format: what a record costs more when a lane carries 1,000 shards with a reader each.

    python bench/gate.py [--records N] [--turn N]

Method: records of 100 bytes are put into a `process` lane in groups of 500, keys spread over all shards; after
each turn every reader takes what is new of its shard. The same is done with one shard and one reader, turn
about, three times; CPU time of this process, put and read apart, median. The page cache is warmed by a run
that is thrown away. Limit: one process, one thread, nothing else in it; a reader here is a cursor, not a
consumer that computes. The gate is 0.5 µs a record, put and read together.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

from headrace.core._entries import Entries, Router
from headrace.log import Log

GATE_US = 0.5
GROUP = 500
HASH_END = 1 << 128


def run(directory: str, shards: int, records: int, turn: int) -> tuple[float, float]:
    """CPU microseconds a record for putting and for reading."""
    log = Log.open(directory, background=False, codec=None, max_bytes=8 << 30)
    lane = log.create_lane("process")
    edges = [HASH_END * i // shards for i in range(shards + 1)]
    router = Router([(edges[i], edges[i + 1] - 1, i, 0, 1) for i in range(shards)])
    groups = []
    for number in range(turn // GROUP):
        entries = Entries()
        for place in range(GROUP):
            entries.add(b"x" * 100, f"key-{number}-{place}")
        groups.append(entries)
    positions = [0] * shards
    put = read = 0.0
    seen = 0
    while seen < records:
        start = time.process_time()
        for entries in groups:
            router.route(entries)
            lane.commit(lane.append(entries, router, 0))
        middle = time.process_time()
        for shard in range(shards):
            batch = lane.read(shard, positions[shard])
            while len(batch):
                positions[shard] = int(batch.ordinals[-1]) + 1
                batch = lane.read(shard, positions[shard]) if positions[shard] < lane.bounds(shard)[1] else ()
        put += middle - start
        read += time.process_time() - middle
        seen += turn
    assert sum(positions) == seen, "a record was not read"
    log.close()
    return put / seen * 1e6, read / seen * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=400_000)
    parser.add_argument("--turn", type=int, default=20_000, help="records put before the readers' turn")
    arguments = parser.parse_args()
    costs: dict[int, list[tuple[float, float]]] = {1: [], 1000: []}
    for repeat in range(4):
        for shards, found in costs.items():
            with tempfile.TemporaryDirectory(prefix="headrace-gate-", dir=".") as directory:
                cost = run(directory, shards, arguments.records, arguments.turn)
            if repeat:  # the first run warms the page cache
                found.append(cost)
    total = {}
    for shards, found in costs.items():
        put, read = (statistics.median(side) for side in zip(*found, strict=True))
        total[shards] = put + read
        print(f"{shards:>5} shards and readers: put {put:.3f} µs, read {read:.3f} µs a record")
    more = total[1000] - total[1]
    print(f"1,000 cost {more:.3f} µs a record more; the gate is {GATE_US} µs")
    return 0 if more <= GATE_US else 3


if __name__ == "__main__":
    raise SystemExit(main())
