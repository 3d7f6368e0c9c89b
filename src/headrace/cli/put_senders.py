# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Where the batches of `headrace put` go: a directory or an endpoint, which take what they can of each batch.

Either puts what there is no room for again for up to 30 seconds, and singles out records that are refused, so
that one wrong record costs no other.
"""

from __future__ import annotations

import argparse
import itertools
import time
from abc import ABC, abstractmethod
from pathlib import Path

from headrace.cli.target import open_store, open_stream
from headrace.errors import Backpressure, CallerError, Error, NotFound, Unreachable

RETRY_S = 30.0  # what `Stream.put_many` waits, too
PAUSE_LEAST_S, PAUSE_MOST_S = 0.05, 1.0
PASSING = {
    "ProvisionedThroughputExceededException", "ThrottlingException", "LimitExceededException",
    "InternalFailure", "ServiceUnavailable", "ServiceUnavailableException",
}  # fmt: skip
WRONG = {"ValidationException", "InvalidArgumentException", "SerializationException"}

Record = tuple[str | None, bytes]  # key, data


class Sender(ABC):
    """Where batches go.

    Attributes:
        put, failed: records that were taken, and that were not.
        reason: why the first that failed did.
        keyless: of those put, how many had no key and were spread evenly.
    """

    def __init__(self) -> None:
        self.put = 0
        self.failed = 0
        self.keyless = 0
        self.reason = ""

    @abstractmethod
    def send(self, batch: list[Record]) -> None:
        """Put a batch; records that fail for good are counted. Raises what ends the whole: NotFound, Unreachable."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the store or the connections."""

    def _fail(self, count: int, reason: str) -> None:
        self.failed += count
        self.reason = self.reason or reason


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
        keyed = [(key, data) for key, data in batch if key is not None]
        if keyed:
            self._put([data for _, data in keyed], [key for key, _ in keyed])
        loose = [data for key, data in batch if key is None]
        if loose:
            before = self.put
            self._put(loose, None)
            self.keyless += self.put - before

    def _put(self, data: list[bytes], keys: list[str] | None) -> None:
        try:
            self._stream.put_many(data, keys, timeout=RETRY_S)
        except NotFound:
            raise
        except Backpressure as error:
            taken = 0 if error.accepted is None else int(error.accepted.sum())
            self.put += taken
            self._fail(len(data) - taken, error.message)
        except CallerError as error:
            if len(data) > 1:  # one of them is wrong: find it, and put the others
                for number, item in enumerate(data):
                    self._put([item], None if keys is None else [keys[number]])
            else:
                self._fail(1, error.message)
        else:
            self.put += len(data)

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

        self.keyless += sum(key is None for key, _ in batch)
        self._put([(key or spread_key(self._numbers), data) for key, data in batch])

    def _put(self, records: list[tuple[str, bytes]]) -> None:
        """Put them all, or say why not; what is throttled is put again, by itself and ever less often."""
        end, pause = time.monotonic() + RETRY_S, PAUSE_LEAST_S
        while records:
            try:
                failures = self._remote.put(self._name, records)
            except (NotFound, Unreachable):
                raise
            except Error as error:
                if error.code in WRONG and len(records) > 1:  # one of them is wrong: find it
                    middle = len(records) // 2
                    self._put(records[:middle])
                    self._put(records[middle:])
                    return
                failures = dict.fromkeys(range(len(records)), (error.code, error.message))
            self.put += len(records) - len(failures)
            again = [(number, *failure) for number, failure in failures.items() if failure[0] in PASSING]
            late = time.monotonic() + pause > end
            for _, (code, message) in failures.items():
                if late or code not in PASSING:
                    self._fail(1, message if message.startswith(code) else f"{code}: {message}")
            if late or not again:
                return
            records = [records[number] for number, _, _ in again]
            time.sleep(pause)
            pause = min(2 * pause, PAUSE_MOST_S)

    def close(self) -> None:
        self._remote.close()
