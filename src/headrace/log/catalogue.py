# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The catalogue: a store's small facts (streams, deliveries, applications, positions) in SQLite.

Never on the path of a record. Other processes may read it at any time. A change survives the process when
`put` or the outermost `transaction` returns, and the power where `durable` was asked for (SQLite in WAL
mode with synchronous NORMAL or FULL: https://www.sqlite.org/pragma.html#pragma_synchronous). A loss of power
takes the last changes that were not asked to be durable, and none before a durable one: what is left is what
stood there after one of the changes, the last durable one or a later one.

File `catalogue.sqlite`, `user_version` 1, two tables:

    documents   kind, name, value (JSON text or bytes), crc    one document by kind and name
    lanes       id, durability ("process" or "disk"), crc      ids are never used twice

SQLite checks no content, so each row carries the CRC-32C of kind, 0, name, 0, value (lanes: id in eight bytes,
durability). It is checked whenever a row is read, and for all rows at each opening, together with SQLite's own
check of its pages (10,000 streams and lanes: 26 ms).
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from headrace.core._frames import crc32c
from headrace.errors import Corrupt, Error, StorageError

VERSION = 1
_SCHEMA = (
    "CREATE TABLE documents (kind TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, crc INTEGER NOT NULL,"
    " PRIMARY KEY (kind, name)) WITHOUT ROWID",
    "CREATE TABLE lanes (id INTEGER PRIMARY KEY AUTOINCREMENT, durability TEXT NOT NULL, crc INTEGER NOT NULL)",
    f"PRAGMA user_version = {VERSION}",
)
# What SQLite says of a file that is not what it wrote (the low byte of its codes); all else is the disk's fault.
_DAMAGED = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}


def document_crc(kind: str, name: str, value: bytes) -> int:
    """The checksum that a document's row carries."""
    return crc32c(b"%s\0%s\0%s" % (kind.encode(), name.encode(), value))


def lane_crc(lane: int, durability: str) -> int:
    """The checksum that a lane's row carries."""
    return crc32c(lane.to_bytes(8, "little", signed=True) + durability.encode())


class Catalogue:
    """Documents by kind and name. Safe to share between threads.

    make_room: called before each change; frees some space where the disk is full. check: refuse a file in which
    anything is wrong; otherwise the damage is named where it is met.
    """

    def __init__(
        self, path: Path, *, writer: bool, make_room: Callable[[], None] = lambda: None, check: bool = True
    ) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        self._durable = False  # the transaction that is under way
        self._make_room = make_room
        mode = "rwc" if writer else "ro"
        try:
            self._connection = sqlite3.connect(
                f"file:{path}?mode={mode}",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=10,
            )
        except sqlite3.Error as problem:
            raise self._said(problem) from problem
        try:
            self._open(writer, check)
        except BaseException as problem:
            self._connection.close()
            if isinstance(problem, sqlite3.Error | UnicodeDecodeError):
                raise self._said(problem) from problem
            raise

    def _open(self, writer: bool, check: bool) -> None:
        if writer:
            self.path.chmod(0o600)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version == 0 and writer and not self._connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            self._connection.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                self._connection.execute(statement)
            self._connection.execute("COMMIT")
        elif version != VERSION:
            raise Corrupt(f"{self.path} has version {version}; this headrace reads version {VERSION}")
        for finding in self.check() if check else ():
            raise Corrupt(f"{self.path}: {finding}", hint="headrace verify shows what can be read")

    def check(self) -> Iterator[str]:
        """Everything that is wrong, in words."""
        try:
            yield from self._check()
        except (sqlite3.Error, UnicodeDecodeError) as problem:
            yield str(problem)

    def _check(self) -> Iterator[str]:
        query = self._connection.execute
        schema = {text for (text,) in query("SELECT sql FROM sqlite_master") if text}
        for statement in _SCHEMA[:2]:
            if statement not in schema:
                yield f"the schema is not {statement}"
        for (text,) in query("PRAGMA quick_check(10)"):
            if text != "ok":
                yield text
        for kind, name, value, crc in query("SELECT kind, name, value, crc FROM documents"):
            if not _is(crc, kind, name, value):
                yield f"the checksum of document {kind} {name} does not match"
        for lane, durability, crc in query("SELECT id, durability, crc FROM lanes"):
            if not isinstance(durability, str) or lane_crc(lane, durability) != crc:
                yield f"the checksum of lane {lane} does not match"

    def _said(self, problem: Exception) -> Error:
        """SQLite's error in our words."""
        code = getattr(problem, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code in _DAMAGED:
            return Corrupt(f"{self.path}: {problem}", hint="headrace verify shows what can be read")
        return StorageError(f"the catalogue {self.path}: {problem}")

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query; Corrupt or StorageError where it cannot be answered."""
        try:
            with self._lock:
                return self._connection.execute(query, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as problem:
            raise self._said(problem) from problem

    def _checked(self, kind: str, name: str, value: Any, crc: Any) -> bytes:
        """A document's value, if it is what was put."""
        if not _is(crc, kind, name, value):
            raise Corrupt(
                f"{self.path}: the checksum of document {kind} {name} does not match",
                hint="headrace verify shows what can be read",
            )
        return bytes(value)

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """All changes inside are made together or not at all. May be nested; the outermost decides."""
        with self._lock:
            if self._depth:
                assert self._durable or not durable, "a durable change within one that is not"
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                return
            self._make_room()
            try:
                self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as problem:
                raise self._said(problem) from problem
            self._depth, self._durable = 1, durable
            try:
                yield
                self._connection.execute("COMMIT")
            except sqlite3.Error as problem:
                self._roll_back()
                raise self._said(problem) from problem
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._depth = 0

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # SQLite rolls back by itself where it cannot write
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def get(self, kind: str, name: str) -> bytes | None:
        """A document, or None."""
        rows = self._rows("SELECT value, crc FROM documents WHERE kind = ? AND name = ?", kind, name)
        return self._checked(kind, name, *rows[0]) if rows else None

    def put(self, kind: str, name: str, value: bytes, *, durable: bool = False) -> None:
        """Store a document, in place of an earlier one."""
        with self.transaction(durable=durable):
            self._connection.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)",
                (kind, name, value, document_crc(kind, name, value)),
            )

    def delete(self, kind: str, name: str) -> bool:
        """Remove a document; False if there was none."""
        with self.transaction():
            return (
                self._connection.execute(
                    "DELETE FROM documents WHERE kind = ? AND name = ?", (kind, name)
                ).rowcount
                > 0
            )

    def items(self, kind: str) -> list[tuple[str, bytes]]:
        """(name, document) of a kind, by name."""
        rows = self._rows("SELECT name, value, crc FROM documents WHERE kind = ? ORDER BY name", kind)
        return [(name, self._checked(kind, name, value, crc)) for name, value, crc in rows]

    def add_lane(self, durability: str) -> int:
        """A new lane's id; ids are never used twice. On the device when this, or the outermost transaction,
        returns: no file of a lane may outlive its row."""
        with self.transaction(durable=True):
            cursor = self._connection.execute(
                "INSERT INTO lanes (durability, crc) VALUES (?, 0)", (durability,)
            )
            lane = cursor.lastrowid
            assert lane is not None
            self._connection.execute(
                "UPDATE lanes SET crc = ? WHERE id = ?", (lane_crc(lane, durability), lane)
            )
            return lane

    def lane_durability(self, lane: int) -> str | None:
        return self._lanes("SELECT id, durability, crc FROM lanes WHERE id = ?", lane).get(lane)

    def lanes(self) -> dict[int, str]:
        """Every lane's promise, by id."""
        return self._lanes("SELECT id, durability, crc FROM lanes")

    def _lanes(self, query: str, *values: object) -> dict[int, str]:
        rows = self._rows(query, *values)
        for lane, durability, crc in rows:
            if not isinstance(durability, str) or lane_crc(lane, durability) != crc:
                raise Corrupt(f"{self.path}: the checksum of lane {lane} does not match")
        return {lane: durability for lane, durability, _ in rows}

    def remove_lane(self, lane: int) -> None:
        with self.transaction():
            self._connection.execute("DELETE FROM lanes WHERE id = ?", (lane,))

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def _is(crc: Any, kind: Any, name: Any, value: Any) -> bool:
    """Whether a row of `documents` is what was put."""
    if not (isinstance(kind, str) and isinstance(name, str) and isinstance(value, bytes)):
        return False
    return bool(document_crc(kind, name, value) == crc)
