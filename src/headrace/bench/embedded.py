# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The embedded workloads: batches, lists and single records put by Python calls, all read back and checked."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from headrace.bench import requests
from headrace.bench._load import Ledger, Plan, ShardOrder, corpus_keys
from headrace.bench.report import Run, failures_of
from headrace.bench.workloads import Options, store_bytes, watched

SIZE = 100
BATCH = 10_000  # records a call
BATCH_RECORDS = 5_000_000  # half a gigabyte, all distinct and made before the clock starts
SINGLE_RECORDS = 2_000_000


class Log(Protocol):
    """What is measured: headrace itself, or a peer that does the same in its own way.

    Every method returns when what it was given is as durable as the log promises.
    """

    name: str

    def put_batch(self, data: Any, keys: Any) -> None: ...
    def put_singles(self, records: list[bytes], keys: list[str]) -> None: ...
    def read(self) -> Iterator[tuple[int, Any, Any, Any]]:
        """(shard, buffer, offsets, lengths) of everything, in order within each shard."""
        ...

    def close(self) -> None: ...


class Headrace:
    """`headrace.open`, in process. Singles go through `producer()`, the call for many small puts."""

    name = "headrace"

    def __init__(self, directory: Path, durability: Literal["process", "disk"], shards: int) -> None:
        import headrace

        self._store = headrace.open(directory, durability=durability)
        self._stream = self._store.stream("bench", shards=shards)

    def put_batch(self, data: Any, keys: Any) -> None:
        self._stream.put_many(data, keys)

    def put_singles(self, records: list[bytes], keys: list[str]) -> None:
        with self._stream.producer() as producer:
            put = producer.put
            for record, key in zip(records, keys, strict=True):
                put(record, key)

    def put_calls(self, records: list[bytes], keys: list[str]) -> None:
        """One acknowledged call a record."""
        put = self._stream.put
        for record, key in zip(records, keys, strict=True):
            put(record, key)

    def read(self) -> Iterator[tuple[int, Any, Any, Any]]:
        for batch in self._stream.batches():
            for shard in np.unique(batch.shards):
                chosen = batch.shards == shard
                yield int(shard), batch.buffer, batch.offsets[chosen], batch.lengths[chosen]

    def close(self) -> None:
        self._store.close()


def anonymous_bytes() -> int:
    """Anonymous memory of this process: what it holds beyond files that are mapped."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


Opener = Callable[[Path], Log]


def headrace(durability: Literal["process", "disk"], shards: int) -> Opener:
    return lambda directory: Headrace(directory, durability, shards)


class Material:
    """Records made before the clock starts: `calls` batches of BATCH records, and their keys."""

    def __init__(self, records: int, seed: int) -> None:
        self.batch = min(BATCH, records)
        self.calls = max(1, records // self.batch)
        self.plan: Plan = requests.embedded_plan(SIZE, self.batch, seed=seed, count=self.calls)
        self.keys = [
            corpus_keys(seed, number * self.batch, self.batch) for number in range(min(self.calls, 50))
        ]

    @property
    def records(self) -> int:
        return self.batch * self.calls

    def ledger(self) -> Ledger:
        """A new ledger in which every batch is begun; its numbers are those the corpus has already."""
        ledger = Ledger(self.plan, self.calls)
        for template in range(self.calls):
            ledger.begin(template)
        return ledger

    def keys_of(self, template: int) -> list[str]:
        return self.keys[template % len(self.keys)]


@contextlib.contextmanager
def _opened(parent: Path, opener: Opener) -> Iterator[tuple[Log, Path]]:
    directory = Path(tempfile.mkdtemp(prefix="headrace-bench-", dir=parent))
    os.sync()
    log = opener(directory)
    try:
        yield log, directory
    finally:
        log.close()
        shutil.rmtree(directory, ignore_errors=True)


def _timed(
    run: Run, name: str, parent: Path, opener: Opener, material: Material, put: Callable[[Log], None]
) -> None:
    """One phase on a fresh store: put, all acknowledged; then read back and check."""
    with _opened(parent, opener) as (log, directory):
        ledger = material.ledger()
        memory = anonymous_bytes()
        used = time.process_time()
        begin = time.perf_counter()
        put(log)
        seconds = time.perf_counter() - begin
        used = time.process_time() - used
        memory = anonymous_bytes() - memory
        for request in range(material.calls):
            ledger.done(request)
        begin = time.perf_counter()
        orders: dict[int, ShardOrder] = {}
        for shard, buffer, offsets, lengths in log.read():
            ledger.see(buffer, offsets, lengths, orders.setdefault(shard, ShardOrder()))
        read_seconds = time.perf_counter() - begin
        tally = ledger.tally()
        run.failures += [f"{name}: {text}" for text in failures_of(tally)]
        run.figures[f"{name}_records_per_s"] = material.records / seconds
        run.details[name] = {
            "seconds": seconds,
            "cpu_seconds": used,
            "memory_growth_mb": memory / 1e6,
            "records": material.records,
            "check": tally,
            "read_records_per_s": tally["read"] / read_seconds,
            "store": store_bytes(directory),
        }


def embedded_put(parent: Path, options: Options, opener: Opener) -> Run:
    """Records of 100 B: batches without and with keys, lists of bytes, singles through a producer."""
    run = Run({})
    with watched(run, options):
        _arrays(run, parent, opener, Material(options.records or BATCH_RECORDS, options.seed))
        few = min(options.records or SINGLE_RECORDS, SINGLE_RECORDS)
        _objects(run, parent, opener, Material(few, options.seed))
        phases = [detail["memory_growth_mb"] for detail in run.details.values()]
    run.figures["memory_growth_mb_max"] = max(phases)  # the records themselves were there before
    return run


def _arrays(run: Run, parent: Path, opener: Opener, material: Material) -> None:
    """Batches as numpy arrays, one call for BATCH records."""
    payloads = [material.plan.payloads(template) for template in range(material.calls)]

    def batches(log: Log) -> None:
        for rows in payloads:
            log.put_batch(rows, None)

    def keyed(log: Log) -> None:
        for template, rows in enumerate(payloads):
            log.put_batch(rows, material.keys_of(template))

    _timed(run, "batches", parent, opener, material, batches)
    _timed(run, "keyed_batches", parent, opener, material, keyed)


def _objects(run: Run, parent: Path, opener: Opener, material: Material) -> None:
    """Python bytes objects, made before the clock starts: as lists, and one by one."""
    lists = [
        [row.tobytes() for row in material.plan.payloads(template)] for template in range(material.calls)
    ]
    flat = [record for records in lists for record in records]
    keys = [key for template in range(material.calls) for key in material.keys_of(template)]

    def listed(log: Log) -> None:
        for records in lists:
            log.put_batch(records, None)

    _timed(run, "lists", parent, opener, material, listed)
    _timed(run, "producer", parent, opener, material, lambda log: log.put_singles(flat, keys))
