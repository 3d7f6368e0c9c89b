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

NAME = "socket"
START_S = 2.0  # how long a writer may take from its lock to its socket


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
    """One connection for each thread that uses it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._connections = threading.local()
        self._all: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._ask({"op": "call", "method": "hello", "arguments": {}})

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        address, file = address_in(self._directory)
        deadline = time.monotonic() + START_S
        try:
            while True:
                try:
                    connection.connect(address)
                    break
                except (FileNotFoundError, ConnectionRefusedError):
                    if (
                        time.monotonic() > deadline
                    ):  # it may just be starting, between its lock and its socket
                        raise
                    time.sleep(0.01)
        except OSError as problem:
            connection.close()
            raise LockedByOther(
                f"{self._directory} is written by another process, which takes no puts ({problem.strerror})",
                hint="update or stop that process; reading needs no connection: headrace.open(path, mode='read')",
            ) from problem
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
            for connection in self._all:
                connection.close()
            self._all.clear()
