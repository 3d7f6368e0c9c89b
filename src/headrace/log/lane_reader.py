# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Reading a lane: one shard's records out of its segments, in the writer's process and in any other.

Which segment holds an index is found by a binary search over the segments' SNAPSHOTs (each tells every
shard's next index as of its start); where in the segment, by its table of frames. In the writer's process
the table of the growing segment is the writer's own; elsewhere it is made by one pass over the headers
of what was published since the last look, shared by all readers of the process. A stopped reader holds
nothing but memory of its own, so it never stalls the writer.

Cost of a read: a few dictionary and attribute look-ups, O(log segments + log frames) to find the place,
one copy out of the ring or by pread, one checksum pass.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from headrace.core._batch import RecordBatch
from headrace.core._frame_source import FrameSource
from headrace.core._frames import Tail
from headrace.core._records_answer import RecordsAnswer
from headrace.core._states import ShardStates
from headrace.disk import read_all
from headrace.errors import Corrupt
from headrace.log.cold import ColdSegment
from headrace.log.segment import (
    COLD,
    HEADER_SIZE,
    RAW,
    RawSegment,
    decode_header,
    decode_snapshot,
    name_of,
    pin_named,
)

if TYPE_CHECKING:
    from headrace.log.log import Log

Segment = RawSegment | ColdSegment
Answer = TypeVar("Answer")


class LaneReader:
    """What every process can do with a lane. In the writer's process see Lane."""

    __slots__ = (
        "_active", "_bytes", "_floor", "_idle_at", "_last_arrival_ms", "_last_crc", "_layout", "_load_lock", "_loaded",
        "_log", "_positions", "_producers", "_segments", "directory", "durability", "end", "id", "needs_sync", "visible",
    )  # fmt: skip

    def __init__(self, log: Log, lane_id: int, durability: str) -> None:
        self._log = log
        self.id = lane_id
        self.durability = durability
        self.needs_sync = durability == "disk"
        self.directory: Path = log.lane_directory(lane_id)
        self.visible = 0
        self.end = 0  # lane offset up to which bytes are in the file
        self._segments: list[Segment] = []  # sealed, by base; replaced as a whole, never changed in place
        self._active: RawSegment | None = None
        self._producers: dict[int, int] = {}
        self._positions: dict[bytes, bytes] = {}
        self._bytes = 0
        self._floor = 0
        self._last_crc = 0
        self._last_arrival_ms = 0
        self._layout = -1
        self._idle_at = -1
        self._loaded = False
        self._load_lock = threading.RLock()

    def _ensure(self) -> None:
        """Open the lane's files if that was not done yet."""
        if not self._loaded:
            with self._load_lock:
                if not self._loaded:
                    self._log.check_open()
                    self._load()
                    self._loaded = True

    def _load(self) -> None:
        """In another process than the writer's: list the files; see `_refresh`."""
        self._layout = -1

    def _tail_or_none(self) -> Tail | None:
        return getattr(self, "_tail", None)

    def _refresh(self) -> int:
        """Take notice of what the writer did; returns the lane offset up to which may be read."""
        self._ensure()
        if self._log.writer:
            return self.visible
        control = self._log.control
        for _ in range(100):
            # In this order: the writer changes the layout before it publishes what lies in a new file.
            visible = control.visible(self.id)
            layout = control.layout(self.id)
            if layout == self._layout:
                self.visible = visible
                break
            try:
                with self._load_lock:
                    self.visible = visible
                    self._layout = layout if self._list_segments(visible) else -1
                break
            except FileNotFoundError:
                continue  # a file was dropped or compressed between listing and opening it
        return self.visible

    def _list_segments(self, visible: int) -> bool:
        """Take over the directory as it is. False where its last file is not born yet: nothing in it is
        visible, and it is left out."""
        disk = self._log.disk
        found: dict[int, str] = {}
        for name in disk.names(self.directory):
            stem, kind = name[:20], name[20:]
            if kind in (RAW, COLD) and stem.isdigit() and (kind == COLD or int(stem) not in found):
                found[int(stem)] = kind
        known = {
            segment.path: segment for segment in [*self._segments, *([self._active] if self._active else [])]
        }
        bases = sorted(found)
        unborn = len(bases) > 0 and found[bases[-1]] == RAW and bases[-1] >= visible
        if unborn:
            bases.pop()
        segments: list[Segment] = []
        for base, following in zip(bases, [*bases[1:], None][: len(bases)], strict=True):
            path = self.directory / name_of(base, found[base])
            segment = known.get(path)
            if segment is None:
                segment = self._open_segment(path)
            if isinstance(segment, RawSegment):
                segment.end = following
            segments.append(segment)
        active = segments.pop() if segments and isinstance(segments[-1], RawSegment) else None
        # In this order: a reader in between finds what was the active segment twice, and never misses it.
        self._segments = segments
        self._active = active  # type: ignore[assignment]
        return not unborn

    def _open_segment(self, path: Path) -> Segment:
        disk = self._log.disk
        if path.suffix == COLD:
            return ColdSegment.open(path, disk)
        file = disk.open(path, os.O_RDONLY)
        try:
            header = decode_header(read_all(disk, file, HEADER_SIZE, 0), path)
            if header.disk:
                pin_named(disk, file, path)
        except (Corrupt, FileNotFoundError):
            disk.close(file)
            raise
        return RawSegment(path, header, disk, end=None, file=file)

    # ---------------------------------------------------------------- reading

    def _all(self) -> list[Segment]:
        return [*self._segments, self._active] if self._active is not None else self._segments

    def _holding(self, shard: int, index: int) -> list[Segment]:
        """The segments from the one that holds the index, or the first kept one, on."""
        active = self._active
        if active is not None and active.start_states().get(shard)[0] <= index:
            return [active]
        segments = self._all()
        low, high = 0, len(segments) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if segments[middle].start_states().get(shard)[0] <= index:
                low = middle
            else:
                high = middle - 1
        return segments[low:]

    def read(
        self, shard: int, index: int, *, max_records: int = 10_000, max_bytes: int = 8 << 20
    ) -> RecordBatch:
        """Consecutive visible records of one shard, from `index` on or from the first kept one.

        At most max_records and max_bytes of data and keys, but at least one record if there is one; fewer
        than there are where a segment ends. Empty at the tip. The batch owns its bytes. Raises Corrupt
        where stored bytes are damaged.
        """

        def batch(source: FrameSource) -> RecordBatch | None:
            found = source.batch()
            return found if len(found) else None

        return self._first(batch, shard, index, max_records, max_bytes) or RecordBatch.empty()

    def read_into(
        self, answer: RecordsAnswer, shard: int, index: int, *, max_records: int, max_bytes: int
    ) -> None:
        """The same records as `read` gives, into an answer that has none yet, without a batch between."""

        def take(source: FrameSource) -> int:
            answer.take(source)
            return answer.count

        self._first(take, shard, index, max_records, max_bytes)

    def _first(
        self, use: Callable[[FrameSource], Answer], shard: int, index: int, max_records: int, max_bytes: int
    ) -> Answer | None:
        """The first answer, other than nothing, of `use` over the segments from the index on."""
        for _ in range(100):
            visible = self._refresh()
            try:
                for segment in self._holding(shard, index):
                    tail = self._tail_or_none() if segment is self._active else None
                    source = segment.frames(shard, index, max_records, max_bytes, visible, tail)
                    try:
                        found = use(source) if source is not None else None
                    except ValueError as problem:
                        raise segment.damaged(problem) from None
                    if found:
                        return found
                return None
            except FileNotFoundError:
                self._layout = -1  # dropped or compressed meanwhile: look again
        return None

    def _steadily(self, look: Callable[[int], Answer]) -> Answer:
        """Run `look(visible)`, again where a file went away under it: dropped or compressed meanwhile."""
        for _ in range(100):
            try:
                return look(self._refresh())
            except FileNotFoundError:
                self._layout = -1
        return look(self._refresh())

    def _end_states(self, shard: int, visible: int) -> tuple[int, int]:
        """(next index, last arrival ms) of the visible records of a shard."""
        for segment in reversed(self._all()):
            found = segment.bounds(shard, visible)
            if found is not None:
                own: ShardStates | None = getattr(self, "_states", None)
                if own is not None and self._active is None:  # after a start, the index may have moved ahead
                    return max(found[1], own.get(shard)[0]), found[2]
                return found[1], found[2]
            start = segment.start_states().get(shard)
            if segment is self._all()[-1] and (start[0] or start[1]):
                return start[0], start[1]
        return 0, 0

    def bounds(self, shard: int) -> tuple[int, int]:
        """(first kept index, next index) of the visible records; equal where there are none."""

        def look(visible: int) -> tuple[int, int]:
            segments = self._all()
            if not segments:
                return 0, 0
            upcoming = self._end_states(shard, visible)[0]
            return min(segments[0].start_states().get(shard)[0], upcoming), upcoming

        return self._steadily(look)

    def last_arrival(self, shard: int) -> int:
        """Arrival, ms, of the shard's last visible record; 0 if there never was one."""
        return self._steadily(lambda visible: self._end_states(shard, visible)[1])

    def index_at_time(self, shard: int, arrival_ms: int) -> int:
        """Index of the first visible record with that arrival or later; the next index if there is none."""

        def look(visible: int) -> int:
            segments = self._all()
            for number, segment in enumerate(segments):
                if number + 1 < len(segments) and segments[number + 1].arrival_before_ms < arrival_ms:
                    continue
                found = segment.index_at_time(shard, arrival_ms, visible)
                if found is not None:
                    return found
            return self._end_states(shard, visible)[0]

        return self._steadily(look)

    def wait(self, offset: int, timeout: float) -> bool:
        """Sleep until more than lane offset `offset` is visible, in any process, or the time is over."""
        control = self._log.control
        if not control.remap(self.id):
            return False
        return control.words.wait_beyond(control.slot(self.id), offset, timeout)

    def positions(self) -> dict[bytes, bytes]:
        """The latest visible POSITION of each owner."""
        self._refresh()
        if self._log.writer:
            return dict(self._positions)
        return self._steadily(lambda visible: self._read_positions())

    @property
    def producers(self) -> dict[int, tuple[int, int]]:
        """(epoch, last sequence) by producer id, as far as visible."""
        self._refresh()
        latest: dict[int, tuple[int, int]] = {}
        for stamp, sequence in self._producers.items():
            latest[stamp >> 16] = max(latest.get(stamp >> 16, (-1, -1)), (stamp & 0xFFFF, sequence))
        return latest

    def _read_positions(self) -> dict[bytes, bytes]:
        """From the files, for processes other than the writer's."""
        segments = self._all()
        if not segments:
            return {}
        last = segments[-1]
        if isinstance(last, ColdSegment):
            return decode_snapshot(last.end_snapshot())[2]
        return last.positions(self.visible)
