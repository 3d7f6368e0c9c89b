# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What the tests of the log share: putting plain values in, and reading everything back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from headrace.core._entries import Entries, Router
from headrace.log import Lane, LaneReader, Log
from headrace.log.control import DIRTY, ControlFile

HASH_END = 1 << 128


def router_of(shards: int, lanes: int = 1) -> Router:
    """Even ranges over `shards` shards, spread over the lanes in turn."""
    edges = [HASH_END * i // shards for i in range(shards + 1)]
    return Router([(edges[i], edges[i + 1] - 1, i, i % lanes, 1_700_000_000) for i in range(shards)])


def hash_key_of(shard: int, shards: int) -> int:
    """A hash key in the middle of a shard's range."""
    return (2 * shard + 1) * HASH_END // (2 * shards)


def entries_of(records: list[tuple[int, str, bytes]], router: Router) -> Entries:
    """Routed entries of (shard, key, data)."""
    entries = Entries()
    for shard, key, data in records:
        entries.add(data, key, hash_key_of(shard, router.count))
    router.route(entries)
    return entries


def put(
    lane: Lane, router: Router, records: list[tuple[int, str, bytes]], ordinal: int = 0
) -> list[tuple[int, int]]:
    """Append and commit; returns (index, arrival ms) of each record."""
    entries = entries_of(records, router)
    lane.commit(lane.append(entries, router, ordinal))
    return list(zip(entries.indexes.tolist(), entries.arrivals.tolist(), strict=True))


def reopen(log: Log, **options: Any) -> Log:
    """Close a store and open it again."""
    log.close()
    return Log.open(log.directory, clock=log.clock, background=False, **options)


def read_shard(lane: LaneReader, shard: int, index: int = 0, **bounds: int) -> list[tuple[int, str, bytes]]:
    """(index, key, data) of everything visible in a shard from `index` on."""
    found: list[tuple[int, str, bytes]] = []
    while True:
        batch = lane.read(shard, index, **bounds)
        if not len(batch):
            return found
        assert set(batch.shards.tolist()) == {shard}
        found += list(zip(batch.ordinals.tolist(), batch.keys, batch.data, strict=True))
        index = found[-1][0] + 1


def forget_boot(directory: Path) -> None:
    """As if the last writer of a closed store had ended with the power, and everything had been on the device: the
    next one counts an epoch, and the indexes move ahead."""
    control = ControlFile(directory / "control", writer=True, boot_id=bytes(16))
    control.mark(DIRTY, pid=0)
    control.close()


def damage(path: Path, at: int, size: int = 64) -> None:
    """Put random bytes into a file."""
    data = bytearray(path.read_bytes())
    data[at : at + size] = os.urandom(size)
    path.write_bytes(data)


def read_of(segment, shard: int, index: int, count: int, size: int, visible: int):
    """A shard's records of one segment as a batch, or None; Corrupt where they are damaged."""
    source = segment.frames(shard, index, count, size, visible)
    if source is None:
        return None
    try:
        return source.batch()
    except ValueError as problem:
        raise segment.damaged(problem) from None
