# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A store: a directory of streams, opened in this process.

The first process to open a directory writes it; any other joins: it reads the same files directly and puts
by way of the first one's local socket. What a store does and promises is the same in both.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
import time
import warnings
import weakref
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from headrace.api.local_client import LocalClient
from headrace.api.options import (
    ZSTD,
    Durability,
    Mode,
    OnFull,
    check_joined,
    check_same,
    seconds,
    store_options,
    stream_options,
)
from headrace.api.putting import DirectPutter, Putter, RemotePutter
from headrace.api.stream import Stream
from headrace.errors import (
    AlreadyExists,
    Closed,
    ForkedError,
    InvalidArgument,
    LockedByOther,
    NotFound,
    StorageError,
)
from headrace.log import Log
from headrace.streams import StreamDefaults, Streams

if TYPE_CHECKING:
    from headrace.analytics import Query
    from headrace.api.local_server import LocalServer
    from headrace.api.producer import Producer
    from headrace.api.serving import Server
    from headrace.clock import Clock
    from headrace.streams import Stream as InnerStream

logger = logging.getLogger("headrace.api")

START_S = 2.0  # how long a writer may take from its lock to its socket, or from the end of that to the lock's

_open_stores: weakref.WeakSet[Store] = weakref.WeakSet()


def open(
    path: str | PathLike[str] | None = None,
    *,
    create: bool = True,
    max_bytes: int | str | None = None,
    durability: Durability = "process",
    compression: Literal["zstd", "lz4"] | None = ZSTD,
    mode: Mode = "auto",
    allow_network_fs: bool = False,
    clock: Clock | None = None,
) -> Store:
    """Open a directory as a store: write it, or join the process that does.

    Args:
        path: the directory; made if it is missing, with mode 0700. None: a private one that is deleted at close.
        create: False raises NotFound where there is no store.
        max_bytes: most bytes that the store's files may take, a number or text such as "8GiB"; None: what
            it was created with, or half of the free disk at creation. Kept in the store. 64 KiB or more.
        durability: what an acknowledged record of a stream made here survives, unless the stream says
            otherwise: "process" the death of every process, "disk" the loss of power.
        compression: codec of the files that are complete: "zstd", "lz4", or None for not at all.
        mode: "write" raises LockedByOther where another process writes the store; "read" never puts, and needs
            no other process; "auto" joins that process.
        allow_network_fs: open on a file system that may not keep the promises.
        clock: whose time records arrive by, for tests.

    Where this process does not write the store, `max_bytes` and `compression` raise InvalidArgument unless they
    are what the store has anyway.

    Opening looks at no record: each stream is recovered when it is first used, whatever ended the last writer. What
    is damaged beyond that raises Corrupt where it is read, and leaves the other streams alone.

    Raises:
        InvalidArgument: an argument has a value that is not allowed.
        NotFound: there is no store, and `create` is False or `mode` is "read".
        LockedByOther: another process writes the store and `mode` is "write", or it takes no puts.
        Unsupported: the directory is on a file system, of a network say, that may not keep the promises.
        Corrupt: control file or catalogue are not what was written, or of a version that this headrace does not read.
        StorageError: the system refused; the message has its words.
    """
    said = store_options(
        max_bytes=max_bytes, durability=durability, compression=compression, mode=mode,
        allow_network_fs=allow_network_fs,
    )  # fmt: skip
    private = path is None
    directory = Path(tempfile.mkdtemp(prefix="headrace-")) if path is None else Path(path)
    try:
        log, client = _enter(directory, mode, said, create=create, clock=clock)
        return Store(log, durability=durability, private=private, client=client, said=said)
    except BaseException:
        if private:
            shutil.rmtree(directory, ignore_errors=True)
        raise


def _enter(
    directory: Path, mode: Mode, said: Mapping[str, Any], *, create: bool, clock: Clock | None
) -> tuple[Log, LocalClient | None]:
    """Write the directory, or join the process that does, which may just be starting or ending."""
    if mode == "read":
        return _join(directory, said, None, clock), None
    deadline = time.monotonic() + START_S
    while True:
        try:
            log = Log.open(
                directory, create=create, max_bytes=said.get("max_bytes"), codec=said.get("compression", "zstd"),
                clock=clock, allow_network_fs=said.get("allow_network_fs", False),
            )  # fmt: skip
            return log, None
        except LockedByOther:
            if mode == "write":
                raise
        try:
            client = LocalClient(directory)
            break
        except (LockedByOther, StorageError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    try:
        return _join(directory, said, client, clock), client
    except BaseException:
        client.close()
        raise


def _join(directory: Path, said: Mapping[str, Any], client: LocalClient | None, clock: Clock | None) -> Log:
    log = Log.open_reader(directory, clock=clock, allow_network_fs=said.get("allow_network_fs", False))
    try:
        check_joined(said, log.max_bytes, None if client is None else client.writer)
    except BaseException:
        log.close()
        raise
    return log


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
        client: LocalClient | None = None,
        streams: Streams | None = None,
        said: Mapping[str, Any] | None = None,
    ) -> None:
        """client: to the process that writes the store, where this one may put by way of it."""
        self._log = log
        self._private = private
        self._durability: Durability = durability
        self._said = dict(said or {})  # what the caller of `open` asked for
        self._dead: str | None = None  # why it cannot be used
        self._producers: weakref.WeakSet[Producer] = weakref.WeakSet()
        self._queries: weakref.WeakSet[Query] = weakref.WeakSet()
        self._streams: dict[str, Stream] = {}
        self._served: Server | None = None
        self.inner = streams or Streams(log, clock=log.clock, defaults=StreamDefaults(durability=durability))
        self._client = client
        self._server: LocalServer | None = None
        _open_stores.add(self)
        if log.writer:
            from headrace.api.local_server import LocalServer

            try:
                self._server = LocalServer(self, log.directory)
            except OSError as problem:
                self.close()
                raise StorageError(
                    f"the store {log.directory} cannot be joined by other processes: {problem.strerror or problem}"
                ) from problem

    @property
    def path(self) -> Path:
        """The store's directory, absolute."""
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
        on_full: OnFull | None = None,
        durability: Durability | None = None,
        record_size_max: int | str | None = None,
    ) -> Stream:
        """The stream of this name, made if it is missing.

        Args:
            name: 1 to 128 letters, digits, _, . and -.
            create: False raises NotFound, which lists near names.
            shards: how many open shards it starts with, 1 to 10,000 (1).
            retention: how long records are kept, whole hours from 1 hour to 365 days ("24h").
            max_bytes: most bytes that its files may take, 1 MiB or more; None: as much as the store. What may come on
                top, as the file that a compression is writing, stands in docs/durability.md.
            on_full: "throttle" refuses records when it or the store is full, "drop_oldest" drops its own oldest
                segments, counted in `info.dropped_records`.
            durability: "process" or "disk", see `headrace.open`; what the store was opened with.
            record_size_max: most bytes of data and key of a record, up to 10 MiB (1 MiB).

        What is given here counts only when the stream is made; a later call that asks for another
        number of shards, promise or limit raises InvalidArgument instead of ignoring it. A stream that was made
        is there when this returns, also after a loss of power.

        Raises InvalidArgument, LimitExceeded beyond 10,000 shards, NotFound, StorageError or Backpressure where the
        catalogue cannot be written, LockedByOther where it would have to be made and this process may not.
        """
        self.check()
        if not isinstance(name, str):
            raise InvalidArgument(f"{name!r} is not a stream name; expected a str")
        options = stream_options(
            shards=shards, retention=retention, max_bytes=max_bytes, on_full=on_full, durability=durability,
            record_size_max=record_size_max,
        )  # fmt: skip
        try:
            inner = self.inner.stream(name)
        except NotFound:
            if not create:
                raise
            inner = self._create(name, options)
        else:
            check_same(inner, options)
        known = self._streams.get(name)
        if known is None or known._inner is not inner:
            known = self._streams[name] = Stream(self, inner)
        return known

    def _create(self, name: str, options: dict[str, Any]) -> InnerStream:
        options = {"shards": 1, "durability": self._durability, **options}
        try:
            if self._client is not None:
                self._client.call("create", name=name, **options)
            else:
                self._must_write()
                self.inner.create(name, **options)
        except AlreadyExists:
            pass  # another thread or process was quicker
        return self.inner.stream(name)

    def streams(self) -> list[Stream]:
        """All streams, in the order of their names, without those that headrace keeps for itself."""
        self.check()
        return [self.stream(inner.name, create=False) for inner in self.inner.list()]

    def delete(self, name: str) -> None:
        """Delete a stream and everything in it. It stays deleted when this returns, also after a loss of power.

        Handles, tails and producers of it raise NotFound from here on; batches stay as they are. Raises NotFound, which
        lists near names; StorageError, also where its files could not be removed, which the next opening tries again;
        LockedByOther where `mode` is "read".
        """
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
            idle_micros=None if idle is None else int(seconds(idle) * 1e6), clock=self._log.clock,
        )  # fmt: skip
        self._queries.add(made)
        return made

    # --- serving ---

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> Server:
        """Serve this store to Kinesis and Firehose clients, from a thread of this process, until it is stopped.

        port: 0 takes a free one. Returns when requests are answered. Raises AddressInUse; ConfigurationError for a host
        that other machines can reach; AlreadyExists while it is served; LockedByOther where another process writes the
        store: then that one is to serve it.

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
        """Stop serving and the queries, flush the producers, write, sync and let go of the directory.

        Where this process writes the store, everything acknowledged is on the device when this returns, that of "process"
        streams, too. Raises what befell a producer's records, or StorageError; the store is closed all the same. May be
        called again.
        """
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
            try:
                self.warn()
            finally:
                self.close()

    def warn(self) -> None:
        """Say that it was not closed by whoever opened it."""
        warnings.warn(f"the store {self.path} was not closed", ResourceWarning, source=self, stacklevel=3)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopen, (os.fspath(self.path), self._said))

    def __repr__(self) -> str:
        return (
            f"Store({os.fspath(self.path)!r}, {len(self.inner.list())} streams)"
            if self._dead is None
            else "Store(closed)"
        )


_shared: dict[tuple[Any, ...], Store] = {}  # kept open for handles that were unpickled


def _reopen(path: str, said: dict[str, Any]) -> Store:
    """The store of a pickled handle: one a process, directory and set of options."""
    for store in list(_open_stores):
        if store._dead is None and os.fspath(store.path) == path and store._said == said:
            return store
    shared = _shared[path, *sorted(said.items())] = open(path, create=False, **said)
    return shared


def _leave_stores() -> None:
    """In a forked child: every store is the parent's alone."""
    for store in list(_open_stores):
        store._dead = f"the store {store.path} was opened before a fork and is dead in the child"
        for socket in (store._server, store._client):
            if socket is not None:
                socket.leave()
    _open_stores.clear()
    _shared.clear()


def _close_stores() -> None:
    """At the interpreter's end: what is still open is closed, then says so. In a forked child nothing is open."""
    left = [store for store in list(_open_stores) if store._dead is None]
    for store in left:
        for producer in list(store._producers):
            producer.close_at_exit()
    # What joined a store of this process puts by way of it, so it goes first.
    for store in sorted(left, key=lambda store: store.writer):
        try:
            store.close()
        except Exception as problem:
            logger.error("the store %s could not be closed at the end: %s", store.path, problem)
    for store in left:
        store.warn()


_after_fork: Callable[[], None] = _leave_stores
os.register_at_fork(after_in_child=_after_fork)
atexit.register(_close_stores)
