# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Putting entries into a stream: here, where this process writes the store, or by way of the one that does.

Both give the same: `put` returns when the entries are framed and, with `wait`, as durable as the stream
promises; what a full lane refused is tried again until the time is over, in its order. What is refused in
the end comes back as a Refusal that knows each entry, and is raised by whoever called.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from headrace import limits
from headrace.core._entries import Entries
from headrace.core._entry_parts import entries_at, entries_slice, entry_sizes
from headrace.errors import Backpressure, Error, RemoteError

if TYPE_CHECKING:
    from headrace.api.local_client import LocalClient
    from headrace.api.store import Store
    from headrace.streams import Stream as InnerStream

Mask = npt.NDArray[np.bool_]
Places = tuple[Any, Any, Any]  # shards uint32, ordinals uint64, arrivals int64
Tickets = list[tuple[Any, int, slice]]  # lane, ticket, the entries that may be in its group

_ALL = slice(None)
PAUSE_S = 0.05  # longest sleep between two attempts, so that a signal and room are noticed soon


class Refusal:
    """Which of some entries were not taken, and why.

    Attributes:
        refused: True where an entry was not taken.
        errors: mask -> error, one for each reason; the masks do not overlap.
    """

    __slots__ = ("errors", "refused")

    def __init__(self, count: int) -> None:
        self.refused: Mask = np.zeros(count, bool)
        self.errors: list[tuple[Mask, Error]] = []

    def add(self, where: Any, error: Error) -> None:
        """Entries (a mask or positions) that `error` befell."""
        mask = np.zeros(len(self.refused), bool)
        mask[where] = True
        self.refused |= mask
        self.errors.append((mask, error))

    @property
    def crowded(self) -> Backpressure | None:
        """The error of entries for which there may be room later."""
        return next((error for _, error in self.errors if isinstance(error, Backpressure)), None)

    @property
    def for_later(self) -> Mask:
        """Entries that may find room later."""
        found: Mask = np.zeros(len(self.refused), bool)
        for mask, error in self.errors:
            if isinstance(error, Backpressure):
                found |= mask
        return found

    def error(self) -> Error:
        """The error to raise: the gravest, with which entries were taken. A copy, as lanes keep theirs."""
        gravest = next((e for _, e in self.errors if not isinstance(e, Backpressure)), self.errors[0][1])
        error = copy.copy(gravest)
        if isinstance(error, RemoteError):
            error.accepted = ~self.refused
        return error


Outcome = tuple[Tickets, Places, Refusal | None]


class Putter(Protocol):
    """How a Stream of the embedded library puts."""

    @property
    def name(self) -> str: ...

    @property
    def record_size_max(self) -> int: ...

    @property
    def needs_sync(self) -> bool: ...

    @property
    def knows_shards(self) -> bool: ...

    def put(self, entries: Entries, timeout: float | None, *, wait: bool = True) -> Outcome: ...

    def shards(self, several: list[Entries]) -> list[npt.NDArray[np.uint32]]: ...

    def commit(self, tickets: Tickets) -> list[tuple[slice, Error]]: ...

    def created_s(self, shard: int) -> int: ...

    def forget(self, producer: Any) -> None: ...


class DirectPutter:
    """Puts in the process that writes the store."""

    knows_shards = True

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

    def shards(self, several: list[Entries]) -> list[npt.NDArray[np.uint32]]:
        """The shard of each entry, of all by the same table."""
        router = self._inner.router
        for entries in several:
            router.route(entries)
        return [entries.shards(router) for entries in several]

    def commit(self, tickets: Tickets) -> list[tuple[slice, Error]]:
        """Return when every ticket's group is as durable as promised, or with what failed."""
        failed: list[tuple[slice, Error]] = []
        for lane, ticket, where in tickets:
            try:
                lane.commit(ticket)
            except Error as error:
                failed.append((where, error))
        return failed

    def put(self, entries: Entries, timeout: float | None, *, wait: bool = True) -> Outcome:
        """Route, frame, and with `wait` commit. Cost beyond the log's: one call a lane."""
        self._store.check()
        if entries.count <= limits.put_group_count_max and entries.nbytes <= limits.put_group_size_max:
            return self._put_group(entries, None if timeout is None else time.monotonic() + timeout, wait)
        return _in_groups(entries, timeout, lambda group, deadline: self._put_group(group, deadline, wait))

    def _put_group(self, entries: Entries, deadline: float | None, wait: bool) -> Outcome:
        tickets, places, refusal = self._attempt(entries, wait)
        if refusal is not None:
            refusal = self._again(entries, tickets, places, refusal, deadline, wait)
        return tickets, places, refusal

    def _attempt(self, entries: Entries, wait: bool) -> Outcome:
        """Try once."""
        router, offsets, failures = self._inner.append_parts(entries)
        # Before the commit: the entries are in the processor's cache now, and not after a sleep in the kernel.
        places: Places = (entries.shards(router), entries.indexes, entries.arrivals)
        if wait:
            for lane, ticket in offsets:
                try:
                    lane.commit(ticket)
                except Error as error:
                    failures = failures or {}
                    failures[self._inner.lanes.index(lane)] = error
        tickets: Tickets = [] if wait else [(lane, ticket, _ALL) for lane, ticket in offsets]
        if not failures:
            return tickets, places, None
        refusal = Refusal(entries.count)
        positions = entries.lanes
        for ordinal, reason in failures.items():
            refusal.add(positions[ordinal], reason)
        return tickets, places, refusal

    def _again(
        self, entries: Entries, tickets: Tickets, places: Places, refusal: Refusal, deadline: float | None, wait: bool
    ) -> Refusal | None:  # fmt: skip
        """Try what found no room again and again, the last time when time is over, until it is taken.

        Adds to `tickets` and `places`; returns what was not taken.
        """
        final = Refusal(entries.count)
        where = np.arange(entries.count, dtype=np.uint32)
        rest = entries
        while True:
            for mask, error in refusal.errors:
                if not isinstance(error, Backpressure):
                    final.add(where[mask], error)
            crowded, later = refusal.crowded, refusal.for_later
            if crowded is None:
                break
            left_s = PAUSE_S if deadline is None else deadline - time.monotonic()
            if left_s <= 0:
                final.add(where[later], crowded)
                break
            if not later.all():
                rest, where = entries_at(rest, np.flatnonzero(later).astype(np.uint32)), where[later]
            time.sleep(min(crowded.retry_after, PAUSE_S, left_s))
            more, found, left = self._attempt(rest, wait)
            tickets += more
            for target, source in zip(places, found, strict=True):
                target[where] = source
            if left is None:
                break
            refusal = left
        return final if final.errors else None


class RemotePutter:
    """Puts by way of the process that writes the store. What it returns is always durable as promised."""

    needs_sync = False
    knows_shards = False

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

    def shards(self, several: list[Entries]) -> list[npt.NDArray[np.uint32]]:
        raise NotImplementedError  # the writer knows them

    def commit(self, tickets: Tickets) -> list[tuple[slice, Error]]:
        """Nothing: the answer came after the commit."""
        return []

    def put(self, entries: Entries, timeout: float | None, *, wait: bool = True) -> Outcome:
        """Send in groups; each answer says where the records stand."""
        self._store.check()
        return _in_groups(entries, timeout, self._put_group)

    def _put_group(self, entries: Entries, deadline: float | None) -> Outcome:
        left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        try:
            return [], self._client.put(self.name, entries, left), None
        except RemoteError as error:
            refusal = Refusal(entries.count)
            taken = error.accepted
            refusal.add(slice(None) if taken is None else ~np.asarray(taken, bool), error)
            return (
                [],
                (*(np.zeros(entries.count, kind) for kind in (np.uint32, np.uint64, np.int64)),),
                refusal,
            )  # type: ignore[return-value]


def _in_groups(
    entries: Entries, timeout: float | None, put: Callable[[Entries, float | None], Outcome]
) -> Outcome:
    """Put a call's entries group by group, all within one time. After a refusal no further group is tried, so
    that putting again what was refused, in its order, reorders nothing."""
    deadline = None if timeout is None else time.monotonic() + timeout
    tickets: Tickets = []
    places: Places = (*(np.zeros(entries.count, kind) for kind in (np.uint32, np.uint64, np.int64)),)  # type: ignore[assignment]
    for start, stop in _groups(entries):
        more, found, refusal = put(entries_slice(entries, start, stop), deadline)
        tickets += [(lane, ticket, slice(start, stop)) for lane, ticket, _ in more]
        for target, source in zip(places, found, strict=True):
            target[start:stop] = source
        if refusal is not None:
            whole = Refusal(entries.count)
            for mask, error in refusal.errors:
                whole.add(start + np.flatnonzero(mask), error)
            if stop < entries.count:
                whole.add(slice(stop, None), refusal.errors[0][1])
            return tickets, places, whole
    return tickets, places, None


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
