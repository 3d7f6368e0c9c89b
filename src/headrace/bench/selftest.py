# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Is the measurement honest? Known delays are measured, stalls are seen, and each kind of damage is found."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from headrace.bench.endpoint import Endpoint
from headrace.bench.machine import Cores
from headrace.bench.report import Run
from headrace.bench.requests import PUT_SINGLE, Shape
from headrace.bench.target import Server, on_core
from headrace.bench.workloads import Options, Target, put

DELAY_MS = 100.0
DELAY_ERROR_MAX = 0.05
STALL_SECONDS = 1.0
STALL_SEEN_MS = 850.0
SMALL = Shape("PutRecords", 50, 100)
FAULTS = {
    "lose": "acknowledged and not there",
    "double": "there twice",
    "change": "not the bytes that were sent",
    "reorder": "out of order within their shard",
    "rekey": "with another partition key",
    "misplace": "in another shard",
    "renumber": "with another sequence number than was acknowledged",
}


@dataclass(frozen=True)
class Finding:
    """One check of the measurement: what was expected, what was seen, whether it holds."""

    name: str
    expected: str
    seen: str
    holds: bool


@contextlib.contextmanager
def stub(core: int | None, *options: str) -> Iterator[Target]:
    """Our stub server as a process of its own."""
    command = [sys.executable, "-m", "headrace.bench.stub", *options]
    with Server(command, core=core, announces=r"listening on port (\d+)") as server:
        yield Target("stub", Endpoint(server.url), server)


def known_delay(cores: Cores) -> Finding:
    """A server that answers after 100 ms: the median must say so, within 5 %."""
    options = Options(seconds=3.0, connections=16, shards=1, rate=50.0, allow_noise=True, cores=cores)
    with stub(cores.target, "--delay-ms", str(DELAY_MS)) as target, on_core(cores.load):
        run, _ = put(target, PUT_SINGLE, options)
    seen = run.details["latency_ms"]["p50"]
    holds = abs(seen - DELAY_MS) <= DELAY_MS * DELAY_ERROR_MAX and not run.failures
    return Finding(
        "a known delay", f"median {DELAY_MS:g} ms ± {DELAY_ERROR_MAX:.0%}", f"{seen:.1f} ms", holds
    )


def _stalled(cores: Cores, options: Options) -> Run:
    """Put for a while with the target stopped for one second in the middle."""
    with stub(cores.target) as target, on_core(cores.load):
        assert target.server is not None
        process = target.server.process

        def stall() -> None:
            time.sleep(options.seconds * 0.4)
            process.send_signal(signal.SIGSTOP)
            time.sleep(STALL_SECONDS)
            process.send_signal(signal.SIGCONT)

        thread = threading.Thread(target=stall)
        thread.start()
        try:
            run, _ = put(target, PUT_SINGLE, options)
        finally:
            thread.join()
            process.send_signal(signal.SIGCONT)
    return run


def stall_in_open_loop(cores: Cores, seconds: float = 10.0, rate: float = 1000.0) -> Finding:
    """The target stands still for 1 s of 10 at 1,000 requests/s: a tenth of all requests must show it."""
    options = Options(seconds=seconds, connections=16, shards=1, rate=rate, allow_noise=True, cores=cores)
    run = _stalled(cores, options)
    seen = run.details["latency_ms"]["p99"]
    holds = seen >= STALL_SEEN_MS and not run.failures
    return Finding("a stall, open loop", f"p99 of at least {STALL_SEEN_MS:g} ms", f"{seen:.0f} ms", holds)


def stall_in_closed_loop(cores: Cores, seconds: float = 10.0) -> Finding:
    """The same in closed loop: its p99 must not show it, which is why it is never reported as latency."""
    options = Options(
        seconds=seconds, max_bytes=None, connections=16, shards=1, allow_noise=True, cores=cores
    )
    run = _stalled(cores, options)
    seen = run.details["service_ms"]["p99"]
    holds = seen < STALL_SEEN_MS / 2 and not run.failures
    return Finding(
        "a stall, closed loop", f"p99 hides it (below {STALL_SEEN_MS / 2:g} ms)", f"{seen:.1f} ms", holds
    )


def damage(cores: Cores, fault: str) -> Finding:
    """A server that spoils one record: the check must find it, and name it."""
    options = Options(seconds=10.0, records=2000, connections=1, shards=3, allow_noise=True, cores=cores)
    with stub(cores.target, "--fault", fault) as target, on_core(cores.load):
        run, _ = put(target, SMALL, options)
    found = " | ".join(run.failures) or "nothing"
    return Finding(f"a server that would {fault}", FAULTS[fault], found, FAULTS[fault] in found)


def healthy(cores: Cores) -> Finding:
    """A server without faults: nothing must be found."""
    options = Options(seconds=10.0, records=2000, connections=4, shards=3, allow_noise=True, cores=cores)
    with stub(cores.target) as target, on_core(cores.load):
        run, _ = put(target, SMALL, options)
    return Finding(
        "a healthy server", "nothing wrong", " | ".join(run.failures) or "nothing wrong", not run.failures
    )


def selftest(cores: Cores) -> Iterator[Finding]:
    """All checks, about 40 seconds."""
    yield healthy(cores)
    for fault in FAULTS:
        yield damage(cores, fault)
    yield known_delay(cores)
    yield stall_in_open_loop(cores)
    yield stall_in_closed_loop(cores)
