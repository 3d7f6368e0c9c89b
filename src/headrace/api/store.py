# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A store: a directory of streams, opened in this process.

The first process to open a directory writes it; any other joins: it reads the same files directly and puts
by way of the first one's local socket. What a store does and promises is the same in both.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from headrace.api.local_client import LocalClient
from headrace.api.putting import DirectPutter, Putter, RemotePutter
from headrace.api.stream import Stream
from headrace.config import parse_duration, parse_size
from headrace.errors import AlreadyExists, Closed, ForkedError, InvalidArgument, LockedByOther, NotFound
from headrace.log import Log
from headrace.streams import StreamDefaults, Streams

if TYPE_CHECKING:
    from headrace.analytics import Query
    from headrace.api.local_server import LocalServer
    from headrace.api.producer import Producer
    from headrace.api.serving import Server
    from headrace.clock import Clock
    from headrace.streams import Stream as InnerStream

Durability = Literal["process", "disk"]

_open_stores: weakref.WeakSet[Store] = weakref.WeakSet()


def open(
    path: str | PathLike[str] | None = None,
    *,
    create: bool = True,
    max_bytes: int | str | None = None,
    durability: Durability = "process",
    compression: Literal["zstd", "lz4"] | None = "zstd",
    mode: Literal["auto", "write", "read"] = "auto",
    allow_network_fs: bool = False,
    clock: Clock | None = None,
) -> Store:
    """Open a directory as a store.

    Args:
        path: the directory; made if it is missing. None: a private one that is deleted at close.
        create: False raises NotFound where there is no store.
        max_bytes: most bytes that the store's files may take, a number or text such as "8GiB"; None: what
            it was created with, or half of the free disk at creation.
        durability: what an acknowledged record of a stream made here survives, unless the stream says
            otherwise: "process" the death of every process, "disk" the loss of power.
        compression: codec of segments that are complete, or None.
        mode: "write" raises LockedByOther where another process writes the store; "read" never puts;
            "auto" joins that process.
        allow_network_fs: open on a file system that may not keep the promises.
    """
    private = path is None
    directory = Path(tempfile.mkdtemp(prefix="headrace-")) if path is None else Path(path)
    size = None if max_bytes is None else parse_size(max_bytes)
    log: Log | None = None
    if mode != "read":
        try:
            log = Log.open(
                directory,
                create=create,
                max_bytes=size,
                codec=compression,
                clock=clock,
                allow_network_fs=allow_network_fs,
            )
        except LockedByOther:
            if mode == "write":
                raise
    if log is None:
        log = Log.open_reader(directory, clock=clock)
    return Store(log, durability=durability, private=private, may_put=mode != "read")


class Store:
    """An open store. A context manager; `close` may be called again.

    Safe to share between threads. After `fork` it is dead in the child and says so.
    """

    def __init__(
        self,
        log: Log,
        *,
        durability: Durability = "process",
        private: bool = False,
        may_put: bool = True,
        streams: Streams | None = None,
    ) -> None:
        self._log = log
        self._private = private
        self._durability: Durability = durability
        self._dead: str | None = None  # why it cannot be used
        self._producers: weakref.WeakSet[Producer] = weakref.WeakSet()
        self._queries: weakref.WeakSet[Query] = weakref.WeakSet()
        self._streams: dict[str, Stream] = {}
        self._served: Server | None = None
        self.inner = streams or Streams(log, clock=log.clock, defaults=StreamDefaults(durability=durability))
        self._server: LocalServer | None = None
        self._client: LocalClient | None = None
        if log.writer:
            from headrace.api.local_server import LocalServer

            self._server = LocalServer(self, log.directory)
        elif may_put:
            self._client = LocalClient(log.directory)
        _open_stores.add(self)

    @property
    def path(self) -> Path:
        """The store's directory."""
        return self._log.directory

    @property
    def writer(self) -> bool:
        """Whether this process writes the store's files; otherwise it joined the one that does."""
        return self._log.writer

    def check(self) -> None:
        """Raise Closed or ForkedError where the store cannot be used any more."""
        if self._dead is not None:
            raise (
                ForkedError(self._dead, hint="open the store again in the child")
                if "fork" in self._dead
                else Closed(self._dead, hint="headrace.open() opens it again")
            )

    # --- streams ---

    def stream(
        self,
        name: str,
        *,
        create: bool = True,
        shards: int | None = None,
        retention: timedelta | str | None = None,
        max_bytes: int | str | None = None,
        on_full: Literal["throttle", "drop_oldest"] | None = None,
        durability: Durability | None = None,
        record_size_max: int | str | None = None,
    ) -> Stream:
        """The stream of this name, made if it is missing.

        Args:
            create: False raises NotFound, which lists near names.
            shards: how many open shards it starts with (1).
            retention: how long records are kept, 1 hour to 365 days ("24h").
            max_bytes: most bytes it may take; None: as much as the store.
            on_full: "throttle" refuses records when it is full, "drop_oldest" drops the oldest, counted.
            durability, record_size_max: see `headrace.open`; the size of data and key of a record (1 MiB).

        What is given here counts only when the stream is made; a later call that asks for another
        number of shards, promise or limit raises InvalidArgument instead of ignoring it.
        """
        self.check()
        options = _options(retention, max_bytes, on_full, durability, record_size_max)
        try:
            inner = self.inner.stream(name)
        except NotFound:
            if not create:
                raise
            inner = self._create(name, shards or 1, options)
        else:
            _check_same(inner, shards, options)
        known = self._streams.get(name)
        if known is None or known._inner is not inner:
            known = self._streams[name] = Stream(self, inner)
        return known

    def _create(self, name: str, shards: int, options: dict[str, Any]) -> InnerStream:
        options = {"durability": self._durability, **options}
        try:
            if self._client is not None:
                self._client.call("create", name=name, shards=shards, **options)
            else:
                self._must_write()
                self.inner.create(name, shards, **options)
        except AlreadyExists:
            pass  # another thread or process was quicker
        return self.inner.stream(name)

    def streams(self) -> list[Stream]:
        """All streams, by name."""
        self.check()
        return [self.stream(inner.name, create=False) for inner in self.inner.list()]

    def delete(self, name: str) -> None:
        """Delete a stream and everything in it."""
        self.check()
        self._do("delete", name=name)
        self._streams.pop(name, None)

    # --- SQL ---

    def sql(
        self,
        query: str,
        *,
        start: Literal["earliest", "latest"] | datetime | timedelta | int = "earliest",
        until: Literal["latest"] | datetime | int | None = None,
        name: str | None = None,
        dialect: Literal["flink", "kinesis"] | None = None,
        sources: Mapping[str, Any] | None = None,
        idle: timedelta | str | None = "5s",
    ) -> Query:
        """A query over the streams of this store; a stream is a table by its name.

        Args:
            query: SQL, in the form of Flink or of Kinesis Data Analytics.
            start, until: "earliest", "latest", a moment, or a timedelta ago. Without `until` it has no end.
            name: makes it durable: sent into a stream, each row arrives exactly once, also across `kill -9`,
                and the same name goes on where it stood.
            dialect: recognised from the text if not given.
            sources: more tables by name: streams, batches of records, rows.
            idle: how long a shard may be silent before windows close without it; None: for ever.

        Raises SQLError (line, column, caret) or NotFound.
        """
        from headrace.analytics import open_query

        self.check()
        made = open_query(
            query, self.inner, start=start, until=until, name=name, dialect=dialect, sources=sources,
            idle_micros=None if idle is None else int(_seconds(idle) * 1e6), clock=self._log.clock,
        )  # fmt: skip
        self._queries.add(made)
        return made

    # --- serving ---

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> Server:
        """Serve this store to Kinesis and Firehose clients, from a thread of this process, until it is stopped.

        port: 0 takes a free one. Returns when requests are answered. Raises AddressInUse; AlreadyExists while
        it is served; LockedByOther where another process writes the store: then that one is to serve it.

            with store.serve() as server:
                kinesis = boto3.client("kinesis", **server.boto3())
        """
        from headrace.api.serving import Server

        self.check()
        if not self._log.writer:
            raise LockedByOther(f"{self.path} is written by another process", hint="serve it from there")
        if self._served is not None and self._served.running:
            raise AlreadyExists(f"the store is served at {self._served.url}", hint="stop that server first")
        self._served = Server(self._log, self.inner, host, port)
        return self._served

    def _must_write(self) -> None:
        if not self._log.writer:
            raise LockedByOther(f"{self.path} is open for reading only here", hint="leave out mode='read'")

    def _do(self, method: str, **arguments: Any) -> Any:
        """Have a change made, here or by the process that writes."""
        if self._client is not None:
            return self._client.call(method, **arguments)
        self._must_write()
        from headrace.api.local_server import METHODS

        return METHODS[method](self, **arguments)

    def _putter(self, inner: InnerStream) -> Putter:
        if self._client is not None:
            return RemotePutter(self, inner, self._client)
        self._must_write()
        return DirectPutter(self, inner)

    # --- the end ---

    def remember(self, producer: Producer) -> None:
        """A producer to flush at close."""
        self._producers.add(producer)

    def forget(self, producer: Any) -> None:
        """A producer that was closed."""
        self._producers.discard(producer)

    def close(self) -> None:
        """Flush the producers, write, sync and let go of the directory."""
        if self._dead is not None:
            return
        try:
            if self._served is not None:
                self._served.stop()
            for query in list(self._queries):
                query.close()
            for producer in list(self._producers):
                producer.close()
        finally:
            self._dead = f"the store {self.path} was closed"
            if self._server is not None:
                self._server.close()
            if self._client is not None:
                self._client.close()
            self._log.close()
            _open_stores.discard(self)
            if self._private:
                shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> Store:
        self.check()
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_dead", "") is None:
            warnings.warn(f"the store {self.path} was not closed", ResourceWarning, source=self, stacklevel=2)
            self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopen, (os.fspath(self.path),))

    def __repr__(self) -> str:
        return (
            f"Store({os.fspath(self.path)!r}, {len(self.inner.list())} streams)"
            if self._dead is None
            else "Store(closed)"
        )


_shared: dict[str, Store] = {}


def _reopen(path: str) -> Store:
    """The store of a pickled handle: one a process and directory."""
    for store in list(_open_stores):
        if store._dead is None and os.fspath(store.path) == path:
            return store
    shared = _shared.get(path)
    if shared is None or shared._dead is not None:
        shared = _shared[path] = open(path, create=False)
    return shared


def _options(
    retention: timedelta | str | None, max_bytes: int | str | None, on_full: str | None, durability: str | None,
    record_size_max: int | str | None,
) -> dict[str, Any]:  # fmt: skip
    """What a call asks for, in the terms of Streams.create."""
    options: dict[str, Any] = {}
    if retention is not None:
        hours = _seconds(retention) / 3600
        if hours != int(hours) or hours < 1:
            raise InvalidArgument(f"retention is {retention}; allowed are whole hours from 1 to 8760")
        options["retention_hours"] = int(hours)
    if max_bytes is not None:
        options["max_bytes"] = parse_size(max_bytes)
    if on_full is not None:
        options["on_full"] = on_full
    if durability is not None:
        options["durability"] = durability
    if record_size_max is not None:
        options["record_size_max"] = parse_size(record_size_max)
    return options


def _seconds(duration: timedelta | str) -> float:
    return duration.total_seconds() if isinstance(duration, timedelta) else parse_duration(duration)


def _check_same(inner: InnerStream, shards: int | None, options: dict[str, Any]) -> None:
    """Nothing that was asked for is ignored."""
    if shards is not None and shards != inner.table.open_count:
        raise InvalidArgument(
            f"stream {inner.name} exists with {inner.table.open_count} open shards, not {shards}",
            hint="leave out shards, or change it with stream.scale()",
        )
    for name, value in options.items():
        present = getattr(inner.document, name)
        if present != value:
            raise InvalidArgument(
                f"stream {inner.name} exists with {name} = {present!r}, not {value!r}",
                hint=f"leave out {name}, or delete the stream",
            )


def _mark_forked() -> None:
    for store in list(_open_stores):
        store._dead = f"the store {store.path} was opened before a fork and is dead in the child"
    _shared.clear()


def _close_producers() -> None:
    for store in list(_open_stores):
        if store._dead is None:
            for producer in list(store._producers):
                producer.close_at_exit()


_after_fork: Callable[[], None] = _mark_forked
os.register_at_fork(after_in_child=_after_fork)
atexit.register(_close_producers)
