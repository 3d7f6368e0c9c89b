# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The offline checker: reads every byte that a store keeps and says what is wrong, by file and byte.

It changes nothing. It takes the store's lock while it runs, so that nobody writes meanwhile. What it calls
damage is what recovery calls damage (log/recovery.py); a tail that was never whole is a note. A file that the system
does not read is damage, too. What a repair left out is none any more: it is listed as a gap (log/gaps.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headrace.core import _frames
from headrace.core._frame_table import FrameTable
from headrace.disk import Disk, SystemDisk, read_all
from headrace.errors import Corrupt, NotFound, StorageError
from headrace.log.catalogue import Catalogue
from headrace.log.cold import ColdSegment
from headrace.log.control import ControlFile
from headrace.log.gaps import Gap, LaneGaps
from headrace.log.log import epoch_of, has_content, release_lock, stray_lanes, take_lock
from headrace.log.manifest import read_manifest
from headrace.log.recovery import Circumstances, recover
from headrace.log.segment import COLD, HEADER_SIZE, RAW, RawSegment, decode_header, decode_snapshot, name_of


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `byte` is a position in the file, or −1 where there is none."""

    path: Path
    byte: int
    message: str


@dataclass(slots=True)
class Report:
    """What a check found. The store is sound where `findings` is empty.

    Attributes:
        gaps, gap_count: of the lanes in which nothing is damaged: the first of each, and how many there are.
    """

    files: int = 0
    bytes: int = 0
    records: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    gap_count: int = 0
    epoch: int = 0  # of the store, as the catalogue has it

    def damage(self, path: Path, byte: int, message: str) -> None:
        self.findings.append(Finding(path, byte, message))


def store_size(directory: Path) -> int:
    """Bytes that a check will read."""
    return sum(path.stat().st_size for path in (directory / "lanes").glob("*/*") if path.is_file())


def verify(directory: Path, *, advance: Callable[[int], None] = lambda _bytes: None) -> Report:
    """Check a store. `advance` is called with the bytes read since its last call.

    Raises NotFound where there is no store and LockedByOther while somebody writes it.
    """
    if not (directory / "control").exists():
        raise NotFound(f"{directory} is not a headrace store")
    lock = take_lock(directory)
    report = Report()
    try:
        lanes = check_catalogue(directory / "catalogue.sqlite", report)
        control = open_control(directory / "control", report)
        try:
            for lane_id, durability in sorted(lanes.items()):
                check_lane(directory, lane_id, durability == "disk", control, report, advance)
            strays = stray_lanes(directory, SystemDisk(), lanes.keys())
            for path in sorted((directory / "lanes").iterdir()):
                if path.name.isdigit() and int(path.name) not in lanes:
                    size = strays.get(int(path.name), 0)
                    report.notes.append(f"{path} belongs to no lane of the catalogue; {size} bytes in it")
        finally:
            if control is not None:
                control.close()
    finally:
        release_lock(lock)
    return report


def open_control(path: Path, report: Report) -> ControlFile | None:
    """The control file; damage in it costs no data and is said."""
    try:
        return ControlFile(path, writer=False)
    except Corrupt as problem:
        report.damage(path, 0, problem.message)
        return None


def check_catalogue(path: Path, report: Report) -> dict[int, str]:
    """SQLite's own check and each row's checksum; returns each lane's promise."""
    if not has_content(path):
        report.damage(
            path, -1, "the catalogue is missing or empty: what the lanes' files belong to stands only there"
        )
        return {}
    try:
        catalogue = Catalogue(path, writer=False, check=False)
    except (Corrupt, StorageError) as problem:
        report.damage(path, -1, problem.message)
        return {}
    try:
        for finding in catalogue.check():
            report.damage(path, -1, finding)
        facts = catalogue.get("log", "store")
        report.epoch = epoch_of(facts) if facts is not None else 0
        return catalogue.lanes()
    except (Corrupt, StorageError) as problem:
        if not any(finding.path == path for finding in report.findings):
            report.damage(path, -1, problem.message)
        return {}
    finally:
        catalogue.close()


def check_lane(
    directory: Path,
    lane_id: int,
    durable: bool,
    control: ControlFile | None,
    report: Report,
    advance: Callable[[int], None],
) -> None:
    """One lane: its manifest, each file, how they join, and what recovery would say of the last one."""
    path = directory / "lanes" / f"{lane_id:08d}"
    disk = SystemDisk()
    if not path.exists():
        return
    try:
        manifest = read_manifest(disk, path)
    except Corrupt as problem:
        report.damage(path / "manifest", 0, problem.message)
        manifest = None
    bases = segments_of(path, disk)
    ends = [*(base for base, _ in bases[1:]), None][: len(bases)]
    if bases and manifest is not None and bases[0][0] > manifest.floor:
        report.damage(
            path, -1, f"the files before lane offset {bases[0][0]} are missing, from {manifest.floor} on"
        )
    gaps = LaneGaps(lane_id)
    for (base, kind), end in zip(bases, ends, strict=True):
        file = path / name_of(base, kind)
        report.files += 1
        report.bytes += disk.size(file)
        try:
            if kind == COLD:
                check_cold(file, end, disk, report, gaps)
            elif end is not None:
                check_sealed(file, end, disk, report, gaps)
        except OSError as problem:
            report.damage(file, -1, f"cannot be read: {problem.strerror or problem}")
        advance(disk.size(file))
    check_end(path, bases, durable, gaps, control, report)
    if not any(path in (finding.path, finding.path.parent) for finding in report.findings):
        report.gaps += gaps.found
        report.gap_count += gaps.count


def segments_of(path: Path, disk: Disk) -> list[tuple[int, str]]:
    """(base, kind) of the segments; a cold file stands for the raw one beside it."""
    found: dict[int, str] = {}
    for name in disk.names(path):
        if name[:20].isdigit() and name[20:] in (RAW, COLD) and found.get(int(name[:20])) != COLD:
            found[int(name[:20])] = name[20:]
    return sorted(found.items())


def read_file(file: Path, disk: Disk) -> bytes:
    """A whole file."""
    handle = disk.open(file, os.O_RDONLY)
    try:
        return read_all(disk, handle, disk.size(file), 0, file)
    finally:
        disk.close(handle)


def take_rows(rows: list[tuple[int, int, int, int, int, int]], gaps: LaneGaps) -> int:
    """Frames of a raw segment, as its table has them; returns how many records they hold."""
    shards, firsts, counts = np.array([row[:3] for row in rows], np.int64).reshape(-1, 3).T
    gaps.take(shards, firsts, counts)
    return int(counts.sum())


def check_sealed(file: Path, end: int, disk: Disk, report: Report, gaps: LaneGaps) -> None:
    """A raw segment that another one follows: whole from its header to the next base."""
    data = read_file(file, disk)
    try:
        header = decode_header(data, file)
    except Corrupt as problem:
        report.damage(file, 0, problem.message)
        return
    frames = memoryview(data)[HEADER_SIZE : HEADER_SIZE + end - header.base]
    good, _, stop, state = _frames.check_frames(frames, 0, header.salt, header.chain)
    if good < end - header.base:
        what = _frames.STATE_NAMES[state] if state else "the file ends too early"
        report.damage(file, HEADER_SIZE + stop, what)
    if good:  # else the SNAPSHOT is what is damaged: what it says is not to be believed
        check_snapshot(file, frames, header.salt, report, gaps)
        table = FrameTable()
        _frames.load_frames(frames, 0, good, header.salt, table, None, 0)
        report.records += take_rows(table.rows(), gaps)


def check_snapshot(file: Path, frames: memoryview, salt: int, report: Report, gaps: LaneGaps) -> None:
    """The first frame must be a SNAPSHOT that can be read."""
    first = _frames.read_header(frames, 0, salt)
    if first is None or first["kind"] != _frames.KIND_SNAPSHOT:
        report.damage(file, HEADER_SIZE, "the segment does not begin with a SNAPSHOT")
        return
    try:
        gaps.begin(decode_snapshot(bytes(frames[64 : 64 + first["body_size"]]))[0])
    except ValueError as problem:
        report.damage(file, HEADER_SIZE, str(problem))


def check_cold(file: Path, end: int | None, disk: Disk, report: Report, gaps: LaneGaps) -> None:
    """A cold file: header, footer, every block and every frame in them."""
    try:
        cold = ColdSegment.open(file, disk)
    except Corrupt as problem:
        report.damage(file, 0, problem.message)
        return
    if end is not None and cold.end != end:
        report.damage(file, -1, f"it ends at lane offset {cold.end}, the next segment starts at {end}")
    messages = list(cold.check())
    for message in messages:
        report.damage(file, -1, message)
    if not messages:
        gaps.begin(cold.start_states())
        gaps.take(*cold.rows())
    report.records += cold.records


def check_end(
    path: Path,
    bases: list[tuple[int, str]],
    durable: bool,
    gaps: LaneGaps,
    control: ControlFile | None,
    report: Report,
) -> None:
    """The last segment, as recovery would judge it."""
    if not bases:
        return
    last = path / name_of(*bases[-1])
    power_lost = control is None or not (control.clean or control.same_boot)
    how = Circumstances(
        epoch=report.epoch + power_lost,
        visible=0 if control is None or (power_lost and not durable) else control.visible(gaps.lane),
        writer=False,
    )
    try:
        found = recover(path, SystemDisk(), durable, how)
    except (Corrupt, OSError, ValueError) as problem:
        if not any(finding.path.parent == path for finding in report.findings):
            report.damage(last, -1, str(problem))
        return
    report.notes += [f"{path}: {note}" for note in found.notes]
    if found.damage is not None and not any(finding.path == path for finding in report.findings):
        report.damage(last, -1, found.damage.message)
    for segment in found.segments[-1:]:
        if isinstance(segment, RawSegment):
            gaps.begin(segment.start_states())
            report.records += take_rows(segment.table(segment.end or 0).rows(), gaps)
