# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What a put to a `disk` lane waits for, step by step, through the page cache and past it.

    python bench/disk_steps.py [--records N] [--turns N]

Method: one thread, kept on one core, puts groups of N records of 1 KiB over four shards into a lane at its limit,
which drops its oldest segments and uses their files again; 64 MiB a turn, both ways and plain `pwrite` and
`fdatasync` turn about. Figures are medians of the calls, in microseconds; reading is of what a turn put, in
milliseconds, most of it beyond the ring. Limit: the log's own calls, without the library's around them
(`headrace bench disk` has those), and `write` and `sync` apart, as no put makes them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from headrace import limits
from headrace.bench import machine
from headrace.bench._load import plain_disk
from headrace.bench.disk import prewrite
from headrace.bench.requests import embedded_plan
from headrace.bench.target import on_core
from headrace.core._entries import Entries, Router
from headrace.log import Lane, Log

RECORD = 1024
SHARDS = 4
TURN_BYTES = 64 << 20
LANE_BYTES = 256 << 20
PLACES = 4  # of a turn's bytes in the file of the plain writes
HASH_END = 1 << 128
WAYS = {"through the page cache": 1 << 40, "past it": limits.direct_write_least}


class Way:
    """A lane, and what its steps took."""

    def __init__(self, directory: Path, records: int) -> None:
        self.log = Log.open(directory, max_bytes=8 << 30)
        self.lane: Lane = self.log.create_lane("disk")
        self.lane.set_limit(LANE_BYTES, "drop_oldest")
        edges = [HASH_END * i // SHARDS for i in range(SHARDS + 1)]
        self.router = Router([(edges[i], edges[i + 1] - 1, i, 0, 1) for i in range(SHARDS)])
        self.plan = embedded_plan(RECORD, records, count=8)
        self.took: dict[str, list[int]] = defaultdict(list)
        self.read = [0] * SHARDS

    def put(self, count: int) -> None:
        """So many groups, each step timed."""
        for number in range(count):
            data = self.plan.payloads(number % self.plan.count)
            stamps = [time.perf_counter_ns()]
            entries = Entries()
            entries.extend(data, None)
            self.router.route(entries)
            self.lane.append(entries, self.router, 0)
            stamps.append(time.perf_counter_ns())
            self.lane.write()
            stamps.append(time.perf_counter_ns())
            self.lane.sync()
            stamps.append(time.perf_counter_ns())
            for name, begin, end in zip(("framing", "write", "sync"), stamps, stamps[1:], strict=False):
                self.took[name].append(end - begin)
            self.took["all"].append(stamps[-1] - stamps[0])

    def read_turn(self, records: int) -> None:
        """Everything that the turn put."""
        begin, seen = time.perf_counter_ns(), 0
        for shard in range(SHARDS):
            while len(batch := self.lane.read(shard, self.read[shard])):
                self.read[shard] = int(batch.ordinals[-1]) + 1
                seen += len(batch)
        assert seen == records, f"{seen} of {records} records were read"
        self.took["reading"].append(time.perf_counter_ns() - begin)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=500, help="records of 1 KiB in a group")
    parser.add_argument("--turns", type=int, default=8, help="turns of 64 MiB that are counted, each way")
    arguments = parser.parse_args()
    size = arguments.records * RECORD
    count = max(1, TURN_BYTES // size)
    plain: list[float] = []
    with tempfile.TemporaryDirectory(prefix="headrace-steps-", dir=".") as directory:
        yardstick = Path(directory) / "plain"
        prewrite(yardstick, size * count * PLACES)
        ways = {name: Way(Path(directory) / name, arguments.records) for name in WAYS}
        for turn in range(8 + arguments.turns):
            with on_core(machine.split_cores().target):
                block = next(iter(ways.values())).plan.payloads(turn % 8).tobytes()
                took = plain_disk(yardstick, size, count, offset=turn % PLACES * size * count, block=block)
                plain.append(took.percentile(50))
                for name, way in ways.items():
                    limits.direct_write_least = WAYS[name]  # its segments take the bound when they begin
                    if turn == 8:
                        way.took.clear()
                    way.put(count)
                    way.read_turn(count * arguments.records)
        for way in ways.values():
            way.log.close()
    print(f"{'':12}{''.join(f'{name:>24}' for name in ways)}")
    for step in ("framing", "write", "sync", "all", "reading"):
        unit, each = ("ms", 1e6) if step == "reading" else ("µs", 1e3)
        figures = [statistics.median(way.took[step]) / each for way in ways.values()]
        print(f"{step:<12}{''.join(f'{figure:>21.1f} {unit}' for figure in figures)}")
    print(f"{'plain':<12}{statistics.median(plain[8:]):>21.1f} µs")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
