# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""See everything at work on this machine's own telemetry: a server, a delivery and two SQL windows.

Starts a server of its own in DIR (a new temporary directory if not given, kept and named at the end), feeds
it by HTTP, delivers the records as gzip objects into DIR/archive, counts them by SQL, and checks at the end,
or on Ctrl-C, that every record was read back, delivered and counted. Exit code 0 only if so, else 3.

example:
  headrace demo --seconds 20
  headrace demo data --files '/var/log/*.log'
  headrace demo --seconds 20 --rate 5000 -o json
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import ConfigurationError

if TYPE_CHECKING:
    from headrace.cli.demo_run import DemoRun

CHECK_FAILED = 3
FRAME_S = 0.25
PLAIN_S = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said to `headrace demo`."""
    parser.add_argument(
        "directory", nargs="?", metavar="DIR", help="where to keep it; a temporary one if not given"
    )
    parser.add_argument(
        "--seconds", type=float, metavar="N", help="feed for so long; until Ctrl-C if not given"
    )
    parser.add_argument(
        "--files",
        metavar="GLOB",
        help="put the lines of these files, too (the last 4 MiB of each), and what is added to them",
    )
    parser.add_argument(
        "--rate",
        type=float,
        metavar="N",
        help='add N made-up records a second (up to 40,000), marked "synthetic": true',
    )
    parser.add_argument(
        "-o", "--output", choices=("table", "json"), help="json: only a summary, as one object, at the end"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; 0 if everything that was put was found again."""
    for name in ("seconds", "rate"):
        value = getattr(arguments, name)
        if value is not None and not 0 < value < 1e9:
            raise ConfigurationError(f"--{name} {value:g} is not a number above 0")
    from headrace.cli.demo_feed import RATE_MAX
    from headrace.cli.demo_run import DemoRun

    if arguments.rate is not None and arguments.rate > RATE_MAX:
        raise ConfigurationError(
            f"--rate {arguments.rate:g} is more than the demo makes, {RATE_MAX:,} records a second",
            hint="headrace bench measures what the machine can take",
        )
    directory = Path(arguments.directory or tempfile.mkdtemp(prefix="headrace-demo-")).expanduser().absolute()
    stop = threading.Event()
    with ExitStack() as stack:
        stack.enter_context(stopping(stop))
        demo = stack.enter_context(DemoRun(directory, arguments))
        watch(demo, arguments, stop)
        summary = demo.finish()
    summary["server_exit"] = demo.server.exit_code
    summary["passed"] = bool(summary["passed"] and demo.server.exit_code == 0)
    report(summary, arguments)
    return 0 if summary["passed"] else CHECK_FAILED


@contextmanager
def stopping(stop: threading.Event) -> Iterator[None]:
    """The first Ctrl-C, SIGTERM or hang-up ends the feeding; another ends the demo without its checks."""

    def handle(_number: int, _frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, handle) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def watch(demo: DemoRun, arguments: argparse.Namespace, stop: threading.Event) -> None:
    """Show what goes on until the time is over, the user has seen enough, or something failed."""
    from headrace.cli import demo_screen

    began = time.monotonic()
    end = began + arguments.seconds if arguments.seconds is not None else float("inf")
    live = arguments.output != "json" and sys.stdout.isatty()
    plain = arguments.output != "json" and not live
    told = began
    with demo_screen.screen(live) as draw:
        while not stop.is_set() and demo.healthy:
            left = end - time.monotonic()
            if left <= 0:
                break
            stop.wait(min(left, FRAME_S))
            demo.look()
            draw(demo, time.monotonic() - began)
            if plain and time.monotonic() - told >= PLAIN_S:
                told = time.monotonic()
                print(demo_screen.plain_line(demo, told - began), flush=True)
        stop.set()  # whatever comes now ends the checks


def report(summary: dict[str, Any], arguments: argparse.Namespace) -> None:
    """What happened, and what to type next."""
    from headrace.cli import demo_screen
    from headrace.cli.output import encode

    if arguments.output == "json":
        print(encode({"at": datetime.now(UTC).isoformat(timespec="seconds"), **summary}).decode())
    else:
        print(demo_screen.report(summary))
