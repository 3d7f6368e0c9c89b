# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A stream of an open store: putting, reading and resharding."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from headrace.api.options import check_timeout
from headrace.api.position import Position, Positions, Start, start_of
from headrace.api.stream_info import ShardTimes, StreamInfo, stream_info
from headrace.api.table import put_table
from headrace.api.tail import Tail
from headrace.config import check_count, parse_size
from headrace.core._batch import RecordBatch
from headrace.core._entries import Entries
from headrace.errors import NotFound
from headrace.streams import StreamReader

if TYPE_CHECKING:
    from headrace.analytics import Schema
    from headrace.api.producer import Producer
    from headrace.api.store import Store
    from headrace.streams import Stream as InnerStream

HASH_KEY_MAX = (1 << 128) - 1


class Stream:
    """Made by `Store.stream`. Can be pickled: it opens its store again where it is unpickled. Safe to share between
    threads.

    A shard is named by its number or its id: 7 or "shardId-000000000007". Every call that puts, reads or changes
    raises NotFound after the stream was deleted, Closed after the store was closed, and ForkedError in a forked child.
    """

    def __init__(self, store: Store, inner: InnerStream) -> None:
        self._store = store
        self._inner = inner
        self._local = threading.local()
        self._put_through: Any = None
        self._shard_times = ShardTimes(inner)

    @property
    def name(self) -> str:
        """The stream's name."""
        return self._inner.name

    @property
    def arn(self) -> str:
        """As in "arn:aws:kinesis:us-east-1:000000000000:stream/metrics"."""
        return self._inner.arn

    @property
    def info(self) -> StreamInfo:
        """Records, bytes and settings, as they are now; see StreamInfo. Costs a look at each shard and file."""
        self._fresh()
        return stream_info(self._inner)

    @property
    def shards(self) -> int:
        """How many shards are open."""
        self._fresh()
        return self._inner.table.open_count

    @property
    def durability(self) -> str:
        """What an acknowledged record survives: "process", the death of every process, or "disk", the loss of power."""
        return self._inner.durability

    def _fresh(self) -> None:
        """In a process that joined: see what the writer changed."""
        self._store.check()
        if not self._store.writer:
            self._inner.streams.refresh(self._inner)
        if self._inner.deleted:
            raise self._inner.not_found()

    @property
    def _putter(self) -> Any:
        self._store.check()
        if self._put_through is None:
            self._put_through = self._store._putter(self._inner)
        return self._put_through

    # --- putting ---

    def put(self, data: Any, key: str | None = None, *, hash_key: int | None = None) -> Position:
        """Put one record; returns when it is as durable as the stream promises.

        data: bytes-like or str as it is; anything else as JSON (dict, dataclass, numpy scalar, datetime …).
        key: 1 to 256 characters that pick the shard by their MD5; None spreads evenly. hash_key: 0 to
        2**128 − 1, picks the shard instead. Raises TypeError naming a type that has no JSON; ValidationError for a key
        that is too long or empty; InvalidArgument for a record larger than the stream takes; Backpressure, at once,
        where store, stream or device is full; StorageError, after which the record may be there only where the message
        says so; LockedByOther in a store that is open for reading only.
        """
        putter = self._putter
        if hash_key is not None:
            hash_key = check_count("hash_key", hash_key, 0, HASH_KEY_MAX)
        entries = self._take_entries()
        try:
            entries.add(data, key, hash_key, record_size_max=putter.record_size_max)
            _, (shards, ordinals, arrivals), refusal = putter.put(entries, 0.0)
        finally:
            entries.clear()
            self._local.entries = entries
        if refusal is not None:
            raise refusal.error()
        shard = int(shards[0])
        return Position(shard, int(ordinals[0]), int(arrivals[0]), putter.created_s(shard))

    def put_many(self, data: Any, keys: Any = None, *, timeout: float | None = 30) -> Positions:
        """Put many records in one native call; returns when all are as durable as the stream promises.

        data: a list of what `put` takes or of (key, data) pairs, a numpy array of S, V, U or 2-D uint8, or
        an Arrow binary or string array. keys: a list or array as long, one str for all, or None. Blocks
        while the store is full, up to `timeout` seconds in all (None: for ever), and then raises Backpressure
        with `.accepted` (a bool array, as long as the call) and `.retry_after`; a StorageError has `.accepted`,
        too. Never a silent partial success; putting `~accepted` again, in its order, reorders nothing. Else raises what
        `put` does, and then nothing was put. Returns the Positions, in the order of the call.
        """
        putter = self._putter
        check_timeout("timeout", timeout)
        entries = Entries()
        entries.extend(data, keys, record_size_max=putter.record_size_max)
        if not entries.count:
            shards, ordinals, arrivals = _nothing()
            return Positions(shards, ordinals, arrivals, self._shard_times)
        _, places, refusal = putter.put(entries, timeout)
        if refusal is not None:
            raise refusal.error()
        return Positions(places[0], places[1], places[2], self._shard_times)

    def put_table(self, table: Any, *, key: str | None = None, timeout: float | None = 30) -> Positions:
        """Put a record of JSON for each row of a table; returns when all are as durable as promised.

        table: any object with `__arrow_c_stream__` or `__arrow_c_array__` (polars, pandas, pyarrow, DuckDB,
        Columns, Query). Members stand in the order of the columns. key: the column, of strings or integers,
        whose value is the partition key; a row without one, and all without `key`, are spread evenly. Else like
        `put_many`, chunk by chunk of the table: `.accepted` has an element a row. Raises InvalidArgument where there is
        no such column.
        """
        return put_table(self, table, key, timeout)

    def _take_entries(self) -> Entries:
        """This thread's entries, to spare an allocation a put; others if they are in use (a signal handler)."""
        entries: Entries | None = getattr(self._local, "entries", None)
        self._local.entries = None
        return Entries() if entries is None else entries

    def producer(
        self,
        *,
        linger: str | float = "5ms",
        max_batch: int = 500,
        ordered: bool = True,
        max_pending_bytes: int | str = "64MiB",
        timeout: float = 30,
    ) -> Producer:
        """For many small puts: batches by count, bytes and time; `put` returns an Ack.

        Where a batch was taken in part, only what was refused is tried again. An ack that is done is a record that is
        durable as the stream promises, or one that has failed. Leaving the producer's `with` block waits for all.

        Args:
            linger: how long a batch that does not fill waits, a text such as "5ms" or seconds.
            max_batch: records a batch, 1 to 32,768; it has at most 4 MiB.
            ordered: later records of a shard wait for those that are tried again, so that they keep the
                order of their puts; False: they go ahead.
            max_pending_bytes: what may wait for room or to become durable; a put beyond it blocks.
            timeout: seconds during which a record that finds no room is tried again.

        Raises InvalidArgument, and LockedByOther in a store that is open for reading only.
        """
        from headrace.api.producer import Producer

        self._store.check()
        check_timeout("timeout", timeout)
        producer = Producer(
            self._putter,
            linger=linger,
            max_batch=max_batch,
            ordered=ordered,
            max_pending_bytes=max_pending_bytes,
            timeout=timeout,
        )
        self._store.remember(producer)
        return producer

    # --- reading ---

    def _reader(self, start: Start, shard: int | str | None) -> StreamReader:
        self._fresh()
        only = None if shard is None else [self._number(shard)]
        return StreamReader(self._inner, start_of(start, self._inner, kept=True), only)

    def _ends(self) -> dict[int, int]:
        """The next index of each shard, now."""
        return {s.number: self._inner.lane_of(s.number).bounds(s.number)[1] for s in self._inner.shards}

    def batches(
        self,
        start: Start = "earliest",
        *,
        end: Start | None = None,
        max_bytes: int | str = "8MiB",
        shard: int | str | None = None,
    ) -> Iterator[RecordBatch]:
        """What the stream holds at this moment, in batches of one shard each, parents before children.

        Within a shard records come in order, and in ascending ordinals. What is read is durable as the stream promises.

        Args:
            start: "earliest", "latest", a datetime, a timedelta (ago), a Position or a sequence number; see `Start`.
            end: where to stop, like `start` and exclusive; None: at what is there now.
            max_bytes: of data and keys of what is read at once, about; a batch has at least one record.
            shard: read this one only; its children are not followed.

        Raises InvalidArgument for a start that is none and for max_bytes of 0, ExpiredPosition for a Position or sequence
        number whose record is no longer kept, NotFound for a shard that is not there, Corrupt, which names file and
        byte, where stored bytes are damaged, StorageError where they cannot be read.
        """
        size = check_count("max_bytes", parse_size(max_bytes), 1)
        reader = self._reader(start, shard)
        ends = self._ends()
        if end is not None:
            stop = StreamReader(self._inner, start_of(end, self._inner))
            ends = {
                **ends,
                **{number: min(ends.get(number, 0), index) for number, index in stop.positions.items()},
            }
        return self._until(reader, ends, size)

    def _until(self, reader: StreamReader, ends: dict[int, int], max_bytes: int) -> Iterator[RecordBatch]:
        for batch in _until(reader, ends, max_bytes):
            batch.created = self._shard_times
            yield batch
            self._store.check()

    def read(
        self,
        start: Start = "earliest",
        *,
        end: Start | None = None,
        limit: int | None = None,
        shard: int | str | None = None,
    ) -> RecordBatch:
        """Like `batches`, as one batch of at most `limit` records (None: all, which may be more than memory holds).

        The records of a shard are in order within it; those of several shards come in runs, one shard after another. It
        owns its bytes. Raises what `batches` does, and then gives nothing.
        """
        found: list[RecordBatch] = []
        left = None if limit is None else check_count("limit", limit, 0)
        for batch in self.batches(start, end=end, shard=shard):
            if left is not None:
                batch = batch[:left]
                left -= len(batch)
            found.append(batch)
            if left == 0:
                break
        return RecordBatch.concat(found)

    def head(self, n: int = 10) -> RecordBatch:
        """The first `n` records, as `read(limit=n)` gives them."""
        return self.read(limit=check_count("n", n, 0))

    def tail(
        self, start: Start = "latest", *, shard: int | str | None = None, max_wait: float | None = None
    ) -> Tail:
        """Batches for ever, as they come, for `for` and `async for`; keeps no state outside the object.

        start, shard: as for `batches`. max_wait: end after so many seconds without a record; None: never. Records are
        given when they are durable as the stream promises, not before. Raises what `batches` does; see Tail.
        """
        return Tail(self._reader(start, shard), self._store, self._shard_times, max_wait)

    def schema(self, sample: int = 1000) -> Schema:
        """The columns that SQL finds in the records: name to type, with notes on what was guessed.

        Looks at up to `sample` of the first records, as many of each shard. Raises NotFound where no record
        is a JSON object.
        """
        from headrace.analytics import Schema
        from headrace.analytics.discovery import discover

        shards = [shard.number for shard in self._inner.shards]
        found = discover([self.read(limit=max(sample // len(shards), 1), shard=number) for number in shards])
        if found is None:
            raise NotFound(f"stream {self.name} holds no record that is a JSON object")
        return Schema({name: field.type for name, field in found.fields.items()}, found.notes)

    # --- shards ---

    def split(self, shard: int | str, at: int | None = None) -> tuple[int, int]:
        """Close an open shard and open two in its place; returns their numbers, that of the lower range first.

        at: the first hash key of the second, above the first and up to the last key of the shard; None: the middle.
        No record is lost, and none changes its shard: the two get what is put from now on, and readers come to them
        when they have read the closed one to its end. When this returns, the change survives a loss of power; where the
        process dies before, it is made whole or not at all.

        Raises NotFound where there is no such shard, InvalidArgument where it is closed or `at` is not within it,
        LimitExceeded where 10,000 shards are open, ResourceInUse where an earlier change failed half-way, StorageError,
        Backpressure, and LockedByOther in a store that is open for reading only.
        """
        self._fresh()
        number = self._number(shard)
        found = self._inner.table.shard(number)
        at = (found.start + found.end + 1) // 2 if at is None else check_count("at", at, 0, HASH_KEY_MAX)
        first, second = self._store._do("split", name=self.name, shard=number, at=str(at))
        self._fresh()
        return int(first), int(second)

    def merge(self, shard: int | str, adjacent: int | str) -> int:
        """Close two open shards of neighbouring ranges, the lower one first, and open one; returns its number.

        Promises what `split` does, and raises the same; InvalidArgument where one of the two is closed, or the second
        does not begin where the first ends.
        """
        self._fresh()
        one, other = self._number(shard), self._number(adjacent)
        child = self._store._do("merge", name=self.name, shard=one, adjacent=other)
        self._fresh()
        return int(child)

    def scale(self, shards: int) -> None:
        """Split and merge until there are this many open shards of equal ranges, in one change.

        Promises what `split` does. Raises InvalidArgument for less than 1, LimitExceeded for more than 10,000, and else
        what `split` does.
        """
        self._fresh()
        self._store._do("scale", name=self.name, shards=str(check_count("shards", shards, 1)))
        self._fresh()

    def _number(self, shard: int | str) -> int:
        """A shard's number from its number or id; NotFound where there is none."""
        count = self._inner.table.count
        digits = shard.removeprefix("shardId-") if isinstance(shard, str) else str(shard)
        if not digits.isascii() or not digits.isdigit() or int(digits) >= count:
            raise NotFound(
                f"stream {self.name} has no shard {shard!r}",
                hint=f"it has shardId-{0:012d}" + (f" to shardId-{count - 1:012d}" if count > 1 else ""),
            )
        return int(digits)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_stream_of, (self._store, self.name))

    def __repr__(self) -> str:
        return f"Stream({self.name!r}, {self._inner.table.open_count} open shards, {self.durability})"


def _stream_of(store: Store, name: str) -> Stream:
    return store.stream(name, create=False)


def _nothing() -> tuple[Any, Any, Any]:
    import numpy as np

    return np.zeros(0, np.uint32), np.zeros(0, np.uint64), np.zeros(0, np.int64)


def _until(reader: StreamReader, ends: dict[int, int], max_bytes: int) -> Iterator[RecordBatch]:
    """Batches up to the ends."""
    entered = set(reader.positions)
    while True:
        before = dict(reader.positions)
        batches = reader.poll(max_bytes)
        for batch in batches:
            end = ends.get(int(batch.shards[0]), 0)
            if int(batch.ordinals[-1]) >= end:
                batch = batch[: int((batch.ordinals < end).sum())]
            if len(batch):
                yield batch
        entered.update(reader.positions)
        reached = all(index >= ends.get(number, 0) for number, index in reader.positions.items())
        # Children enter when their parents were read to the end, so one more poll may find them.
        if reached and (entered >= ends.keys() or (not batches and reader.positions == before)):
            return
        if not batches and reader.positions == before:
            return
