# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The writer's end of the local socket: takes puts and changes from other processes of the same user.

The socket stands in the store's directory (0700) with mode 0600, and the peer's user is checked. One
thread a connection, a bounded number of connections.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace import limits
from headrace.api import local_protocol as protocol
from headrace.api.local_client import NAME, address_in
from headrace.api.putting import DirectPutter
from headrace.errors import Closed, Error, InvalidArgument, SerializationError

if TYPE_CHECKING:
    from headrace.api.store import Store

logger = logging.getLogger("headrace.api")


def _query_run(store: Store, wanted: dict[str, Any], columns: list[Any] | None) -> None:
    from headrace.analytics import applications

    applications.submit(store.inner.log.catalogue, wanted, columns, store._log.clock.now_ms())


def _query_end(store: Store, name: str, delete: bool) -> None:
    """In the catalogue, which a server and `headrace sql run` look at for what they run."""
    from headrace.analytics import applications

    catalogue = store.inner.log.catalogue
    if delete:
        applications.delete(catalogue, name)
    else:
        applications.stop(catalogue, name)


METHODS: dict[str, Callable[..., Any]] = {
    "hello": lambda store: {"pid": os.getpid(), "compression": store._log.codec},
    "create": lambda store, name, shards, **options: store.inner.create(name, shards, **options).name,
    "delete": lambda store, name: store.inner.delete(name),
    "split": lambda store, name, shard, at: store.inner.stream(name).split(shard, int(at)),
    "merge": lambda store, name, shard, adjacent: store.inner.stream(name).merge(shard, adjacent),
    "scale": lambda store, name, shards: store.inner.stream(name).scale(int(shards)),
    "query_run": _query_run,
    "query_end": _query_end,
}


class LocalServer:
    """Listens until `close`."""

    def __init__(self, store: Store, directory: Path) -> None:
        self._find_store = weakref.ref(store)  # the thread must not keep a forgotten store open
        self._path = directory / NAME
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()  # of a process that died; the store's lock is ours
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        address, file = address_in(directory)
        try:
            self._listener.bind(address)
            self._path.chmod(0o600)
            self._listener.listen(16)
        finally:
            if file >= 0:
                os.close(file)
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name="headrace-local", daemon=True)
        self._thread.start()

    @property
    def _store(self) -> Store:
        store = self._find_store()
        if store is None:
            raise Closed("the store was closed")
        return store

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                crowded = len(self._connections) >= limits.local_connections_max
                if not crowded:
                    self._connections.add(connection)
            if crowded or not _same_user(connection):
                connection.close()
                continue
            threading.Thread(
                target=self._serve, args=(connection,), name="headrace-local-put", daemon=True
            ).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while True:
                head, body = protocol.receive(connection)
                try:
                    answer, answer_body = self._answer(head, body)
                except Error as error:
                    answer, answer_body = protocol.pack_error(error)
                except Exception as bug:
                    logger.exception("a call by the local socket failed")
                    answer, answer_body = protocol.pack_error(Error(f"{type(bug).__name__}: {bug}"))
                protocol.send(connection, answer, answer_body)
        except (OSError, EOFError, SerializationError):
            pass
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    def _answer(self, head: dict[str, Any], body: bytearray) -> tuple[dict[str, Any], bytes]:
        if head.get("op") == "put":
            inner = self._store.inner.stream(str(head.get("stream")))
            entries = protocol.unpack_entries(body, int(head.get("count", -1)), inner.record_size_max)
            timeout = head.get("timeout")
            _, places, refusal = DirectPutter(self._store, inner).put(
                entries, None if timeout is None else float(timeout)
            )
            if refusal is not None:
                raise refusal.error()
            return {"ok": True}, b"".join(part.tobytes() for part in places)
        method = METHODS.get(str(head.get("method")))
        arguments = head.get("arguments")
        if head.get("op") != "call" or method is None or not isinstance(arguments, dict):
            raise InvalidArgument(f"the local socket does not know {head.get('op')!r} {head.get('method')!r}")
        try:
            return {"ok": True, "value": method(self._store, **arguments)}, b""
        except TypeError as problem:
            raise InvalidArgument(f"{head.get('method')}: {problem}") from problem

    def close(self) -> None:
        """Stop listening and end every connection."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def leave(self) -> None:
        """In a forked child: close its copies of the sockets, which else would seem to listen after the parent.

        Takes no lock; its holder may not be here.
        """
        for each in (self._listener, *self._connections):
            each.close()


def _same_user(connection: socket.socket) -> bool:
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the directory's mode keeps others out
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return bool(user == os.getuid())
