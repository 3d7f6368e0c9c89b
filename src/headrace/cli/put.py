# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Put lines of files or standard input into a stream, one record a line.

A line of a pipe is put after at most half a second, also if no other follows. Blank lines are left out. A line
that cannot be a record is counted and passed over; the exit code is 5 then, as where records failed. Ctrl-C
puts what was read, says how much that was, and ends with 130.

example:
  headrace put access /var/log/nginx/access.log --create 4
  journalctl -o json -f | headrace put journal --format ndjson --key _HOSTNAME
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from headrace import limits
from headrace.cli.output import note, progress
from headrace.cli.put_lines import Interruption, Source
from headrace.cli.put_senders import DirectorySender, Record, RemoteSender, Sender
from headrace.cli.target import add_target_arguments, target
from headrace.errors import ConfigurationError, ValidationError

BATCH_COUNT = limits.put_records_count_max
BATCH_SIZE = 4 * limits.MIB
HOLD_S = 0.5  # a batch waits for more lines no longer than this
TURN_S = 0.1  # with --rate: a batch has about the records of so long, and idle time earns no more
REASON_CHARACTERS_MAX = 300
PARTLY, INTERRUPTED = 5, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said to `headrace put`."""
    parser.add_argument("stream", metavar="STREAM", help="where to put them")
    parser.add_argument(
        # The default keeps argparse from demanding files when STREAM is missing, too.
        "files", nargs="*", default=[], metavar="FILE", help="standard input if not given; - is that, too"
    )  # fmt: skip
    keys = parser.add_mutually_exclusive_group()
    keys.add_argument(
        "--key", metavar="FIELD", help="partition key: a member of JSON lines, as in host or a.b"
    )
    keys.add_argument(
        "--key-regex", metavar="REGEX", help="partition key: the first group that matches the line"
    )
    parser.add_argument(
        "--format",
        choices=("lines", "ndjson"),
        default="lines",
        help="ndjson passes over lines that are not JSON, and counts them",
    )
    parser.add_argument("--rate", type=float, metavar="N", help="at most so many records a second")
    parser.add_argument("--create", type=int, metavar="SHARDS", help="make the stream if it is missing")
    add_target_arguments(parser)
    # Files may stand before, between or after options; argparse alone takes them at one place only.
    parser.parse_args = parser.parse_intermixed_args  # type: ignore[method-assign]


def run(arguments: argparse.Namespace) -> int:
    """Put everything; 5 if some lines or records were not put."""
    if arguments.rate is not None and arguments.rate <= 0:
        raise ConfigurationError(f"--rate {arguments.rate:g} is not above 0")
    if arguments.create is not None and not 1 <= arguments.create <= limits.shards_max:
        raise ConfigurationError(f"--create {arguments.create} is not 1 to {limits.shards_max}")
    key_of = key_function(arguments)
    where = target(arguments)
    sender: Sender = (
        RemoteSender(where, arguments) if isinstance(where, str) else DirectorySender(where, arguments)
    )
    tally = Tally()
    try:
        files = arguments.files or ["-"]
        size = sum(Path(name).stat().st_size for name in files) if "-" not in files else None
        with Interruption() as interruption, progress(size) as advance:
            put_all(Source(files, interruption, advance), key_of, sender, tally, arguments, interruption)
    finally:
        sender.close()
    report(arguments, sender, tally, early=interruption.asked)
    if interruption.asked:
        return INTERRUPTED
    return PARTLY if sender.failed or tally.bad else 0


def put_all(
    source: Source,
    key_of: Callable[[bytes], str | None],
    sender: Sender,
    tally: Tally,
    arguments: argparse.Namespace,
    interruption: Interruption,
) -> None:
    """Put batch after batch; a failure that ends it says how far it came."""
    rate = arguments.rate
    count = BATCH_COUNT if rate is None else max(1, min(BATCH_COUNT, int(rate * TURN_S)))
    upcoming = time.monotonic()
    try:
        for batch in batches(source, key_of, tally, count):
            if rate is not None:
                interruption.wait(None, upcoming - time.monotonic())
                upcoming = max(upcoming, time.monotonic() - TURN_S) + len(batch) / rate
            sender.send(batch)
    except BaseException:
        report(arguments, sender, tally, early=True)
        raise
    tally.unfinished = source.unfinished


class Tally:
    """Lines that became no record.

    Attributes:
        blank: lines with nothing in them.
        bad, first_bad: lines that cannot be records, and what the first of them was.
        unfinished: bytes of a last line that had no end when it was interrupted.
    """

    def __init__(self) -> None:
        self.blank = 0
        self.bad = 0
        self.first_bad = ""
        self.unfinished = 0


def report(arguments: argparse.Namespace, sender: Sender, tally: Tally, *, early: bool) -> None:
    """What was put, and what was not and why."""
    blank = f", {tally.blank:,} blank lines left out" if tally.blank else ""
    note(f"{'ended early: ' if early else ''}{sender.put:,} records put into {arguments.stream}{blank}")
    if sender.keyless and (arguments.key or arguments.key_regex):
        note(f"{sender.keyless:,} of them had no {arguments.key or 'match'} for a key and were spread evenly")
    if tally.unfinished:
        note(f"a last line of {tally.unfinished:,} bytes had no end yet and was not put")
    if tally.bad:
        note(f"headrace: {tally.bad:,} lines were not put; the first: {shortened(tally.first_bad)}")
    if sender.failed:
        note(f"headrace: {sender.failed:,} records failed: {shortened(sender.reason)}")


def shortened(reason: str) -> str:
    """One line of it, as far as anybody reads."""
    line = " ".join(reason.split())
    return line if len(line) <= REASON_CHARACTERS_MAX else line[:REASON_CHARACTERS_MAX] + "…"


# ---------------------------------------------------------------- lines to records


def key_function(arguments: argparse.Namespace) -> Callable[[bytes], str | None]:
    """What gives the key of a line, or None; ValidationError where the line is not what was said of it."""
    if arguments.key_regex:
        try:
            pattern = re.compile(arguments.key_regex.encode())
        except re.error as problem:
            raise ConfigurationError(f"--key-regex: {problem}") from None

        def by_regex(line: bytes) -> str | None:
            match = pattern.search(line)
            found = None if match is None else match[1] if pattern.groups else match[0]
            return None if found is None else found.decode(errors="replace")

        return by_regex
    if arguments.key or arguments.format == "ndjson":
        path = arguments.key.removeprefix("$.").split(".") if arguments.key else []
        return lambda line: json_key(line, path)
    return lambda _line: None


def json_key(line: bytes, path: list[str]) -> str | None:
    """The member of a JSON line as text; None where it is missing."""
    import msgspec

    try:
        value: Any = msgspec.json.decode(line)
    except msgspec.DecodeError as problem:
        raise ValidationError(f"is not JSON: {problem}") from None
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if not path or value is None:
        return None
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def record_of(line: bytes, key_of: Callable[[bytes], str | None]) -> Record:
    """The record that a line is. ValidationError says what is wrong with it."""
    if len(line) > limits.record_size_max:
        raise ValidationError(f"has more than {limits.record_size_max} bytes")
    key = key_of(line)
    if key is not None and not 1 <= len(key) <= limits.partition_key_characters_max:
        raise ValidationError(
            f"has a key of {len(key)} characters; allowed are 1 to {limits.partition_key_characters_max}"
        )
    return key, line


def batches(
    source: Source, key_of: Callable[[bytes], str | None], tally: Tally, count_max: int
) -> Iterator[list[Record]]:
    """Batches of at most `count_max` records and 4 MiB, none of which waits for more longer than half a second."""
    batch: list[Record] = []
    size = 0
    for line in source:
        if line is not None:
            file, number, data = line
            if not data:
                tally.blank += 1
                continue
            try:
                record = record_of(data, key_of)
            except ValidationError as problem:
                tally.bad += 1
                tally.first_bad = tally.first_bad or f"{file}:{number} {problem.message}"
                continue
            if batch and size + len(data) > BATCH_SIZE:
                yield batch
                batch, size = [], 0
            if not batch:
                source.deadline = time.monotonic() + HOLD_S
            batch.append(record)
            size += len(data)
        if line is None or len(batch) >= count_max:
            source.deadline = None
            if batch:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch
