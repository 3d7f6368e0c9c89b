# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A lane's segments: starting, ending and failing them, and the one write to the file.

Failures. A failed write: the torn bytes are zeroed, everything framed since the last write has failed, the
segment ends there and the next append starts a new one; a retry leaves one copy. A failed sync: the same
from the last synced byte on, and the lane is fenced until its files have been read again from the device.

A roll of a `disk` lane waits for the device only where something written is not there yet: the new segment
is begun in a file made ahead (log/ahead.py), and its header, its SNAPSHOT and its name reach the device with
the first group, by one sync of the file and one of the directory. Nothing of it is published before, and
everything in the segments before it is on the device when it begins, so that whatever a loss of power leaves
of it, the lane ends where it began or behind. The new header closes the segment before; only a segment that
nothing follows gets an END frame.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from headrace import limits
from headrace.core import _frames
from headrace.core._frames import Tail
from headrace.core._states import ShardStates
from headrace.disk import is_full, write_all
from headrace.errors import Backpressure, Closed, Corrupt, Error, Fenced, StorageError
from headrace.log.failpoints import reach
from headrace.log.lane_bounds import LaneBounds
from headrace.log.manifest import write_manifest
from headrace.log.recovery import Circumstances, recover
from headrace.log.refusals import unwritable, words
from headrace.log.segment import (
    HEADER_SIZE,
    RawSegment,
    SegmentHeader,
    encode_snapshot,
    name_of,
)

if TYPE_CHECKING:
    from headrace.log.log import Log

FAILURES_KEPT = 256
logger = logging.getLogger("headrace.log")


class SyncFlight:
    """A sync that runs without the lane's lock. The system tells an error of a file to whoever asks first,
    and to nobody else: who ends the segment meanwhile takes this answer, not one of its own."""

    __slots__ = ("done", "error", "landed", "tail", "target")

    def __init__(self, tail: Tail) -> None:
        self.tail = tail  # of the segment
        self.target = tail.written  # lane offset up to which it brings the segment to the device
        self.landed = threading.Lock()  # held until it is over
        self.landed.acquire()
        self.done = False  # the device has it all; neither this nor an error where a Ctrl-C came
        self.error: OSError | None = None


class LaneSegments(LaneBounds):
    """What a lane does with its files. The intake stands in lane.py."""

    __slots__ = (
        "_callbacks", "_error", "_failures", "_fenced", "_flight", "_rescue", "_shift", "_states", "_sync_lock", "_topology",
        "_traces", "_unnamed", "last_append_ns", "past_cache",
    )  # fmt: skip

    def __init__(self, log: Log, lane_id: int, durability: str) -> None:
        super().__init__(log, lane_id, durability)
        self._states = ShardStates()
        self._sync_lock = threading.Lock()
        self._callbacks: tuple[Callable[[], None], ...] = ()
        self._error: Error | None = None  # why nothing may be appended
        self._fenced = False
        self._failures: list[tuple[int, int, Error]] = []  # tickets (from, to] that failed
        self._shift = 0  # ticket − lane offset
        self._traces: list[tuple[int, int, int, dict[bytes, bytes]]] = []  # framed, not visible yet
        self._topology: list[
            tuple[int, list[tuple[int, int]]]
        ] = []  # (end, (shard, flags before)), not visible
        self._flight: SyncFlight | None = None
        self._unnamed = False  # the active segment's name may not be on the device
        self._rescue = False  # whether the active segment takes positions and reshards only
        self.last_append_ns = 0
        self.past_cache = False  # most of the segment before the active one was written past the page cache

    def _give_ring(self, tail: Tail, least: int, before: Tail | None) -> None:
        """A ring for a new segment: that of the segment before it where it fits, else a new one.

        After a segment with more direct writes than its ring holds the lane gets a large one: while a large group
        is on its way to the device, those of other threads find room, and readers find more of what was written.
        Measured with rings of 2, 8 and 32 MiB turn about (docs/results.md).
        """
        wanted = limits.ring_size_first
        if before is not None and before.direct_bytes > before.ring_size:
            wanted = limits.ring_size_direct
        largest = limits.ring_size_direct if self.needs_sync else limits.ring_size_first
        if before is not None and max(least, wanted) <= before.ring_size <= largest:
            tail.take_ring(before)
        else:
            tail.grow(max(least, wanted))

    # ---------------------------------------------------------------- opening

    def _load(self) -> None:
        """Recover the lane's files. Called once, under the write lock, before anything else."""
        control = self._log.control
        how = Circumstances(
            epoch=self._log.epoch, visible=control.visible(self.id), sync=not self._log.was_clean
        )
        try:
            found = recover(self.directory, self._log.disk, self.needs_sync, how)
        except OSError:
            # A sync may have failed, and then the page cache holds what the device does not: the next attempt, whose
            # sync would say nothing of it, must not read it there.
            for path in self.directory.glob("*.raw"):
                self._log.drop_cache(path)
            raise
        self._segments = found.segments
        self._states = found.states
        self._producers = found.producers
        self._positions = found.positions
        self._error = found.damage
        self._last_crc = found.chain
        self._last_arrival_ms = found.last_arrival_ms
        if found.manifest is not None:
            self.dropped_bytes = found.manifest.dropped_bytes
            self.dropped_records = found.manifest.dropped_records
        self.visible = found.end
        self.end = found.end
        self._bytes = sum(segment.size for segment in found.segments)
        self._floor = found.manifest.floor if found.manifest else 0
        if found.segments:
            control.publish(self.id, found.end)
            control.layout_changed(self.id, found.segments[-1].base)
        self._log.report(self, found)

    # ---------------------------------------------------------------- segments

    def _begin(self, need: int, *, bounded: bool = True, before: Tail | None = None) -> None:
        """Start a new segment at the lane's end. Everything before is in sealed segments and, in a `disk` lane,
        on the device; the new one is there after its first sync. before: the tail whose ring may be used."""
        log = self._log
        snapshot = encode_snapshot(self._states, self._producers, self._positions)
        extra = 2 * (_frames.HEADER_SIZE + len(snapshot) + 8)  # SNAPSHOT and END count too
        room = log.make_room(self, need, extra) - extra if bounded else limits.segment_size_least
        base = self.end
        try:
            log.disk.make_directory(self.directory)
            if not self._segments:
                with self._floor_lock:
                    write_manifest(log.disk, self.directory, self._manifest(base))
                if self.needs_sync:
                    log.disk.sync_directory(self.directory.parent)
        except OSError as problem:
            raise self._unwritable(problem, "the directory") from problem
        header = SegmentHeader(
            log.control.store_id, self.id, self.needs_sync, base, self._last_crc, secrets.randbits(32),
            log.clock.now_ms(), self._last_arrival_ms, log.epoch,
        )  # fmt: skip
        path = self.directory / name_of(base)
        size = max(min(self._segment_size(need), max(room, HEADER_SIZE)), need)
        tail = Tail(None if log.disk.native else log.disk, self._states)
        file = -1
        try:
            file = self._create(path, size)
            reach("roll.after_create")
            write_all(log.disk, file, header.encode(), 0)
            limit = base + _frames.HEADER_SIZE + len(snapshot) + 8 + size
            tail.start(file, base, limit, header.salt, header.chain)
            tail.synced = base if self.needs_sync else 0
            self._give_ring(tail, len(snapshot) + 4096, before)
            tail.append_body(_frames.KIND_SNAPSHOT, 0, snapshot)
            tail.write()
            if self.needs_sync and (hasattr(os, "O_DIRECT") or not log.disk.native):
                tail.write_direct_from(path, limits.direct_write_least, limits.direct_speed_min)
        except OSError as problem:
            if file >= 0:
                log.disk.close(file)
            self._remove_unborn(path)
            raise self._unwritable(problem, f"a new segment {path.name}") from problem
        reach("roll.after_header")
        if bounded:
            self._next_size = min(4 * self._next_size, limits.segment_size_max)
        self._active = RawSegment(
            path, header, log.disk, end=None, file=file, table=tail.table, start_states=self._states.copy()
        )
        self._unnamed = self.needs_sync
        self._begun = [*self._begun[-1:], (log.clock.monotonic_ns(), base)]
        self._rescue = not bounded
        tail.closed = int(self._rescue)
        self._tail = tail
        self._bytes += HEADER_SIZE
        self.end = tail.written
        log.control.layout_changed(self.id, base)  # before: who sees the offset must see the file
        if not self.needs_sync:
            self._publish(tail.written)

    def _begin_anyway(self, need: int, before: Tail | None = None) -> None:
        """Start a segment for what must go on when there is no room: a small one that takes no records, on the
        reserve if the disk is full."""
        try:
            self._begin(need, before=before)
        except Backpressure:
            self._log.ballast.ensure()
            try:
                self._begin(need, bounded=False, before=before)
            except Backpressure:
                if not self._log.ballast.release():
                    raise
                self._begin(need, bounded=False, before=before)

    def _create(self, path: Path, size: int) -> int:
        """A new segment file; for `disk` lanes one made ahead, or one as log/ahead.py says, made now."""
        log = self._log
        flags = os.O_RDWR | os.O_CREAT
        if path.name in log.disk.names(self.directory):
            log.disk.unlink(path)  # of an attempt that failed; nothing in it was ever promised
        if not self.needs_sync:
            return log.disk.open(path, flags | os.O_EXCL)
        ready = log.maintenance.ahead.take(self.id, size + HEADER_SIZE)
        if ready is not None:
            try:
                log.disk.rename(ready.path, path)
            except OSError:
                log.disk.close(ready.file)
                raise
            return ready.file
        file = log.disk.open(path, flags | os.O_EXCL)
        try:
            log.disk.pin(file)
            log.prewrite(file, size + HEADER_SIZE)
        except OSError:
            log.disk.close(file)
            raise
        return file

    def _remove_unborn(self, path: Path) -> None:
        with contextlib.suppress(OSError):  # else the next attempt removes it
            self._log.disk.unlink(path)

    def _grow(self, tail: Tail, size: int) -> None:
        """Give the ring more bytes; StorageError where there is no memory."""
        try:
            tail.grow(size)
        except OSError as problem:
            raise StorageError(f"no memory for a ring of {size} bytes: {problem.strerror}") from problem

    def _unwritable(self, problem: OSError, what: str) -> Error:
        """The system's refusal in our words."""
        return unwritable(problem, f"{what} of lane {self.id}")

    def _seal(self) -> None:
        """End the active segment, which nothing follows yet, with an END frame."""
        tail = self._tail
        if tail is None:
            return
        tail.closed = 1
        self._write_pending()
        reach("seal.before_end")
        body = encode_snapshot(self._states, self._producers, self._positions)
        if tail.append_body(_frames.KIND_END, 0, body) < 0:
            self._grow(tail, len(body) + 4096)
            tail.append_body(_frames.KIND_END, 0, body)
        self._write_pending()
        reach("seal.after_end")
        self._settle()
        self._retire(tail.written)

    def _settle(self) -> None:
        """Under the write lock: bring what is written of a `disk` lane's active segment to the device, and show
        it. Fences the lane and raises where that fails."""
        tail = self._tail
        if tail is None or not self.needs_sync or (tail.synced >= tail.written and not self._unnamed):
            return
        try:
            self._sync_now(tail, tail.written)
        except OSError as problem:
            self._fence(problem)

    def _sync_now(self, tail: Tail, end: int) -> None:
        """Sync under the write lock, and show what stands before `end`; OSError also where a sync that was under
        way has failed."""
        flight = self._flight
        if flight is None or flight.tail is not tail:
            self._sync_files(tail.file, self._unnamed)
        else:
            with flight.landed:
                pass
            if flight.error is not None:
                raise flight.error
            if not flight.done or flight.target < end:
                self._sync_files(tail.file, self._unnamed and not flight.done)
        self._settled(tail, end)

    def _sync_files(self, file: int, named: bool) -> None:
        """Sync a segment's file and, with `named`, its name."""
        self._log.disk.sync(file)
        if named:
            reach("sync.before_directory")
            self._log.disk.sync_directory(self.directory)

    def _settled(self, tail: Tail, end: int) -> None:
        """Everything before `end` is on the device."""
        tail.synced = max(end, tail.synced)
        self._unnamed = False
        if self.needs_sync:
            self._publish(end)

    def _retire(self, end: int) -> None:
        """The active segment ends at `end` and takes nothing more."""
        tail, active = self._tail, self._active
        assert tail is not None and active is not None
        active.end = end
        self.past_cache = 2 * tail.direct_bytes > end - active.base
        self._segments = [*self._segments, active]
        self._last_crc = tail.chain
        self._bytes += end - active.base
        self._last_arrival_ms = max(
            [self._last_arrival_ms, *(self._states.get(s)[1] for s in active.table(end).shards())]
        )
        self._tail = self._active = None
        self.end = end
        self._log.sealed(self)

    def _roll(self, need: int, *, urgent: bool = False) -> None:
        """The active segment has no room for a group of `need` bytes: go on in a new one."""
        tail = self._tail
        assert tail is not None
        if self._rescue and not urgent:
            self._log.make_room(self, need)  # first: what takes positions stays while records are refused
        tail.closed = 1
        self._write_pending()
        reach("roll.before_settle")
        self._settle()
        reach("roll.after_settle")
        self._retire(tail.written)
        (self._begin_anyway if urgent else self._begin)(need, before=tail)

    def seal_idle(self, idle_ns: int) -> None:
        """End the active segment if nothing was appended for that long; gives the ring back."""
        with self._write_lock:
            tail = self._tail
            if tail is None:
                return
            now = self._log.clock.monotonic_ns()
            if tail.appended != self._idle_at:
                self._idle_at, self.last_append_ns = tail.appended, now
            elif now - self.last_append_ns >= idle_ns:
                self._seal()

    # ---------------------------------------------------------------- writing and publishing

    def _write_pending(self) -> None:
        tail = self._tail
        if tail is None or tail.appended == tail.written:
            return
        start = tail.written
        reach("write.before")
        try:
            end = self._write_tail(tail)
        except OSError as problem:
            self._fail_write(start, problem)
            return
        reach("write.after")
        self.end = end
        if not self.needs_sync:
            self._publish(end)

    def _write_tail(self, tail: Tail) -> int:
        """Write; on the reserve where the disk is full and positions wait, or the segment ends."""
        try:
            return tail.write()
        except OSError as problem:
            urgent = tail.closed or any(positions for _, _, _, positions in self._traces)
            if not is_full(problem) or not urgent or not self._log.ballast.release():
                raise
        tail.closed, self._rescue = 1, True  # what was given up is not for records
        return tail.write()

    def _publish(self, end: int) -> None:
        """Let readers see everything before `end`: here a record becomes visible."""
        if end <= self.visible:
            return
        while self._traces and self._traces[0][0] <= end:
            _, stamp, sequence, positions = self._traces.pop(0)
            if stamp:
                self._producers[stamp] = max(sequence, self._producers.get(stamp, -1))
            self._positions.update(positions)
        while self._topology and self._topology[0][0] <= end:
            self._topology.pop(0)
        self.visible = end
        self._log.control.publish(self.id, end)
        reach("publish.after")
        for callback in self._callbacks:
            try:
                callback()
            except Exception:  # the records are safe; that must not look otherwise to who put them
                logger.exception("a subscriber of lane %d failed", self.id)

    # ---------------------------------------------------------------- failures

    def _fail_from(self, cut: int, error: Error) -> None:
        """Everything framed from lane offset `cut` on has failed; the segment ends there."""
        tail, active = self._tail, self._active
        assert tail is not None and active is not None
        tail.closed = 1  # first: an append that came between would get a ticket that nobody fails
        low, high = cut + self._shift, tail.appended + self._shift
        self._note_failure(low, high, error)
        self._shift = high + 1 - cut  # tickets to come lie above those that failed
        framed = tail.appended - cut
        if cut <= active.base:
            self._bury(active)
            return
        tail.rewind(cut)
        tail.discard()
        self._traces.clear()
        reach("fail.before_zero")
        try:
            self._zero(active, cut, framed)
        except OSError:
            pass  # the next segment's base says the same
        reach("fail.after_zero")
        self._restore_states(active, cut)
        self._retire(cut)
        self._last_crc = 0

    def _bury(self, active: RawSegment) -> None:
        """The active segment never came to the device: it was not begun."""
        self._traces.clear()
        self._restore_states(active, active.base)
        self._tail = self._active = None
        self.end = active.base
        self._bytes -= HEADER_SIZE
        self._remove_unborn(active.path)
        self._log.control.layout_changed(self.id, self.end)

    def _zero(self, active: RawSegment, cut: int, framed: int) -> None:
        """Zero what a failed write may have left: all that it was handed, for the system may have taken more than
        it told. From the back: if we are killed meanwhile, what is left is a beginning and no hole before frames, unless
        the device itself took a later part of a direct write and not an earlier one. In a `disk` lane it is synced, so
        that a loss of power does not bring back what was called failed."""
        step, start = 1 << 20, HEADER_SIZE + cut - active.base
        there = self._log.disk.size(active.path) - start  # the file does not grow: there may be no room
        torn = min(framed + _frames.HEADER_SIZE, there)
        for offset in reversed(range(0, torn, step)):
            write_all(self._log.disk, active.file, bytes(min(torn - offset, step)), start + offset)
        if self.needs_sync:
            self._log.disk.sync(active.file)

    def _note_failure(self, low: int, high: int, error: Error) -> None:
        """Remember which tickets failed. When there are too many failures, the oldest are joined, so that a
        ticket of long ago is rather called failed than durable."""
        failures = [*self._failures, (low, high, error)]
        if len(failures) > FAILURES_KEPT:
            failures[:2] = [(failures[0][0], failures[1][1], failures[0][2])]
        self._failures = failures

    def _restore_states(self, active: RawSegment, cut: int) -> None:
        """Set each shard back to what stands before `cut`."""
        flags = {shard: self._states.get(shard)[2] for shard in self._states.shards()}
        for end, changes in reversed(self._topology):
            if end > cut:
                flags.update(reversed(changes))
        self._topology.clear()
        states = active.start_states().copy()
        for shard, flag in flags.items():
            bounds = active.table(cut).bounds(shard, cut - active.base)
            if bounds is not None:
                states.set(shard, bounds[1], bounds[2], flag)
            elif flag or states.get(shard)[2]:
                states.set(shard, *states.get(shard)[:2], flag)
        self._states = states

    def _fail_write(self, start: int, problem: OSError) -> None:
        error = self._unwritable(problem, "records")
        tail, active = self._tail, self._active
        assert tail is not None and active is not None
        if self.needs_sync and start > self.visible:
            try:  # what was written before this write is sound and others wait for it
                self._sync_now(tail, start)
            except OSError as again:
                self._fence(again)
        self._fail_from(start, error)
        raise error

    def _fence(self, problem: OSError) -> None:
        """A sync failed: what the device holds after the last good one is unknown. Never tried again."""
        error = StorageError(
            f"lane {self.id} could not be synced: {words(problem, self.directory)}; "
            "it takes no records until it was read again from the device"
        )
        tail = self._tail
        self._fenced = True
        if tail is not None:
            self._fail_from(max(self.visible, tail.base), error)
        raise error

    def _reopen(self) -> None:
        """Read the lane again from the device after a failed sync; Fenced where that fails."""
        for segment in self._segments[-1:]:
            self._log.drop_cache(segment.path)
        how = Circumstances(epoch=self._log.epoch, visible=0, writer=False)
        try:
            found = recover(self.directory, self._log.disk, True, how)
        except (OSError, Corrupt) as problem:
            raise Fenced(
                f"lane {self.id} is fenced after a failed sync and cannot be read again: "
                f"{words(problem, self.directory) if isinstance(problem, OSError) else problem}"
            ) from problem
        if found.end < self.visible:
            raise Fenced(
                f"lane {self.id} is fenced: the device holds it up to {found.end} only, {self.visible} had been synced"
            )
        self._fenced = False

    # ---------------------------------------------------------------- keeping within bounds

    def keep_within(self, need: int, extra: int = 0) -> None:
        """Before a new segment for a group of `need` bytes, and `extra` for other frames: drop or refuse by the
        lane's bound."""
        if self._on_full == "drop_oldest":
            self._drop_for(need, extra)
            return
        least = max(need + extra, limits.segment_size_least)  # a segment takes what it was begun for
        if self._size_limit is not None and least > self.room:
            raise Backpressure(
                f"lane {self.id} holds {self.size} bytes and its limit is {self._size_limit}", retry_after=1.0,
                hint="raise the stream's max_bytes, shorten its retention, or create it with on_full='drop_oldest'",
            )  # fmt: skip

    def _drop_for(self, need: int, extra: int) -> None:
        """Drop the oldest until the whole of the next segment fits within the bound, and what others of the
        stream hold where only that lets it begin."""
        wanted = self._segment_size(need) + extra
        while wanted > self.room and self.droppable and self._drop_first(count=True):
            pass
        log = self._log
        while log.size + HEADER_SIZE + need + extra > log.max_bytes:
            others = [lane for lane in self._kin if lane.may_give_up()]
            if not any(lane.give_up_oldest() for lane in sorted(others, key=lambda lane: lane.oldest_ms)):
                return

    def may_give_up(self) -> bool:
        """Whether something could be dropped for another lane of the stream."""
        try:
            self._ensure()
        except Error as problem:  # the other lane need not be told what is wrong with this one
            logger.warning("lane %d gives up nothing: %s", self.id, problem)
        return self.droppable > 0

    def give_up_oldest(self) -> bool:
        """Drop the oldest segment for another lane of the stream; False where there is none. See lane_bounds.py
        for why that may be waited for."""
        try:
            with self._write_lock:
                return self.droppable > 0 and self._drop_first(count=True)
        except Error as problem:
            logger.warning("lane %d gives up nothing: %s", self.id, problem)
            return False

    def drop_before(self, arrival_ms: int) -> int:
        """Drop whole sealed segments whose every record arrived earlier. Returns how many were dropped."""
        dropped = 0
        with self._write_lock:
            try:
                if not self._loaded and not self._log.disk.names(self.directory):
                    return 0
            except OSError as problem:
                raise self._unread(problem) from problem
            self._ensure()
            while self._segments:
                later = self._segments[1] if len(self._segments) > 1 else self._active
                latest = later.arrival_before_ms if later is not None else self._last_arrival_ms
                if latest >= arrival_ms or not self._drop_first(count=False):
                    break
                dropped += 1
        return dropped

    def drop_before_indexes(self, indexes: dict[int, int]) -> int:
        """Drop whole sealed segments whose every record lies before its shard's index in `indexes`
        (all shards of the lane must be named). Returns how many were dropped."""
        dropped = 0
        with self._write_lock:
            self._ensure()
            while self._segments:
                later = self._segments[1] if len(self._segments) > 1 else self._active
                try:
                    states = later.start_states() if later is not None else self._states
                except OSError as problem:
                    raise self._unread(problem, later.path if later is not None else None) from problem
                if any(
                    states.get(shard)[0] > indexes.get(shard, 0) for shard in states.shards()
                ) or not self._drop_first(count=False):
                    break
                dropped += 1
        return dropped

    def _drop_first(self, *, count: bool) -> bool:
        """Drop the oldest sealed segment; False where it must stay to carry the lane's state."""
        if self._active is None and len(self._segments) == 1:
            if self._error is not None or self._fenced:
                return False
            self._begin_anyway(0)
        if len(self._segments) < 2 and self._active is None:
            return False
        if len(self._segments) == 1:
            self._settle()  # the state that the first one carries must not hang on what may still be lost
        try:
            self._move_floor(self._segments[0], self._all()[1], count=count)
        except OSError as problem:
            raise self._unwritable(problem, "the manifest") from problem
        self._drop_below_floor()
        return True

    def end_of(self, raw: RawSegment) -> tuple[bytes, int, int, int] | None:
        """(SNAPSHOT, header CRC of the last frame, latest arrival, epoch) as of a sealed segment's end; None where
        nothing follows it and the lane may still have to be judged."""
        with self._write_lock:
            following = [
                segment for segment in self._all() if segment.base >= (raw.end or 0) and segment is not raw
            ]
            if following:
                later = following[0]
                crc = later.header.previous_crc if isinstance(later, RawSegment) else 0
                epoch = later.header.epoch if isinstance(later, RawSegment) else later.epoch
                return later.start_snapshot(), crc, later.arrival_before_ms, epoch
            if self._error is not None:
                return None  # damaged: its bytes stay as they are
            if self._active is None and self._segments and self._segments[-1] is raw:
                return (
                    encode_snapshot(self._states, self._producers, self._positions),
                    self._last_crc,
                    self._last_arrival_ms,
                    self._log.epoch,
                )
            return None

    def close(self) -> None:
        """Write, end the segment, sync; the lane can be opened again."""
        with self._write_lock:
            try:
                if self._tail is not None:
                    reach("close.before_end")
                    self._seal()
                    reach("close.after_end")
                if self._loaded and not self.needs_sync:
                    self._sync_sealed()
            finally:
                self._error = self._error or Closed(f"lane {self.id} was closed")
                self._kin = ()
                self._log.maintenance.ahead.forget(self.id)

    def _sync_sealed(self) -> None:
        """Bring what a `process` lane holds to the device, so that a store that was closed in order is whole."""
        disk = self._log.disk
        try:
            for segment in self._segments:
                if isinstance(segment, RawSegment) and not segment.synced:
                    disk.sync(segment.file)
                    segment.synced = True
            if self._segments:
                disk.sync_directory(self.directory)
                disk.sync_directory(self.directory.parent)
        except OSError as problem:
            raise self._unwritable(problem, "the last records") from problem

    def abandon(self) -> None:
        """Give up what was not written and take nothing more: the lane is going to be removed."""
        with self._write_lock:
            tail = self._tail
            self._error = Closed(f"lane {self.id} was deleted")
            if tail is not None:
                tail.closed = 1
                low, high = self.visible + self._shift, tail.appended + self._shift
                if high > low:
                    self._note_failure(low, high, self._error)
                    self._shift = high + 1 - self.visible
                self._tail = None
            self._kin = ()  # they know each other: only so do the files go with the last who uses them
            self._log.maintenance.ahead.forget(self.id)
