# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The `disk` promise beside plain pwrite and fdatasync of as many bytes, in the same sizes, in the same run."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from headrace.bench._load import Histogram, Ledger, Plan, ShardOrder, plain_disk
from headrace.bench.report import Run, failures_of, milliseconds
from headrace.bench.requests import embedded_plan
from headrace.bench.target import on_core
from headrace.bench.workloads import Options, watched

RECORD = 1024
BATCHES = (64, 256, 500, 1024)  # records a put: 64 KiB to 1 MiB of payload
PUTTERS = 4  # threads in the second measurement, where one sync serves several puts
TURNS = 4  # plain, log and log with several putters; then the other way round
BYTES_A_TURN = 64 * 1024 * 1024
STREAM_BYTES = 256 * 1024 * 1024  # the stream's limit: it drops its oldest, and uses their files again
FILL_BYTES = 512 * 1024 * 1024  # put before the clock starts


def disk(parent: Path, options: Options) -> Run:
    """For each size of a put: how much of the yardstick's rate a `disk` stream reaches, in steady state.

    The yardstick writes as many bytes as the payload has, without frames, into a file written before, at a
    new place each time. The stream is at its limit and drops its oldest. Figures: whole time against whole
    time, with everything that the log does in between; the median call against the median; and PUTTERS
    threads, where a sync covers what all of them have put. A single thread, the yardstick's too, is kept on one
    core: where the system wakes it on the other after each write, what it puts lies in the wrong cache, and the
    figure tells which way the dice fell.

    What favours whom. The yardstick: it writes payload only (frames add some 1 to 2 %), page by page, one
    block again and again, which stays in the processor's cache, from C. The log: it has the time in which the
    load writes down its ledger, not counted for a single putter but counted for several; and compression of a
    `disk` stream waits while it takes in more than 128 MiB a second (log/maintenance.py), so it is not in
    these figures: it is paid for when the stream comes to rest. All files were written once before the clock
    starts. The yardstick's is in the page cache, through which it goes; the log's large writes go past it.
    """
    run = Run({})
    with watched(run, options):
        for records in BATCHES:
            directory = Path(tempfile.mkdtemp(prefix="headrace-bench-", dir=parent))
            try:
                _one_size(run, directory, options, records)
            finally:
                shutil.rmtree(directory, ignore_errors=True)
    return run


class _DiskLog:
    """A `disk` stream at its limit, put to in batches of one size, and its ledger.

    Everything is read by a tail after each turn, before it can be dropped.
    """

    def __init__(self, stream: Any, plan: Plan, puts: int) -> None:
        self.stream = stream
        self.plan = plan
        self.ledger = Ledger(plan, puts)
        self.calls = Histogram()
        self._tail = stream.tail("earliest", max_wait=0.0)
        self._orders: dict[int, ShardOrder] = {}

    def put(self, puts: int, producer: int = 0, producers: int = 1) -> int:
        """Put so many batches from one thread; returns the nanoseconds spent in the calls."""
        spent = 0
        for number in range(puts):
            template = (number * producers + producer) % self.plan.count
            request, first = self.ledger.begin(template, producer)
            self.plan.stamp(template, first)
            begin = time.perf_counter_ns()
            self.stream.put_many(self.plan.payloads(template))
            took = time.perf_counter_ns() - begin
            self.ledger.done(request)
            if producers == 1:
                self.calls.record(took // 1000)
            spent += took
        return spent

    def put_by_several(self, puts: int) -> int:
        """Put so many batches from PUTTERS threads; returns the nanoseconds from first to last."""
        with ThreadPoolExecutor(PUTTERS) as pool:
            begin = time.perf_counter_ns()
            futures = [pool.submit(self.put, puts // PUTTERS, number, PUTTERS) for number in range(PUTTERS)]
            for future in futures:
                future.result()
            return time.perf_counter_ns() - begin

    def check(self) -> None:
        """Read what was put since the last call."""
        for batch in self._tail:
            order = self._orders.setdefault(int(batch.shards[0]), ShardOrder(PUTTERS))
            self.ledger.see(batch.buffer, batch.offsets, batch.lengths, order)


def _one_size(run: Run, directory: Path, options: Options, records: int) -> None:
    import headrace

    size = records * RECORD
    puts = max(PUTTERS, BYTES_A_TURN // size // PUTTERS * PUTTERS)
    fills = -(-FILL_BYTES // (size * puts))
    plain_path = directory / "plain"
    prewrite(plain_path, size * puts * TURNS)
    plan = embedded_plan(RECORD, records, seed=options.seed, count=2 * PUTTERS)
    plain_ms = Histogram()
    spent = {"plain": 0.0, "log": 0.0, "several": 0.0}
    with headrace.open(directory / "store", durability="disk") as store:
        stream = store.stream("bench", shards=options.shards, max_bytes=STREAM_BYTES, on_full="drop_oldest")
        log = _DiskLog(stream, plan, puts * (fills + 2 * TURNS))
        for _ in range(fills):
            log.put(puts)
            log.check()
        log.calls = Histogram()
        for turn in range(TURNS):
            for kind in list(spent) if turn % 2 == 0 else reversed(spent):
                if kind == "plain":
                    block = plan.payloads(turn % plan.count).tobytes()
                    with on_core(options.cores.target):
                        took = plain_disk(plain_path, size, puts, offset=turn * size * puts, block=block)
                    spent[kind] += took.mean * took.total * 1000
                    plain_ms.merge(took)
                else:
                    if kind == "log":
                        with on_core(options.cores.target):
                            spent[kind] += log.put(puts)
                    else:
                        spent[kind] += log.put_by_several(puts)
                    log.check()
    _figures(run, records, size * puts * TURNS, spent, plain_ms, log)


def _figures(
    run: Run, records: int, size: int, spent: dict[str, float], plain_ms: Histogram, log: _DiskLog
) -> None:
    """What `size` bytes each way took, in nanoseconds, as figures."""
    tally = log.ledger.tally()
    run.failures += [f"{records} records a put: {text}" for text in failures_of(tally)]
    run.figures[f"put_{records}_of_plain"] = spent["plain"] / spent["log"]
    run.figures[f"put_{records}_by_{PUTTERS}_of_plain"] = spent["plain"] / spent["several"]
    run.figures[f"put_{records}_median_of_plain"] = plain_ms.percentile(50) / max(1, log.calls.percentile(50))
    for kind, name in (
        ("log", f"put_{records}"),
        ("several", f"put_{records}_by_{PUTTERS}"),
        ("plain", f"plain_{records}"),
    ):
        run.figures[f"{name}_mb_per_s"] = size / spent[kind] * 1000
    run.details[f"put_{records}"] = {
        "seconds": {kind: nanoseconds / 1e9 for kind, nanoseconds in spent.items()},
        "plain_ms": milliseconds(plain_ms),
        "log_ms": milliseconds(log.calls),
        "check": tally,
    }


def prewrite(path: Path, size: int) -> None:
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
