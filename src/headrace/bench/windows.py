# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The windows workload: SQL over a stream of the store, from JSON of 200 B to closed windows.

Method: the corpus at 200 B in a stream of the store, in records put before the clock starts. One query reads
three of nine members (a time, a host, a double) and groups by host and second; at 400 hosts and 8 records a
millisecond a group has 20 rows. The clock is the processor time of the whole process, all its threads, from
the text of the query to the last closed window. Groups are compared with a plain Python count of the same
records: a group that is missing, doubled or different fails the run.

`events_per_cpu_s` reads segments as they were written, `cold_events_per_cpu_s` compressed ones, where zstd is
in the way. The first query over a store is not counted: it imports the SQL parser.

Where a record's time goes, by perf and cProfile on the machine on which it was 3.4 million a processor second
(290 ns a record):
    reading from the segment, with its checksum    75 ns
    scanning JSON into three columns              130 ns
    the rest                                       85 ns    windows, keys, COUNT, AVG, MAX; closing; each batch
"""

from __future__ import annotations

import math
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import msgspec

from headrace.bench import requests
from headrace.bench._load import Plan, corpus_keys
from headrace.bench.report import Run
from headrace.bench.workloads import Options, settle, watched

SIZE = 200
BATCH = 50_000
RECORDS = 1_000_000
QUERIES = 5  # the figure is their median
TEXT = (
    "CREATE TABLE metrics (ts BIGINT, at AS TO_TIMESTAMP_LTZ(ts, 3), host VARCHAR, cpu DOUBLE);"
    "SELECT host, window_start, COUNT(*) AS n, AVG(cpu) AS mean, MAX(cpu) AS peak"
    " FROM TABLE(TUMBLE(TABLE metrics, DESCRIPTOR(at), INTERVAL '1' SECOND)) GROUP BY host, window_start, window_end"
)

Groups = dict[tuple[str, int], tuple[int, float, float]]
"""(host, second): COUNT, AVG and MAX."""


class Event(msgspec.Struct):
    """What the query reads of a record."""

    ts: int
    host: str
    cpu: float


def material(options: Options) -> Plan:
    """The records, the same for every run of a seed."""
    records = options.records or RECORDS
    batch = min(BATCH, records)
    return requests.embedded_plan(SIZE, batch, seed=options.seed, count=max(1, records // batch))


def payloads(plan: Plan) -> list[bytes]:
    """The records one by one, for those who take them so."""
    return [row.tobytes() for template in range(plan.count) for row in plan.payloads(template)]


def expected(plan: Plan) -> Groups:
    """The groups, by a plain count."""
    decode = msgspec.json.Decoder(Event).decode
    values: dict[tuple[str, int], list[float]] = {}
    for record in payloads(plan):
        event = decode(record)
        values.setdefault((event.host, event.ts // 1000), []).append(event.cpu)
    return {group: (len(some), math.fsum(some) / len(some), max(some)) for group, some in values.items()}


def windows(parent: Path, options: Options) -> Run:
    """Run the query over segments as they were written, then over compressed ones."""
    plan = material(options)
    groups = expected(plan)
    run = Run({}, {"groups": len(groups), "bytes_a_record": SIZE, "shards": options.shards})
    directory = Path(tempfile.mkdtemp(prefix="headrace-bench-", dir=parent))
    try:
        with watched(run, options):
            _measure(run, directory, None, plan, groups, options)
            _measure(run, directory, "zstd", plan, groups, options)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return run


def _measure(
    run: Run,
    directory: Path,
    codec: Literal["zstd"] | None,
    plan: Plan,
    groups: Groups,
    options: Options,
) -> None:
    """The median of some queries; without a codec the store is filled first, with one it is compressed."""
    import headrace

    prefix = "cold_" if codec else ""
    with headrace.open(directory, compression=codec) as store:
        stream = store.stream("metrics", shards=options.shards)
        if codec is None:
            for template in range(plan.count):
                keys = corpus_keys(options.seed, template * plan.records, plan.records)
                stream.put_many(plan.payloads(template), keys)
        run.failures += _query(store, groups)[1]  # not timed; it also has the store look at all its segments
        if codec is not None:
            run.details["settled"] = settled = settle(directory, options.settle_seconds)
            if settled["raw_bytes"] > 0.05 * settled["cold_bytes"]:
                run.doubts.append(
                    f"not all was compressed after {options.settle_seconds:g} s: no cold figure"
                )
                return
        rates = []
        for _ in range(QUERIES):
            used, failures = _query(store, groups)
            run.failures += failures
            rates.append(plan.count * plan.records / used)
    run.figures[f"{prefix}events_per_cpu_s"] = statistics.median(rates)
    run.details[f"{prefix}queries"] = rates


def _query(store: Any, groups: Groups) -> tuple[float, list[str]]:
    """Processor seconds of one query, and what is wrong with its result."""
    begin = time.process_time()
    query = store.sql(TEXT, until="latest")
    result = query.columns()
    used = time.process_time() - begin
    return used, _differences(result, query.late_rows + query.error_rows, groups)


def _differences(result: Any, rejected: int, groups: Groups) -> list[str]:
    """What is wrong with a result."""
    seconds = result["window_start"].view("int64") // 1_000_000
    lists = (result["n"].tolist(), result["mean"].tolist(), result["peak"].tolist())
    got = list(
        zip(
            zip(result["host"].tolist(), seconds.tolist(), strict=True), zip(*lists, strict=True), strict=True
        )
    )
    failures = [f"{rejected} rows are in no window"] if rejected else []
    if len(got) != len(groups) or dict(got).keys() != groups.keys():
        failures.append(f"{len(got)} groups came, {len(groups)} were expected")
    wrong = sum(not _same(value, groups[group]) for group, value in got if group in groups)
    if wrong:
        failures.append(f"{wrong} groups have other values than a plain count gives")
    return failures


def _same(got: tuple[int, float, float], wanted: tuple[int, float, float]) -> bool:
    """A plain mean is rounded twice, ours once."""
    return got[0::2] == wanted[0::2] and math.isclose(got[1], wanted[1], rel_tol=1e-15)
