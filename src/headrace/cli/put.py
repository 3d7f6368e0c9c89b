# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Put lines of files or standard input into a stream, one record a line.

example:
  headrace put access /var/log/nginx/access.log --create 4
  journalctl -o json -f | headrace put journal --format ndjson --key _HOSTNAME
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from headrace import limits
from headrace.cli.output import note, progress
from headrace.cli.target import add_target_arguments, open_store, open_stream, target
from headrace.errors import CallerError, ConfigurationError, Error, NotFound, ValidationError

BATCH_COUNT = limits.put_records_count_max
BATCH_SIZE = 4 * limits.MIB
RETRIES = 8
PARTLY = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said to `headrace put`."""
    parser.add_argument("stream", metavar="STREAM", help="where to put them")
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="standard input if not given; - is that, too"
    )
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
        help="ndjson refuses lines that are not JSON",
    )
    parser.add_argument("--rate", type=float, metavar="N", help="at most so many records a second")
    parser.add_argument("--create", type=int, metavar="SHARDS", help="make the stream if it is missing")
    add_target_arguments(parser)
    # Files may stand before, between or after options; argparse alone takes them at one place only.
    parser.parse_args = parser.parse_intermixed_args  # type: ignore[method-assign]


def run(arguments: argparse.Namespace) -> int:
    """Put everything; 5 if some records failed."""
    if arguments.rate is not None and arguments.rate <= 0:
        raise ConfigurationError(f"--rate {arguments.rate:g} is not above 0")
    if arguments.create is not None and not 1 <= arguments.create <= limits.shards_max:
        raise ConfigurationError(f"--create {arguments.create} is not 1 to {limits.shards_max}")
    key_of = key_function(arguments)
    where = target(arguments)
    sender: Sender = (
        RemoteSender(where, arguments) if isinstance(where, str) else DirectorySender(where, arguments)
    )
    files = arguments.files or ["-"]
    size = sum(Path(name).stat().st_size for name in files) if "-" not in files else None
    try:
        with progress(size) as advance:
            for batch in batches(lines_of(files, arguments, key_of), advance):
                sender.send(batch)
                sender.keyless += sum(key is None for key, _, _ in batch)
                pace(sender.sent, arguments.rate)
    except BaseException:
        note(f"ended early: {sender.sent - sender.failed:,} records put into {arguments.stream}")
        raise
    finally:
        sender.close()
    note(f"{sender.sent - sender.failed:,} records put into {arguments.stream}")
    if sender.keyless and (arguments.key or arguments.key_regex):
        note(f"{sender.keyless:,} of them had no {arguments.key or 'match'} for a key and were spread evenly")
    if sender.failed:
        note(f"headrace: {sender.failed:,} records failed: {sender.last_error}")
        return PARTLY
    return 0


Record = tuple[str | None, bytes, int]  # key, data, bytes read for it


def key_function(arguments: argparse.Namespace) -> Callable[[bytes, str], str | None]:
    """(line, where it stands) -> its key."""
    if arguments.key_regex:
        try:
            pattern = re.compile(arguments.key_regex.encode())
        except re.error as problem:
            raise ConfigurationError(f"--key-regex: {problem}") from None

        def by_regex(line: bytes, _where: str) -> str | None:
            match = pattern.search(line)
            return (
                None if match is None else (match[1] if pattern.groups else match[0]).decode(errors="replace")
            )

        return by_regex
    if arguments.key or arguments.format == "ndjson":
        path = arguments.key.removeprefix("$.").split(".") if arguments.key else []
        return lambda line, where: json_key(line, where, path)
    return lambda _line, _where: None


def json_key(line: bytes, where: str, path: list[str]) -> str | None:
    """The member of a JSON line as text; None where it is missing."""
    import msgspec

    try:
        value: Any = msgspec.json.decode(line)
    except msgspec.DecodeError as problem:
        raise ValidationError(f"{where} is not JSON: {problem}") from None
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if not path or value is None:
        return None
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def lines_of(
    files: list[str], arguments: argparse.Namespace, key_of: Callable[[bytes, str], str | None]
) -> Iterator[Record]:
    """The records of all files. A line that cannot be a record is an error that names file and line."""
    for name in files:
        source: IO[bytes] = sys.stdin.buffer if name == "-" else Path(name).open("rb")  # noqa: SIM115
        with source:
            for number in itertools.count(1):
                line = source.readline(limits.record_size_max + 2)
                if not line:
                    break
                where = f"{'standard input' if name == '-' else name}:{number}"
                data = line.rstrip(b"\r\n")
                if len(data) > limits.record_size_max:
                    raise ValidationError(f"{where} has more than {limits.record_size_max} bytes")
                if data:
                    key = key_of(data, where)
                    if key is not None and not 1 <= len(key) <= limits.partition_key_characters_max:
                        raise ValidationError(
                            f"{where}: the key has {len(key)} characters; allowed are 1 to "
                            f"{limits.partition_key_characters_max}"
                        )
                    yield key, data, len(line)


def batches(records: Iterator[Record], advance: Callable[[int], None]) -> Iterator[list[Record]]:
    """Batches of at most 500 records and 4 MiB; a slow source is not waited for longer than half a second."""
    batch: list[Record] = []
    size = 0
    opened = time.monotonic()
    for record in records:
        if not batch:
            opened = time.monotonic()
        elif size + len(record[1]) > BATCH_SIZE:
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record[1])
        advance(record[2])
        if len(batch) == BATCH_COUNT or time.monotonic() - opened > 0.5:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


_started = time.monotonic()


def pace(sent: int, rate: float | None) -> None:
    """Sleep so that no more than `rate` records a second are sent."""
    if rate is not None:
        time.sleep(max(0.0, _started + sent / rate - time.monotonic()))


class Sender:
    """Where batches go."""

    def __init__(self) -> None:
        self.sent = 0
        self.failed = 0
        self.keyless = 0
        self.last_error = ""

    def send(self, batch: list[Record]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class DirectorySender(Sender):
    """Into a directory, in this process or through the one that writes it."""

    def __init__(self, directory: Path, arguments: argparse.Namespace) -> None:
        super().__init__()
        self._store = open_store(directory, create=arguments.create is not None)
        try:
            known = {stream.name for stream in self._store.streams()}
            if arguments.create is None or arguments.stream in known:
                self._stream = open_stream(self._store, arguments.stream)
            else:
                self._stream = self._store.stream(arguments.stream, shards=arguments.create)
        except BaseException:
            self._store.close()
            raise

    def send(self, batch: list[Record]) -> None:
        keyed = [(key, data) for key, data, _ in batch if key is not None]
        loose = [data for key, data, _ in batch if key is None]
        for data, keys in (([d for _, d in keyed], [k for k, _ in keyed]), (loose, None)):
            if data:
                self._put(data, keys)
        self.sent += len(batch)

    def _put(self, data: list[bytes], keys: list[str] | None) -> None:
        from headrace.errors import Backpressure

        try:
            self._stream.put_many(data, keys)
        except NotFound:
            raise
        except Backpressure as error:
            self.failed += len(data) if error.accepted is None else int((~error.accepted).sum())
            self.last_error = error.message
        except CallerError as error:
            if len(data) > 1:  # one of them is wrong: find it, and put the others
                for number, item in enumerate(data):
                    self._put([item], None if keys is None else [keys[number]])
            else:
                self.failed += 1
                self.last_error = error.message

    def close(self) -> None:
        self._store.close()


class RemoteSender(Sender):
    """To an endpoint."""

    def __init__(self, endpoint: str, arguments: argparse.Namespace) -> None:
        super().__init__()
        from headrace.cli.remote import RemoteStreams

        self._remote = RemoteStreams(endpoint)
        self._name = arguments.stream
        self._numbers = itertools.count()
        try:
            self._remote.call("DescribeStreamSummary", StreamName=self._name)
        except NotFound:
            if arguments.create is None:
                raise
            self._remote.call("CreateStream", StreamName=self._name, ShardCount=arguments.create)

    def send(self, batch: list[Record]) -> None:
        from headrace.cli.remote import spread_key

        records = [(key or spread_key(self._numbers), data) for key, data, _ in batch]
        self.sent += len(records)
        try:
            self.failed += self._remote.put(self._name, records)
        except Error as error:
            self.failed += len(records)
            self.last_error = error.message

    def close(self) -> None:
        self._remote.close()
