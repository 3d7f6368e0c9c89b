# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What a lane stood at where a segment begins whose SNAPSHOT is damaged, found in what is around it.

The segment before tells everything: its SNAPSHOT, moved on by its frames. Where there is none and the lane once had
one, the SNAPSHOT of the segment behind tells of the shards, and nothing tells what producers had sent and what
positions were kept. The segment's own frames then have the last word: none of them may begin before what the SNAPSHOT
says, or readers would look for its records in the segment before.

Cost: the segment before as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from headrace.core import _frames
from headrace.core._frame_table import FrameTable
from headrace.disk import Disk
from headrace.errors import Corrupt
from headrace.log.cold import ColdSegment
from headrace.log.count import INDEX_STEP
from headrace.log.given import start_snapshot
from headrace.log.recovery import Recovered, take_over
from headrace.log.segment import COLD, HEADER_SIZE, SegmentHeader, decode_header, decode_snapshot, name_of
from headrace.log.verify import read_file, segments_of


def frame_size(frames: memoryview, at: int, salt: int) -> int:
    """Bytes of the whole frame that stands at `at`; 0 where there is none."""
    fields = _frames.read_header(frames, at, salt)
    if fields is None:
        return 0
    size = 64 + -(-fields["body_size"] // 8) * 8
    _, _, stop, _ = _frames.check_frames(frames[at : at + size], 0, salt, fields["previous_crc"])
    return stop


def whole_frames(frames: memoryview, salt: int) -> Iterator[tuple[int, int]]:
    """(offset, bytes) of every frame that is whole, whatever stands between them."""
    at: int | None = 0
    while at is not None and at < len(frames):
        size = frame_size(frames, at, salt)
        if size:
            yield at, size
        at = at + size if size else _frames.search_frame(frames, at + 8, salt)


def has_snapshot(frames: memoryview, salt: int) -> bool:
    """Whether a segment's frames begin with a SNAPSHOT that can be read."""
    size = frame_size(frames, 0, salt)
    fields = _frames.read_header(frames, 0, salt)
    if not size or fields is None or fields["kind"] != _frames.KIND_SNAPSHOT:
        return False
    try:
        decode_snapshot(bytes(frames[64 : 64 + fields["body_size"]]))
    except ValueError:
        return False
    return True


def stood_after(frames: bytes, salt: int, epoch: int) -> Recovered:
    """What a lane stands at behind these whole frames, of which the first is a SNAPSHOT."""
    found = Recovered(epoch=epoch)
    events = _frames.load_frames(frames, 0, len(frames), salt, FrameTable(), None, 0)
    start, found.producers, found.positions = decode_snapshot(events[0][7])
    take_over(start, memoryview(frames), len(frames), salt, events, found)
    return found


def stood_at(
    directory: Path, header: SegmentHeader, table: FrameTable, following: Path | None, disk: Disk
) -> Recovered:
    """What a lane stood at where a segment begins. The segment before it must be sound.

    table: of its frames that are whole. following: the segment behind it, if there is one.
    """
    found = _stood_before(directory, header.base, disk)
    if found is None:
        found = Recovered(epoch=header.epoch)
        if header.base and following is not None:
            found.states = _states_of(following, disk).states
    if following is None and header.epoch > found.epoch:
        # What comes next is numbered from here: a shard without a frame of its own has moved ahead, too.
        found.states.advance(INDEX_STEP * (header.epoch - found.epoch))
    for shard, first_index, _, _, _, _ in reversed(table.rows()):
        _, arrival_ms, flags = found.states.get(shard)
        found.states.set(shard, first_index, arrival_ms, flags)
    return found


def _states_of(file: Path, disk: Disk) -> Recovered:
    """The shards' states as a segment's SNAPSHOT has them; none where it is damaged, too."""
    found = Recovered()
    try:
        found.states = decode_snapshot(start_snapshot(file, disk))[0]
    except (Corrupt, ValueError):
        pass
    return found


def _stood_before(directory: Path, base: int, disk: Disk) -> Recovered | None:
    """What the segment before `base` ends with; None where there is none."""
    earlier = [one for one in segments_of(directory, disk) if one[0] < base]
    if not earlier:
        return None
    start, kind = earlier[-1]
    file = directory / name_of(start, kind)
    if kind == COLD:
        cold = ColdSegment.open(file, disk)
        found = Recovered(epoch=cold.epoch)
        found.states, found.producers, found.positions = decode_snapshot(cold.end_snapshot())
        return found
    data = read_file(file, disk)
    header = decode_header(data, file)
    frames = memoryview(data)[HEADER_SIZE : HEADER_SIZE + base - start]
    parts = [frames[at : at + size] for at, size in whole_frames(frames, header.salt)]
    return stood_after(b"".join(parts), header.salt, header.epoch)
