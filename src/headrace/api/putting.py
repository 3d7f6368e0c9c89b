# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Putting entries into a stream: here, where this process writes the store, or by way of the one that does.

Both give the same: `put` returns when the entries are framed and, with `wait`, as durable as the stream
promises; refused entries are tried again until the time is over, in their order.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from headrace import limits
from headrace.core._entries import Entries
from headrace.core._entry_parts import entries_slice, entry_sizes
from headrace.errors import Backpressure

if TYPE_CHECKING:
    from headrace.api.local_client import LocalClient
    from headrace.api.store import Store
    from headrace.streams import Stream as InnerStream

Places = tuple[Any, Any, Any]  # shards uint32, ordinals uint64, arrivals int64
Tickets = list[tuple[Any, int]]


class Putter(Protocol):
    """How a Stream of the embedded library puts."""

    @property
    def name(self) -> str: ...

    @property
    def record_size_max(self) -> int: ...

    @property
    def needs_sync(self) -> bool: ...

    def put(
        self, entries: Entries, timeout: float | None, *, wait: bool = True
    ) -> tuple[Tickets, Places]: ...

    def commit(self, tickets: Tickets) -> None: ...

    def created_s(self, shard: int) -> int: ...

    def forget(self, producer: Any) -> None: ...


class DirectPutter:
    """Puts in the process that writes the store."""

    def __init__(self, store: Store, inner: InnerStream) -> None:
        self._store = store
        self._inner = inner
        self.name = inner.name
        self.needs_sync = inner.durability == "disk"

    @property
    def record_size_max(self) -> int:
        return self._inner.record_size_max

    def created_s(self, shard: int) -> int:
        return self._inner.table.shard(shard).created_s

    def forget(self, producer: Any) -> None:
        self._store.forget(producer)

    def commit(self, tickets: Tickets) -> None:
        """Return when every ticket's group is as durable as promised."""
        for lane, ticket in tickets:
            lane.commit(ticket)

    def put(self, entries: Entries, timeout: float | None, *, wait: bool = True) -> tuple[Tickets, Places]:
        """Route, frame, and with `wait` commit. Cost beyond the log's: one call a lane."""
        count = entries.count
        if count <= limits.put_group_count_max and entries.nbytes <= limits.put_group_size_max:
            return self._put_group(entries, timeout, wait)
        tickets: Tickets = []
        places: list[Places] = []
        for start, stop in _groups(entries):
            more, place = self._put_group(entries_slice(entries, start, stop), timeout, wait)
            tickets = more or tickets
            places.append(place)
        return tickets, tuple(np.concatenate(parts) for parts in zip(*places, strict=True))  # type: ignore[return-value]

    def _put_group(self, entries: Entries, timeout: float | None, wait: bool) -> tuple[Tickets, Places]:
        router, tickets, failures = self._inner.append_parts(entries)
        if wait:
            self.commit(tickets)
        places: Places = (entries.shards(router), entries.indexes, entries.arrivals)
        if failures:
            error = next(iter(failures.values()))
            refused = self._inner.refused(entries, router, failures) != 0
            if not isinstance(error, Backpressure):
                raise error
            tickets = tickets + self._again(entries, refused, places, error, timeout, wait)
        return tickets, places

    def _again(
        self,
        entries: Entries,
        refused: Any,
        places: Any,
        error: Backpressure,
        timeout: float | None,
        wait: bool,
    ) -> Tickets:
        """Try what was refused again, after the time the log asks for, until it is taken or time is over."""
        deadline = None if timeout is None else time.monotonic() + timeout
        tickets: Tickets = []
        while refused.any():
            pause = error.retry_after
            if deadline is not None and time.monotonic() + pause > deadline:
                raise Backpressure(error.message, accepted=~refused, retry_after=pause, hint=error.hint)
            time.sleep(min(pause, 0.05))
            where = np.flatnonzero(refused)
            rest = Entries()
            for place in where:
                part = entries_slice(entries, int(place), int(place) + 1)
                rest.add(
                    part.data[0], part.keys[0], part.hash_keys[0], record_size_max=limits.record_size_max
                )
            router, more, failures = self._inner.append_parts(rest)
            if wait:
                self.commit(more)
            tickets += more
            still: Any = (
                self._inner.refused(rest, router, failures) != 0 if failures else np.zeros(len(where), bool)
            )
            found_places: Places = (rest.shards(router), rest.indexes, rest.arrivals)
            for target, found in zip(places, found_places, strict=True):
                target[where[~still]] = found[~still]
            refused[where[~still]] = False
            if failures:
                last = next(iter(failures.values()))
                if not isinstance(last, Backpressure):
                    raise last
                error = last
        return tickets


class RemotePutter:
    """Puts by way of the process that writes the store. What it returns is always durable as promised."""

    needs_sync = False

    def __init__(self, store: Store, inner: InnerStream, client: LocalClient) -> None:
        self._store = store
        self._inner = inner
        self._client = client
        self.name = inner.name

    @property
    def record_size_max(self) -> int:
        return self._inner.record_size_max

    def created_s(self, shard: int) -> int:
        if shard >= self._inner.table.count:
            self._inner.streams.refresh(self._inner)
        return self._inner.table.shard(shard).created_s

    def forget(self, producer: Any) -> None:
        self._store.forget(producer)

    def commit(self, tickets: Tickets) -> None:
        """Nothing: the answer came after the commit."""

    def put(self, entries: Entries, timeout: float | None, *, wait: bool = True) -> tuple[Tickets, Places]:
        """Send in groups; each answer says where the records stand."""
        places = [
            self._client.put(self.name, entries_slice(entries, start, stop), timeout)
            for start, stop in _groups(entries)
        ]
        return [], tuple(np.concatenate(parts) for parts in zip(*places, strict=True))  # type: ignore[return-value]


def _groups(entries: Entries) -> list[tuple[int, int]]:
    """Ranges of entries, each within the bounds of one group."""
    ends = np.cumsum(entry_sizes(entries))
    groups: list[tuple[int, int]] = []
    start = 0
    while start < entries.count:
        before = int(ends[start - 1]) if start else 0
        stop = int(np.searchsorted(ends, before + limits.put_group_size_max, side="right"))
        stop = min(max(stop, start + 1), start + limits.put_group_count_max)
        groups.append((start, stop))
        start = stop
    return groups
