# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The `disk` promise beside plain pwrite and fdatasync of the same bytes, in the same sizes, in the same run."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from headrace.bench._load import Histogram, Ledger, Plan, ShardOrder, plain_disk
from headrace.bench.report import Run, failures_of, milliseconds
from headrace.bench.requests import embedded_plan
from headrace.bench.workloads import Options

RECORD = 1024
BATCHES = (64, 256, 500, 1024)  # records a put: 64 KiB to 1 MiB of payload
TURNS = 4  # plain and log in turn: plain log log plain …
BYTES_A_TURN = 64 * 1024 * 1024
WARM_BYTES = 96 * 1024 * 1024  # past the log's first, growing segments


def disk(parent: Path, options: Options) -> Run:
    """For each size: how much of the yardstick's rate `put_many` on a `disk` stream reaches.

    The yardstick writes as many bytes as the payload has, without frames, into a file written before, at a
    new place each time. The log begins when its first, small segments are behind it. Figures: whole time
    against whole time, with everything that the log does in between; and the median call against the median.
    """
    run = Run({})
    for records in BATCHES:
        directory = Path(tempfile.mkdtemp(prefix="headrace-bench-", dir=parent))
        try:
            _one_size(run, directory, options, records)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    return run


class _DiskLog:
    """A `disk` stream that is put to in batches of one size, and its ledger."""

    def __init__(self, stream: Any, plan: Plan, puts: int) -> None:
        self.stream = stream
        self.plan = plan
        self.ledger = Ledger(plan, puts)
        self.calls = Histogram()
        self._put = 0

    def put(self, puts: int) -> float:
        """Put so many batches; returns the seconds spent in the calls."""
        spent = 0
        for _ in range(puts):
            template = self._put % self.plan.count
            self._put += 1
            request, first = self.ledger.begin(template)
            self.plan.stamp(template, first)
            begin = time.perf_counter_ns()
            self.stream.put_many(self.plan.payloads(template))
            took = time.perf_counter_ns() - begin
            self.calls.record(took // 1000)
            self.ledger.done(request)
            spent += took
        return spent / 1e9

    def read_back(self) -> list[str]:
        """What is wrong with what is there."""
        orders: dict[int, ShardOrder] = {}
        for batch in self.stream.batches():
            order = orders.setdefault(int(batch.shards[0]), ShardOrder())
            self.ledger.see(batch.buffer, batch.offsets, batch.lengths, order)
        return failures_of(self.ledger.tally())


def _one_size(run: Run, directory: Path, options: Options, records: int) -> None:
    import headrace

    size = records * RECORD
    puts = BYTES_A_TURN // size
    warm = -(-WARM_BYTES // size)
    plain_path = directory / "plain"
    _prewrite(plain_path, size * puts * TURNS)
    plan = embedded_plan(RECORD, records, seed=options.seed, count=8)
    plain_ms = Histogram()
    seconds: dict[str, list[float]] = {"plain": [], "log": []}
    with headrace.open(directory / "store", durability="disk") as store:
        log = _DiskLog(store.stream("bench", shards=options.shards), plan, warm + puts * TURNS)
        log.put(warm)
        log.calls = Histogram()
        for turn in range(TURNS):
            for kind in ("plain", "log") if turn % 2 == 0 else ("log", "plain"):
                if kind == "log":
                    seconds["log"].append(log.put(puts))
                    continue
                block = plan.payloads(turn).tobytes()
                took = plain_disk(plain_path, size, puts, offset=turn * size * puts, block=block)
                seconds["plain"].append(took.mean * took.total / 1e6)
                plain_ms.merge(took)
        run.failures += [f"{records} records a put: {text}" for text in log.read_back()]
    plain_total, log_total = sum(seconds["plain"]), sum(seconds["log"])
    run.figures[f"put_{records}_of_plain"] = plain_total / log_total
    run.figures[f"put_{records}_median_of_plain"] = plain_ms.percentile(50) / max(1, log.calls.percentile(50))
    run.figures[f"put_{records}_mb_per_s"] = size * puts * TURNS / log_total / 1e6
    run.figures[f"plain_{records}_mb_per_s"] = size * puts * TURNS / plain_total / 1e6
    run.details[f"put_{records}"] = {
        "seconds": seconds,
        "plain_ms": milliseconds(plain_ms),
        "log_ms": milliseconds(log.calls),
        "check": log.ledger.tally(),
    }


def _prewrite(path: Path, size: int) -> None:
    """Make a file whose blocks are all allocated and written, on the device."""
    with path.open("wb") as file:
        block = os.urandom(1 << 20)
        for start in range(0, size, len(block)):
            file.write(block[: size - start])
        file.flush()
        os.fsync(file.fileno())
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
