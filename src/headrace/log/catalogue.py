# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The catalogue: a store's small facts (streams, deliveries, applications, positions) in SQLite.

Never on the path of a record. Two tables: `documents` holds one JSON text by kind and name, `lanes` the
id and promise of each lane. Other processes may read it at any time. A change survives the process when
`put` or the outermost `transaction` returns, and the power where `durable` was asked for (SQLite in WAL
mode with synchronous NORMAL or FULL: https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from headrace.errors import Corrupt, StorageError

VERSION = 1
_SCHEMA = (
    "CREATE TABLE documents (kind TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL,"
    " PRIMARY KEY (kind, name)) WITHOUT ROWID",
    "CREATE TABLE lanes (id INTEGER PRIMARY KEY AUTOINCREMENT, durability TEXT NOT NULL)",
    f"PRAGMA user_version = {VERSION}",
)


class Catalogue:
    """Documents by kind and name. Safe to share between threads."""

    def __init__(self, path: Path, *, writer: bool) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        mode = "rwc" if writer else "ro"
        try:
            self._connection = sqlite3.connect(
                f"file:{path}?mode={mode}",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=10,
            )
            if writer:
                path.chmod(0o600)
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version == 0 and writer:
                self._connection.execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA:
                    self._connection.execute(statement)
                self._connection.execute("COMMIT")
            elif version != VERSION:
                raise Corrupt(f"{path} has version {version}; this headrace reads version {VERSION}")
        except sqlite3.DatabaseError as problem:
            raise Corrupt(f"{path}: {problem}") from problem

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """All changes inside are made together or not at all. May be nested; the outermost decides."""
        with self._lock:
            if self._depth:
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                return
            try:
                self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as problem:
                raise StorageError(f"{self.path}: {problem}") from problem
            self._depth = 1
            try:
                yield
                self._connection.execute("COMMIT")
            except sqlite3.Error as problem:
                self._roll_back()
                raise StorageError(f"{self.path}: {problem}") from problem
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._depth = 0

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def get(self, kind: str, name: str) -> bytes | None:
        """A document, or None."""
        with self._lock:
            row = self._connection.execute(
                "SELECT value FROM documents WHERE kind = ? AND name = ?", (kind, name)
            ).fetchone()
        return bytes(row[0]) if row else None

    def put(self, kind: str, name: str, value: bytes, *, durable: bool = False) -> None:
        """Store a document, in place of an earlier one."""
        with self.transaction(durable=durable):
            self._connection.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (kind, name, value))

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
        with self._lock:
            rows = self._connection.execute(
                "SELECT name, value FROM documents WHERE kind = ? ORDER BY name", (kind,)
            ).fetchall()
        return [(name, bytes(value)) for name, value in rows]

    def add_lane(self, durability: str) -> int:
        """A new lane's id; ids are never used twice. A lane that promises to survive the power is itself
        on the device when this returns."""
        with self.transaction(durable=durability == "disk"):
            cursor = self._connection.execute("INSERT INTO lanes (durability) VALUES (?)", (durability,))
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def lane_durability(self, lane: int) -> str | None:
        with self._lock:
            row = self._connection.execute("SELECT durability FROM lanes WHERE id = ?", (lane,)).fetchone()
        return str(row[0]) if row else None

    def lanes(self) -> dict[int, str]:
        """Every lane's promise, by id."""
        with self._lock:
            return dict(self._connection.execute("SELECT id, durability FROM lanes").fetchall())

    def remove_lane(self, lane: int) -> None:
        with self.transaction():
            self._connection.execute("DELETE FROM lanes WHERE id = ?", (lane,))

    def close(self) -> None:
        with self._lock:
            self._connection.close()
