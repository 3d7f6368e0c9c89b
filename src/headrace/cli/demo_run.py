# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""One run of the demo: its parts in their order, from the server's start to the checks at the end."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace.api import open as open_store
from headrace.cli import available, demo_check
from headrace.cli.demo_feed import Feeder
from headrace.cli.demo_server import STREAM, DemoServer, create_delivery, create_stream
from headrace.cli.demo_sources import Files, Synthetic, Telemetry
from headrace.cli.demo_windows import FLINK, KINESIS, LiveWindow
from headrace.errors import Error, Unreachable
from headrace.streams import StreamReader

FIRST_S = 15.0  # until the first record is acknowledged
FLUSH_S = 10.0  # beyond the delivery's interval
INTERVAL_MAX_S = 5


class DemoRun:
    """Server, feed, delivery and windows at work between `with` and `finish`.

    Attributes:
        server, feeder, archive, windows: the parts, for the screen.
    """

    def __init__(self, directory: Path, arguments: argparse.Namespace) -> None:
        self.server = DemoServer(directory)
        seconds = arguments.seconds or INTERVAL_MAX_S * 4
        self.interval_s = max(1, min(INTERVAL_MAX_S, int(seconds // 4)))
        self._arguments = arguments
        self._files: Files | None = None
        self._stack = ExitStack()
        self._began = 0.0
        self._seconds = 0.0

    def __enter__(self) -> DemoRun:
        with ExitStack() as stack:
            stack.enter_context(self.server)
            self._api = self.server.api()
            stack.callback(self._api.close)
            stream_arn = create_stream(self._api)
            prefix = f"run-{datetime.now(UTC):%Y%m%dT%H%M%SZ}/"
            create_delivery(self._api, stream_arn, prefix, self.interval_s)
            self.archive = demo_check.Archive(self.server.archive / prefix)
            self.store = stack.enter_context(open_store(self.server.directory, create=False, mode="read"))
            self.stream = self.store.inner.stream(STREAM)
            self.start = dict(StreamReader(self.stream, "latest").positions)
            self._start_feed(stack)
            self._start_windows(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start_feed(self, stack: ExitStack) -> None:
        now = time.monotonic()
        sources: list[Any] = [Telemetry(now)]
        if self._arguments.files is not None:
            self._files = Files(self._arguments.files, now)
            stack.callback(self._files.close)
            sources.append(self._files)
        if self._arguments.rate is not None:
            sources.append(Synthetic(self._arguments.rate, now))
        puts = self.server.api()
        stack.callback(puts.close)
        self.feeder = Feeder(puts, sources)
        self._began = time.monotonic()
        self.feeder.start()
        stack.callback(self.feeder.stop)
        while not self.feeder.started.wait(0.1):
            if not self.feeder.running or time.monotonic() - self._began > FIRST_S:
                raise self.feeder.failure or Error("the server acknowledged nothing")

    def _start_windows(self, stack: ExitStack) -> None:
        self.windows = [
            LiveWindow("TUMBLE 5 s (flink)", FLINK, self.store.inner, self.start),
            LiveWindow("STEP 1 s (kinesis)", KINESIS, self.store.inner, self.start),
        ]
        for window in self.windows:
            window.start()
            stack.callback(window.stop)

    @property
    def healthy(self) -> bool:
        return self.server.alive and self.feeder.running

    def look(self) -> None:
        """Read what was delivered meanwhile."""
        self.archive.look()

    def finish(self) -> dict[str, Any]:
        """Stop feeding, wait for what is under way, check everything; the summary of the run."""
        self.feeder.stop()
        self._seconds = time.monotonic() - self._began
        ledger = self.feeder.ledger
        self.archive.wait(ledger.records, self.interval_s + FLUSH_S, lambda: self.server.alive)
        for window in self.windows:
            window.stop()
        read = demo_check.ReadBack(self.stream, self.start, ledger.records)
        verdicts = {
            "read_back": demo_check.judge_reading(ledger, read),
            "delivered": demo_check.judge_delivery(ledger, self.archive),
        }
        counted: dict[str, int] = {}
        for name, window in zip(("counted_tumble", "counted_step"), self.windows, strict=True):
            holds, text, counted[name] = demo_check.judge_window(ledger, window)
            verdicts[name] = (holds, text)
        return self._summary(verdicts, {"read_back": len(read.digests), **counted})

    def _summary(self, verdicts: dict[str, tuple[bool, str]], counts: dict[str, int]) -> dict[str, Any]:
        ledger, archive = self.feeder.ledger, self.archive
        failure = self.feeder.failure
        if failure is None and not self.server.alive:  # between two puts
            failure = Unreachable("the server does not answer: it has ended")
        passed = ledger.records > 0 and failure is None and all(holds for holds, _ in verdicts.values())
        return {
            "passed": passed,
            "failure": None if failure is None else str(failure),
            "seconds": round(self._seconds, 2),
            "put": ledger.records,
            "bytes": ledger.nbytes,
            "synthetic": ledger.by_metric.get("synthetic", 0),
            "synthetic_per_second": round(ledger.by_metric.get("synthetic", 0) / self._seconds, 1),
            "synthetic_per_second_asked": self._arguments.rate,
            "lines": ledger.by_metric.get("line", 0),
            "files": 0 if self._files is None else self._files.count,
            "files_bytes_skipped": 0 if self._files is None else self._files.skipped,
            "refused": ledger.refused,
            "requests": ledger.requests,
            "records_per_second": round(ledger.records / self._seconds, 1),
            "put_ms_p50": round(ledger.quantile(0.5) * 1e3, 3),
            "put_ms_p99": round(ledger.quantile(0.99) * 1e3, 3),
            **counts,
            "delivered": len(archive.digests),
            "objects": archive.objects,
            "archive_bytes": archive.stored,
            "compression": round(archive.ratio, 2),
            "shards": {shard: records for shard, (records, _) in sorted(ledger.by_shard.items())},
            "shards_put_ms_p99": {
                shard: round(ledger.quantile(0.99, shard) * 1e3, 3) for shard in sorted(ledger.by_shard)
            },
            "metrics": dict(sorted(ledger.by_metric.items())),
            "checks": {name: {"holds": holds, "says": text} for name, (holds, text) in verdicts.items()},
            "directory": str(self.server.directory),
            "archive": str(archive.directory),
            "next": self._next(),
        }

    def _next(self) -> list[str]:
        """Three lines to copy."""
        where = shlex.quote(str(self.server.directory))
        have, program = available(), how_to_call()
        query = (
            "SELECT window_start, metric, COUNT(*) AS records, MAX(`value`) AS peak FROM TABLE(TUMBLE(TABLE "
            f"{STREAM}, DESCRIPTOR(ts), INTERVAL '5' SECOND)) GROUP BY window_start, window_end, metric"
        )
        candidates = [
            ("tail", f"{program} tail {STREAM} -n 5 --store {where}"),
            ("sql", f'{program} sql --store {where} --until latest "{query.replace("`", chr(92) + "`")}"'),
            ("serve", f"{program} serve {where} --config {shlex.quote(str(self.server.config))}"),
        ]
        lines = [line for command, line in candidates if command in have]
        archive = (
            f"find {shlex.quote(str(self.archive.directory))} -name '*.gz' | head -1 | xargs zcat | head -3"
        )
        return [*lines, archive][:3]


def how_to_call() -> str:
    """How a shell finds this command: by its name, or as it was found this time."""
    if shutil.which("headrace"):
        return "headrace"
    if Path(sys.argv[0]).name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m headrace"
    return shlex.quote(sys.argv[0])
