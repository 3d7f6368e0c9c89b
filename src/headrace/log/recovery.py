# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Recovery: what a lane's files hold after the last writer ended, in whatever way.

The argument, by how the last writer ended:

* In order. The last segment ends with an END frame and everything is on the device. One that another
  segment follows ends where that one begins.
* Killed (same boot). Every write that returned is in the page cache, so the last segment holds each
  published byte; what follows may be one torn write. Frames are taken up to the last whole group.
* Power lost (another boot). What was synced is there. What was not may be missing in any order of sectors:
  the chain of header CRCs and the body CRCs end the lane at the first hole. Nothing beyond it is taken,
  even if it is whole, because records before it are missing. A segment of a `disk` lane is begun when all
  before it is on the device, and its header, SNAPSHOT, name and first group are promised only together: if
  any of them is missing, nothing of it had been promised, and the lane ends where the segment begins.

So the lane ends at the last whole group before the first bad place (the cut). Whether the bad place is a
torn tail or damage is decided by what stands beyond it: a valid header there whose `synced_offset` lies
beyond the bad place says that the bad place had been on the device; in a segment of this epoch (no power
was lost since it was made) any valid header says so, and so does a published offset beyond the cut. That
is damage: the lane is opened for reading only and names file and byte. Otherwise the tail is cut and the
cut reported. The segments of a `process` lane are not synced one by one, so after a loss of power each of
them is asked, and the first hole ends the lane.

After any start a new segment begins at the cut before anything is appended, so an old tail is never
appended to, and its remains are beyond the next base, where nothing reads. Each unclean start in another
boot begins a new epoch, which the catalogue counts durably and each segment carries. A lane that is found
as of an earlier epoch moves each shard's index ahead by 2**32 for each epoch since, and a shard of which
nothing is left starts at 2**32 times the epoch, because records that readers may have seen are gone and
their sequence numbers must not come back. What is accepted is synced before it is shown, for `disk`
lanes always and for `process` lanes in another boot, lest a second loss of power take it back. That a
segment is removed is synced too, before another one may be begun: a second loss of power must not bring a
file back into the place of what was written since.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from headrace.core import _frames
from headrace.core._frame_table import FrameTable
from headrace.core._states import ShardStates
from headrace.disk import Disk, read_all
from headrace.errors import Corrupt
from headrace.log.cold import ColdSegment
from headrace.log.manifest import Manifest, read_manifest
from headrace.log.segment import (
    COLD,
    COPY_AT,
    HEADER_SIZE,
    RAW,
    TEMPORARY,
    RawSegment,
    SegmentHeader,
    decode_header,
    decode_position,
    decode_snapshot,
    name_of,
)

INDEX_STEP = 1 << 32
_HEADER_BYTES = 80  # of a segment's header, in each of its copies
Segment = RawSegment | ColdSegment


@dataclass(slots=True)
class Circumstances:
    """How the last writer ended, as control file and catalogue tell."""

    epoch: int  # of the store now: a segment of an earlier one may have lost what was not synced
    visible: int  # of this lane; for a `process` lane 0 after the power was lost
    writer: bool = True  # whether files may be removed and synced
    sync: bool = False  # whether the last writer did not end in order


@dataclass(slots=True)
class Recovered:
    """What a lane's files hold."""

    segments: list[Segment] = field(default_factory=list)  # sealed, by base
    end: int = 0  # lane offset at which the next segment starts
    chain: int = 0  # header CRC of the last frame
    epoch: int = 0  # in which the states below stood so
    states: ShardStates = field(default_factory=ShardStates)
    producers: dict[int, int] = field(default_factory=dict)  # id and epoch -> last sequence
    positions: dict[bytes, bytes] = field(default_factory=dict)
    last_arrival_ms: int = 0
    manifest: Manifest | None = None
    cut_bytes: int = 0  # of a torn tail
    damage: Corrupt | None = None  # why nothing may be appended
    notes: list[str] = field(default_factory=list)


def recover(directory: Path, disk: Disk, durable: bool, how: Circumstances) -> Recovered:
    """Read a lane's directory. Raises Corrupt only where not even the files' heads can be read."""
    found = Recovered(manifest=read_manifest(disk, directory))
    floor = found.manifest.floor if found.manifest else 0
    bases = _bases(directory, disk, floor, how.writer)
    removed = False  # whether files of segments went that must not come back with what follows in their place
    if not durable:
        kept = _up_to_first_hole(directory, disk, bases, how, found)
        removed = how.writer and len(kept) < len(bases)
        bases = kept
    while bases:
        path = directory / name_of(*bases[-1])
        try:
            _recover_last(path, disk, durable, how, found)
            break
        except _Unborn as unborn:
            # The file was being created when the writer ended: nothing in it was ever acknowledged.
            found.notes.append(str(unborn))
            bases.pop()
            if how.writer:
                disk.unlink(path)
                removed = True
    if removed:
        disk.sync_directory(directory)
    _load_sealed(directory, disk, bases[:-1], floor, found)
    if not bases:
        found.end = max(found.end, floor)
    if not bases:
        found.states.start_at(INDEX_STEP * how.epoch)
    elif found.epoch < how.epoch:
        found.states.advance(INDEX_STEP * (how.epoch - found.epoch))
        found.states.start_at(INDEX_STEP * how.epoch)
    else:
        found.states.start_at(INDEX_STEP * how.epoch)
    return found


def _up_to_first_hole(
    directory: Path, disk: Disk, bases: list[tuple[int, str]], how: Circumstances, found: Recovered
) -> list[tuple[int, str]]:
    """After a loss of power: the segments of a `process` lane up to the first one that is not whole, which
    may be any, since they are not synced one by one. The ones behind it are removed and reported."""
    expected = found.manifest.floor if found.manifest else 0
    for number, (base, kind) in enumerate(bases):
        epoch, end = _epoch_and_end(directory / name_of(base, kind), disk, how)
        if epoch >= how.epoch:
            break  # made since: nothing of it, or of what follows, can be missing
        if base > expected:
            for later in bases[number:]:
                path = directory / name_of(*later)
                found.notes.append(
                    f"{path.name}: {disk.size(path)} bytes are cut, because the power took records before them"
                )
                if how.writer:
                    disk.unlink(path)
            return bases[:number]
        expected = end
    return bases


def _epoch_and_end(path: Path, disk: Disk, how: Circumstances) -> tuple[int, int]:
    """The epoch of a segment and where what is whole in it ends; −1 and its base if it has no header."""
    base = int(path.stem)
    if path.suffix == COLD:  # synced before it got its name
        cold = ColdSegment.open(path, disk)
        return -1, cold.end
    file = disk.open(path, os.O_RDONLY)
    try:
        header = decode_header(read_all(disk, file, HEADER_SIZE, 0, path), path)
        if header.base != base or header.epoch >= how.epoch:
            return header.epoch, base
        data = read_all(disk, file, disk.size(path), HEADER_SIZE, path)
        end, _, _, _ = _frames.check_frames(data, 0, header.salt, header.chain)
        if how.writer:
            disk.sync(file)
        return header.epoch, base + end
    except Corrupt:
        return -1, base
    finally:
        disk.close(file)


class _Unborn(Exception):
    """A last segment without a whole header and SNAPSHOT."""


def _bases(directory: Path, disk: Disk, floor: int, writer: bool) -> list[tuple[int, str]]:
    """(base, kind) of every segment at or above the floor, sorted; removes what a crash left over."""
    found: dict[int, str] = {}
    for name in disk.names(directory):
        stem, kind = name[:20], name[20:]
        if kind not in (RAW, COLD) or not stem.isdigit():
            if writer and name.endswith(TEMPORARY):
                disk.unlink(directory / name)
            continue
        base = int(stem)
        if base in found:  # the cold file was complete when it got its name: the raw one is a left-over
            if writer:
                disk.unlink(directory / name_of(base, RAW))
            found[base] = COLD
        else:
            found[base] = kind
    kept = sorted(found.items())
    while len(kept) > 1 and kept[1][0] <= floor:  # dropped on purpose, not yet unlinked
        base, kind = kept.pop(0)
        if writer:
            disk.unlink(directory / name_of(base, kind))
    return kept


def _load_sealed(
    directory: Path, disk: Disk, bases: list[tuple[int, str]], floor: int, found: Recovered
) -> None:
    """Open the segments before the last one and check that together they leave no hole."""
    end = found.segments[-1].base if found.segments else 0
    sealed: list[Segment] = []
    for base, kind in reversed(bases):
        path = directory / name_of(base, kind)
        segment: Segment
        if kind == COLD:
            segment = ColdSegment.open(path, disk)
            if segment.end != end:
                raise Corrupt(
                    f"{path} ends at lane offset {segment.end}, but the next segment starts at {end}"
                )
        else:
            file = disk.open(path, os.O_RDONLY)
            try:
                header = decode_header(read_all(disk, file, HEADER_SIZE, 0, path), path)
            finally:
                disk.close(file)
            if header.base != base:
                raise Corrupt(f"{path} says that it starts at lane offset {header.base}")
            segment = RawSegment(path, header, disk, end=end)
        end = base
        sealed.append(segment)
    found.segments[:0] = reversed(sealed)
    if found.segments and found.segments[0].base > floor:
        found.damage = found.damage or Corrupt(
            f"{directory}: the segment at lane offset {floor} is missing; the first one starts at {found.segments[0].base}",
            hint="headrace repair leaves a visible gap there",
        )


def _recover_last(path: Path, disk: Disk, durable: bool, how: Circumstances, found: Recovered) -> None:
    """Scan the last segment and take over what is whole."""
    if path.suffix == COLD:
        cold = ColdSegment.open(path, disk)
        found.segments.append(cold)
        found.end, found.chain = cold.end, cold.last_crc
        found.states, found.producers, found.positions = decode_snapshot(cold.end_snapshot())
        found.last_arrival_ms = cold.last_arrival_ms
        found.epoch = cold.epoch
        return
    file = disk.open(path, os.O_RDWR if how.writer else os.O_RDONLY)
    keep = False
    try:
        data = read_all(disk, file, disk.size(path), 0, path)
        segment = _scan(path, data, disk, how, found)
        if how.writer and (how.sync or found.epoch < how.epoch) and (durable or found.epoch < how.epoch):
            disk.sync(file)
            disk.sync_directory(path.parent)
        keep = not how.writer
        if keep:
            segment.keep_file(file)
    finally:
        if not keep:
            disk.close(file)


def _scan(path: Path, data: bytes, disk: Disk, how: Circumstances, found: Recovered) -> RawSegment:
    base = int(path.stem)
    try:
        header = decode_header(data, path)
    except Corrupt as problem:
        # Torn at birth, or damaged later? A file that never got its whole header ends in it, or is blank where
        # one copy of it belongs: both are written, and synced, before anything in the file is promised.
        copies = (data[at : at + _HEADER_BYTES] for at in (0, COPY_AT))
        if how.visible > base or (len(data) >= HEADER_SIZE and all(copy.strip(b"\0") for copy in copies)):
            raise
        raise _Unborn(f"{path.name}: {problem.message}; it was being created and holds nothing") from None
    if header.base != base:
        if how.visible > base:
            raise Corrupt(f"{path} says that it starts at lane offset {header.base}")
        raise _Unborn(f"{path.name}: it was being made of the file of an earlier segment and holds nothing")
    trusted = header.epoch >= how.epoch
    frames = memoryview(data)[HEADER_SIZE:]
    end, chain, stop, state = _frames.check_frames(frames, 0, header.salt, header.chain)
    table = FrameTable()
    events = _frames.load_frames(frames, 0, end, header.salt, table, found.states, 0) if end else []
    if not events or events[0][0] != _frames.KIND_SNAPSHOT:
        if how.visible > base or _follows(frames, base, header.salt, stop, trusted) is not None:
            raise Corrupt(f"{path}: {_frames.STATE_NAMES[state]} in the SNAPSHOT at byte {HEADER_SIZE}")
        raise _Unborn(f"{path.name}: its SNAPSHOT is not whole; it was being created and holds nothing")
    start_states, found.producers, found.positions = decode_snapshot(events[0][7])
    take_over(start_states, frames, end, header.salt, events, found)
    found.end, found.chain, found.epoch = header.base + end, chain, header.epoch
    found.last_arrival_ms = max(
        [header.arrival_before_ms, *(found.states.get(s)[1] for s in found.states.shards())]
    )
    found.damage = _judge(path, frames, header, end, stop, state, how)
    if end < len(frames):
        rest = len(bytes(frames[end:]).rstrip(b"\0"))
        # In a file that was used before, what follows the end is an earlier segment's and no torn tail.
        torn = stop > end or _frames.read_header(frames, stop, header.salt) is not None
        if rest and found.damage is None and (torn or not header.disk):
            found.cut_bytes = rest
            found.notes.append(
                f"{path.name}: {rest} bytes after lane offset {found.end} were not whole and are cut"
            )
    segment = RawSegment(path, header, disk, end=header.base + end, table=table, start_states=start_states)
    found.segments.append(segment)
    return segment


def take_over(
    start: ShardStates,
    frames: memoryview,
    end: int,
    salt: int,
    events: list[tuple[int, int, int, int, int, int, int, bytes]],
    found: Recovered,
) -> None:
    """States, producers and positions as of the end of the accepted frames."""
    found.states = start.copy()
    _frames.load_frames(frames, 0, end, salt, FrameTable(), found.states, 0)
    for kind, shard, first_index, arrival_ms, producer, sequence, _, body in events[1:]:
        if producer:
            found.producers[producer] = sequence
        if kind == _frames.KIND_POSITION:
            owner, payload = decode_position(body)
            found.positions[owner] = payload
        elif kind in (_frames.KIND_CLOSE, _frames.KIND_OPEN):
            next_index, arrival, flags = found.states.get(shard)
            closed = flags | _frames.SHARD_CLOSED if kind == _frames.KIND_CLOSE else flags
            # The frame says where the shard stood: one without a record may stand far ahead of 0.
            found.states.set(shard, max(next_index, first_index), max(arrival, arrival_ms), closed)


def _follows(frames: memoryview, base: int, salt: int, bad: int, trusted: bool) -> int | None:
    """Where a valid header after a bad place says that the bad place had been whole: any one where nothing
    can have been lost with the power, else one that was framed when the bad place had been synced."""
    at: int | None = _frames.search_frame(frames, bad + 8, salt)
    while at is not None:
        header = _frames.read_header(frames, at, salt)
        if header is not None and (trusted or header["synced_offset"] > base + bad):
            return at
        at = _frames.search_frame(frames, at + 8, salt)
    return None


def _judge(
    path: Path, frames: memoryview, header: SegmentHeader, end: int, stop: int, state: int, how: Circumstances
) -> Corrupt | None:
    """Whether what ended the walk at `stop` is damage, or a tail that was never whole."""
    where = (
        f"{path}: {_frames.STATE_NAMES[state] if state else 'the frames end'} at byte {HEADER_SIZE + stop}"
    )
    if header.base + end < how.visible:
        return Corrupt(
            f"{where}, although records up to lane offset {how.visible} had been published",
            hint="headrace repair leaves a visible gap there",
        )
    if state == 0:
        return None
    at = _follows(frames, header.base, header.salt, stop, header.epoch >= how.epoch)
    if at is None:
        return None
    return Corrupt(
        f"{where}, and a whole frame follows at byte {HEADER_SIZE + at}",
        hint="headrace repair leaves a visible gap there",
    )
