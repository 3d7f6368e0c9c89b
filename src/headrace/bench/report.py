# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The report of a measurement: what it holds as JSON, what it says on a terminal, and its verdict."""

from __future__ import annotations

import json
import shlex
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headrace.bench._load import Histogram

SCHEMA = "headrace.bench/1"
PASS, FAIL, VOID = "PASS", "FAIL", "VOID"
PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99)

ACKNOWLEDGED = {
    "process": "an acknowledged record survives kill -9 of every process",
    "disk": "an acknowledged record survives power loss",
}


def milliseconds(histogram: Histogram) -> dict[str, float | int]:
    """The percentiles of a histogram of microseconds, in milliseconds."""
    out: dict[str, float | int] = {"count": histogram.total}
    if histogram.total:
        out |= {f"p{percent:g}": histogram.percentile(percent) / 1000 for percent in PERCENTILES}
        out |= {"mean": round(histogram.mean / 1000, 4), "max": histogram.high / 1000}
    return out


@dataclass
class Run:
    """One repetition. figures: what the workload is about, by name; details: all else that was seen."""

    figures: dict[str, float]
    details: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)  # wrong results: the run fails whatever its speed
    doubts: list[str] = field(default_factory=list)  # reasons for which the figures say nothing

    @property
    def verdict(self) -> str:
        return FAIL if self.failures else VOID if self.doubts else PASS


@dataclass
class Report:
    """All repetitions of one workload on one target."""

    workload: str
    target: str
    mode: str  # "closed loop", "open loop" or "calls"
    durability: str
    command: Sequence[str]
    parameters: Mapping[str, Any]
    machine: Mapping[str, Any]
    runs: list[Run] = field(default_factory=list)
    set_aside: list[Run] = field(default_factory=list)  # disturbed, and made again
    started: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

    @property
    def verdict(self) -> str:
        verdicts = {run.verdict for run in self.runs}
        return FAIL if FAIL in verdicts or not verdicts else VOID if VOID in verdicts else PASS

    def take(self, run: Run, again: int) -> bool:
        """Add a repetition. False: it was void (and not wrong) and is set aside; make it again.

        again: how many may be set aside for this report in all; later ones count and make it void.
        """
        if run.verdict == VOID and len(self.set_aside) < again:
            self.set_aside.append(run)
            return False
        self.runs.append(run)
        return True

    def median(self) -> dict[str, float]:
        """The median of each figure over the repetitions."""
        names = dict.fromkeys(name for run in self.runs for name in run.figures)
        return {
            name: statistics.median(run.figures[name] for run in self.runs if name in run.figures)
            for name in names
        }

    def spread(self) -> dict[str, tuple[float, float]]:
        """The least and the greatest of each figure."""
        names = dict.fromkeys(name for run in self.runs for name in run.figures)
        values = {name: [run.figures[name] for run in self.runs if name in run.figures] for name in names}
        return {name: (min(found), max(found)) for name, found in values.items()}

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, ready for JSON."""
        return {
            "schema": SCHEMA,
            "workload": self.workload,
            "target": self.target,
            "mode": self.mode,
            "durability": self.durability,
            "acknowledged_means": ACKNOWLEDGED.get(self.durability, "whatever the target promises"),
            "command": shlex.join(self.command),
            "started": self.started,
            "verdict": self.verdict,
            "median": self.median(),
            "spread": self.spread(),
            "parameters": dict(self.parameters),
            "machine": dict(self.machine),
            "runs": [{**asdict(run), "verdict": run.verdict} for run in self.runs],
            "set_aside": [{**asdict(run), "verdict": run.verdict} for run in self.set_aside],
        }

    def save(self, path: Path) -> None:
        """Write the report as JSON."""
        path.write_text(json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n")

    def text(self) -> str:
        """The first screen: verdict, what it was, the figures, what was wrong."""
        processor = self.machine["processor"]
        lines = [
            f"{self.verdict}  {self.workload} on {self.target}, {self.mode}, {len(self.runs)} run(s)",
            f"  durability    {self.durability}: {ACKNOWLEDGED.get(self.durability, 'whatever the target promises')}",
            f"  machine       {processor['model']}, {processor['usable']} cores, Linux {self.machine['kernel']}",
            f"  command       {shlex.join(self.command)}",
        ]
        spread = self.spread()
        for name, value in self.median().items():
            low, high = spread[name]
            between = f"   ({_number(low)} to {_number(high)})" if len(self.runs) > 1 else ""
            lines.append(f"  {name:<32} {_number(value):>14}{between}")
        for kind, pick in (("wrong", "failures"), ("void", "doubts")):
            seen = dict.fromkeys(text for run in self.runs for text in getattr(run, pick))
            lines += [f"  {kind}: {text}" for text in seen]
        for run in self.set_aside:
            lines.append(f"  made again: a run was void ({'; '.join(run.doubts)})")
        if self.mode == "closed loop":
            lines.append("  closed loop: throughput only, no latency under load can be read from it")
        return "\n".join(lines)


def _number(value: float) -> str:
    """12345.6 -> "12,346"; 0.01234 -> "0.0123"."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def failures_of(tally: Mapping[str, Any]) -> list[str]:
    """What the ledger found wrong, in words."""
    words = {
        "lost": "acknowledged and not there",
        "doubled": "there twice",
        "changed": "not the bytes that were sent",
        "reordered": "out of order within their shard",
        "rekeyed": "with another partition key than they were sent with",
        "misplaced": "in another shard than their partition key says",
        "renumbered": "with another sequence number than was acknowledged",
        "unsorted": "with sequence numbers that do not ascend within their shard",
        "refused_seen": "refused and yet there",
    }
    found = [f"{tally[name]:,} records {text}" for name, text in words.items() if tally[name]]
    if tally["lost"] and tally["first_lost"] is not None:
        found[0] += f" (the first is number {tally['first_lost']})"
    return found
