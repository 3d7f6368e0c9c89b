# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""List, describe and watch deliveries.

A directory tells of failures only that a delivery could not be created or deleted; how one fails just now is
known to the server that runs it, which --endpoint asks.

example:
  headrace firehose                                       what is delivered, and how it is doing
  headrace firehose describe archive
  headrace firehose watch archive --endpoint http://127.0.0.1:4567
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headrace.cli.output import add_output_arguments, console, format_of, human_size, note, show, show_one
from headrace.cli.remote import RemoteDeliveries
from headrace.cli.target import add_target_arguments, no_store, target
from headrace.errors import ConfigurationError, NotFound

ACTIONS = ("list", "describe", "watch")
COLUMNS = ("delivery", "status", "records/s", "rate", "objects", "ratio", "buffer", "flush", "retries")
WIDE = 100  # columns of a terminal that has room for all of them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said to `headrace firehose`."""
    parser.add_argument(
        "action", nargs="?", default="list", metavar="ACTION", help=", ".join(ACTIONS) + " (list)"
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="the delivery stream; watch: all of them")
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="watch: pace (1)")
    parser.add_argument("--seconds", type=float, metavar="N", help="watch: end after so long")
    add_target_arguments(parser)
    add_output_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do one action."""
    if arguments.action not in ACTIONS:  # `headrace firehose NAME` describes it
        if arguments.name is not None:
            raise ConfigurationError(
                f"{arguments.action!r} is no action", hint=f"there are {', '.join(ACTIONS)}"
            )
        arguments.action, arguments.name = "describe", arguments.action
    if arguments.action == "describe" and arguments.name is None:
        raise ConfigurationError("firehose describe wants a NAME")
    if arguments.action == "list" and arguments.name is not None:
        raise ConfigurationError(
            "firehose list takes no name", hint=f"headrace firehose describe {arguments.name}"
        )
    if arguments.every <= 0:
        raise ConfigurationError(f"--every {arguments.every} is not a time")
    where = target(arguments)
    if arguments.action == "watch":
        if isinstance(where, Path):
            raise ConfigurationError(
                "firehose watch asks a running server", hint="add --endpoint http://127.0.0.1:4567"
            )
        return watch(where, arguments)
    with described(where) as descriptions:
        if isinstance(where, Path) and descriptions:
            note("how a delivery fails just now is known to its server: ask --endpoint URL")
        rows = {name: row_of(found) for name, found in descriptions.items()}
        if isinstance(where, Path) and not any(row["error"] for row in rows.values()):
            for row in rows.values():
                del row["error"]  # it would say that all is well
        return listed(descriptions, rows, arguments)


def listed(
    descriptions: dict[str, dict[str, Any]], rows: dict[str, dict[str, Any]], arguments: argparse.Namespace
) -> int:
    """Print all deliveries, or one."""
    if arguments.action == "list":
        show(rows.values(), arguments, title="deliveries")
        return 0
    if arguments.name not in descriptions:
        raise NotFound(
            f"there is no delivery stream {arguments.name}",
            hint=f"there are {', '.join(descriptions) or 'none'}",
        )
    found = descriptions[arguments.name]
    destination = found["Destinations"][0]["S3DestinationDescription"]
    more = {"arn": found["DeliveryStreamARN"], "version": found["VersionId"], "role": destination["RoleARN"]}
    show_one({**rows[arguments.name], **more}, arguments)
    return 0


def row_of(found: dict[str, Any]) -> dict[str, Any]:
    """One delivery at a glance, from its description."""
    both = found["Destinations"][0]
    settings = both.get("ExtendedS3DestinationDescription") or both["S3DestinationDescription"]
    source = found.get("Source", {}).get("KinesisStreamSourceDescription", {}).get("KinesisStreamARN", "")
    hints = settings["BufferingHints"]
    return {
        "delivery": found["DeliveryStreamName"],
        "status": found["DeliveryStreamStatus"],
        "source": source.rpartition("/")[2] or found["DeliveryStreamType"],
        "bucket": settings["BucketARN"].rpartition(":::")[2],
        "prefix": settings.get("Prefix", ""),
        "compression": settings["CompressionFormat"],
        "size_mb": hints["SizeInMBs"],
        "interval_s": hints["IntervalInSeconds"],
        "error": found.get("FailureDescription", {}).get("Details", ""),
    }


@contextlib.contextmanager
def described(where: Path | str) -> Iterator[dict[str, dict[str, Any]]]:
    """Every delivery's description by its name, from a server or from a directory's catalogue."""
    if isinstance(where, str):
        remote = RemoteDeliveries(where)
        try:
            yield {name: remote.describe(name) for name in remote.names()}
        finally:
            remote.close()
        return
    from headrace.config import Config
    from headrace.firehose import Buckets, Deliveries
    from headrace.firehose.operations import describe_delivery_stream
    from headrace.log import Log
    from headrace.streams import Streams

    try:
        log = Log.open_reader(where)
    except NotFound:
        raise no_store(where) from None
    try:
        deliveries = Deliveries(Streams(log), Buckets(Config(), where))
        yield {
            name: describe_delivery_stream(deliveries, {"DeliveryStreamName": name})[
                "DeliveryStreamDescription"
            ]
            for name, _ in deliveries.list()
        }
    finally:
        log.close()


# ---------------------------------------------------------------- watch


def watch(endpoint: str, arguments: argparse.Namespace) -> int:
    """Rates, buffers and errors, again and again: a table that stays in place, or JSON lines."""
    remote = RemoteDeliveries(endpoint)
    end = None if arguments.seconds is None else time.monotonic() + arguments.seconds
    try:
        with _screen(arguments) as draw:
            before: dict[str, dict[str, float]] = {}
            before_s = time.monotonic()
            while True:
                now, now_s = remote.metrics(), time.monotonic()
                draw(list(_rows(remote, now, before, now_s - before_s, arguments.name)))
                before, before_s = now, now_s
                left = arguments.every if end is None else min(arguments.every, end - time.monotonic())
                if left <= 0:
                    return 0
                time.sleep(left)
    except KeyboardInterrupt:
        return 0
    finally:
        remote.close()


def _rows(
    remote: RemoteDeliveries,
    now: dict[str, dict[str, float]],
    before: dict[str, dict[str, float]],
    seconds: float,
    name: str | None,
) -> Iterator[dict[str, Any]]:
    """What happened to each delivery since the last look."""
    for delivery in [name] if name is not None else remote.names():
        found = remote.describe(delivery)
        values, earlier = now.get(delivery, {}), before.get(delivery)

        def rate(
            metric: str,
            values: dict[str, float] = values,
            earlier: dict[str, float] | None = earlier,
        ) -> float:
            grown = 0.0 if earlier is None else values.get(metric, 0) - earlier.get(metric, 0)
            return round(grown / seconds, 1)

        stored = values.get("stored_bytes_total", 0)
        yield {
            "delivery": delivery,
            "status": found["DeliveryStreamStatus"],
            "records_per_s": rate("records_total"),
            "bytes_per_s": rate("bytes_total"),
            "objects": int(values.get("objects_total", 0)),
            "compression": round(values.get("bytes_total", 0) / stored, 2) if stored else None,
            "buffered_records": int(values.get("buffer_records", 0)),
            "buffered_bytes": int(values.get("buffer_bytes", 0)),
            "flush_s": round(values.get("buffer_due_seconds", 0), 1),
            "freshness_s": round(values.get("freshness_seconds", 0), 1),
            "retries": int(values.get("retries_total", 0)),
            "lost": int(values.get("records_lost_total", 0)),
            "error": found.get("FailureDescription", {}).get("Details", ""),
        }


@contextlib.contextmanager
def _screen(arguments: argparse.Namespace) -> Iterator[Any]:
    """A function that shows rows: in place on a terminal, else one after another."""
    if format_of(arguments) != "table" or not sys.stdout.isatty():
        begun = False

        def after_another(rows: list[dict[str, Any]]) -> None:
            nonlocal begun
            show(rows, arguments, title="deliveries", header=not begun)
            begun = begun or bool(rows)

        yield after_another
        return
    from rich.live import Live

    with Live(console=console(), auto_refresh=False) as live:
        yield lambda rows: live.update(_table(rows, live.console.width), refresh=True)


def _table(rows: list[dict[str, Any]], width: int) -> Any:
    """What a terminal of so many columns shows: fewer figures on a narrow one, errors below."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    shown = [_cells(row) for row in rows]
    names = [name for name in COLUMNS if width >= WIDE or name not in ("ratio", "retries")]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(
            name,
            justify="left" if name in ("delivery", "status") else "right",
            no_wrap=name != "delivery",
            overflow="fold",
        )
    for cells in shown:
        table.add_row(*(Text(cells[name]) for name in names))
    failing = [Text(f"{row['delivery']}: {row['error']}") for row in rows if row["error"]]
    return Group(table, *failing)


def _cells(row: dict[str, Any]) -> dict[str, str]:
    """The text of each cell."""
    return {
        "delivery": row["delivery"],
        "status": row["status"],
        "records/s": f"{row['records_per_s']:,.0f}",
        "rate": f"{human_size(row['bytes_per_s'])}/s",
        "objects": f"{row['objects']:,}",
        "ratio": "" if row["compression"] is None else f"{row['compression']:.1f}",
        "buffer": human_size(row["buffered_bytes"]),
        "flush": f"{row['flush_s']:.0f} s" if row["buffered_records"] else "",
        "retries": str(row["retries"]),
    }
