# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Run a workload as often as asked, each time on a fresh target, and make the report."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from headrace.bench import machine
from headrace.bench.endpoint import Endpoint
from headrace.bench.report import Report
from headrace.bench.target import Server, headrace_command, on_core
from headrace.bench.workloads import WORKLOADS, Options, Target, TargetMaker

Note = Callable[[str], None]


def existing(url: str, name: str | None = None) -> TargetMaker:
    """A target that somebody else started and that stays as it is, but for the stream of the run."""

    @contextlib.contextmanager
    def make() -> Iterator[Target]:
        target = Target(name or url, Endpoint(url))
        try:
            yield target
        finally:
            with contextlib.suppress(OSError):
                target.endpoint.delete_stream(target.stream)

    return make


def headrace_server(
    parent: Path,
    *,
    core: int | None,
    durability: str = "process",
    extra: Sequence[str] = (),
    settings: dict[str, str] | None = None,
) -> TargetMaker:
    """A headrace server of this installation in a new directory under `parent`, removed afterwards."""
    environment = {"HEADRACE__STORE__DURABILITY": durability, **(settings or {})}

    @contextlib.contextmanager
    def make() -> Iterator[Target]:
        directory = Path(tempfile.mkdtemp(prefix="headrace-bench-", dir=parent))
        try:
            os.sync()
            with Server(headrace_command(directory, extra), core=core, environment=environment) as server:
                description = {
                    "command": server.command,
                    "environment": environment,
                    "started_s": server.started_seconds,
                }
                yield Target("headrace", Endpoint(server.url), server, durability, directory, description)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    return make


def other_server(
    command: Sequence[str], *, core: int | None, name: str, announces: str | None = None
) -> TargetMaker:
    """A server started by any command; `{port}` in it is replaced by a free port, {port_file} by a ready file."""
    from headrace.bench.target import free_port

    @contextlib.contextmanager
    def make() -> Iterator[Target]:
        port = free_port() if any("{port}" in word for word in command) else None
        words = [word.replace("{port}", str(port)) for word in command]
        with Server(words, core=core, port=port, announces=announces) as server:
            yield Target(name, Endpoint(server.url), server, description={"command": server.command})

    return make


def measure(
    workload: str,
    maker: TargetMaker,
    options: Options,
    *,
    repeat: int,
    directory: Path,
    note: Note = lambda text: None,
) -> Report:
    """Run one workload `repeat` times. The load stays on its core while a run lasts.

    A run that others disturbed is made again; `repeat` of them at most.
    """
    facts = machine.facts(directory)
    report: Report | None = None
    while report is None or len(report.runs) < repeat:
        machine.touch_memory(directory, touched_bytes(options))
        with maker() as target, on_core(options.cores.load):
            run = WORKLOADS[workload](target, options)
            if report is None:
                report = Report(
                    workload=workload,
                    target=target.name,
                    mode="open loop" if options.rate or workload == "e2e" else "closed loop",
                    durability=target.durability,
                    command=["headrace", *sys.argv[1:]],
                    parameters=parameters(options, target),
                    machine=facts,
                )
        taken = report.take(run, again=repeat)
        name, value = next(iter(run.figures.items()), ("", 0.0))
        number = f"run {len(report.runs)} of {repeat}" if taken else "made again"
        note(f"{workload} on {target.name}, {number}: {run.verdict}, {name} {value:,.0f}")
    return report


def measure_calls(
    workload: str,
    options: Options,
    *,
    repeat: int,
    directory: Path,
    durability: Literal["process", "disk"] = "process",
    note: Note = lambda text: None,
) -> Report:
    """Run an embedded workload `repeat` times, in this process, on a core of its own with the threads it starts."""
    from headrace.bench.disk import disk
    from headrace.bench.embedded import embedded_put, headrace
    from headrace.bench.windows import windows

    durability = "disk" if workload == "disk" else durability
    report = Report(
        workload=workload,
        target="headrace",
        mode="calls",
        durability=durability,
        command=["headrace", *sys.argv[1:]],
        parameters=asdict(options),
        machine=machine.facts(directory),
    )
    while len(report.runs) < repeat:
        machine.touch_memory(directory, touched_bytes(options))
        if workload == "disk":
            run = disk(directory, options)
        elif workload == "windows":
            run = windows(directory, options)
        else:
            run = embedded_put(directory, options, headrace(durability, options.shards))
        taken = report.take(run, again=repeat)
        note(f"{workload}, {f'run {len(report.runs)} of {repeat}' if taken else 'made again'}: {run.verdict}")
    return report


def touched_bytes(options: Options) -> int:
    """What a burst may write, frames and the first compressed files included."""
    return (options.max_bytes or 0) * 5 // 4


def parameters(options: Options, target: Target) -> dict[str, Any]:
    """Everything that a repetition of the measurement needs to know."""
    return {**asdict(options), "target": target.description, "endpoint": target.endpoint.url}
