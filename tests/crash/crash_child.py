# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The process that is killed: puts records without end and says on standard output which were acknowledged.

Arguments: directory, seed, acknowledgements after which it ends by itself. Each line is a JSON list of
[stream, shard, index, text] that were acknowledged together; it is written after the commit returned, so a
line that the parent reads names records that must survive.

CRASH_LIMIT=1: small lanes that drop their oldest segments. CRASH_DISK=1: now and then a write of the disk
fails half done, and more rarely a sync; what was refused is put again.
"""

from __future__ import annotations

import errno
import json
import os
import random
import sys
import threading

from headrace import limits
from headrace.core._entries import Entries
from headrace.disk import SystemDisk
from headrace.errors import Backpressure, Fenced, StorageError
from headrace.log import Log
from headrace.streams import Streams


class FlakyDisk(SystemDisk):
    """Fails some writes of frames half done, and some syncs."""

    native = False

    def __init__(self, seed: int) -> None:
        self.numbers = random.Random(seed)

    def pwrite(self, file, data, position):
        if position >= 4096 and self.numbers.random() < 0.02:
            super().pwrite(file, data[: self.numbers.randrange(len(data))], position)
            raise OSError(errno.EIO, "told to fail")
        return super().pwrite(file, data, position)

    def sync(self, file):
        if self.numbers.random() < 0.01:
            raise OSError(errno.EIO, "told to fail")
        super().sync(file)


def small_segments() -> None:
    """So that rolls, seals, cold files and drops happen within a second."""
    limits.segment_size_first = limits.segment_size_max = 48 << 10
    limits.segment_idle_ns = 200_000_000
    limits.direct_write_least, limits.direct_speed_min = 2 << 10, 0


def put(stream, records: list[tuple[str, str]], lock: threading.Lock) -> None:
    """Put (text, key) pairs until each was acknowledged, and say so for each lane as soon as it is."""
    while records:
        entries = Entries()
        for text, key in records:
            entries.add(text, key)
        router, tickets, failures = stream.append_parts(entries)
        for error in (failures or {}).values():
            if not isinstance(error, StorageError | Backpressure | Fenced):  # nothing that a retry may mend
                os.write(2, f"{error!r}\n".encode())
                os._exit(3)
        shards, indexes = entries.shards(router).tolist(), entries.indexes.tolist()
        refused = {id(stream.lanes[ordinal]) for ordinal in failures or ()}
        for lane, ticket in tickets:
            try:
                lane.commit(ticket)
            except (StorageError, Backpressure, Fenced):
                refused.add(id(lane))
        rows = list(zip(shards, indexes, records, strict=True))
        done = [row for row in rows if id(stream.lane_of(row[0])) not in refused]
        if done:
            line = json.dumps([[stream.name, shard, index, text] for shard, index, (text, _) in done])
            with lock:
                os.write(1, line.encode() + b"\n")
        records = [pair for shard, _, pair in rows if id(stream.lane_of(shard)) in refused]


def put_forever(stream, number: int, seed: int, rounds: int, lock: threading.Lock) -> None:
    """Random groups; texts count up, so that order and copies can be judged."""
    numbers = random.Random(seed * 1000 + number)
    base = f"{stream.name}-{numbers.getrandbits(40)}"
    for turn in range(rounds):
        records = []
        for place in range(numbers.choice((1, 1, 3, 20))):
            text = f"{base}.{number}.{turn}.{place}." + "x" * numbers.choice((0, 10, 300, 3000))
            records.append((text, f"key-{number}-{numbers.randrange(3)}"))
        put(stream, records, lock)


def open_log(directory: str, disk: FlakyDisk | None) -> Log:
    """The store; tried again where the disk fails in it."""
    while True:
        try:
            return Log.open(directory, max_bytes=1 << 30, disk=disk)
        except StorageError:
            if disk is None:
                raise


def main() -> None:
    """Two streams, one for each promise, two threads each, and the store's own background work."""
    directory, seed, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    small_segments()
    disk = FlakyDisk(seed) if os.environ.get("CRASH_DISK") else None
    log = open_log(directory, disk)
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
    try:
        log.close()
    except (StorageError, Backpressure, Fenced):
        if disk is None:
            raise


if __name__ == "__main__":
    main()
