# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The HTTP workloads: put, drain and end to end, each with everything read back and checked."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from headrace.bench import requests
from headrace.bench._load import Ledger, Load
from headrace.bench.endpoint import Endpoint
from headrace.bench.machine import Cores, Quiet
from headrace.bench.report import Run, failures_of, milliseconds
from headrace.bench.requests import Shape
from headrace.bench.target import Server, Usage

LEDGER_BYTES = 512 * 1024 * 1024  # bound on what a ledger may grow to
OTHERS_MAX = 0.05  # share of the used cores that other processes may take before a run is void
STEAL_MAX = 0.01
REFUSED_MAX = 0.01  # share of the records that may be refused before a run's latencies say nothing
SLIP_MAX_MS = 1.0
SLIP_FLOOR_MS = 0.05  # less than one wake-up costs: no schedule can be kept closer than this

SHAPES = {"put-1k": requests.PUT_1K, "put-100": requests.PUT_100, "put-single": requests.PUT_SINGLE}


@dataclass
class Target:
    """A running server that is measured. server: its process, None if somebody else started it."""

    name: str
    endpoint: Endpoint
    server: Server | None = None
    durability: str = "unknown"
    directory: Path | None = None
    description: dict[str, Any] = field(default_factory=dict)
    stream: str = field(default_factory=lambda: f"headrace-bench-{time.time_ns():x}")

    def usage(self) -> Usage | None:
        return self.server.usage() if self.server else None


TargetMaker = Callable[[], AbstractContextManager[Target]]


@dataclass
class Options:
    """How a workload is run. Bounds are whichever comes first."""

    seconds: float = 30.0
    max_bytes: int | None = 2_000_000_000
    records: int | None = None
    connections: int = 4
    shards: int = 4
    rate: float | None = None  # requests a second: open loop
    seed: int = requests.SEED
    pool_bytes: int = requests.POOL_BYTES
    poll_interval: float = 0.005
    follow: bool = False  # read while writing, not afterwards
    allow_noise: bool = False
    drains: int = 3
    settle_seconds: float = 120.0
    cores: Cores = field(default_factory=lambda: Cores(None, None))


class Series:
    """Records acknowledged and read in each second of a run."""

    def __init__(self) -> None:
        self.seconds: list[dict[str, int]] = []
        self._last = {"records_done": 0, "records_read": 0}

    def add(self, counts: dict[str, Any]) -> None:
        """Take one sample; about ten come a second."""
        second = int(counts["elapsed"])
        while len(self.seconds) <= second:
            self.seconds.append({"records_done": 0, "records_read": 0})
        for name, last in self._last.items():
            self.seconds[second][name] += counts[name] - last
            self._last[name] = counts[name]


def requests_bound(shape: Shape, options: Options) -> int:
    """How many requests a run may make, by records, by bytes and by the ledger's own size."""
    bound = LEDGER_BYTES // (16 + shape.records)
    if options.records is not None:
        bound = min(bound, max(1, options.records // shape.records))
    if options.max_bytes is not None:
        bound = min(bound, max(1, options.max_bytes // shape.payload_bytes))
    return bound


def read_back(target: Target, ledger: Ledger, options: Options, producers: int) -> dict[str, Any]:
    """Read every shard from its beginning to its end and check each record; returns rates, counts and noise."""
    load = Load(
        target.endpoint.address,
        ledger,
        producers=producers,
        iterators=target.endpoint.iterators(target.stream),
        read_head=target.endpoint.head("GetRecords"),
        poll_interval=options.poll_interval,
    )
    before, own, read = target.usage(), time.process_time(), ledger.tally()["read"]
    begin, quiet = time.monotonic(), Quiet(options.cores)
    counts = load.run(0.0)
    seconds = time.monotonic() - begin
    own, after = time.process_time() - own, target.usage()
    used = after.cpu_seconds - before.cpu_seconds if after and before else None
    noise = quiet.end(own + (used or 0.0))
    load.close()
    records = counts["records_read"] - read
    return {
        "records": records,
        "seconds": seconds,
        "records_per_s": records / seconds,
        "reads": counts["reads"],
        "reads_refused": counts["reads_refused"],
        "bytes": counts["bytes_in"],
        "service_ms": milliseconds(load.read_service),
        "load_cpu_seconds": own,
        "target_cpu_seconds": used,
        "noise": noise,
    }


def put(target: Target, shape: Shape, options: Options) -> tuple[Run, Ledger]:
    """Put for a while, closed or open loop, then read everything back."""
    endpoint = target.endpoint
    endpoint.create_stream(target.stream, options.shards)
    plan = requests.http_plan(
        endpoint,
        target.stream,
        shape,
        writers=options.connections,
        seed=options.seed,
        pool_bytes=options.pool_bytes,
    )
    bound = requests_bound(shape, options)
    ledger = Ledger(plan, bound)
    ledger.expect_in(requests.homes(plan, endpoint.hash_key_ranges(target.stream), seed=options.seed))
    load = Load(
        endpoint.address,
        ledger,
        writers=options.connections,
        iterators=endpoint.iterators(target.stream) if options.follow else (),
        read_head=endpoint.head("GetRecords") if options.follow else b"",
        poll_interval=options.poll_interval,
    )
    series = Series()
    if target.directory:
        os.sync()  # what was written before is not to be paid for now
    before, own, quiet = target.usage(), time.process_time(), Quiet(options.cores)
    counts = load.run(options.seconds, requests_max=bound, rate=options.rate, on_slice=series.add)
    own, after = time.process_time() - own, target.usage()
    used = after.cpu_seconds - before.cpu_seconds if after and before else None
    noise = quiet.end(own + (used or 0.0))
    load.close()
    run = _put_run(shape, options, load, counts, own, used, noise)
    run.details["per_second"] = series.seconds
    if after:
        run.figures["target_rss_mb"] = after.rss_bytes / 1e6
        run.figures["target_rss_peak_mb"] = after.rss_peak_bytes / 1e6
        run.details["target_rss_anonymous_mb"] = after.rss_anonymous_bytes / 1e6
    if target.directory:
        run.details["store_after_put"] = store_bytes(target.directory)
        run.figures["not_yet_compressed_mb"] = run.details["store_after_put"]["raw_bytes"] / 1e6
    if not options.follow:
        run.details["read_back"] = read_back(target, ledger, options, options.connections)
        run.figures["read_back_records_per_s"] = run.details["read_back"]["records_per_s"]
    _check(run, ledger, counts)
    return run, ledger


def _put_run(
    shape: Shape,
    options: Options,
    load: Load,
    counts: dict[str, Any],
    own: float,
    used: float | None,
    noise: dict[str, float],
) -> Run:
    """The figures of the putting itself."""
    seconds = max(counts["seconds"], 1e-9)
    records = counts["records_done"]
    figures = {
        "records_per_s": records / seconds,
        "mb_per_s": records * shape.size / seconds / 1e6,
        "requests_per_s": counts["requests_done"] / seconds,
        "seconds": seconds,
        "load_cpu_us_per_request": own / max(1, counts["requests_done"]) * 1e6,
    }
    if used is not None:
        figures["target_cpu_us_per_request"] = used / max(1, counts["requests_done"]) * 1e6
        figures["records_per_target_cpu_s"] = records / max(used, 1e-9)
    details: dict[str, Any] = {
        "counts": counts,
        "noise": noise,
        "load_cpu_seconds": own,
        "target_cpu_seconds": used,
    }
    details["service_ms"] = milliseconds(load.service)
    run = Run(figures, details)
    if options.rate is not None:
        details["latency_ms"] = milliseconds(load.latency)
        details["slip_ms"] = milliseconds(load.slip)
        figures |= {
            f"latency_{name}_ms": details["latency_ms"].get(name, 0.0)
            for name in ("p50", "p99", "p99.9", "max")
        }
        figures |= {"late_requests": float(counts["late"]), "skipped_requests": float(counts["skipped"])}
        run.doubts += slip_doubts(details["slip_ms"], details["latency_ms"])
    if not options.allow_noise:
        run.doubts += noise_doubts(noise)
    return run


def slip_doubts(slip: dict[str, float | int], latency: dict[str, float | int]) -> list[str]:
    """Void if the generator was late itself: p99 over 1 ms, or over a twentieth of the median latency."""
    if not slip["count"]:
        return ["no request was made"]
    allowed = min(SLIP_MAX_MS, max(SLIP_FLOOR_MS, 0.05 * latency["p50"]))
    if slip["p99"] <= allowed:
        return []
    return [f"the generator was late itself: p99 of {slip['p99']:.3f} ms, {allowed:.3f} ms are allowed"]


@contextlib.contextmanager
def watched(run: Run, options: Options) -> Iterator[None]:
    """Watch how quiet the cores are while this process itself works, all its threads; void the run if others did."""
    quiet, own = Quiet(options.cores), time.process_time()
    yield
    run.details["noise"] = noise = quiet.end(time.process_time() - own)
    if not options.allow_noise:
        run.doubts += noise_doubts(noise)


def noise_doubts(noise: dict[str, float]) -> list[str]:
    """Void if others used the cores. Say so; --allow-noise drops the objection."""
    doubts = []
    if noise["others"] > OTHERS_MAX:
        doubts.append(
            f"other processes took {noise['others']:.0%} of the cores used; {OTHERS_MAX:.0%} are allowed"
        )
    if noise["steal"] > STEAL_MAX:
        doubts.append(
            f"the hypervisor kept {noise['steal']:.1%} of the cores used; {STEAL_MAX:.0%} are allowed"
        )
    return doubts


def _check(run: Run, ledger: Ledger, counts: dict[str, Any]) -> None:
    """Hold what was read against what was sent."""
    tally = ledger.tally()
    run.details["check"] = tally
    run.failures += failures_of(tally)
    if tally["acknowledged"] == 0:
        run.failures.append(f"no record was acknowledged ({counts['first_refusal'] or 'no answer'})")
    if counts["requests_unanswered"]:
        run.doubts.append(
            f"{counts['requests_unanswered']:,} requests were never answered: their connections broke"
        )
    if counts["requests_refused"] or counts["records_refused"]:
        run.details["refused"] = counts["first_refusal"]
        run.figures["records_refused"] = float(counts["records_refused"])
    if counts["records_refused"] > REFUSED_MAX * max(1, tally["records"]):
        run.doubts.append(
            f"{counts['records_refused']:,} of {tally['records']:,} records were refused; refusals are quicker "
            f"than work, and {REFUSED_MAX:.0%} are allowed"
        )


def put_workload(name: str) -> Callable[[Target, Options], Run]:
    """put-1k, put-100 or put-single."""

    def run(target: Target, options: Options) -> Run:
        return put(target, SHAPES[name], options)[0]

    return run


def drain(target: Target, options: Options) -> Run:
    """Fill a stream with records of 1 KiB, then read all of it: raw at once, cold when it has been compressed.

    Each figure is the median of `options.drains` readings that nobody disturbed. One that was disturbed is made
    again, as often at most; it stays in the details. How quiet it was while the stream was filled does not matter.
    """
    filled, ledger = put(target, requests.PUT_1K, replace(options, allow_noise=True))
    details: dict[str, Any] = {"fill": filled.figures, "check": filled.details["check"]}
    run = Run({}, details, list(filled.failures), list(filled.doubts))
    details["drains"] = _readings(run, "", target, ledger, options, [filled.details["read_back"]])
    if target.directory is None:
        return run
    details["settled"] = settle(target.directory, options.settle_seconds)
    if details["settled"]["raw_bytes"] > 0.05 * details["settled"]["cold_bytes"]:
        run.doubts.append(f"not all was compressed after {options.settle_seconds:g} s: no cold figure")
        return run
    details["cold_drains"] = _readings(run, "cold_", target, ledger, options, [])
    return run


def _readings(
    run: Run, prefix: str, target: Target, ledger: Ledger, options: Options, reads: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Read until enough readings were quiet, and put their medians into the run's figures."""

    def undisturbed() -> list[dict[str, Any]]:
        return [read for read in reads if options.allow_noise or not noise_doubts(read["noise"])]

    while len(undisturbed()) < options.drains and len(reads) < 2 * options.drains:
        reads.append(_read_again(run, target, ledger, options))
    if len(undisturbed()) < options.drains:
        disturbed = [read for read in reads if read not in undisturbed()]
        run.doubts += noise_doubts(disturbed[-1]["noise"])
    _drain_figures(run, prefix, undisturbed() or reads)
    return reads


def _read_again(run: Run, target: Target, ledger: Ledger, options: Options) -> dict[str, Any]:
    """One more reading of everything, checked like the first."""
    ledger.forget_reading()
    read = read_back(target, ledger, options, options.connections)
    run.failures += failures_of(ledger.tally())
    return read


def _drain_figures(run: Run, prefix: str, reads: list[dict[str, Any]]) -> None:
    rate = statistics.median(read["records_per_s"] for read in reads)
    run.figures[f"{prefix}records_per_s"] = rate
    run.figures[f"{prefix}mb_per_s"] = rate * requests.PUT_1K.size / 1e6
    used = [read["target_cpu_seconds"] / read["records"] for read in reads if read["target_cpu_seconds"]]
    if used:
        run.figures[f"{prefix}records_per_target_cpu_s"] = 1 / statistics.median(used)


def store_bytes(directory: Path) -> dict[str, int]:
    """How much of a store's segments is raw and how much compressed."""
    found = {"raw_bytes": 0, "cold_bytes": 0}
    for path in directory.glob("lanes/*/*"):
        name = f"{path.suffix[1:]}_bytes"
        with contextlib.suppress(FileNotFoundError):
            if name in found:
                found[name] += path.stat().st_blocks * 512
    return found


def settle(directory: Path, seconds: float) -> dict[str, Any]:
    """Wait until nearly all of a store is compressed, or until `seconds` have passed."""
    begin = time.monotonic()
    while True:
        found = store_bytes(directory)
        waited = time.monotonic() - begin
        if found["raw_bytes"] <= 0.05 * found["cold_bytes"] or waited > seconds:
            return {**found, "seconds": waited}
        time.sleep(0.5)


def end_to_end(target: Target, options: Options) -> Run:
    """Put single records at a rate while readers follow; the time from the intended put to its reader.

    One thread writes and reads and takes both times from one clock. A reader at the tip asks again after
    `poll_interval`, so half of it is in the median.
    """
    following = replace(options, follow=True, rate=options.rate or 1000.0)
    run, ledger = put(target, requests.PUT_SINGLE, following)
    travel = milliseconds(ledger.travel)
    run.details["travel_ms"] = travel
    run.figures = {
        f"travel_{name}_ms": travel.get(name, 0.0) for name in ("p50", "p99", "p99.9", "max")
    } | run.figures
    return run


WORKLOADS: dict[str, Callable[[Target, Options], Run]] = {
    **{name: put_workload(name) for name in SHAPES},
    "drain": drain,
    "e2e": end_to_end,
}
