# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A server for Kinesis clients over an open store, in a thread of this process: for notebooks and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.server.app import ServerThread, Site

if TYPE_CHECKING:
    from headrace.log import Log
    from headrace.streams import Streams


class Server:
    """Made by `Store.serve`, and running. A context manager: leaving it stops the server, not the store.

    It does what `headrace serve` does, deliveries of Firehose and SQL applications included, but reads no
    headrace.toml: a bucket of Firehose is the directory `buckets/NAME` of the store.
    """

    def __init__(self, log: Log, streams: Streams, host: str, port: int) -> None:
        self._thread = ServerThread(Site(log, clock=log.clock, streams=streams), host, port).start()

    @property
    def url(self) -> str:
        """The endpoint URL, as in "http://127.0.0.1:4567"."""
        return self._thread.url

    @property
    def port(self) -> int:
        """The port, also where 0 was asked for."""
        return int(self._thread.port)

    @property
    def running(self) -> bool:
        """Whether it was not stopped yet."""
        return self._thread.running

    def boto3(self) -> dict[str, str]:
        """Arguments for boto3.client: endpoint, region, and credentials that the server does not look at."""
        return self._thread.boto3()

    def stop(self) -> None:
        """Answer what is owed, for up to ten seconds, and stop. May be called again."""
        self._thread.stop()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"Server({self.url!r})"
