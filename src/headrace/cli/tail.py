# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Show the last records of a stream, and follow it.

example:
  headrace tail metrics -n 20
  headrace tail metrics -f --from -10m -o raw | jq .cpu
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import re
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.cli.output import add_output_arguments, format_of, show
from headrace.cli.target import add_target_arguments, open_store, open_stream, target
from headrace.errors import ConfigurationError, NotFound

if TYPE_CHECKING:
    from headrace.cli.remote import RemoteStreams

POLL_S = 0.2
SPAN_S = 1.0  # of the end of a stream, looked at first for its last records
_AGE = re.compile(r"-(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said to `headrace tail`."""
    parser.add_argument("stream", metavar="STREAM", help="what to show")
    parser.add_argument("-n", type=int, default=None, metavar="N", help="so many of the last records (10)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    parser.add_argument(
        "--from", dest="start", metavar="WHEN", help="earliest, latest, -10m, a time, or a sequence number"
    )
    parser.add_argument("--shard", metavar="ID", help="only this one")
    add_target_arguments(parser)
    add_output_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show, and follow if asked to; Ctrl-C is the normal end of that."""
    if arguments.n is not None and (arguments.n < 0 or arguments.start):
        raise ConfigurationError("-n wants a number from 0, and excludes --from")
    where = target(arguments)
    rows = remote_rows(where, arguments) if isinstance(where, str) else directory_rows(where, arguments)
    if format_of(arguments) == "table" and arguments.follow:
        arguments.output = "json"  # a table needs to know its rows before it is drawn
    try:
        columns = ("time", "shard", "key", "data")
        show(rows, arguments, columns=columns, title="records", raw="data", table=short)
    except KeyboardInterrupt:
        if not arguments.follow:
            raise
    return 0


def when(text: str | None, option: str = "--from") -> Any:
    """A start as the library takes it; `option` is what an error names."""
    if text is None or text in ("earliest", "latest") or text.isdigit():
        return text
    age = _AGE.fullmatch(text)
    if age:
        return timedelta(seconds=float(age[1]) * _UNITS[age[2]])
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"{option} {text!r} is not a time",
            hint="allowed are earliest, latest, -10m, 2026-01-31T12:00:00Z or a sequence number",
        ) from None
    return found if found.tzinfo else found.astimezone(UTC)


def row_of(time_ms: int, shard: str, key: str, data: bytes) -> Row:
    """One line of output."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return {"time": moment.replace("+00:00", "Z"), "shard": shard, "key": key, "data": text_of(data)}


def short(row: Mapping[str, Any]) -> Row:
    """A record as a table shows it: the time of day, the shard's number, and one line of data."""
    data = row["data"]
    text = data if isinstance(data, str) else bytes(data).decode("utf-8", "replace")
    return {
        "time": row["time"][11:-1],
        "shard": int(row["shard"].removeprefix("shardId-")),
        "key": row["key"],
        "data": text,
    }


def text_of(data: bytes) -> Any:
    """Payloads as text where they are; raw bytes otherwise."""
    if format_wants_bytes:
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


format_wants_bytes = False


def directory_rows(directory: Path, arguments: argparse.Namespace) -> Iterator[Row]:
    """From a directory, read directly."""
    global format_wants_bytes
    format_wants_bytes = format_of(arguments) == "raw"
    # Only reading, so that a server or a put may start meanwhile and write the directory.
    with open_store(directory, mode="read") as store:
        stream = open_stream(store, arguments.stream)
        start = when(arguments.start)
        if start is None:
            last, tail = last_records(stream, 10 if arguments.n is None else arguments.n, arguments.shard)
            yield from last
        else:
            tail = stream.tail(start, shard=arguments.shard, max_wait=None if arguments.follow else 0.0)
        if arguments.follow or start is not None:
            for batch in tail:
                yield from batch_rows(batch)


def batch_rows(batch: Any) -> Iterator[Row]:
    for record in batch:
        yield row_of(record.arrival_ms, f"shardId-{record.shard:012d}", record.key, record.data)


def last_records(stream: Any, count: int, shard: str | None) -> tuple[list[Row], Any]:
    """The last `count` records by arrival over all shards, and a tail from there on. Holds two times as many."""
    tail = stream.tail("latest", shard=shard)
    newest: list[tuple[int, int, int, Row]] = []
    for number, end in tail.positions.items():
        read = last_of_shard(stream._inner.lane_of(number), number, count, end)
        newest = heapq.nlargest(count, itertools.chain(newest, read), key=lambda item: item[:3])
    return [row for *_, row in reversed(newest)], tail


def last_of_shard(lane: Any, shard: int, count: int, end: int) -> Iterator[tuple[int, int, int, Row]]:
    """The last `count` records of a shard before index `end`, each with what it is sorted by: arrival, shard, index."""
    index, left = lane.last(shard, count, end)
    while left > 0:
        batch = lane.read(shard, index, max_records=left)
        batch = batch[: int((batch.ordinals < end).sum())]
        if not len(batch):
            return  # dropped meanwhile
        for record, row in zip(batch, batch_rows(batch), strict=True):
            yield record.arrival_ms, shard, record.ordinal, row
        index, left = int(batch.ordinals[-1]) + 1, left - len(batch)


# ---------------------------------------------------------------- an endpoint


def remote_rows(endpoint: str, arguments: argparse.Namespace) -> Iterator[Row]:
    """From an endpoint, by GetRecords."""
    from headrace.cli.remote import RemoteStreams

    global format_wants_bytes
    format_wants_bytes = format_of(arguments) == "raw"
    remote = RemoteStreams(endpoint)
    shards = remote_shards(remote, arguments.stream, arguments.shard)
    if arguments.start is None:
        count = 10 if arguments.n is None else arguments.n
        last, iterators = last_remotely(remote, arguments.stream, shards, count)
        yield from last
        if not arguments.follow:
            return
    else:
        start = remote_start(when(arguments.start))
        iterators = {shard: remote.iterator(arguments.stream, shard, **start) for shard in shards}
    reached: set[str] = set()
    while any(iterators.values()):
        found = False
        for shard, iterator in iterators.items():
            if iterator is None:
                continue
            records, iterators[shard], behind = remote.records(iterator)
            found = found or bool(records)
            yield from (remote_row(shard, record) for record in records)
            if not records and behind == 0:
                reached.add(shard)
        if not arguments.follow and reached >= {shard for shard, iterator in iterators.items() if iterator}:
            return
        if not found:
            sys.stdout.flush()
            time.sleep(POLL_S)


def remote_shards(remote: RemoteStreams, stream: str, shard: str | None) -> list[str]:
    """The ids of all shards, or of the one that is named by its id or number."""
    known = remote.shards(stream)
    if shard is None:
        return known
    number = shard.removeprefix("shardId-")
    wanted = f"shardId-{int(number):012d}" if number.isascii() and number.isdigit() else shard
    if wanted not in known:
        raise NotFound(f"stream {stream} has no shard {shard!r}", hint=f"it has {known[0]} to {known[-1]}")
    return [wanted]


def remote_row(shard: str, record: Mapping[str, Any]) -> Row:
    arrival_ms = round(record["ApproximateArrivalTimestamp"] * 1000)
    return row_of(arrival_ms, shard, record["PartitionKey"], record["Data"])


def last_remotely(
    remote: RemoteStreams, stream: str, shards: list[str], count: int
) -> tuple[list[Row], dict[str, str | None]]:
    """The last `count` records by arrival over all shards, and iterators from there on.

    The API reads forward only, so the last seconds are read, and two times as long again and again until there
    are enough: less than two times what is between the first of them and now, but for one span.
    """
    if not count:
        return [], {shard: remote.iterator(stream, shard, **remote_start("latest")) for shard in shards}
    summary = remote.call("DescribeStreamSummary", StreamName=stream)["StreamDescriptionSummary"]
    now = time.time()
    oldest = max(summary["StreamCreationTimestamp"], now - 3600 * summary["RetentionPeriodHours"])
    span = SPAN_S
    while True:
        everything = now - span < oldest
        start = remote_start("earliest" if everything else timedelta(seconds=span))
        last: list[tuple[float, str, int, Row]] = []
        iterators: dict[str, str | None] = {}
        for shard in shards:
            read = enumerate(until_now(remote, stream, shard, start, now, iterators))
            keyed = (
                (record["ApproximateArrivalTimestamp"], shard, number, record) for number, record in read
            )
            last = heapq.nlargest(count, itertools.chain(last, keyed), key=lambda item: item[:3])
        if everything or len(last) >= count:
            return [remote_row(shard, record) for _, shard, _, record in reversed(last)], iterators
        span *= 2


def until_now(
    remote: RemoteStreams, stream: str, shard: str, start: dict[str, Any], now: float,
    iterators: dict[str, str | None],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The records of a shard from `start` to about `now`; where it goes on is put into `iterators`."""
    iterators[shard] = remote.iterator(stream, shard, **start)
    while iterator := iterators[shard]:
        records, iterators[shard], behind = remote.records(iterator)
        yield from records
        if behind == 0 or (records and records[-1]["ApproximateArrivalTimestamp"] > now):
            return


def remote_start(start: Any) -> dict[str, Any]:
    """The members of GetShardIterator that say where to start."""
    if start is None or start == "earliest":
        return {"ShardIteratorType": "TRIM_HORIZON"}
    if start == "latest":
        return {"ShardIteratorType": "LATEST"}
    if isinstance(start, str):
        return {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": start}
    moment = datetime.now(UTC) - start if isinstance(start, timedelta) else start
    return {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": moment.timestamp()}
