# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What the demo shows: a live screen on a terminal, plain lines elsewhere, the report at the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from headrace.cli.output import console, human_duration, human_size

if TYPE_CHECKING:
    from headrace.cli.demo_run import DemoRun
    from headrace.cli.demo_windows import LiveWindow

RATE_FRAMES = 9  # frames over which rates are taken: two seconds
ROWS = 5  # of a window
RATE_SHARE = 0.95  # of the rate that was asked for, below which that is told
MIB = 1024 * 1024

Draw = Callable[["DemoRun", float], None]


@contextmanager
def screen(live: bool) -> Iterator[Draw]:
    """Draws frames; nothing off a terminal."""
    if not live:
        yield lambda _demo, _elapsed: None
        return
    from rich.live import Live

    picture = Picture()
    with Live(console=console(), auto_refresh=False, transient=True) as display:
        yield lambda demo, elapsed: display.update(picture.frame(demo, elapsed), refresh=True)


class Picture:
    """Frames, with the rates between them."""

    def __init__(self) -> None:
        self._before: deque[tuple[float, dict[str, tuple[int, int]]]] = deque(maxlen=RATE_FRAMES)

    def frame(self, demo: DemoRun, elapsed: float) -> Any:
        """Everything on one screen."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        ledger = demo.feeder.ledger
        head = Text.assemble(
            ("headrace demo", "bold"), f"  {demo.server.url}  {demo.server.directory}  {elapsed:.0f} s\n",
            f"{ledger.records:,} records put, {human_size(ledger.nbytes)}; a put takes "
            f"{human_duration(ledger.quantile(0.5))} (p50), {human_duration(ledger.quantile(0.99))} (p99)",
        )  # fmt: skip
        archive = demo.archive
        delivered = Text(
            f"delivered {len(archive.digests):,} records in {objects(archive.objects)}, "
            f"{human_size(archive.stored)}, {archive.ratio:.1f} times smaller"
        )
        windows = Table.grid(padding=(0, 2))  # side by side, so that all fits on 24 lines
        windows.add_row(*(_window(window) for window in demo.windows))
        foot = Text("Ctrl-C ends it and checks every record", style="dim")
        return Group(head, self._shards(demo, elapsed), windows, delivered, foot)

    def _shards(self, demo: DemoRun, elapsed: float) -> Any:
        now = {shard: (counts[0], counts[1]) for shard, counts in demo.feeder.ledger.by_shard.copy().items()}
        self._before.append((elapsed, now))
        since, before = self._before[0]
        seconds = max(elapsed - since, 1e-9)
        ledger = demo.feeder.ledger
        table = _table("shard", "records", "records/s", "MB/s", "put p50", "p99")
        for shard, (records, nbytes) in sorted(now.items()):
            old = before.get(shard, (0, 0))
            rates = ((records - old[0]) / seconds, (nbytes - old[1]) / seconds / 1e6)
            shown = rates if since < elapsed else (0.0, 0.0)
            times = (human_duration(ledger.quantile(share, shard)) for share in (0.5, 0.99))
            table.add_row(shard, f"{records:,}", f"{shown[0]:,.0f}", f"{shown[1]:.3f}", *times)
        return table


def _table(first: str, *numbers: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _window(window: LiveWindow) -> Any:
    """The rows of the window that closed last, the largest first."""
    rows = sorted(window.latest, key=lambda row: -row["records"])[:ROWS]
    start = rows[0]["window_start"].strftime("%H:%M:%S") if rows else "none closed yet"
    means = not rows or "mean" in rows[0]
    table = _table("metric", "records", *(["mean"] if means else []), "peak")
    table.title, table.title_justify = f"{window.title}: {start}", "left"
    for row in rows:
        numbers = [_number(row[name]) for name in ("mean", "peak") if name in row]
        table.add_row(row["metric"], f"{row['records']:,}", *numbers)
    return table


def _number(value: float | None) -> str:
    """Short enough for half a screen: 1,234.5, 123.5k, 12.3M."""
    if value is None:
        return ""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= max(size, 1e5):
            return f"{value / size:,.1f}{unit}"
    return f"{value:,.1f}"


def objects(count: int) -> str:
    """The count with its noun."""
    return f"{count:,} gzip object{'' if count == 1 else 's'}"


def plain_line(demo: DemoRun, elapsed: float) -> str:
    """One line about now."""
    ledger, archive = demo.feeder.ledger, demo.archive
    return (
        f"{elapsed:4.0f} s  {ledger.records:,} records put ({ledger.records / max(elapsed, 1e-9):,.0f}/s), put p50 "
        f"{human_duration(ledger.quantile(0.5))}, p99 {human_duration(ledger.quantile(0.99))}, "
        f"{objects(archive.objects)} ({archive.ratio:.1f} times smaller), "
        f"{' and '.join(f'{len(window.counts):,} rows of {window.title}' for window in demo.windows)}"
    )


def notes(summary: dict[str, Any]) -> list[str]:
    """What came of the options."""
    found = []
    if summary["files"]:
        skipped = summary["files_bytes_skipped"]
        left = f" ({human_size(skipped)} at their beginning left out)" if skipped else ""
        found.append(f"{summary['lines']:,} of the records are lines of {summary['files']} files{left}")
    asked, made = summary["synthetic_per_second_asked"], summary["synthetic_per_second"]
    if asked and made < RATE_SHARE * asked:
        found.append(f"--rate asked for {asked:,.0f} records a second; {made:,.0f} were made and put")
    return found


def report(summary: dict[str, Any]) -> str:
    """What happened, and what to type next."""
    made_up = f", {summary['synthetic']:,} of them synthetic" if summary["synthetic"] else ""
    lines = [
        f"{summary['put']:,} records ({human_size(summary['bytes'])}) put in {summary['seconds']:.1f} s"
        f"{made_up}; a put took {summary['put_ms_p50']:.2f} ms (p50), {summary['put_ms_p99']:.2f} ms (p99)",
        f"{objects(summary['objects'])}, {human_size(summary['archive_bytes'])}, "
        f"{summary['compression']:.1f} times smaller: {summary['archive']}",
        *notes(summary),
        "",
    ]
    for check in summary["checks"].values():
        lines.append(f"{'ok    ' if check['holds'] else 'FAILED'}  {check['says']}")
    if summary["failure"]:
        lines.append(f"FAILED  feeding ended early: {summary['failure']}")
    if summary["refused"]:
        lines.append(f"note    {summary['refused']:,} records were refused, so they were not put")
    if summary["server_exit"]:
        lines.append(
            f"FAILED  the server ended with {summary['server_exit']}: {summary['directory']}/demo.log"
        )
    lines += ["", f"The records are kept in {summary['directory']}. Next:", ""]
    return "\n".join([*lines, *(f"  {line}" for line in summary["next"])])
