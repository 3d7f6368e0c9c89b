# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Resharding: how a split, merge or scaling becomes part of a stream, whatever dies on the way.

    1. The intent (the whole planned change) is committed to the catalogue.
    2. Under the stream's lock each lane concerned gets one atomic group of CLOSE and OPEN frames, and the
       router changes: from here on no record enters a closed shard.
    3. The lanes are committed.
    4. One catalogue transaction stores the new table and removes the intent.

A process that dies before 1 has changed nothing. After that the store's next opening finds the intent and
carries it out from step 2: frames that stand in a lane already are written again, which changes nothing,
because no record can have come between. So an unanswered reshard is either absent or whole, in every lane.

If a lane refuses in step 2 before any lane took its group, the intent is dropped and nothing has changed; if
one took it, the intent stays and the stream refuses to reshard until the store is opened anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.errors import Error, ResourceInUse
from headrace.log import failpoints
from headrace.streams import document as documents
from headrace.streams.shards import Change, Plan

if TYPE_CHECKING:
    from headrace.log import Lane
    from headrace.streams.stream import Stream


def split(stream: Stream, shard: int, at: int) -> tuple[int, int]:
    with stream.streams.control:
        plan = Plan(stream.table, stream.streams.clock.now_ms())
        children = plan.split(shard, at)
        _carry_out(stream, plan.change())
        return children


def merge(stream: Stream, shard: int, adjacent: int) -> int:
    with stream.streams.control:
        plan = Plan(stream.table, stream.streams.clock.now_ms())
        child = plan.merge(shard, adjacent)
        _carry_out(stream, plan.change())
        return child


def scale(stream: Stream, shards: int) -> None:
    with stream.streams.control:
        if shards != stream.table.open_count:
            plan = Plan(stream.table, stream.streams.clock.now_ms())
            plan.scale(shards)
            _carry_out(stream, plan.change())


def _carry_out(stream: Stream, change: Change) -> None:
    """Steps 1 to 4. Raises what the lane or the catalogue raised."""
    catalogue = stream.streams.log.catalogue
    if catalogue.get(documents.INTENT, stream.name) is not None:
        raise ResourceInUse(
            f"Stream {stream.name} under account {stream.streams.account} not ACTIVE, "
            "instead in state UPDATING",
            hint="an earlier reshard failed half-way; it is finished when the store is opened anew",
        )
    durable = stream.durability == "disk"
    catalogue.put(documents.INTENT, stream.name, documents.encode(change), durable=durable)
    failpoints.reach("topology.after_intent")
    _finish(stream, change)


def _finish(stream: Stream, change: Change) -> None:
    """Steps 2 to 4, for a change whose intent is in the catalogue."""
    catalogue = stream.streams.log.catalogue
    framed: list[tuple[Lane, int]] = []
    with stream.lock:
        for ordinal, events in sorted(_events(stream, change).items()):
            lane = stream.lanes[ordinal]
            try:
                framed.append((lane, lane.append_topology(events)))
            except Error:
                if not framed:
                    catalogue.delete(documents.INTENT, stream.name)
                raise
        failpoints.reach("topology.after_group")
        for lane, ticket in framed:
            lane.commit(ticket)
        failpoints.reach("topology.after_commit")
        with catalogue.transaction(durable=stream.durability == "disk"):
            stream.take_table(stream.table.after(change))
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
        _finish(stream, change)
    else:
        stream.streams.log.catalogue.delete(documents.INTENT, stream.name)
