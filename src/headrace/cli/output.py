# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What commands print: tables on a terminal, JSON lines otherwise; progress and notes on standard error.

add_output_arguments(parser)
...
show(rows, arguments, columns=("name", "shards"))      # rows: dicts; read as they come
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import IO, Any

FORMATS = ("table", "json", "csv", "raw")
Row = Mapping[str, Any]


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a command the option -o."""
    parser.add_argument(
        "-o",
        "--output",
        choices=FORMATS,
        help="table (on a terminal), json (otherwise: one object a line), csv or raw",
    )


def format_of(arguments: argparse.Namespace, stream: IO[str] | None = None) -> str:
    """The output format: what -o says, else a table on a terminal and JSON lines elsewhere."""
    chosen: str | None = getattr(arguments, "output", None)
    if chosen:
        return chosen
    return "table" if (stream or sys.stdout).isatty() else "json"


def encode(value: Any) -> bytes:
    """One value as JSON."""
    import msgspec

    return msgspec.json.encode(value, enc_hook=_plain)


def show(
    rows: Iterable[Row],
    arguments: argparse.Namespace,
    *,
    columns: Sequence[str] | None = None,
    title: str | None = None,
    raw: str | None = None,
    table: Callable[[Row], Row] | None = None,
    stream: IO[str] | None = None,
    header: bool = True,
) -> int:
    """Print rows in the chosen format and return how many there were.

    columns: names and order for table and csv; those of the first row otherwise.
    raw: the column that `-o raw` prints alone, the first one otherwise.
    header: whether CSV begins with the names; not where it goes on.
    table: makes of a row what people see of it in a table: fewer columns, shorter values.
    JSON lines, CSV and raw are printed row by row as they come; a table when all are there.
    """
    target = stream or sys.stdout
    chosen = format_of(arguments, target)
    if chosen == "table":
        found = list(rows) if table is None else [table(row) for row in rows]
        return _table(found, columns if table is None else None, title, target)
    if chosen == "csv":
        return _csv(rows, columns, target, header)
    count = 0
    for row in rows:
        if chosen == "json":
            target.write(encode(dict(_member(name, value) for name, value in row.items())).decode() + "\n")
        else:
            _write_raw(row[raw or next(iter(columns or row))], target)
        count += 1
    target.flush()
    return count


def show_one(row: Row, arguments: argparse.Namespace, *, title: str | None = None) -> None:
    """Print one thing: a table of its members on a terminal, one JSON object otherwise."""
    if format_of(arguments) == "table":
        pairs: list[Row] = [{"": name, "value": value} for name, value in row.items()]
        _table(pairs, ("", "value"), title, sys.stdout)
    else:
        show([row], arguments)


def note(text: str) -> None:
    """A line for the person at the terminal, on standard error."""
    print(text, file=sys.stderr, flush=True)


def console(stream: IO[str] | None = None) -> Any:
    """A rich console that follows NO_COLOR and writes to `stream` (standard output if not given)."""
    from rich.console import Console

    plain = bool(os.environ.get("NO_COLOR"))
    return Console(file=stream or sys.stdout, highlight=False, color_system=None if plain else "auto")


def progress(total: int | None, unit: str = "B") -> AbstractContextManager[Any]:
    """A bar on standard error, none off a terminal: `with progress(size) as advance: advance(n)`."""
    return _Progress(total, unit)


class _Progress:
    def __init__(self, total: int | None, unit: str) -> None:
        self._total = total
        self._unit = unit
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Any:
        if not sys.stderr.isatty():
            return lambda _count: None
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        amount = "{task.fields[done]}"
        self._bar = Progress(
            BarColumn(), TextColumn(amount), TimeRemainingColumn(), console=console(sys.stderr)
        )
        self._bar.start()
        self._task = self._bar.add_task("", total=self._total, done="")
        return self._advance

    def _advance(self, count: int) -> None:
        done = self._bar.tasks[0].completed + count
        text = human_size(done) if self._unit == "B" else f"{int(done):,} {self._unit}"
        self._bar.update(self._task, completed=done, done=text)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def human_size(size: float) -> str:
    """1536 -> "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def human_age(moment: datetime | None) -> str:
    """How long ago that was, in one unit: "3m"; "" for none."""
    if moment is None:
        return ""
    seconds = max((datetime.now(UTC) - moment).total_seconds(), 0.0)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def human_duration(seconds: float) -> str:
    """0.0012 -> "1.2 ms"; 5400 -> "1h 30m"."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if hours < 24 else f"{hours // 24}d {hours % 24}h"


def _member(name: str, value: Any) -> tuple[str, Any]:
    """A member as JSON takes it: bytes as text where they are UTF-8, else as base64, which its name tells."""
    if not isinstance(value, bytes | bytearray | memoryview):
        return name, value
    try:
        return name, bytes(value).decode()
    except UnicodeDecodeError:
        import base64

        return f"{name}_base64", base64.b64encode(value).decode()


def _plain(value: Any) -> Any:
    """What msgspec does not know: numpy's scalars become numbers, the rest text."""
    return value.item() if hasattr(value, "item") else str(value)


def _cell(value: Any) -> str:
    """Text of a value in a table or CSV cell."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple) and all(isinstance(item, str | int) for item in value):
        return ", ".join(map(str, value))
    return encode(value).decode()


def _table(rows: list[Row], columns: Sequence[str] | None, title: str | None, target: IO[str]) -> int:
    names = list(columns if columns is not None else rows[0] if rows else ())
    if not rows:
        target.write(f"no {title or 'rows'}\n")
        return 0
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        pad_edge=False,
        collapse_padding=True,
        show_header=any(names),
    )
    for name in names:
        numbers = all(isinstance(row.get(name), int | float | None) for row in rows)
        table.add_column(Text(name), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(name))) for name in names))
    console(target).print(table)
    return len(rows)


def _csv(rows: Iterable[Row], columns: Sequence[str] | None, target: IO[str], header: bool) -> int:
    writer = csv.writer(target, lineterminator="\n")
    names = list(columns) if columns is not None else []
    if columns is not None and header:
        writer.writerow(names)
    count = 0
    for row in rows:
        if not names:
            names = list(row)
            if header:
                writer.writerow(names)
        writer.writerow([_cell(row.get(name)) for name in names])
        count += 1
    target.flush()
    return count


def _write_raw(value: Any, target: IO[str]) -> None:
    """One value and a line feed; bytes go out as they are."""
    if isinstance(value, bytes | bytearray | memoryview) and hasattr(target, "buffer"):
        target.flush()
        target.buffer.write(bytes(value) + b"\n")
    else:
        target.write(_cell(value) + "\n")
