# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A stream: where its records go, and the shards they are in.

Records enter by `append` (routed and framed, not yet durable) and are acknowledged after the lanes named in
its result are committed. A lock orders appends against reshards, so that no record is framed into a shard
after the frame that closes it.

Nothing is made for a stream that holds no data: its lanes come into being with its first record, and its
router when it is first needed. An idle stream costs about a kilobyte.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from headrace import telemetry
from headrace.core._entries import Entries, Router
from headrace.errors import Backpressure, Error, NotFound
from headrace.log._intake import append_lanes, appended
from headrace.streams import document as documents
from headrace.streams import topology
from headrace.streams.document import AUTO, StreamDocument
from headrace.streams.shards import Shard, ShardTable

if TYPE_CHECKING:
    from headrace.log import Lane
    from headrace.streams.streams import Streams

HORIZON_MS = 1000  # for how long the record that retention has come to is not looked for again

_APPENDED = telemetry.counter("headrace_records_appended_total", "Records that streams took in.")
_REFUSED = telemetry.counter("headrace_records_refused_total", "Records that a full or failed lane refused.")
telemetry.collect(lambda: _APPENDED.set(appended()))


class Stream:
    """One stream of a store.

    Attributes:
        name, arn, created_ms: what it is called and since when it exists.
        table: its shards; changed only by `split`, `merge` and `scale`.
        lock: orders appends against changes of the table.
        version: grows with every change of the table.
        records_in: records accepted since the store was opened.
        record_size_max: bytes of data and key that a record may have.
        spreads: whether partition keys are ignored and records spread evenly.
    """

    __slots__ = (
        "_clock",
        "_framed",
        "_lanes",
        "_router",
        "_turn",
        "deleted",
        "document",
        "horizons",
        "lock",
        "name",
        "record_size_max",
        "records_in",
        "spreads",
        "streams",
        "table",
        "version",
    )

    def __init__(self, streams: Streams, name: str, document: StreamDocument) -> None:
        self.streams = streams
        self._clock = streams.clock
        self.name = name
        self.document = document
        self.table: ShardTable = document.table()
        self.version = 0
        self.record_size_max = document.record_size_max
        self.spreads = document.distribution == AUTO
        self.records_in = 0
        self.deleted = False
        self.lock = threading.Lock()
        self._router: Router | None = None
        self._lanes: list[Lane] | None = None
        self._framed: dict[int, int] = {}
        self.horizons: dict[int, tuple[int, int]] = {}
        self._turn = 0

    def __repr__(self) -> str:
        return f"Stream({self.name!r}, {self.table.open_count} open shards)"

    @property
    def arn(self) -> str:
        return f"{self.streams.arn_prefix}{self.name}"

    @property
    def created_ms(self) -> int:
        return self.document.created_ms

    @property
    def durability(self) -> str:
        return self.document.durability

    @property
    def retention_hours(self) -> int:
        return self.document.retention_hours

    @property
    def status(self) -> str:
        return "DELETING" if self.deleted else "ACTIVE"

    @property
    def shards(self) -> list[Shard]:
        """All shards, open and closed. Built on each call: page through `table` where there are many."""
        return self.table.all()

    @property
    def lanes(self) -> list[Lane]:
        """First asked for without `lock`: the writer then opens their files and may change the table."""
        if self._lanes is None:
            lanes = [self.streams.log.lane(number, self.durability) for number in self.document.lanes]
            if self.streams.log.writer:
                share = None if self.document.max_bytes is None else self.document.max_bytes // len(lanes)
                for lane in lanes:
                    lane.set_limit(share, self.document.on_full, lanes)
                topology.catch_up(self, lanes)
            self._lanes = lanes
        return self._lanes

    @property
    def router(self) -> Router:
        """The open shards by hash range. Cost: 1 µs a shard when first asked for after a change."""
        router = self._router
        if router is None:
            rows = [(s.start, s.end, s.number, s.lane, s.created_s) for s in self.table.open()]
            router = self._router = Router(rows)
        return router

    def lane_of(self, shard: int) -> Lane:
        return self.lanes[self.table.shard(shard).lane]

    def horizon(self, shard: Shard) -> int:
        """The first running index of a shard whose record is not older than the retention period.

        What is older may still be in the log, which drops whole segments. Exact to HORIZON_MS of the clock; cost:
        a look into a dict, and once in HORIZON_MS a look into the index of the oldest segment, for streams older
        than their retention period.
        """
        now_ms = self._clock.now_ms()
        floor_ms = now_ms - self.document.retention_hours * 3_600_000
        if floor_ms <= self.document.created_ms:
            return 0
        looked_ms, index = self.horizons.get(shard.number, (-HORIZON_MS, 0))
        if abs(now_ms - looked_ms) >= HORIZON_MS:
            index = self.lanes[shard.lane].index_at_time(shard.number, floor_ms)
            self.horizons[shard.number] = now_ms, index
        return index

    # --- records in ---

    def append(self, entries: Entries) -> list[tuple[Lane, int]]:
        """Route the entries and frame them in their lanes: accepted, not yet durable.

        Returns the offsets that must be committed before the entries may be acknowledged; `commit` does
        so. Sets index and arrival of each entry. Raises Backpressure, Fenced or StorageError; where only
        some lanes refused, Backpressure carries which entries were accepted.
        """
        router, offsets, failures = self.append_parts(entries)
        if failures:
            raise self._refusal(entries, router, failures)
        return offsets

    def append_parts(
        self, entries: Entries
    ) -> tuple[Router, list[tuple[Lane, int]], dict[int, Error] | None]:
        """The same, with what each lane (by ordinal) refused instead of an exception; None: nothing.

        Cost: routing and framing, and about 0.5 µs.
        """
        lanes = self._lanes or self.lanes
        with self.lock:
            if self.deleted:
                raise self.not_found()
            router = self._router or self.router
            router.route(entries)
            tickets, failures, refused = append_lanes(entries, router, lanes, self._clock, self._framed)
            self.records_in += entries.count - refused
        if refused:
            _REFUSED.add(refused)
        return router, tickets, failures

    def refused(self, entries: Entries, router: Router, failures: dict[int, Error]) -> np.ndarray[Any, Any]:
        """One byte an entry: 0 where it was accepted, else 1 + the ordinal of the lane that refused it."""
        # As they were routed: a reshard may have changed the table since.
        found = np.zeros(entries.count, dtype=np.uint8)
        lanes = entries.lanes
        for ordinal in failures:
            found[lanes[ordinal]] = ordinal + 1
        return found

    def _refusal(self, entries: Entries, router: Router, failures: dict[int, Error]) -> Error:
        """One error for entries of which some or all were refused."""
        first = next(iter(failures.values()))
        refused = self.refused(entries, router, failures)
        if refused.all() or not isinstance(first, Backpressure):
            return first
        return Backpressure(
            first.message, accepted=refused == 0, retry_after=first.retry_after, hint=first.hint
        )

    def commit(self) -> None:
        """Return when everything framed so far is as durable as promised. Blocks."""
        for ordinal, offset in list(self._framed.items()):
            self.lanes[ordinal].commit(offset)

    def spread_keys(self, count: int) -> list[int]:
        """Hash keys that spread `count` records evenly over the open shards, whatever their keys are."""
        shards = self.table.open()
        turn = self._turn
        self._turn = (turn + count) % len(shards)
        return [shards[(turn + i) % len(shards)].start for i in range(count)]

    # --- shards ---

    def split(self, shard: int, at: int) -> tuple[int, int]:
        """Close a shard and open two in its place, of [start, at − 1] and [at, end]."""
        return topology.split(self, shard, at)

    def merge(self, shard: int, adjacent: int) -> int:
        """Close two shards of neighbouring ranges, the lower first, and open one in their place."""
        return topology.merge(self, shard, adjacent)

    def scale(self, shards: int) -> None:
        """Split and merge until there are this many open shards of equal ranges."""
        topology.scale(self, shards)

    # --- the catalogue ---

    def update(self, **members: Any) -> None:
        """Change members of the document, in the catalogue first, where the change then survives the power."""
        with self.streams.control:
            changed = msgspec.structs.replace(self.document, **members)
            catalogue = self.streams.log.catalogue
            catalogue.put(documents.STREAM, self.name, documents.encode(changed), durable=True)
            self.document = changed
            self.horizons.clear()

    def take_table(self, table: ShardTable) -> None:
        """Make a table that a reshard led to the stream's, in the catalogue first."""
        self.update(rows=table.rows, closed=list(table.closed.items()))
        self.table = table
        self._router = None
        self.version += 1

    def adopt(self, document: StreamDocument) -> None:
        """Take over what another process wrote to the catalogue."""
        changed = len(document.rows) != len(self.table.rows) or len(document.closed) != len(self.table.closed)
        self.document = document
        self.record_size_max = document.record_size_max
        if changed:
            with self.lock:
                self.table = document.table()
                self._router = None
                self.version += 1

    def not_found(self) -> NotFound:
        return NotFound(f"Stream {self.name} under account {self.streams.account} not found.")
