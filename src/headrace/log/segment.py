# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A lane's segment files: their header, their names, and reading one shard out of a raw one.

A raw segment is named by its base offset, twenty decimal digits and `.raw`. Header, 4,096 bytes,
little-endian, written twice (at 0 and at 2,048) so that one bad sector does not cost the segment:

      at  bytes  field
       0    8    magic "HRSEG001"
       8    4    version, 1
      12    4    feature bits, 0; an unknown bit makes the file unreadable by this version
      16   16    store id
      32    4    lane id
      36    4    durability: 0 process, 1 disk
      40    8    base offset: lane offset of the first frame
      48    4    header CRC of the last frame of the segment before; 0 for the first, and after a failed write
      52    4    salt: seed of every header CRC in this use of the file, random
      56    8    created, ms since 1970; 0 in one that a repair made, where records may be missing in it or before it
      64    8    latest arrival in the segments before, ms; lets retention judge them without reading
      72    4    epoch: how often the store had lost power unclean before this segment was made
      76    4    CRC-32C of bytes 0 to 75

Frames (native/frame.h) follow from byte 4,096; the frame at file position p has lane offset
base + p − 4096. What stands behind the last frame is zeroes or, in a file of a `disk` lane that was used
before, an earlier segment, whose frames fail under this salt. The first group is a SNAPSHOT: the state of
each shard, the producers and the positions as of the base, so that recovery and look-ups need no earlier
segment. The header CRC of the first frame is chained to bytes 76–79. A sealed segment ends where the next one
begins, whose bytes 48 to 51 join it; one that nothing followed when it was sealed ends with an END frame.

Body of a SNAPSHOT: the shards' states (core._frames.ShardStates), then u32 producers and for each u64 id
and epoch as in the frame header and u64 last sequence, then u32 positions and for each u16 length and
owner, u32 length and payload. Body of a POSITION: u16 length and owner, then the payload.

Valid: both magic and CRC of either copy hold, the base equals the name, store and lane are ours.
"""

from __future__ import annotations

import os
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

from headrace.core import _frames
from headrace.core._frame_source import FrameSource
from headrace.core._frame_table import FrameTable
from headrace.core._states import ShardStates
from headrace.disk import Disk, read_all
from headrace.errors import Corrupt

MAGIC = b"HRSEG001"
VERSION = 1
HEADER_SIZE = _frames.SEGMENT_HEADER_SIZE
COPY_AT = 2048
RAW, COLD, TEMPORARY = ".raw", ".cold", ".tmp"

_HEADER = struct.Struct("<8sII16sIIQIIqqI")
_CRC_AT = _HEADER.size
assert _CRC_AT == 76


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """The fields of a segment's header; see the table above."""

    store_id: bytes
    lane: int
    disk: bool
    base: int
    previous_crc: int
    salt: int
    created_ms: int
    arrival_before_ms: int
    epoch: int = 0

    def encode(self) -> bytes:
        """The 4,096 bytes."""
        head = _HEADER.pack(
            MAGIC, VERSION, 0, self.store_id, self.lane, int(self.disk), self.base, self.previous_crc, self.salt,
            self.created_ms, self.arrival_before_ms, self.epoch,
        )  # fmt: skip
        head += struct.pack("<I", _frames.crc32c(head))
        half = head.ljust(COPY_AT, b"\0")
        return half + half

    @property
    def chain(self) -> int:
        """What the first frame's previous_crc must be."""
        return int.from_bytes(self.encode()[_CRC_AT : _CRC_AT + 4], "little")


def decode_header(data: bytes, path: Path) -> SegmentHeader:
    """Read a header from a segment's first 4,096 bytes; Corrupt names the file and what is wrong."""
    problem = f"{len(data)} bytes, shorter than its header"
    for at in (0, COPY_AT):
        part = data[at : at + _CRC_AT + 4]
        if len(part) < _CRC_AT + 4:
            continue
        magic, version, features, store, lane, disk, base, previous, salt, created, before, epoch = (
            _HEADER.unpack(part[:_CRC_AT])
        )
        if magic != MAGIC:
            problem = f"magic {magic!r}, expected {MAGIC!r}"
        elif _frames.crc32c(part[:_CRC_AT]) != int.from_bytes(part[_CRC_AT:], "little"):
            problem = "a header checksum that does not match"
        elif version != VERSION or features:
            raise Corrupt(
                f"{path} has version {version} and feature bits {features:#x}; this headrace reads version {VERSION}"
            )
        else:
            return SegmentHeader(store, lane, bool(disk), base, previous, salt, created, before, epoch)
    raise Corrupt(f"{path} has {problem}", hint="headrace verify shows what can be read")


def pin_named(disk: Disk, file: int, path: Path) -> None:
    """Keep an open file of a `disk` lane from being recycled; FileNotFoundError if that came too late."""
    disk.pin(file)
    if path.name not in disk.names(path.parent):
        raise FileNotFoundError(path)


def name_of(base: int, kind: str = RAW) -> str:
    """A segment's file name."""
    return f"{base:020d}{kind}"


def encode_snapshot(states: ShardStates, producers: dict[int, int], positions: dict[bytes, bytes]) -> bytes:
    """The body of a SNAPSHOT."""
    parts = [states.dump(), struct.pack("<I", len(producers))]
    parts += [struct.pack("<QQ", producer, sequence) for producer, sequence in producers.items()]
    parts.append(struct.pack("<I", len(positions)))
    for owner, payload in positions.items():
        parts += [struct.pack("<H", len(owner)), owner, struct.pack("<I", len(payload)), payload]
    return b"".join(parts)


def decode_snapshot(body: bytes) -> tuple[ShardStates, dict[int, int], dict[bytes, bytes]]:
    """States, producers and positions from the body of a SNAPSHOT; ValueError if it is malformed."""
    states = ShardStates()
    at = states.load(body)
    try:
        (count,) = struct.unpack_from("<I", body, at)
        at += 4
        producers = {}
        for _ in range(count):
            producer, sequence = struct.unpack_from("<QQ", body, at)
            producers[producer] = sequence
            at += 16
        (count,) = struct.unpack_from("<I", body, at)
        at += 4
        positions = {}
        for _ in range(count):
            (size,) = struct.unpack_from("<H", body, at)
            owner = body[at + 2 : at + 2 + size]
            at += 2 + size
            (size,) = struct.unpack_from("<I", body, at)
            positions[owner] = body[at + 4 : at + 4 + size]
            at += 4 + size
    except struct.error as problem:
        raise ValueError(f"the snapshot is cut short: {problem}") from None
    if at > len(body):
        raise ValueError(f"the snapshot is cut short: {at - len(body)} bytes are missing")
    if at != len(body):
        raise ValueError(f"the snapshot has {len(body) - at} bytes too many")
    return states, producers, positions


def encode_position(owner: bytes, payload: bytes) -> bytes:
    """The body of a POSITION frame."""
    return struct.pack("<H", len(owner)) + owner + payload


def decode_position(body: bytes) -> tuple[bytes, bytes]:
    """(owner, payload) of a POSITION frame."""
    (size,) = struct.unpack_from("<H", body)
    return body[2 : 2 + size], body[2 + size :]


class RawSegment:
    """A raw segment as readers use it, sealed or still growing.

    `end` is the lane offset at which its frames end (None while it grows: the reader passes how far it
    may read). The table of frames is made when first needed, by one pass over the file's headers.
    """

    kind = RAW

    def __init__(
        self, path: Path, header: SegmentHeader, disk: Disk, *, end: int | None, file: int | None = None,
        table: FrameTable | None = None, start_states: ShardStates | None = None,
    ) -> None:  # fmt: skip
        self.path = path
        self.header = header
        self.base = header.base
        self.salt = header.salt
        self.end = end
        self.arrival_before_ms = header.arrival_before_ms
        self._disk = disk
        self._file = file
        self._table = table
        self._scanned = 0 if table is None else None  # segment offset up to which the table is made
        self._start_states = start_states
        self._scanning = threading.Lock()
        self.synced = False  # whether all of a sealed segment is known to be on the device

    @property
    def size(self) -> int:
        """Bytes of the file that carry something."""
        return HEADER_SIZE + (self.end - self.base if self.end is not None else 0)

    @property
    def file(self) -> int:
        """A descriptor for reading; stays open, and keeps the file from being recycled, as long as
        this object lives."""
        if self._file is None:
            file = self._disk.open(self.path, os.O_RDONLY)
            if self.header.disk:
                try:
                    pin_named(self._disk, file, self.path)
                except OSError:
                    self._disk.close(file)
                    raise
            self._file = file
        return self._file

    def keep_file(self, file: int) -> None:
        """Use an open descriptor from now on."""
        self._file = file

    def start_states(self) -> ShardStates:
        """The shards' states as of the base, from the SNAPSHOT."""
        if self._start_states is None:
            self._start_states = decode_snapshot(self.start_snapshot())[0]
        return self._start_states

    def events(self, visible: int) -> list[tuple[int, int, int, int, int, int, int, bytes]]:
        """What `load_frames` tells of the frames before lane offset `visible` that carry no records; reads the
        whole segment."""
        end = self._reach(visible)
        data = read_all(self._disk, self.file, end, HEADER_SIZE, self.path)
        whole, _, stop, state = _frames.check_frames(data, 0, self.salt, self.header.chain, False)
        if whole < end:
            raise self._broken(stop, state)
        return _frames.load_frames(data, 0, whole, self.salt, FrameTable(), None, 0) if whole else []

    def positions(self, visible: int) -> dict[bytes, bytes]:
        """The latest POSITION of each owner before lane offset `visible`; reads the whole segment."""
        _, _, positions = decode_snapshot(self.start_snapshot())
        for event in self.events(visible):
            if event[0] == _frames.KIND_POSITION:
                owner, payload = decode_position(event[7])
                positions[owner] = payload
        return positions

    def start_snapshot(self) -> bytes:
        """The body of the SNAPSHOT as of the base."""
        head = read_all(self._disk, self.file, 64, HEADER_SIZE, self.path)
        fields = _frames.read_header(head, 0, self.salt)
        if fields is None or fields["kind"] != _frames.KIND_SNAPSHOT:
            raise Corrupt(f"{self.path} does not begin with a SNAPSHOT frame")
        frame = read_all(self._disk, self.file, 64 + fields["body_size"], HEADER_SIZE, self.path)
        _, _, stop, state = _frames.check_frames(
            frame.ljust(-(-len(frame) // 8) * 8, b"\0"), 0, self.salt, fields["previous_crc"]
        )
        if state or stop < len(frame):
            raise Corrupt(f"{self.path}: {_frames.STATE_NAMES[state]} in the SNAPSHOT frame")
        return frame[64:]

    def table(self, visible: int) -> FrameTable:
        """The table of frames, complete at least up to lane offset `visible`."""
        table = self._table
        if table is not None and self._scanned is None:
            return table
        with self._scanning:
            if self._table is None:
                self._table = FrameTable()
            limit = (visible if self.end is None else self.end) - self.base
            if self._scanned is not None and self._scanned < limit:
                self._scan(limit)
            return self._table

    def _reach(self, visible: int) -> int:
        """Segment offset up to which may be read; the segment may begin behind what is visible."""
        return max((visible if self.end is None else min(visible, self.end)) - self.base, 0)

    def _scan(self, limit: int) -> None:
        """Pass over the headers of frames not seen yet. Checked and chained, bodies when they are read."""
        assert self._table is not None and self._scanned is not None
        start = self._scanned
        data = read_all(self._disk, self.file, limit - start, HEADER_SIZE + start, self.path)
        first = _frames.read_header(data, 0, self.salt)
        previous = first["previous_crc"] if first else 0
        end, _, stop, state = _frames.check_frames(data, 0, self.salt, previous, False)
        if end < limit - start:
            raise self._broken(start + stop, state)
        _frames.load_frames(data, 0, end, self.salt, self._table, None, start)
        self._scanned = limit

    def _broken(self, offset: int, state: int) -> Corrupt:
        """What ended a walk over the frames too early, at this segment offset."""
        what = _frames.STATE_NAMES[state] if state else "the frames end"
        return Corrupt(
            f"{self.path}: {what} at byte {HEADER_SIZE + offset}",
            hint="headrace verify shows what can be read",
        )

    def frames(
        self, shard: int, index: int, max_records: int, max_bytes: int, visible: int,
        tail: _frames.Tail | None = None,
    ) -> FrameSource | None:  # fmt: skip
        """Where the shard's records from `index` on are read from, or None where none are visible here."""
        source = FrameSource(shard, index, max_records, max_bytes, self.salt, self)
        return source.in_segment(
            self.table(visible), self._reach(visible), self.file, tail, self.base, self.header.disk
        )

    def damaged(self, problem: ValueError) -> Corrupt:
        """The error of a reader that found a bad frame."""
        return Corrupt(f"{self.path}: {problem}", hint="headrace verify shows what can be read")

    def bounds(self, shard: int, visible: int) -> tuple[int, int, int] | None:
        """(first index, next index, last arrival ms) of the shard's records here, or None."""
        return self.table(visible).bounds(shard, self._reach(visible))

    @property
    def unbroken(self) -> bool:
        """Whether each shard's running indexes follow one another in the segment and, but for a step, into it."""
        return self.header.created_ms != 0

    def rows(self, visible: int) -> list[tuple[int, int, int, int, int, int]]:
        """(shard, first index, count, arrival ms, offset, stride) of each frame of records, in file order."""
        reach = self._reach(visible)
        return [row for row in self.table(visible).rows() if row[4] + row[5] <= reach]

    def index_at_time(self, shard: int, arrival_ms: int, visible: int) -> int | None:
        """First index here with that arrival or later."""
        return self.table(visible).index_at_time(shard, arrival_ms, self._reach(visible))

    def __del__(self) -> None:
        # Not before: a reader in another thread may still hold this object, and its descriptor's number
        # must not come to mean another file.
        if getattr(self, "_file", None) is not None:
            self._disk.close(self._file)  # type: ignore[arg-type]

    def rest(self) -> None:
        """Give the table of frames back; it is made again when needed. For sealed segments."""
        if self.end is not None:
            with self._scanning:
                self._table = None
                self._scanned = 0
