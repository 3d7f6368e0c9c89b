# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""All figures in one run, with the peers: each workload turn about, then the table of targets.

    python bench/peers/install.py          # once
    python bench/run.py                    # everything, about half an hour
    python bench/run.py --quick            # short runs: does it work?
    python bench/run.py --only put-1k,disk --peers none

Server on one core, load on the other, `process` durability. A burst is at most 2 GB into an empty, synced
store; the figure is the median of five. A run that others disturbed is made again, five times at most for each
workload and target, and is listed. Exit code 0: every target passed; 3: one was missed, void, or a check failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from peers.servers import SERVERS, NotInstalled
from peers.stores import STORES
from peers.windows import WINDOWS

from headrace.bench import command, machine, requests
from headrace.bench._load import Ledger, Load
from headrace.bench.disk import disk
from headrace.bench.embedded import embedded_put, headrace
from headrace.bench.measure import headrace_server, other_server, touched_bytes
from headrace.bench.report import SCHEMA, Report, Run, failures_of
from headrace.bench.target import on_core
from headrace.bench.windows import material, windows
from headrace.bench.workloads import (
    SHAPES,
    WORKLOADS,
    Options,
    Target,
    TargetMaker,
    put,
    read_back,
    requests_bound,
    settle,
)
from headrace.disk import SystemDisk
from headrace.log.cold import ColdSegment

PEER_SECONDS = 5.0
HTTP = ("put-1k", "put-100", "put-single", "drain")
ALL = (*HTTP, "e2e", "sustained", "embedded-put", "disk", "windows")
CEILING = "ceiling"


@dataclass(frozen=True)
class Goal:
    """One line of the table: a figure of a workload and the least it must be."""

    workload: str
    figure: str
    least: float
    words: str


GOALS = (
    Goal("put-1k", "records_per_s", 600_000, "PutRecords 500 x 1 KiB, records/s"),
    Goal("put-100", "records_per_s", 2_000_000, "PutRecords 500 x 100 B, records/s"),
    Goal("put-single", "requests_per_s", 60_000, "PutRecord 1 KiB, 16 connections, requests/s"),
    Goal("drain", "records_per_s", 500_000, "GetRecords, raw, records of 1 KiB/s"),
    Goal("drain", "cold_records_per_s", 500_000, "GetRecords, compressed, records of 1 KiB/s"),
    Goal("drain", "of_ceiling", 1 / 3, "GetRecords, raw, share of the ceiling"),
    Goal("drain", "cold_of_ceiling", 1 / 3, "GetRecords, compressed, share of the ceiling"),
    Goal("sustained", "records_per_s", 300_000, "60 s into 8 GiB, records of 1 KiB/s"),
    Goal("embedded-put", "producer_records_per_s", 2_000_000, "producer(), 100 B, records/s"),
    Goal("embedded-put", "batches_records_per_s", 10_000_000, "put_many without keys, 100 B, records/s"),
    Goal(
        "windows", "events_per_cpu_s", 2_500_000, "SQL windows, JSON of 200 B, 3 columns, events a CPU-second"
    ),
    Goal("disk", "put_500_of_plain", 0.8, "disk, 500 x 1 KiB a put, share of plain fdatasync"),
    Goal("disk", "put_500_by_4_of_plain", 0.8, "the same from 4 threads"),
)


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Session:
    """The targets of this run and what was measured on each: reports[workload][target]."""

    def __init__(self, arguments: argparse.Namespace, directory: Path) -> None:
        self.arguments = arguments
        self.directory = directory
        self.cores = machine.split_cores()
        self.facts = machine.facts(directory)
        self.repeat = 1 if arguments.quick else 5
        self.reports: dict[str, dict[str, Report]] = {}
        self.makers: dict[str, TargetMaker] = {"headrace": headrace_server(directory, core=self.cores.target)}
        for name in arguments.peers:
            self.makers[name] = SERVERS[name](self.cores.target)

    def options(self, workload: str, target: str) -> Options:
        quick = self.arguments.quick
        options = Options(
            seconds=2.0 if quick else 30.0 if target == "headrace" else PEER_SECONDS,
            max_bytes=200_000_000 if quick else 2_000_000_000,
            connections=command.CONNECTIONS.get(workload, 4),
            drains=1 if quick else 3,
            settle_seconds=120.0,
            allow_noise=self.arguments.allow_noise,
            cores=self.cores,
        )
        return options

    def report(self, workload: str, target: str, mode: str, durability: str) -> Report:
        """The report that collects a workload's runs on a target."""
        found = self.reports.setdefault(workload, {})
        if target not in found:
            found[target] = Report(
                workload, target, mode, durability, ["python", "bench/run.py", *sys.argv[1:]], {}, self.facts
            )
        return found[target]

    def one(
        self, workload: str, name: str, maker: TargetMaker, options: Options, label: str | None = None
    ) -> None:
        """One run of one workload on one target."""
        machine.touch_memory(self.directory, touched_bytes(options))
        with maker() as target, on_core(self.cores.load):
            run = WORKLOADS[workload](target, options)
        mode = "open loop" if options.rate or workload == "e2e" else "closed loop"
        report = self.report(label or workload, name, mode, target.durability)
        report.parameters = {**vars(options), "cores": vars(self.cores), "target": target.description}
        if not self.add(report, run):
            self.one(workload, name, maker, options, label)

    def add(self, report: Report, run: Run) -> bool:
        """Take a run into its report. False: it was disturbed and is to be made again."""
        taken = report.take(run, again=self.repeat)
        name, value = next(iter(run.figures.items()), ("nothing", 0.0))
        note(f"{report.workload} on {report.target}: {run.verdict}, {name} {value:,.4g}")
        if not taken:
            note(f"  made again: {'; '.join(run.doubts)}")
        return taken

    def calls(self, workload: str, name: str, durability: str, measure: Callable[[], Run]) -> None:
        """One run of a workload in this process, made again while others disturb it."""
        report = self.report(workload, name, "calls", durability)
        while not self.add(report, measure()):
            pass

    def http(self, workload: str) -> None:
        """All targets turn about: A B C, then C B A."""
        repeat = 1 if workload == "drain" else self.repeat
        for number in range(repeat):
            turn = list(self.makers.items())
            for name, maker in turn if number % 2 == 0 else reversed(turn):
                self.one(workload, name, maker, self.options(workload, name))
        if workload == "drain":
            self.drain_ceiling()
        elif workload in SHAPES:
            self.put_ceiling(workload)

    def put_ceiling(self, workload: str) -> None:
        """The same on a server that does nothing; its answers are no service's, so nothing is checked."""
        options = replace(self.options(workload, CEILING), seconds=2.0)
        words = [sys.executable, "-m", "headrace.bench.ceiling", "--shape", workload]
        with self.sink(words) as target, on_core(self.cores.load):
            shape = SHAPES[workload]
            plan = requests.http_plan(target.endpoint, target.stream, shape, writers=options.connections)
            ledger = Ledger(plan, requests_bound(shape, options))
            load = Load(target.endpoint.address, ledger, writers=options.connections)
            counts = load.run(options.seconds)
            load.close()
        figures = {
            "records_per_s": counts["records_done"] / counts["seconds"],
            "requests_per_s": counts["requests_done"] / counts["seconds"],
        }
        self.add(self.report(workload, CEILING, "closed loop", "nothing is kept"), Run(figures))

    def sink(self, words: list[str]) -> contextlib.AbstractContextManager[Target]:
        return other_server(words, core=self.cores.target, name=CEILING, announces=r"port (\d+)")()

    def drain_ceiling(self) -> None:
        """A server that gives again from memory what ours has answered, checked by the load as ever.

        Raw: the rate of this. Cold: not more than a core can do that sends as this one does and has zstd
        decompress the very blocks before, and nothing else.
        """
        options = replace(
            self.options("drain", CEILING), max_bytes=200_000_000 if self.arguments.quick else 500_000_000
        )
        with self.makers["headrace"]() as real, on_core(self.cores.load):
            run, ledger = put(real, SHAPES["put-1k"], options)
            words = [sys.executable, "-m", "headrace.bench.ceiling", "--replay", real.endpoint.url]
            with self.sink([*words, "--stream", real.stream]) as target:
                reads = []
                for _ in range(3):
                    ledger.forget_reading()
                    reads.append(read_back(target, ledger, options, options.connections))
                    run.failures += failures_of(ledger.tally())
            settled = settle(real.directory, options.settle_seconds) if real.directory else {}
            decompression_s = decompression_seconds(real.directory) / reads[0]["records"] if settled else 0.0
        rate = statistics.median(read["records_per_s"] for read in reads)
        sending_s = statistics.median(read["target_cpu_seconds"] / read["records"] for read in reads)
        figures = {
            "records_per_s": rate,
            "records_per_target_cpu_s": 1 / sending_s,
            "zstd_alone_records_per_cpu_s": 1 / decompression_s,
            "cold_records_per_s": min(rate, 1 / (sending_s + decompression_s)),
        }
        self.add(
            self.report("drain", CEILING, "closed loop", "nothing is kept"), Run(figures, {}, run.failures)
        )
        for measured in self.reports["drain"]["headrace"].runs:
            for name in ("", "cold_"):
                if f"{name}records_per_s" in measured.figures:
                    share = measured.figures[f"{name}records_per_s"] / figures[f"{name}records_per_s"]
                    measured.figures[f"{name}of_ceiling"] = share

    def e2e(self) -> None:
        options = replace(
            self.options("e2e", "headrace"), rate=1000.0, seconds=2.0 if self.arguments.quick else 10.0
        )
        for name, maker in self.makers.items():
            self.one("e2e", name, maker, options)

    def sustained(self) -> None:
        maker = headrace_server(self.directory, core=self.cores.target, settings=command.SUSTAINED)
        options = self.options("put-1k", "headrace")
        seconds = 5.0 if self.arguments.quick else command.SUSTAINED_SECONDS
        options = replace(options, seconds=seconds, max_bytes=None, follow=True)
        self.one("put-1k", "headrace", maker, options, label="sustained")

    def embedded(self) -> None:
        openers: dict[str, Callable[[Path], Any]] = {"headrace": headrace("process", 4)}
        if self.arguments.peers:
            openers |= STORES
        options = replace(
            self.options("embedded-put", "headrace"), records=200_000 if self.arguments.quick else None
        )
        for number in range(1 if self.arguments.quick else 3):
            turn = list(openers.items())
            for name, opener in turn if number % 2 == 0 else reversed(turn):
                chosen = (
                    options if name == "headrace" else replace(options, records=options.records or 1_000_000)
                )
                measure = partial(embedded_put, self.directory, chosen, opener)
                self.calls("embedded-put", name, "process", measure)

    def disk(self) -> None:
        for _ in range(1 if self.arguments.quick else 3):
            self.calls(
                "disk", "headrace", "disk", partial(disk, self.directory, self.options("disk", "headrace"))
            )

    def windows(self) -> None:
        options = self.options("windows", "headrace")
        options = replace(options, records=100_000 if self.arguments.quick else None)
        self.calls("windows", "headrace", "process", partial(windows, self.directory, options))
        for name, peer in (WINDOWS if self.arguments.peers else {}).items():
            self.add(self.report("windows", name, "calls", "nothing is kept"), peer(material(options)))

    def run(self, workload: str) -> None:
        others = {
            "e2e": self.e2e,
            "sustained": self.sustained,
            "embedded-put": self.embedded,
            "disk": self.disk,
            "windows": self.windows,
        }
        if workload in others:
            others[workload]()
        else:
            self.http(workload)


def decompression_seconds(directory: Path) -> float:
    """Processor time of zstd alone for every compressed block of a store, with one context for all."""
    import zstandard

    decompressor = zstandard.ZstdDecompressor()
    spent = 0.0
    for path in sorted(directory.glob("lanes/*/*.cold")):
        blocks = list(ColdSegment.open(path, SystemDisk()).packed_blocks())
        begin = time.process_time()
        for packed, size in blocks:
            decompressor.decompress(packed, max_output_size=size)
        spent += time.process_time() - begin
    return spent


def verdict(session: Session, goal: Goal) -> tuple[str, float | None]:
    """PASS, MISS, FAIL (a check failed), VOID (noise), or that it was not measured."""
    report = session.reports.get(goal.workload, {}).get("headrace")
    value = report.median().get(goal.figure) if report else None
    if report is None:
        return "not run", None
    if value is None:
        return "NO FIGURE", None
    if report.verdict != "PASS":
        return report.verdict, value
    return ("PASS" if value >= goal.least else "MISS"), value


def peers_of(session: Session, goal: Goal, value: float | None) -> str:
    """How many times the peers' figure this is."""
    parts = []
    for name, report in session.reports.get(goal.workload, {}).items():
        theirs = report.median().get(goal.figure)
        if name == "headrace" or not theirs or not value:
            continue
        reserve = {"PASS": "", "VOID": " (disturbed)"}.get(report.verdict, " (its check failed)")
        parts.append(f"{value / theirs:,.2f} x {name}{reserve}")
    return ", ".join(parts)


def table(session: Session) -> tuple[str, bool]:
    """The targets, one a line, and whether all that was run passed."""
    lines, good = [], True
    for goal in GOALS:
        if goal.workload not in session.arguments.only:
            continue
        word, value = verdict(session, goal)
        good &= word == "PASS"
        shown = "-" if value is None else f"{value:,.3g}" if value < 100 else f"{value:,.0f}"
        least = f"{goal.least:,.2g}" if goal.least < 100 else f"{goal.least:,.0f}"
        lines.append(
            f"{word:<9} {goal.words:<54} {shown:>12}  (>= {least})  {peers_of(session, goal, value)}"
        )
    return "\n".join(lines), good


@contextlib.contextmanager
def scratch(parent: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-", dir=parent) as name:
        yield Path(name)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--only", default=",".join(ALL), help=f"workloads, of {','.join(ALL)}")
    parser.add_argument("--peers", default=",".join(SERVERS), help="kinesalite,ministack or none")
    parser.add_argument("--quick", action="store_true", help="one short run of each: figures mean nothing")
    parser.add_argument(
        "--allow-noise", action="store_true", help="judge although other processes use the cores"
    )
    parser.add_argument("--directory", type=Path, help="a directory on a real file system for the stores")
    parser.add_argument("--report", type=Path, help="write everything as JSON")
    arguments = parser.parse_args()
    arguments.only = arguments.only.split(",")
    arguments.peers = [] if arguments.peers == "none" else arguments.peers.split(",")
    if unknown := (set(arguments.only) - set(ALL)) | (set(arguments.peers) - set(SERVERS)):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    begin = time.monotonic()
    if arguments.directory:
        arguments.directory.mkdir(parents=True, exist_ok=True)
    with scratch(arguments.directory) as directory:
        try:
            session = Session(arguments, directory)
        except NotInstalled as missing:
            print(missing, file=sys.stderr)
            return 4
        for workload in arguments.only:
            session.run(workload)
    for reports in session.reports.values():
        for report in reports.values():
            print(report.text(), end="\n\n")
    lines, good = table(session)
    print(lines)
    note(f"{time.monotonic() - begin:.0f} s")
    if arguments.report:
        whole = {
            "schema": SCHEMA,
            "reports": [r.to_dict() for each in session.reports.values() for r in each.values()],
        }
        arguments.report.write_text(json.dumps(whole, indent=1, ensure_ascii=False, default=str) + "\n")
    return 0 if good else 3


if __name__ == "__main__":
    sys.exit(main())
