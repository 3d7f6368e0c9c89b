# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The offline repair: makes a damaged lane one that opens, and loses no more than is damaged.

Two ways, chosen by the operator:

* cut: the lane ends before the damage. What follows is set aside.
* skip: what follows is kept. In a raw segment the bad bytes become GAP frames, and the frames after them
  are chained anew (their bodies are untouched); in a cold file the bad blocks are left out; a file that
  is missing or whose head is gone becomes a cold file without records. Readers see a step in the index.
  A damaged SNAPSHOT is made anew (log/rebuild.py). It may then need more room than it had: in the last segment
  the frames behind it move, and one that another follows becomes a cold file, where it has all the room.

In both the next records get indexes 2**32 ahead, so that no sequence number that somebody may hold is used
for another record. Each segment that is made here says so in its header, since indexes are missing in it or before
it (log/count.py). Files are never changed in place: the new one is written beside the old, synced and
renamed, and the old one is kept under `damaged/` in the lane's directory. Everything that must be read is read
once before the first change: where the system refuses that, nothing was changed.

A mended lane ends where recovery of what is left ends. That is on the device, so it is published at once, for both
promises, and who only reads sees it without a writer. The control file's header stays as it is: how the last writer
ended is still to be judged by the next one, who counts an epoch if the power was lost since. It then asks a
`process` lane again and takes the published end of a `disk` lane, which this repair may have set back, for a bound.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.core import _frames
from headrace.core._frame_table import FrameTable
from headrace.disk import SystemDisk, replace_file
from headrace.errors import Corrupt, InvalidArgument
from headrace.log.catalogue import Catalogue
from headrace.log.cold import write_cold
from headrace.log.control import ControlFile
from headrace.log.given import indexes_given, start_snapshot
from headrace.log.log import in_next_epoch, release_lock, take_lock
from headrace.log.manifest import Manifest, read_manifest, write_manifest
from headrace.log.rebuild import frame_size, has_snapshot, stood_after, stood_at, whole_frames
from headrace.log.refusals import unreadable, unwritable
from headrace.log.segment import (
    COLD,
    HEADER_SIZE,
    RAW,
    RawSegment,
    SegmentHeader,
    decode_header,
    decode_snapshot,
    encode_snapshot,
    name_of,
)
from headrace.log.verify import Report, open_control, read_file, segments_of, verify

GAP_SIZE_MAX = 8 << 20


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a repair does or would do."""

    path: Path
    what: str


def repair(directory: Path, how: str, *, dry_run: bool = False) -> tuple[Report, list[Change]]:
    """Repair every damaged lane; returns what was found before and what was changed.

    how: "cut" or "skip", see above. dry_run: change nothing, tell what would be. Raises StorageError, and has changed
    nothing, where the system does not read a file; StorageError or Backpressure where it does not write one: what was
    mended until then stays so, and a repair begun anew goes on there.
    """
    if how not in ("cut", "skip"):
        raise InvalidArgument(f"repair by {how!r}; expected 'cut' or 'skip'")
    with _reading("the store", directory):
        report = verify(directory)
    found = {_lane_of(finding.path, directory) for finding in report.findings}
    lanes = sorted(name for name in found if name is not None)
    if not lanes:
        return report, []
    lock = take_lock(directory)
    try:
        changes, everything = _plan(directory, lanes, how)
        if not dry_run:
            changes = _mend(directory, lanes, how, everything)
    finally:
        release_lock(lock)
    return report, changes


def _plan(directory: Path, lanes: list[str], how: str) -> tuple[list[Change], bool]:
    """(what would be changed, whether the files tell of all indexes that were given)."""
    changes: list[Change] = []
    everything = True
    with _reading("the control file", directory):
        control = open_control(directory / "control", Report())
    try:
        for name in lanes:
            with _reading(f"lane {int(name)}", directory / "lanes" / name):
                lane = _LaneRepair(directory, name, how, True, control)
                changes += lane.run()
                everything = everything and lane.everything
    finally:
        if control is not None:
            control.close()
    return changes, everything


def _mend(directory: Path, lanes: list[str], how: str, everything: bool) -> list[Change]:
    """Change what was planned, and let readers see it; returns what was changed."""
    with _writing("the repair"):
        control = ControlFile(directory / "control", writer=True)
        try:
            mending = [_LaneRepair(directory, name, how, False, control) for name in lanes]
            if not everything:
                _count_epoch(directory)
            changes = [change for lane in mending for change in lane.run()]
            _publish(control, [lane for lane in mending if lane.end])
        finally:
            control.close()
    return changes


@contextmanager
def _reading(what: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise unreadable(problem, what, path) from problem


@contextmanager
def _writing(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise unwritable(problem, what) from problem


def _count_epoch(directory: Path) -> None:
    """Begin a new epoch: in it, a shard of which nothing is left starts at an index that it never had."""
    catalogue = Catalogue(directory / "catalogue.sqlite", writer=True)
    try:
        facts = catalogue.get("log", "store")
        if facts is not None:
            catalogue.put("log", "store", in_next_epoch(facts), durable=True)
    finally:
        catalogue.close()


def _publish(control: ControlFile, mended: list[_LaneRepair]) -> None:
    """Let readers see what the mended lanes hold. On the device: an end that was set back must not come back."""
    for lane in mended:
        control.reserve(lane.lane)
        control.layout_changed(lane.lane, lane.last_base)
        control.publish(lane.lane, lane.end)
    if mended:
        control.sync()


def _lane_of(path: Path, directory: Path) -> str | None:
    parts = path.relative_to(directory).parts
    return parts[1] if len(parts) > 1 and parts[0] == "lanes" else None


class _LaneRepair:
    """The repair of one lane."""

    def __init__(
        self, directory: Path, lane: str, how: str, dry_run: bool, control: ControlFile | None
    ) -> None:
        self.path = directory / "lanes" / lane
        self.lane = int(lane)
        self.how = how
        self.dry_run = dry_run
        self.disk = SystemDisk()
        self.changes: list[Change] = []
        self.manifest = False  # whether there is a whole one
        self.floor: int | None = None  # where the lane begins, as the manifest says
        self.store_id = b""
        self.durable = False
        self.last_base = 0  # of the segment that is made last
        self.end = 0  # of the lane when it is mended; 0 before, or where nothing was changed
        self._read_manifest()
        self.visible = 0  # what a `process` lane had published before the power went was no promise
        if control is not None and (self.durable or control.clean or control.same_boot):
            self.visible = control.visible(self.lane)
        bases = segments_of(self.path, self.disk)
        self.given, self.everything = indexes_given(self.path, bases, self.visible, self.disk)

    def run(self) -> list[Change]:
        """Walk over the files in order and mend each."""
        if not self.manifest:
            self._mend_manifest()
        bases = segments_of(self.path, self.disk)
        end = self.floor
        if self.how == "cut" and end is not None and bases and bases[0][0] > end:
            self._set_aside_later(bases)
            bases = []
        for number, (base, kind) in enumerate(bases):
            following = bases[number + 1][0] if number + 1 < len(bases) else None
            file = self.path / name_of(base, kind)
            if end is not None and base > end and self.how == "skip":
                self._fill(end, base)
            good_end = self._check(file, kind, base, following)
            if good_end is None:
                end = self._end_of(file, kind, following)
                continue
            if self.how == "cut":
                self._cut(file, base, good_end, bases[number + 1 :])
                break
            end = self._skip(file, kind, base, following)
        self._step_ahead()
        return self.changes

    def _do(self, path: Path, what: str) -> bool:
        self.changes.append(Change(path, what))
        return not self.dry_run

    def _set_aside(self, file: Path) -> None:
        aside = self.path / "damaged"
        aside.mkdir(mode=0o700, exist_ok=True)
        self.disk.rename(file, aside / f"{file.name}.{secrets.token_hex(4)}")

    def _read_manifest(self) -> None:
        """What the lane is, from its manifest or else from the first raw segment that tells."""
        try:
            found = read_manifest(self.disk, self.path)
        except Corrupt:
            found = None
        if found is not None:
            self.manifest, self.store_id, self.durable = True, found.store_id, found.disk
            self.floor = found.floor
            return
        for base, kind in segments_of(self.path, self.disk):
            if kind == RAW:
                try:
                    header = decode_header(read_file(self.path / name_of(base, RAW), self.disk), self.path)
                except Corrupt:
                    continue
                self.store_id, self.durable = header.store_id, header.disk
                return

    def _mend_manifest(self) -> None:
        bases = segments_of(self.path, self.disk)
        if self.store_id and self._do(self.path / "manifest", "made anew from the first segment"):
            write_manifest(
                self.disk, self.path, Manifest(self.lane, self.store_id, bases[0][0], disk=self.durable)
            )

    def _end_of(self, file: Path, kind: str, following: int | None) -> int | None:
        """Where a sound file ends: a cold one says so, a raw one reaches to the next."""
        if kind == COLD:
            from headrace.log.cold import ColdSegment

            return int(ColdSegment.open(file, self.disk).end)
        return following

    def _check(self, file: Path, kind: str, base: int, following: int | None) -> int | None:
        """Where the good part of a file ends, as a lane offset; None where it is all good."""
        if kind == COLD:
            from headrace.log.cold import ColdSegment

            try:
                cold = ColdSegment.open(file, self.disk)
                return base if any(True for _ in cold.check()) else None
            except Corrupt:
                return base
        data = read_file(file, self.disk)
        try:
            header = decode_header(data, file)
        except Corrupt:
            return base
        room = (following - base) if following is not None else len(data) - HEADER_SIZE
        frames = memoryview(data)[HEADER_SIZE : HEADER_SIZE + room]
        good, _, stop, _ = _frames.check_frames(frames, 0, header.salt, header.chain)
        if good and not has_snapshot(frames, header.salt):
            return base  # as repairs of earlier versions left it
        whole = good == room
        if following is None:
            # A tail that is not whole is recovery's business, unless something follows it or it was published.
            whole = (
                base + good >= self.visible and _frames.search_frame(frames, stop + 8, header.salt) is None
            )
        return None if whole else base + good

    def _set_aside_later(self, later: list[tuple[int, str]]) -> None:
        for other, kind in reversed(later):
            if self._do(self.path / name_of(other, kind), "set aside: it follows the damage"):
                self._set_aside(self.path / name_of(other, kind))

    def _cut(self, file: Path, base: int, good_end: int, later: list[tuple[int, str]]) -> None:
        """The lane ends at `good_end`."""
        self._set_aside_later(later)
        if good_end == base:
            if self._do(file, "set aside: nothing in it is whole"):
                self._set_aside(file)
            return
        if self._do(file, f"ends at byte {HEADER_SIZE + good_end - base}; the original is set aside"):
            data = read_file(file, self.disk)[: HEADER_SIZE + good_end - base]
            self._set_aside(file)
            replace_file(self.disk, file, data)

    def _skip(self, file: Path, kind: str, base: int, following: int | None) -> int | None:
        """Keep what is whole before and after the damage; returns where the file then ends."""
        if kind == COLD:
            from headrace.log.cold import rewrite_without_damage

            if self._do(file, "its damaged blocks are left out; the original is set aside"):
                copy = rewrite_without_damage(file, self.disk)
                self._set_aside(file)
                if copy is None:
                    assert following is not None or self.how == "skip"
                    return base
                replace_file(self.disk, file, copy)
            return following
        data = read_file(file, self.disk)
        try:
            header = decode_header(data, file)
        except Corrupt:
            if self._do(file, "set aside: its head is gone"):
                self._set_aside(file)
            return base
        room = (following - base) if following is not None else len(data) - HEADER_SIZE
        frames = memoryview(data[HEADER_SIZE : HEADER_SIZE + room].ljust(room, b"\0"))
        if not has_snapshot(frames, header.salt):
            self._skip_snapshot(file, header, frames, following)
        elif self._do(file, "its damaged bytes become a GAP; the original is set aside"):
            header = replace(header, created_ms=0)
            mended = _with_gaps(frames, header.salt, header.chain, following is not None)
            self._set_aside(file)
            replace_file(self.disk, file, header.encode() + mended)
        return following

    def _skip_snapshot(
        self, file: Path, header: SegmentHeader, frames: memoryview, following: int | None
    ) -> None:
        """A segment whose SNAPSHOT is damaged, or whatever else is as well."""
        if not self._do(file, "its SNAPSHOT is made anew from what is around it; the original is set aside"):
            return
        if following is not None:
            self._make_cold(file, header, frames, following)
            self._set_aside(file)
            return
        parts, table = _loaded(frames, header.salt)
        start = stood_at(self.path, header, table, None, self.disk)
        header = replace(header, created_ms=0)
        snapshot = encode_snapshot(start.states, start.producers, start.positions)
        frame = _frame(_frames.KIND_SNAPSHOT, snapshot, header.salt, header.chain)
        # Nothing follows, so what is whole may move to where the new SNAPSHOT ends.
        rest = _with_gaps(memoryview(b"".join(parts)), header.salt, _crc_of(frame), False)
        self._set_aside(file)
        replace_file(self.disk, file, header.encode() + frame + rest)

    def _fill(self, start: int, end: int) -> None:
        """A cold file without records where a file is missing."""
        file = self.path / name_of(start, COLD)
        if not self._do(file, f"made: a gap from lane offset {start} to {end}"):
            return
        header = SegmentHeader(self.store_id, self.lane, self.durable, start, 0, secrets.randbits(32), 0, 0)
        self._make_cold(file, header, memoryview(b""), end)

    def _make_cold(self, file: Path, header: SegmentHeader, frames: memoryview, end: int) -> None:
        """A cold file of what is whole in the frames of a segment that ends at `end`. It has no place where a
        SNAPSHOT must fit."""
        later = self.path / name_of(end, dict(segments_of(self.path, self.disk))[end])
        parts, table = _loaded(frames, header.salt)
        start = stood_at(self.path, header, table, later, self.disk)
        snapshot = encode_snapshot(start.states, start.producers, start.positions)
        try:
            end_snapshot = start_snapshot(later, self.disk)
            decode_snapshot(end_snapshot)
        except (Corrupt, ValueError):
            whole = _frame(_frames.KIND_SNAPSHOT, snapshot, header.salt, header.chain) + b"".join(parts)
            last = stood_after(whole, header.salt, header.epoch)
            end_snapshot = encode_snapshot(last.states, last.producers, last.positions)
        arrival_ms = max([header.arrival_before_ms, *(row[3] for row in table.rows())])
        source = _Remains(file, header, self.disk, end=end, table=table, snapshot=snapshot)
        write_cold(source, end_snapshot, 0, arrival_ms, self.disk, epoch=header.epoch)

    def _step_ahead(self) -> None:
        """Move the indexes of what comes next ahead: a new last segment with nothing but its SNAPSHOT."""
        from headrace.log.recovery import INDEX_STEP, Circumstances, recover

        if self.dry_run or not self.changes:
            return
        how = Circumstances(epoch=0, visible=0, writer=True, sync=True)
        found = recover(self.path, self.disk, True, how)
        for shard, index in self.given.items():
            known, arrival_ms, flags = found.states.get(shard)
            found.states.set(shard, max(known, index), arrival_ms, flags)
        found.states.advance(INDEX_STEP)
        header = SegmentHeader(
            self.store_id,
            self.lane,
            self.durable,
            found.end,
            found.chain,
            secrets.randbits(32),
            0,
            found.last_arrival_ms,
            found.epoch,
        )
        snapshot = encode_snapshot(found.states, found.producers, found.positions)
        frame = _frame(_frames.KIND_SNAPSHOT, snapshot, header.salt, header.chain)
        replace_file(self.disk, self.path / name_of(found.end), header.encode() + frame)
        self.last_base, self.end = found.end, found.end + len(frame)


class _Remains(RawSegment):
    """What is whole in a raw segment, behind another SNAPSHOT than the one in the file."""

    def __init__(
        self, path: Path, header: SegmentHeader, disk: SystemDisk, *, end: int, table: FrameTable, snapshot: bytes
    ) -> None:  # fmt: skip
        super().__init__(path, header, disk, end=end, table=table)
        self._snapshot = snapshot

    def start_snapshot(self) -> bytes:
        return self._snapshot


def _loaded(frames: memoryview, salt: int) -> tuple[list[memoryview], FrameTable]:
    """(every whole frame, the table of those that carry records)."""
    parts, table = [], FrameTable()
    for at, size in whole_frames(frames, salt):
        _frames.load_frames(frames, at, at + size, salt, table, None, 0)
        parts.append(frames[at : at + size])
    return parts, table


def _frame(kind: int, body: bytes, salt: int, previous: int, *, last: bool = True) -> bytes:
    """One frame of any kind but RECORDS; the fields stand in native/frame.h."""
    head = struct.pack(
        "<IIIQqIHBBQQQ", previous, _frames.crc32c(body), len(body), 0, 0, 0, 0, kind, int(last), 0, 0, 0
    )
    return struct.pack("<I", _frames.crc32c(head, salt)) + head + body + bytes(-len(body) % 8)


def _crc_of(frames: bytes) -> int:
    """Header CRC of the first frame."""
    return int.from_bytes(frames[:4], "little")


def _gaps(size: int, salt: int, previous: int) -> bytes:
    """GAP frames that take exactly `size` bytes, a multiple of 8 from 64 on."""
    assert not size or (size >= 64 and size % 8 == 0)
    parts: list[bytes] = []
    while size:
        part = size if size <= GAP_SIZE_MAX else GAP_SIZE_MAX - 64
        frame = _frame(_frames.KIND_GAP, bytes(part - 64), salt, previous)
        previous = _crc_of(frame)
        parts.append(frame)
        size -= part
    return b"".join(parts)


def _with_gaps(frames: memoryview, salt: int, previous: int, whole: bool) -> bytes:
    """The frames again, with GAP frames in place of what is not whole, and one unbroken chain behind `previous`."""
    parts: list[bytes] = []
    at = 0
    while at < len(frames):
        stop = _next_good(frames, at, salt, len(frames) if whole else None)
        if stop is None:
            break
        if stop > at:
            gap = _gaps(stop - at, salt, previous)
            parts.append(gap)
            previous = _last_crc(gap)
            at = stop
            continue
        size = frame_size(frames, at, salt)
        # A group whose rest is gone ends with what is left of it.
        head = struct.pack("<I", previous) + frames[at + 8 : at + 39] + b"\1" + frames[at + 40 : at + 64]
        previous = _frames.crc32c(head, salt)
        parts.append(struct.pack("<I", previous) + head + frames[at + 64 : at + size])
        at += size
    return b"".join(parts)


def _last_crc(gaps: bytes) -> int:
    """Header CRC of the last of GAP frames."""
    at = 0
    while True:
        size = 64 + -(-int.from_bytes(gaps[at + 12 : at + 16], "little") // 8) * 8
        if at + size >= len(gaps):
            return _crc_of(gaps[at:])
        at += size


def _next_good(frames: memoryview, at: int, salt: int, end: int | None) -> int | None:
    """The next place, from `at` on, where a whole frame stands and the room before it takes a GAP; `end` if
    there is none."""
    place: int | None = at
    while place is not None:
        if (place == at or place - at >= 64) and frame_size(frames, place, salt):
            return place
        place = _frames.search_frame(frames, place + 8, salt)
    return end
