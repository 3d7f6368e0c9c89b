# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""lmdb and SQLite as logs: records under growing numbers, batches as one transaction, read back in order.

Both are set to the promise that headrace's `process` makes: what is committed survives the death of the
process and not the loss of power (lmdb sync=False; SQLite WAL with synchronous=OFF). Keys are stored with the
records, as headrace stores them. Neither routes to shards nor hashes keys: that is work they are spared.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SINGLES_A_TRANSACTION = 500  # what `producer()` sends at most at once


def _rows(data: Any) -> list[bytes]:
    return data if isinstance(data, list) else [row.tobytes() for row in data]


def _batch(records: list[bytes]) -> tuple[int, bytes, Any, Any]:
    lengths = np.array([len(record) for record in records], dtype=np.uint32)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)[:-1]]).astype(np.int64)
    return 0, b"".join(records), offsets, lengths


class Lmdb:
    """Records under 8-byte big-endian numbers, appended (MDB_APPEND), values with the key in front."""

    name = "lmdb"

    def __init__(self, directory: Path) -> None:
        import lmdb

        self._environment = lmdb.open(
            str(directory / "lmdb"), map_size=8 << 30, sync=False, metasync=False, max_dbs=0, lock=True
        )
        self._next = 0

    def put_batch(self, data: Any, keys: Any) -> None:
        rows = _rows(data)
        first, self._next = self._next, self._next + len(rows)
        names = keys if keys is not None else [""] * len(rows)
        items = [
            ((first + place).to_bytes(8, "big"), name.encode().ljust(8) + row)
            for place, (name, row) in enumerate(zip(names, rows, strict=True))
        ]
        with self._environment.begin(write=True) as transaction:
            transaction.cursor().putmulti(items, append=True)

    def put_singles(self, records: list[bytes], keys: list[str]) -> None:
        for start in range(0, len(records), SINGLES_A_TRANSACTION):
            end = start + SINGLES_A_TRANSACTION
            self.put_batch(records[start:end], keys[start:end])

    def read(self) -> Iterator[tuple[int, Any, Any, Any]]:
        with self._environment.begin() as transaction:
            batch: list[bytes] = []
            for _, value in transaction.cursor():
                batch.append(value[8:])
                if len(batch) == 10_000:
                    yield _batch(batch)
                    batch = []
            if batch:
                yield _batch(batch)

    def close(self) -> None:
        self._environment.close()


class Sqlite:
    """One table with an integer key; WAL, synchronous=OFF."""

    name = "SQLite"

    def __init__(self, directory: Path) -> None:
        self._connection = sqlite3.connect(directory / "log.sqlite", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=OFF")
        self._connection.execute("CREATE TABLE log (number INTEGER PRIMARY KEY, key TEXT, data BLOB)")

    def put_batch(self, data: Any, keys: Any) -> None:
        rows = _rows(data)
        names = keys if keys is not None else [None] * len(rows)
        self._connection.execute("BEGIN")
        self._connection.executemany(
            "INSERT INTO log (key, data) VALUES (?, ?)", zip(names, rows, strict=True)
        )
        self._connection.execute("COMMIT")

    def put_singles(self, records: list[bytes], keys: list[str]) -> None:
        for start in range(0, len(records), SINGLES_A_TRANSACTION):
            end = start + SINGLES_A_TRANSACTION
            self.put_batch(records[start:end], keys[start:end])

    def read(self) -> Iterator[tuple[int, Any, Any, Any]]:
        cursor = self._connection.execute("SELECT data FROM log ORDER BY number")
        while rows := cursor.fetchmany(10_000):
            yield _batch([row[0] for row in rows])

    def close(self) -> None:
        self._connection.close()


STORES = {"lmdb": Lmdb, "sqlite": Sqlite}
