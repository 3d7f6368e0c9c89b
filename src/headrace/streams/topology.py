# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Resharding: how a split, merge or scaling becomes part of a stream, whatever dies on the way.

    1. The intent (the whole planned change) is committed to the catalogue, and synced whatever the stream promises.
    2. Under the stream's lock each lane concerned gets one atomic group of CLOSE and OPEN frames, and the
       router changes: from here on no record enters a closed shard.
    3. The lanes are committed.
    4. One catalogue transaction, synced too, stores the new table and removes the intent.

A process that dies before 1 has changed nothing. After that the store's next opening finds the intent and
carries it out from step 2: frames that stand in a lane already are written again, which changes nothing,
because no record can have come between. So an unanswered reshard is either absent or whole, in every lane.

If a lane refuses in step 2 before any lane took its group, the intent is dropped and nothing has changed; if
one took it, the intent stays and the stream refuses to reshard until the store is opened anew.

So the catalogue is never behind the lanes, unless it was changed for an older one or the device did not keep what it
had synced. Then `catch_up`, before the stream's lanes are first used, takes the shards from the OPEN frames; where
they are gone (a cold file keeps none), the stream is refused by name: a reshard would give their numbers to others.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from headrace import limits
from headrace.errors import Corrupt, Error, InvalidArgument, LimitExceeded, NotFound, ResourceInUse
from headrace.log import failpoints, known_shards, opened_shards
from headrace.streams import document as documents
from headrace.streams.shards import NO_SHARD, Change, Plan, Row, Shard, shard_id

if TYPE_CHECKING:
    from headrace.log import Lane
    from headrace.streams.stream import Stream


def split(stream: Stream, shard: int, at: int) -> tuple[int, int]:
    """Raises InvalidArgument where the shard is closed or not both children hold a key, LimitExceeded, NotFound."""
    with stream.streams.control:
        plan = _plan(stream)
        parent = _open_shard(stream, shard)
        if not parent.start < at <= parent.end:
            raise InvalidArgument(
                f"at is {at}; the hash keys of {parent.id} of stream {stream.name} are {parent.start} to {parent.end}",
                hint="it must be above the first of them, and up to the last",
            )
        _check_count(stream, stream.table.open_count + 1)
        children = plan.split(shard, at)
        _carry_out(stream, plan.change())
        return children


def merge(stream: Stream, shard: int, adjacent: int) -> int:
    """Raises InvalidArgument where one is closed or the second does not follow the first, NotFound."""
    with stream.streams.control:
        plan = _plan(stream)
        first, second = _open_shard(stream, shard), _open_shard(stream, adjacent)
        if first.end + 1 != second.start:
            raise InvalidArgument(
                f"{second.id} of stream {stream.name} does not begin where {first.id} ends",
                hint="name two neighbours, the one of the lower hash keys first",
            )
        child = plan.merge(shard, adjacent)
        _carry_out(stream, plan.change())
        return child


def scale(stream: Stream, shards: int) -> None:
    """Raises LimitExceeded beyond the open shards that a stream may have."""
    with stream.streams.control:
        plan = _plan(stream)
        _check_count(stream, shards)
        if shards != stream.table.open_count:
            plan.scale(shards)
            _carry_out(stream, plan.change())


def _plan(stream: Stream) -> Plan:
    """A plan upon the table as the lanes have it. Raises ResourceInUse where that is another one than was seen."""
    seen = stream.version
    assert stream.lanes
    if stream.version != seen:
        raise _updating(stream, "its shards were just taken over from its lanes; look at them again")
    return Plan(stream.table, stream.streams.clock.now_ms())


def _open_shard(stream: Stream, number: int) -> Shard:
    if not 0 <= number < stream.table.count:
        raise NotFound(f"stream {stream.name} has no {shard_id(number)}")
    shard = stream.table.shard(number)
    if not shard.open:
        children = ", ".join(shard_id(child) for child in stream.table.children(number))
        raise InvalidArgument(
            f"{shard.id} of stream {stream.name} is closed: it was split or merged",
            hint=f"it became {children}",
        )
    return shard


def _check_count(stream: Stream, wanted: int) -> None:
    """Refuse to open more shards than a stream may have; one that has more already may be made smaller."""
    present = stream.table.open_count
    if wanted > max(limits.shards_max, present):
        raise LimitExceeded(stream.streams.shard_limit_text(present, wanted - present))


def _updating(stream: Stream, hint: str) -> ResourceInUse:
    account = stream.streams.account
    return ResourceInUse(
        f"Stream {stream.name} under account {account} not ACTIVE, instead in state UPDATING", hint=hint
    )


def _carry_out(stream: Stream, change: Change) -> None:
    """Steps 1 to 4. Raises what the lane or the catalogue raised."""
    catalogue = stream.streams.log.catalogue
    if catalogue.get(documents.INTENT, stream.name) is not None:
        raise _updating(
            stream, "an earlier reshard failed half-way; it is finished when the store is opened anew"
        )
    catalogue.put(documents.INTENT, stream.name, documents.encode(change), durable=True)
    failpoints.reach("topology.after_intent")
    _finish(stream, change)


def _finish(stream: Stream, change: Change, *, begun: bool = False) -> None:
    """Steps 2 to 4, for a change whose intent is in the catalogue. begun: a lane may have its group already."""
    catalogue, lanes = stream.streams.log.catalogue, stream.lanes
    framed: list[tuple[Lane, int]] = []
    with stream.lock:
        change = change.not_before(stream.streams.clock.now_ms())  # records came until here
        for ordinal, events in sorted(_events(stream, change).items()):
            lane = lanes[ordinal]
            try:
                framed.append((lane, lane.append_topology(events)))
            except Error:
                if not framed and not begun:
                    _forget_intent(stream)
                raise
        failpoints.reach("topology.after_group")
        for lane, ticket in framed:
            lane.commit(ticket)
        failpoints.reach("topology.after_commit")
        with catalogue.transaction(durable=True):
            stream.take_table(stream.table.after(change))
            catalogue.delete(documents.INTENT, stream.name)


def _forget_intent(stream: Stream) -> None:
    """A change will not be made; synced, so that it does not happen after all once the power was lost."""
    catalogue = stream.streams.log.catalogue
    with catalogue.transaction(durable=True):
        catalogue.delete(documents.INTENT, stream.name)


def _events(stream: Stream, change: Change) -> dict[int, list[tuple[str, int, bytes]]]:
    """The frames of each lane (by ordinal), in the order in which shards were made and closed.

    A shard that opens and closes within one change does both: readers of the lane see every generation.
    """
    after = stream.table.after(change)
    closed = {number for number, _ in change.closed}
    events: dict[int, list[tuple[str, int, bytes]]] = {}
    for number in sorted(number for number in closed if number < change.first):
        events.setdefault(after.shard(number).lane, []).append(("close", number, b""))
    for number, row in enumerate(change.opened, change.first):
        lane = events.setdefault(row.lane, [])
        lane.append(("open", number, documents.encode(row)))
        if number in closed:
            lane.append(("close", number, b""))
    return events


def resume(stream: Stream, intent: bytes) -> None:
    """Carry out a change that an earlier process only began."""
    change = documents.decode_change(stream.name, intent)
    if stream.table.count == change.first:
        _finish(stream, change, begun=True)
    else:
        _forget_intent(stream)
    catch_up(stream, stream.lanes)


def catch_up(stream: Stream, lanes: list[Lane]) -> None:
    """Bring table and catalogue up to what the lanes hold. Raises Corrupt where their frames do not tell how.

    Cost where nothing is to be done: the lanes are opened, as their first use would. One that cannot be opened
    says so when it is used. An intent comes first (`resume`).
    """
    last = _last_known(lanes)
    if last < stream.table.count:
        return
    streams = stream.streams
    with streams.control:
        if last < stream.table.count or streams.log.catalogue.get(documents.INTENT, stream.name):
            return
        change = _missed(stream, lanes, last)
        table = stream.table.after(change)
        if not table.covers_all():
            raise _untold(stream, last)
        with stream.lock:
            stream.take_table(table)
        numbers = [*range(change.first, table.count)]
        streams.log.note(
            f"stream {stream.name}: its lanes hold shards {numbers} that the catalogue did not know; they are taken"
            " over from the lanes"
        )


def _last_known(lanes: list[Lane]) -> int:
    """The last shard of which a lane knows, as far as the lanes can be opened."""
    last = 0
    for lane in lanes:
        with contextlib.suppress(Error, OSError):
            last = max([last, *known_shards(lane)])
    return last


def _missed(stream: Stream, lanes: list[Lane], last: int) -> Change:
    """The change that leads from the stream's table to the shards up to `last`."""
    opened: dict[int, bytes] = {}
    for lane in lanes:
        opened.update(opened_shards(lane))
    first = stream.table.count
    if any(number not in opened for number in range(first, last + 1)):
        raise _untold(stream, last)
    rows = [documents.decode_row(stream.name, opened[number]) for number in range(first, last + 1)]
    closed = {parent: _closed_ms(row) for row in rows for parent in (row.parent, row.adjacent)}
    closed.pop(NO_SHARD, None)
    return Change(first, rows, [item for item in closed.items() if item[0] not in stream.table.closed])


def _closed_ms(row: Row) -> int:
    """When the parents closed, at the latest: the second before (`Plan`)."""
    return row.created_s * 1000 - 1


def _untold(stream: Stream, last: int) -> Corrupt:
    return Corrupt(
        f"stream {stream.name}: its lanes hold shards up to {last}, the catalogue knows {stream.table.count}, and the"
        " frames that say what the others are do not tell the whole",
        hint="put back the catalogue that belongs to these lanes; mode='read' still reads the shards that it knows",
    )
