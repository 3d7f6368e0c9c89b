# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The `disk` promise beside plain pwrite and fdatasync of the same bytes, in the same sizes, in the same run."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from headrace.bench._load import Histogram, Ledger, ShardOrder, plain_disk
from headrace.bench.report import Run, failures_of, milliseconds
from headrace.bench.requests import embedded_plan
from headrace.bench.workloads import Options

RECORD = 1024
BATCHES = (64, 256, 500, 1024)  # records a put: 64 KiB to 1 MiB of payload
TURNS = 6  # plain and log in turn: plain log log plain …
BYTES_A_TURN = 32 * 1024 * 1024


def disk(parent: Path, options: Options) -> Run:
    """For each size: how much of the yardstick's rate `put_many` on a `disk` stream reaches.

    The yardstick writes as many bytes as the payload has, without frames, into a file written before.
    """
    run = Run({})
    for records in BATCHES:
        _one_size(run, parent, options, records)
    return run


def _one_size(run: Run, parent: Path, options: Options, records: int) -> None:
    import headrace

    size = records * RECORD
    puts = max(4, BYTES_A_TURN // size)
    directory = Path(tempfile.mkdtemp(prefix="headrace-bench-", dir=parent))
    plain_path = directory / "plain"
    _prewrite(plain_path, size * puts)
    plan = embedded_plan(RECORD, records, seed=options.seed, count=8)
    ledger = Ledger(plan, puts * TURNS)
    plain_seconds: list[float] = []
    log_seconds: list[float] = []
    plain_ms, log_ms = Histogram(), Histogram()
    with headrace.open(directory / "store", durability="disk") as store:  # type: ignore[attr-defined]
        stream = store.stream("bench", shards=options.shards)
        for turn in range(TURNS):
            for kind in ("plain", "log") if turn % 2 == 0 else ("log", "plain"):
                begin = time.perf_counter()
                if kind == "plain":
                    plain_ms.merge(plain_disk(plain_path, size, puts, block=plan.payloads(0).tobytes()))
                    plain_seconds.append(time.perf_counter() - begin)
                    continue
                for put in range(puts):
                    request, first = ledger.begin(put % plan.count)
                    plan.stamp(put % plan.count, first)
                    before = time.perf_counter_ns()
                    stream.put_many(plan.payloads(put % plan.count))
                    log_ms.record((time.perf_counter_ns() - before) // 1000)
                    ledger.done(request)
                log_seconds.append(time.perf_counter() - begin)
        orders: dict[int, ShardOrder] = {}
        for batch in stream.batches():
            order = orders.setdefault(int(batch.shards[0]), ShardOrder())
            ledger.see(batch.buffer, batch.offsets, batch.lengths, order)
    shutil.rmtree(directory, ignore_errors=True)
    run.failures += [f"{records} records a put: {text}" for text in failures_of(ledger.tally())]
    plain, log = statistics.median(plain_seconds), statistics.median(log_seconds)
    run.figures[f"put_{records}_of_plain"] = plain / log
    run.figures[f"put_{records}_mb_per_s"] = size * puts / log / 1e6
    run.figures[f"plain_{records}_mb_per_s"] = size * puts / plain / 1e6
    run.details[f"put_{records}"] = {
        "plain_seconds": plain_seconds,
        "log_seconds": log_seconds,
        "plain_ms": milliseconds(plain_ms),
        "log_ms": milliseconds(log_ms),
        "check": ledger.tally(),
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
