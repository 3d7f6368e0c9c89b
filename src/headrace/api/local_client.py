# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A process's end of the local socket: puts and changes by way of the process that writes the store."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from headrace.api import local_protocol as protocol
from headrace.core._entries import Entries
from headrace.errors import LockedByOther, SerializationError, StorageError
from headrace.log import lock_holder

NAME = "socket"
ANSWER_S = 10.0  # how long a writer may take to greet a new connection; it may be busy, not dead


def address_in(directory: Path) -> tuple[str, int]:
    """The socket's address, and a descriptor to close after use (−1: none).

    Unix addresses hold 107 bytes; a longer path goes by way of a descriptor of its directory.
    """
    path = directory / NAME
    if len(os.fsencode(path)) <= 100:
        return str(path), -1
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{file}/{NAME}", file


class LocalClient:
    """One connection for each thread that uses it.

    writer: what the process that writes says of itself (local_server.METHODS, hello).
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._connections = threading.local()
        self._all: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.writer = self._greet()

    def _greet(self) -> dict[str, Any]:
        connection = self._connections.value = self._connect()
        connection.settimeout(ANSWER_S)
        try:
            writer: dict[str, Any] = self.call("hello")
        except StorageError as problem:
            if isinstance(problem.__cause__, TimeoutError):
                raise self._refused(f"does not answer within {ANSWER_S:g} s") from problem
            raise
        connection.settimeout(None)
        return writer

    def _refused(self, why: str) -> LockedByOther:
        return LockedByOther(
            f"{self._directory} is written by process {lock_holder(self._directory)}, which {why}",
            hint="stop that process, and what it forked; reading needs no connection: headrace.open(path, mode='read')",
        )

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        address, file = address_in(self._directory)
        connection.setblocking(False)
        deadline = time.monotonic() + ANSWER_S
        try:
            while True:
                try:
                    connection.connect(address)
                    break
                except BlockingIOError:  # as many connections as there may be wait to be taken
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)
            connection.setblocking(True)
        except OSError as problem:
            connection.close()
            raise self._refused(f"takes no puts ({problem.strerror})") from problem
        finally:
            if file >= 0:
                os.close(file)
        with self._lock:
            self._all.add(connection)
        return connection

    def _ask(self, head: dict[str, Any], body: bytes = b"") -> tuple[dict[str, Any], bytearray]:
        connection = getattr(self._connections, "value", None)
        if connection is None:
            connection = self._connections.value = self._connect()
        try:
            protocol.send(connection, head, body)
            answer, answer_body = protocol.receive(connection)
        except BaseException as problem:
            # Also after Ctrl-C: the answer that is still to come must not be taken for that of another call.
            self._connections.value = None
            with self._lock:
                self._all.discard(connection)
            connection.close()
            if not isinstance(problem, OSError | EOFError | SerializationError):
                raise
            raise StorageError(
                f"the process that writes {self._directory} went away before it answered; "
                f"it may have taken the records: {problem}",
                hint="read back to see, or open the directory again",
            ) from problem
        if not answer.get("ok"):
            raise protocol.unpack_error(answer, answer_body)
        return answer, answer_body

    def put(self, stream: str, entries: Entries, timeout: float | None) -> tuple[Any, Any, Any]:
        """Put and wait until durable; (shards, ordinals, arrivals)."""
        count = entries.count
        head = {"op": "put", "stream": stream, "count": count, "timeout": timeout}
        _, body = self._ask(head, protocol.pack_entries(entries))
        if len(body) != 20 * count:
            raise StorageError(f"the answer to a put of {count} records has {len(body)} bytes")
        return (
            np.frombuffer(body, np.uint32, count),
            np.frombuffer(body, np.uint64, count, 4 * count),
            np.frombuffer(body, np.int64, count, 12 * count),
        )

    def call(self, method: str, **arguments: Any) -> Any:
        """Have the writer do something; see local_server.METHODS."""
        return self._ask({"op": "call", "method": method, "arguments": arguments})[0].get("value")

    def close(self) -> None:
        with self._lock:
            self.leave()
            self._all.clear()

    def leave(self) -> None:
        """In a forked child: close its copies of the connections. Takes no lock; its holder may not be here."""
        for connection in self._all:
            connection.close()
