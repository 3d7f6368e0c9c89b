# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A lane: an append-only series of segments with one writer, and where a record becomes durable.

The way of a group: `append` frames it into the ring (nothing promised) → `write` hands everything framed
to the file with one pwrite (it survives the process; a `process` lane publishes here) → `sync` waits for
the device (it survives the power; a `disk` lane publishes here). Readers never see beyond `visible`.

Tickets tell the groups apart: `append` returns one, and `commit` or `outcome` answers for exactly it.

Cost of an append beyond core._frames.Tail: four attribute look-ups and the clock. Of a write: one lock,
one pwrite, one release store, one call for each subscriber.
"""

from __future__ import annotations

from collections.abc import Callable

from headrace import limits
from headrace.core import _entry_parts, _frames
from headrace.core._entries import Entries, Router
from headrace.core._frames import Tail
from headrace.errors import Error, Fenced, InvalidArgument
from headrace.log.failpoints import reach
from headrace.log.lane_segments import LaneSegments, SyncFlight
from headrace.log.segment import encode_position

PRODUCER_EPOCH_BITS = 16


class Lane(LaneSegments):
    """One lane. Made by `Log.create_lane` and `Log.lane`; nothing touches a file before it is needed."""

    __slots__ = ()

    # ---------------------------------------------------------------- intake

    def append(
        self,
        entries: Entries | None,
        router: Router | None,
        ordinal: int = 0,
        *,
        producer: tuple[int, int, int] | None = None,
        positions: dict[bytes, bytes] | None = None,
    ) -> int:
        """Frame the entries that `router.route` gave to lane `ordinal`, as one atomic group.

        Sets index and arrival of each entry. Returns a ticket for `commit`. Nothing is promised before
        that. The whole group survives a crash or none of it.

        producer: (id, epoch, ordinal of the first entry in the producer's output to this lane). Entries
            that the lane already holds are left out; an older epoch than the latest raises Fenced.
        positions: POSITION frames by owner, in the same group.

        Raises Backpressure (store or stream full), StorageError, Fenced, Corrupt, Closed.
        """
        if self._tail is None or self._error is not None:
            self._ready(self._need(entries, router, ordinal), urgent=entries is None)
        if producer is not None or positions:
            return self._append_traced(entries, router, ordinal, producer, positions or {})
        if entries is None or router is None:
            raise ValueError("append needs entries and a router, or positions")
        tail, shift = self._tail, self._shift
        # A tail that was replaced after this look takes nothing any more and says NEEDS_SEGMENT.
        end = (
            tail.append(entries, router, ordinal, self._log.clock.now_ms())
            if tail is not None
            else _frames.NEEDS_ROOM
        )
        if end < 0:
            with self._write_lock:
                return self._append_slow(entries, router, ordinal) + self._shift
        return end + shift

    def _need(self, entries: Entries | None, router: Router | None, ordinal: int) -> int:
        """Bytes that a group takes which may be the first of a segment: the segment takes it whatever its size, so
        it is begun for it."""
        if self._tail is not None or entries is None or router is None:
            return 0
        need = Tail().measure(entries, router, ordinal)
        return need if need <= limits.group_size_max else 0  # else it is going to be refused

    def _ready(self, need: int = 0, *, urgent: bool = False) -> None:
        """Have a tail to append `need` bytes to, or say why not. urgent: even where there is no room."""
        with self._write_lock:
            self._log.check_open()
            self._ensure()
            if self._fenced:
                self._reopen()
            if self._error is not None:
                raise self._error
            if self._tail is None:
                (self._begin_anyway if urgent else self._begin)(need)

    def _append_slow(
        self,
        entries: Entries,
        router: Router,
        ordinal: int,
        producer: int = 0,
        sequence: int = 0,
        last: bool = True,
        extra: int = 0,
    ) -> int:
        """Make room in the ring or a new segment, then append. Under the write lock."""
        while True:
            self._ready(self._need(entries, router, ordinal) + extra)
            tail = self._tail
            assert tail is not None
            end = tail.append(
                entries, router, ordinal, self._log.clock.now_ms(), producer, sequence, last, extra
            )
            if end >= 0:
                return end
            need = tail.measure(entries, router, ordinal) + extra
            if need > limits.group_size_max:
                raise InvalidArgument(
                    f"a group of {need} bytes in one lane; at most {limits.group_size_max}: put it in parts"
                )
            if end == _frames.NEEDS_SEGMENT:
                self._roll(need)
            else:
                if tail.appended + need > tail.limit:  # larger than the segment, which is empty
                    self._log.make_room(self, need)
                self._make_room(need)

    def _make_room(self, need: int) -> None:
        """Empty the ring into the file, and give it more bytes if the group is larger than all of it."""
        self._write_pending()
        tail = self._tail
        if tail is not None and need > tail.ring_size:
            size = max(tail.ring_size, limits.ring_size_first)
            while size < need:
                size *= 2
            self._grow(tail, size)

    def _append_traced(
        self, entries: Entries | None, router: Router | None, ordinal: int, producer: tuple[int, int, int] | None,
        positions: dict[bytes, bytes],
    ) -> int:  # fmt: skip
        """A group with a producer or positions: rare, so the trimming is done in Python."""
        with self._write_lock:
            self._ready(self._need(entries, router, ordinal), urgent=entries is None)
            stamp = sequence = 0
            count = _entry_parts.lane_entries(entries, ordinal) if entries is not None else 0
            if producer is not None:
                known = self._check_producer(producer)
                stamp = producer[0] << PRODUCER_EPOCH_BITS | producer[1]
                sequence = producer[2] + max(count, 1) - 1
                already = min(max(known + 1 - producer[2], 0), count)
                if already and entries is not None:
                    entries = _entry_parts.without_first(entries, ordinal, already)
                    count -= already
                if producer[2] + max(count, 1) <= known + 1 and not count:
                    stamp = 0 if not positions else stamp
                    sequence = max(sequence, known)
            bodies = [encode_position(owner, payload) for owner, payload in positions.items()]
            if max(map(len, bodies), default=0) > limits.frame_record_size_max:
                raise InvalidArgument(f"a position is at most {limits.frame_record_size_max} bytes long")
            with_records = count > 0 and entries is not None and router is not None
            if not with_records and not bodies:
                end = self.end if self._tail is None else self._tail.appended
            elif not bodies:
                end = self._append_slow(entries, router, ordinal, stamp, sequence)  # type: ignore[arg-type]
            else:
                end = self._append_held(
                    entries if with_records else None, router, ordinal, stamp, sequence, bodies
                )
            if count or bodies:
                self._traces.append((end, stamp, sequence, positions))
            return end + self._shift

    def _append_held(
        self, entries: Entries | None, router: Router | None, ordinal: int, stamp: int, sequence: int,
        bodies: list[bytes],
    ) -> int:  # fmt: skip
        """Records and POSITION frames as one group, which no other thread's group may come into."""
        need = sum(_frames.HEADER_SIZE + len(body) + 8 for body in bodies)
        if entries is not None and router is not None:
            assert self._tail is not None
            need += self._tail.measure(entries, router, ordinal)
        tail = self._hold(need, urgent=entries is None)
        try:
            if entries is not None and router is not None:
                tail.append(entries, router, ordinal, self._log.clock.now_ms(), stamp, sequence, False)
            for number, body in enumerate(bodies):
                last = number == len(bodies) - 1
                end = tail.append_body(_frames.KIND_POSITION, 0, body, 0, 0, stamp, sequence, last)
        finally:
            tail.release(self._rescue)
        return end

    def _check_producer(self, producer: tuple[int, int, int]) -> int:
        """The producer's last sequence in this lane, −1 if none; fences older epochs."""
        known, latest = -1, -1
        stamps = {**self._producers, **{stamp: sequence for _, stamp, sequence, _ in self._traces if stamp}}
        for stamp, sequence in stamps.items():
            if stamp >> PRODUCER_EPOCH_BITS == producer[0]:
                known = max(known, sequence)
                latest = max(latest, stamp & 0xFFFF)
        if producer[1] < latest:
            raise Fenced(
                f"producer {producer[0]} has epoch {latest} in lane {self.id}; {producer[1]} is older and fenced"
            )
        return known

    def _hold(self, size: int, *, urgent: bool = False) -> Tail:
        """The tail with room for a group of `size` bytes, held for the caller, who releases it."""
        while True:
            self._ready(size, urgent=urgent)
            tail = self._tail
            assert tail is not None
            state = tail.hold(size, urgent and self._rescue)
            if state == 0:
                return tail
            if state == _frames.NEEDS_SEGMENT:
                self._roll(size, urgent=urgent)
            else:
                self._make_room(size)

    def append_topology(self, events: list[tuple[str, int, bytes]]) -> int:
        """Frame ("open" | "close", shard, payload) events as one atomic group, even where there is no room for
        records; returns a ticket."""
        with self._write_lock:
            size = sum(_frames.HEADER_SIZE + 8 + len(payload) for _, _, payload in events)
            tail = self._hold(size, urgent=True)
            end = tail.appended
            changes = []
            try:
                for number, (what, shard, payload) in enumerate(events):
                    kind = _frames.KIND_CLOSE if what == "close" else _frames.KIND_OPEN
                    next_index, arrival, flags = self._states.get(shard)
                    end = tail.append_body(
                        kind, shard, payload, next_index, arrival, 0, 0, number == len(events) - 1
                    )
                    changes.append((shard, flags))
                    self._states.set(
                        shard, next_index, arrival, flags | _frames.SHARD_CLOSED if what == "close" else flags
                    )
            finally:
                tail.release(self._rescue)
            self._topology.append((end, changes))
            return end + self._shift

    def shard_closed(self, shard: int) -> bool:
        """Whether the lane holds a CLOSE frame of the shard."""
        with self._write_lock:
            self._ensure()
            return bool(self._states.get(shard)[2] & _frames.SHARD_CLOSED)

    # ---------------------------------------------------------------- the two promises

    @property
    def durable(self) -> int:
        """Tickets up to this one are settled: see `outcome`."""
        return self.visible + self._shift

    @property
    def write_may_wait(self) -> bool:
        """Whether the next write may have to wait for the device."""
        tail = self._tail
        return tail is not None and tail.may_wait

    @property
    def has_failed(self) -> bool:
        """Whether `outcome` has anything to say of any ticket."""
        return bool(self._failures)

    def outcome(self, ticket: int) -> None:
        """Raise the error of a ticket that failed; return for one that is durable."""
        for low, high, error in reversed(self._failures):
            if ticket > high:
                return
            if low < ticket:
                raise error

    def commit(self, ticket: int) -> None:
        """Return when the lane's promise holds for the ticket's group. Many callers share one write and
        one sync: whoever comes first leads."""
        # A failure is noted before `_shift` grows, so what looks settled is asked for its outcome after.
        if self.visible + self._shift < ticket:
            try:
                if self.needs_sync:
                    self._sync(ticket)
                else:
                    self.write()
            except Error:  # it may have been that of others, with this group safe before it
                if self.visible + self._shift < ticket:
                    raise
            if self.visible + self._shift < ticket:
                raise InvalidArgument(f"ticket {ticket} was never given by lane {self.id}")
        if self._failures:
            self.outcome(ticket)

    def write(self) -> int:
        """Hand everything framed to the file with one pwrite. A `process` lane's records are then visible
        and survive the process. Returns the ticket up to which this holds. Raises StorageError, and then
        everything framed before has failed."""
        with self._write_lock:
            self._write_pending()
            return (self._tail.written if self._tail is not None else self.end) + self._shift

    def sync(self) -> int:
        """Wait until everything written is on the device. A `disk` lane's records are then visible and
        survive the power. Runs without the GIL; one at a time. Raises StorageError and fences the lane."""
        return self._sync(None)

    def _sync(self, ticket: int | None) -> int:
        """The same, for the group of `ticket` at least, which is written first; the sync of somebody else may
        have covered it. While somebody syncs, what is framed goes to the file already."""
        if ticket is not None and self._sync_lock.locked():
            self.write()
        with self._sync_lock:
            if ticket is not None and self.visible + self._shift >= ticket:
                return ticket
            flight: SyncFlight | None = None
            try:
                with self._write_lock:
                    if ticket is not None:
                        self._write_pending()
                    tail, segment = self._tail, self._active  # the segment keeps its file open
                    if tail is None or segment is None:
                        return self.visible + self._shift
                    target, named = tail.written, self._unnamed
                    if target > tail.synced:
                        flight = self._flight = SyncFlight(tail)
                if flight is None:
                    return target + self._shift
                reach("sync.before")
                self._sync_files(segment.file, named)
                flight.done = True
            except OSError as problem:
                if flight is None:
                    raise
                flight.error = problem
            finally:  # also where a Ctrl-C ends it: whoever waits then syncs by itself
                if flight is not None:
                    flight.landed.release()
            reach("sync.after")
            with self._write_lock:
                self._flight = None
                if flight.tail is self._tail:
                    if flight.error is not None:
                        self._fence(flight.error)
                    self._settled(flight.tail, target)
                # Else the segment was ended meanwhile, with a sync of its own or as failed.
            return target + self._shift

    def on_visible(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after each publication, from the thread that published; returns how to stop."""
        self._callbacks = (*self._callbacks, callback)

        def stop() -> None:
            self._callbacks = tuple(other for other in self._callbacks if other is not callback)

        return stop
