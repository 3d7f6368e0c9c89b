# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What a lane's files may take: its size and limit, the floor below which they were dropped, and the next file's size.

The floor moves in the manifest before a file goes (log/manifest.py). That waits for the device, so it has a
lock of its own and needs none of the lane's: what a limit will drop is dropped in the background while puts go
on, and the lane's lock is taken only to let go of the file.

A lane whose oldest are dropped makes room for the whole of its next segment before it begins it, so that it stays
within its limit while the segment fills. Its bound is its own limit or, where that is less, what it has and what
the store has left; what others hold is never touched, but by a lane of the same stream that has nothing left of
its own. Then that lane's lock is taken within the asking one's. They cannot wait for one another in a ring: who waits
has nothing to drop, and nobody waits for one that has nothing to drop.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from headrace import limits, telemetry
from headrace.core._frames import Tail
from headrace.errors import Unsupported
from headrace.log.count import records_in
from headrace.log.failpoints import reach
from headrace.log.lane_reader import LaneReader, Segment
from headrace.log.manifest import Manifest, write_manifest
from headrace.log.segment import HEADER_SIZE, RAW, RawSegment

if TYPE_CHECKING:
    from headrace.log.lane_segments import LaneSegments
    from headrace.log.log import Log

logger = logging.getLogger("headrace.log")

_DROPPED_RECORDS = telemetry.counter(
    "headrace_records_dropped_total", "Records that drop_oldest streams dropped at a limit."
)
_DROPPED_BYTES = telemetry.counter(
    "headrace_records_dropped_bytes_total", "Bytes of the files that drop_oldest streams dropped at a limit."
)
for _counter in (_DROPPED_RECORDS, _DROPPED_BYTES):
    _counter.add(0)  # shown from the start


class LaneBounds(LaneReader):
    """The part of a lane that keeps account of its files."""

    __slots__ = (
        "_begun", "_floor_lock", "_kin", "_next_size", "_on_full", "_size_limit", "_tail", "_write_lock", "dropped_bytes",
        "dropped_records",
    )  # fmt: skip

    def __init__(self, log: Log, lane_id: int, durability: str) -> None:
        super().__init__(log, lane_id, durability)
        self._tail: Tail | None = None
        self._write_lock = threading.RLock()
        self._floor_lock = threading.Lock()  # taken within the write lock, or without it
        self._begun: list[tuple[int, int]] = []  # (monotonic ns, base) of the last two segments begun
        self._next_size = limits.segment_size_first
        self._size_limit: int | None = None
        self._on_full = "throttle"
        self._kin: tuple[LaneSegments, ...] = ()  # lanes of the same stream
        self.dropped_bytes = 0  # by limits, not by age
        self.dropped_records = 0

    @property
    def size(self) -> int:
        """Bytes of the lane's files."""
        active = self._tail
        return self._bytes + (active.appended - active.base if active is not None else 0)

    def set_limit(self, max_bytes: int | None, on_full: str, kin: Iterable[LaneSegments] = ()) -> None:
        """Bound the lane's files. on_full: "throttle" refuses records before the limit, its own or the store's;
        "drop_oldest" drops whole segments for the next one. A single group that is larger than what is left when
        all but the last sealed segment went is taken in excess of the lane's own limit, never of the store's.
        kin: the lanes of the same stream."""
        if on_full not in ("throttle", "drop_oldest"):
            raise Unsupported(f"on_full is {on_full!r}; expected 'throttle' or 'drop_oldest'")
        self._size_limit = max_bytes
        self._on_full = on_full
        self._kin = tuple(lane for lane in kin if lane is not self)

    @property
    def _bound(self) -> int | None:
        """Bytes that the lane's files may take just now, as far as the lane has to see to it."""
        if self._on_full != "drop_oldest":
            return self._size_limit
        left = self.size + self._log.max_bytes - self._log.size
        return left if self._size_limit is None else min(left, self._size_limit)

    # ---------------------------------------------------------------- the next segment

    def _segment_size(self, need: int) -> int:
        """Bytes of frames that the next segment has room for."""
        size, bound = max(self._next_size, need), self._bound
        if bound is not None:
            least = limits.segment_size_least
            if self._on_full == "drop_oldest":  # the last one stays beside it, however small the bound is
                least = max(min(least, bound // 4), HEADER_SIZE)
            size = max(min(size, bound // 4), need, least)
        return size

    @property
    def room(self) -> int:
        """Bytes of frames that a new segment may take within the lane's bound."""
        bound = self._bound
        return limits.group_size_max if bound is None else bound - self.size - HEADER_SIZE

    def intake_rate(self) -> float:
        """Bytes a second since the last segment but one was begun; 0 before there are two."""
        if len(self._begun) < 2:
            return 0.0
        began_ns, base = self._begun[0]
        elapsed_ns = self._log.clock.monotonic_ns() - began_ns
        tail = self._tail
        taken = (tail.appended if tail is not None else self.end) - base
        return taken * 1e9 / elapsed_ns if elapsed_ns > 0 else 0.0

    def next_file_size(self) -> int | None:
        """Bytes of the next segment's file, once this one is half full or will be before long; None before."""
        tail = self._tail
        if tail is None:
            return None
        coming = self.intake_rate() * limits.segment_ahead_s
        if (tail.appended - tail.base + coming) * 2 < tail.limit - tail.base:
            return None
        return self._segment_size(0) + HEADER_SIZE

    # ---------------------------------------------------------------- dropping

    def _manifest(self, floor: int) -> Manifest:
        return Manifest(
            self.id,
            self._log.control.store_id,
            floor,
            self.dropped_bytes,
            self.dropped_records,
            self.needs_sync,
        )

    def _move_floor(self, first: Segment, later: Segment, *, count: bool) -> None:
        """Say in the manifest that the first segment was dropped on purpose, unless it says so already.
        Needs no lock of the lane's. Raises OSError, and then nothing was said."""
        with self._floor_lock:
            if later.base <= self._floor:
                return
            lost = size = 0
            if count:
                lost, size = records_in(first, later, later.base), first.size
            self.dropped_bytes += size
            self.dropped_records += lost
            try:
                manifest = self._manifest(later.base)
                self._log.ballast.spend(lambda: write_manifest(self._log.disk, self.directory, manifest))
            except OSError:
                self.dropped_bytes -= size
                self.dropped_records -= lost
                raise
            self._floor = later.base
        _DROPPED_RECORDS.add(lost)
        _DROPPED_BYTES.add(size)

    def _drop_below_floor(self) -> None:
        """Let go of the segments that the manifest says were dropped. Under the write lock."""
        segments = self._all()
        while len(segments) > 1 and segments[1].base <= self._floor:
            first, *rest = self._segments
            self._segments = rest
            self._bytes -= first.size
            self._discard(first)
            reach("drop.after_unlink")
            segments = self._all()
        self._log.control.layout_changed(self.id, self._active.base if self._active else segments[0].base)

    @property
    def droppable(self) -> int:
        """Sealed segments that could go; the last one carries the lane's state until another one stands."""
        return len(self._segments) - (self._active is None)

    @property
    def oldest_ms(self) -> int:
        """Latest arrival in the oldest segment."""
        segments = self._all()
        return segments[1].arrival_before_ms if len(segments) > 1 else self._last_arrival_ms

    def drop_ahead(self, need: int) -> None:
        """What `keep_within` would have to drop when the next segment is begun, so that it has nothing to do
        then: in another thread than the puts', which go on meanwhile. Raises OSError."""
        while self._on_full == "drop_oldest":
            with self._write_lock:
                segments, tail = self._segments, self._tail
                coming = need + (tail.limit - tail.appended if tail is not None else 0)
                if len(segments) < 2 or self.size + coming <= (self._bound or 0):
                    return
            self._move_floor(segments[0], segments[1], count=True)
            with self._write_lock:
                self._drop_below_floor()

    def _discard(self, segment: Segment) -> None:
        """A segment's file is no longer the lane's: unlink it, or keep it for the next one of a `disk` lane."""
        try:
            ahead = self._log.maintenance.ahead
            recycled = self.needs_sync and isinstance(segment, RawSegment) and ahead.keeps(self.id)
            if recycled and not self._log.ballast.low:
                used = segment.path.with_name(f"{segment.path.stem}.used.tmp")
                self._log.disk.rename(segment.path, used)
                ahead.recycle(self.id, used)
            else:
                self._log.disk.unlink(segment.path)
        except OSError as problem:  # the next opening removes what is below the floor or beside a cold file
            logger.warning("lane %d: %s could not be removed: %s", self.id, segment.path.name, problem)

    # ---------------------------------------------------------------- compression

    def outruns_compression(self) -> bool:
        """Whether the lane's sealed segments had better wait: it takes in more than compression can follow, and
        the room they take is not wanted."""
        if not self.needs_sync or self.intake_rate() <= limits.compression_intake_max:
            return False
        throttles = self._size_limit is not None and self._on_full == "throttle"
        if throttles and self.size * 2 > (self._size_limit or 0):
            return False
        return self._log.size * 2 <= self._log.max_bytes

    def raw_sealed(self) -> list[RawSegment]:
        """Sealed segments that are not compressed yet, oldest first."""
        return [segment for segment in self._segments if segment.kind == RAW]  # type: ignore[misc]

    def replace_segment(self, raw: RawSegment, cold: object) -> bool:
        """Put a cold segment in the place of the raw one it was made from; False if that is gone."""
        with self._write_lock:
            if raw not in self._segments:
                return False
            self._segments = [cold if segment is raw else segment for segment in self._segments]  # type: ignore[misc]
            self._bytes += cold.size - raw.size  # type: ignore[attr-defined]
            self._discard(raw)
            self._log.control.layout_changed(self.id, self._active.base if self._active else self.end)
            return True
