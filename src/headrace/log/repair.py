# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The offline repair: makes a damaged lane one that opens, and loses no more than is damaged.

Two ways, chosen by the operator:

* cut: the lane ends before the damage. What follows is set aside.
* skip: what follows is kept. In a raw segment the bad bytes become GAP frames, and the frames after them
  are chained anew (their bodies are untouched); in a cold file the bad blocks are left out; a file that
  is missing or whose head is gone becomes a segment of GAP frames. Readers see a step in the index.

In both the next records get indexes 2**32 ahead, so that no sequence number that somebody may hold is used
for another record. Files are never changed in place: the new one is written beside the old, synced and
renamed, and the old one is kept under `damaged/` in the lane's directory.
"""

from __future__ import annotations

import os
import secrets
import struct
from dataclasses import dataclass
from pathlib import Path

from headrace.core import _frames
from headrace.disk import SystemDisk, replace_file
from headrace.errors import Corrupt, InvalidArgument
from headrace.log.control import DIRTY, ControlFile
from headrace.log.log import take_lock
from headrace.log.manifest import Manifest, read_manifest, write_manifest
from headrace.log.segment import (
    COLD,
    HEADER_SIZE,
    RAW,
    SegmentHeader,
    decode_header,
    encode_snapshot,
    name_of,
)
from headrace.log.verify import Report, read_file, segments_of, verify

GAP_SIZE_MAX = 8 << 20


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a repair does or would do."""

    path: Path
    what: str


def repair(directory: Path, how: str, *, dry_run: bool = False) -> tuple[Report, list[Change]]:
    """Repair every damaged lane; returns what was found before and what was changed.

    how: "cut" or "skip", see above. dry_run: change nothing, tell what would be.
    """
    if how not in ("cut", "skip"):
        raise InvalidArgument(f"repair by {how!r}; expected 'cut' or 'skip'")
    report = verify(directory)
    found = {_lane_of(finding.path, directory) for finding in report.findings}
    lanes = sorted(lane for lane in found if lane is not None)
    changes: list[Change] = []
    lock = take_lock(directory)
    try:
        for lane in lanes:
            changes += _LaneRepair(directory, lane, how, dry_run).run()
        if changes and not dry_run:
            control = ControlFile(directory / "control", writer=True)
            control.mark(DIRTY, pid=0)
            for lane in lanes:
                control.forget(int(lane))
            control.close()
    finally:
        os.close(lock)
    return report, changes


def _lane_of(path: Path, directory: Path) -> str | None:
    parts = path.relative_to(directory).parts
    return parts[1] if len(parts) > 1 and parts[0] == "lanes" else None


class _LaneRepair:
    """The repair of one lane."""

    def __init__(self, directory: Path, lane: str, how: str, dry_run: bool) -> None:
        self.path = directory / "lanes" / lane
        self.lane = int(lane)
        self.how = how
        self.dry_run = dry_run
        self.disk = SystemDisk()
        self.changes: list[Change] = []
        self.store_id = b"\0" * 16

    def run(self) -> list[Change]:
        """Walk over the files in order and mend each."""
        self._mend_manifest()
        bases = segments_of(self.path, self.disk)
        end: int | None = None
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

    def _mend_manifest(self) -> None:
        try:
            found = read_manifest(self.disk, self.path)
        except Corrupt:
            found = None
        if found is not None:
            self.store_id = found.store_id
            return
        bases = segments_of(self.path, self.disk)
        for base, kind in bases:
            if kind == RAW:
                try:
                    header = decode_header(read_file(self.path / name_of(base, RAW), self.disk), self.path)
                except Corrupt:
                    continue
                self.store_id = header.store_id
                if self._do(self.path / "manifest", "made anew from the first segment"):
                    floor = bases[0][0]
                    write_manifest(
                        self.disk, self.path, Manifest(self.lane, header.store_id, floor, disk=header.disk)
                    )
                return

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
        if following is None:  # a tail that is not whole is recovery's business, unless something follows it
            return None if _frames.search_frame(frames, stop + 8, header.salt) is None else base + good
        return None if good == room else base + good

    def _cut(self, file: Path, base: int, good_end: int, later: list[tuple[int, str]]) -> None:
        """The lane ends at `good_end`."""
        for other, kind in reversed(later):
            if self._do(self.path / name_of(other, kind), "set aside: it follows the damage"):
                self._set_aside(self.path / name_of(other, kind))
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
        if self._do(file, "its damaged bytes become a GAP; the original is set aside"):
            frames = bytes(data[HEADER_SIZE : HEADER_SIZE + room]).ljust(room, b"\0")
            frames = _with_gaps(frames, header, following is not None)
            self._set_aside(file)
            replace_file(self.disk, file, header.encode() + frames)
        return following

    def _fill(self, start: int, end: int) -> None:
        """A segment of GAP frames where a file is missing."""
        file = self.path / name_of(start, RAW)
        later = self.path / name_of(end, dict(segments_of(self.path, self.disk))[end])
        if not self._do(file, f"made: a GAP from lane offset {start} to {end}"):
            return
        snapshot = _start_snapshot(later, self.disk)
        header = SegmentHeader(self.store_id, self.lane, False, start, 0, secrets.randbits(32), 0, 0)
        frames = _frame(_frames.KIND_SNAPSHOT, snapshot, header.salt, header.chain)
        frames += _gaps(end - start - len(frames), header.salt, _crc_of(frames))
        replace_file(self.disk, file, header.encode() + frames)

    def _step_ahead(self) -> None:
        """Move the indexes of what comes next ahead: a new last segment with nothing but its SNAPSHOT."""
        from headrace.log.recovery import INDEX_STEP, Circumstances, recover

        if self.dry_run or not self.changes:
            return
        how = Circumstances(epoch=0, visible=0, writer=True)
        found = recover(self.path, self.disk, False, how)
        found.states.advance(INDEX_STEP)
        header = SegmentHeader(
            self.store_id,
            self.lane,
            False,
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


def _start_snapshot(file: Path, disk: SystemDisk) -> bytes:
    from headrace.log.cold import ColdSegment
    from headrace.log.segment import RawSegment

    if file.suffix == COLD:
        return ColdSegment.open(file, disk).start_snapshot()
    header = decode_header(read_file(file, disk)[:HEADER_SIZE], file)
    return RawSegment(file, header, disk, end=None).start_snapshot()


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
    parts: list[bytes] = []
    while size:
        part = size if size <= GAP_SIZE_MAX else GAP_SIZE_MAX - 64
        frame = _frame(_frames.KIND_GAP, bytes(part - 64), salt, previous)
        previous = _crc_of(frame)
        parts.append(frame)
        size -= part
    return b"".join(parts)


def _with_gaps(frames: bytes, header: SegmentHeader, whole: bool) -> bytes:
    """The frames again, with GAP frames in place of what is not whole, and one unbroken chain."""
    parts: list[bytes] = []
    at, previous = 0, header.chain
    while at < len(frames):
        stop = _next_good(frames, at, header.salt, len(frames) if whole else None)
        if stop is None:
            break
        if stop > at:
            gap = _gaps(stop - at, header.salt, previous)
            parts.append(gap)
            previous = _last_crc(gap)
            at = stop
            continue
        fields = _frames.read_header(frames, at, header.salt)
        assert fields is not None
        size = 64 + -(-fields["body_size"] // 8) * 8
        # A group whose rest is gone ends with what is left of it.
        head = struct.pack("<I", previous) + frames[at + 8 : at + 39] + b"\1" + frames[at + 40 : at + 64]
        previous = _frames.crc32c(head, header.salt)
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


def _next_good(frames: bytes, at: int, salt: int, end: int | None) -> int | None:
    """The next place, from `at` on, where a whole frame stands and the room before it takes a GAP; `end` if
    there is none."""
    place: int | None = at
    while place is not None:
        fields = _frames.read_header(frames, place, salt)
        if fields is not None and (place == at or place - at >= 64):
            _, _, stop, _ = _frames.check_frames(frames[place:], 0, salt, fields["previous_crc"])
            if stop > 0:
                return place
        place = _frames.search_frame(frames, place + 8, salt)
    return end
