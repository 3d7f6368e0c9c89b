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

import contextlib
import os
import threading
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from headrace.core._batch import RecordBatch
from headrace.core._frame_source import FrameSource
from headrace.core._frames import Tail
from headrace.core._records_answer import RecordsAnswer
from headrace.core._states import ShardStates
from headrace.disk import read_all
from headrace.errors import Corrupt, StorageError
from headrace.log.cold import ColdSegment
from headrace.log.count import last_in, records_in
from headrace.log.manifest import read_manifest
from headrace.log.recovery import Circumstances, recover
from headrace.log.refusals import UNREAD, unreadable, words
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
        "_log", "_positions", "_producers", "_recovered", "_segments", "directory", "durability", "end", "id",
        "needs_sync", "visible",
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
        self._recovered: tuple[int, int] | None = None  # layout, and lane offset where recovery then ended
        self._idle_at = -1
        self._loaded = False
        self._load_lock = threading.RLock()

    def _ensure(self) -> None:
        """Open the lane's files if that was not done yet."""
        if not self._loaded:
            with self._load_lock:
                if not self._loaded:
                    self._log.check_open()
                    try:
                        self._load()
                    except OSError as problem:
                        raise StorageError(
                            f"lane {self.id} could not be opened: {words(problem, self.directory)}",
                            hint=UNREAD,
                        ) from problem
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
            try:
                visible = visible or self._recovered_end(layout)
                if layout == self._layout:
                    self.visible = visible
                    break
                with self._load_lock:
                    self.visible = visible
                    self._layout = layout if self._list_segments(visible) else -1
                break
            except FileNotFoundError:
                continue  # a file was dropped or compressed between listing and opening it
        return self.visible

    def _recovered_end(self, layout: int) -> int:
        """The same where the slot is empty. After a loss of power the writer empties those of the `process` lanes, and
        fills each when it looks at the lane: until then recovery tells what will be kept. A `disk` lane's slot is empty
        only before its first group was promised."""
        if self.needs_sync:
            return 0
        if self._recovered is None or self._recovered[0] != layout:
            how = Circumstances(epoch=self._log.stored_epoch(), visible=0, writer=False)
            found = recover(self.directory, self._log.disk, False, how)
            self._recovered = layout, found.end if found.segments else 0
        return self._recovered[1]

    def _unread(self, problem: OSError, path: Path | None = None) -> StorageError:
        """The error of a reader whom the system refused what it asked for."""
        return unreadable(problem, f"lane {self.id}", path or self.directory)

    def _deleted(self) -> bool:
        """Whether the lane has no files any more: it was deleted while somebody read it."""
        try:
            return not self._log.disk.names(self.directory)
        except OSError:
            return False

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
        floor = self._floor_on_disk() if found else 0
        bases = [base for base in sorted(found) if base >= floor]
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

    def _floor_on_disk(self) -> int:
        """Lane offset before which everything was dropped, as the manifest has it. Asked for after the names: a
        compression that ended after its segment was dropped leaves a file there for a moment."""
        try:
            manifest = read_manifest(self._log.disk, self.directory)
        except Corrupt:  # headrace verify names it; what there is can be read all the same
            return 0
        return manifest.floor if manifest is not None else 0

    def _open_segment(self, path: Path) -> Segment:
        disk = self._log.disk
        if path.suffix == COLD:
            return ColdSegment.open(path, disk)
        file = disk.open(path, os.O_RDONLY)
        try:
            header = decode_header(read_all(disk, file, HEADER_SIZE, 0, path), path)
            if header.disk:
                pin_named(disk, file, path)
        except (Corrupt, OSError):
            disk.close(file)
            raise
        return RawSegment(path, header, disk, end=None, file=file)

    # ---------------------------------------------------------------- reading

    def _all(self) -> list[Segment]:
        active = self._active  # before the others: what is being ended is found twice, and never missed
        return [*self._segments, active] if active is not None else self._segments

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
        gone: OSError | None = None
        segment: Segment | None = None
        for _ in range(100):
            try:
                visible = self._refresh()
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
            except FileNotFoundError as problem:
                # Dropped or compressed meanwhile: look again. A traceback would keep this frame, and its files.
                self._layout, gone = -1, problem.with_traceback(None)
            except OSError as problem:
                raise self._unread(problem, segment.path if segment is not None else None) from problem
        if gone is None or self._deleted():
            return None
        raise self._unread(gone) from gone

    def _steadily(self, look: Callable[[int], Answer]) -> Answer:
        """Run `look(visible)`, again where a file went away under it: dropped or compressed meanwhile."""
        for _ in range(100):
            try:
                return look(self._refresh())
            except FileNotFoundError:
                self._layout = -1
            except OSError as problem:
                raise self._unread(problem) from problem
        try:
            return look(self._refresh())
        except OSError as problem:
            raise self._unread(problem) from problem

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

    def records(self) -> int:
        """How many records of all shards are visible; exact. See log/count.py for how, and for the cost."""

        def look(visible: int) -> int:
            segments = list(dict.fromkeys(self._all()))  # what is being ended stands there twice
            pairs = zip(segments, [*segments[1:], None][: len(segments)], strict=True)
            return sum(records_in(segment, following, visible) for segment, following in pairs)

        return self._steadily(look)

    def last(self, shard: int, count: int, end: int) -> tuple[int, int]:
        """(index, how many) of the last `count` visible records of a shard before index `end`: how many there are
        from that index on. Fewer where there are no more, (end, 0) where there is none.

        Cost: O(log segments) SNAPSHOTs for each segment that holds some of them; no record is read.
        """

        def look(visible: int) -> tuple[int, int]:
            segments, index, found = self._all(), end, 0
            high = len(segments)
            while found < count:
                # What stands before `index` stands in segments that began before it, the latest of them first.
                high = (
                    bisect_left(segments, index, hi=high, key=lambda one: one.start_states().get(shard)[0])
                    - 1
                )
                if high < 0:
                    break
                index, more = last_in(segments[high], shard, count - found, index, visible)
                found += more
            return index, found

        return self._steadily(look)

    def reached(self, shard: int, index: int, end: int) -> bool:
        """Whether no visible record stands from `index` on before index `end`. Together they need not tell: the
        indexes may have moved ahead between them, and nothing has those that were left out."""
        if index >= end:
            return True

        def look(visible: int) -> tuple[int, int, int] | None:
            active = self._active
            return active.bounds(shard, visible) if active is not None else None

        bounds = self._steadily(look)
        if bounds is not None and bounds[1] <= end:
            return bounds[1] <= index
        last, found = self.last(shard, 1, end)
        return not found or last < index

    def dropped(self) -> tuple[int, int]:
        """(records, bytes of files) that limits dropped since the lane was made, read or not (drop_oldest)."""
        try:
            manifest = read_manifest(self._log.disk, self.directory)
        except OSError as problem:
            raise self._unread(problem) from problem
        return (0, 0) if manifest is None else (manifest.dropped_records, manifest.dropped_bytes)

    def file_bytes(self) -> int:
        """Bytes of the segments' files as they stand on the disk."""
        disk, size = self._log.disk, 0
        try:
            for name in disk.names(self.directory):
                if name.endswith((RAW, COLD)):
                    with contextlib.suppress(FileNotFoundError):  # dropped or compressed meanwhile
                        size += disk.size(self.directory / name)
        except OSError as problem:
            raise self._unread(problem) from problem
        return size

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
        if not self._log.writer:
            return self._steadily(lambda visible: self._read_positions())
        self._ensure()
        return dict(self._positions)

    @property
    def producers(self) -> dict[int, tuple[int, int]]:
        """(epoch, last sequence) by producer id, as far as visible."""
        self._ensure()
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
