# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Which running indexes a damaged lane ever gave, as far as its files tell: none of them may come back.

What the files keep tells it, in this order of worth: the SNAPSHOT of a segment, which knows of everything before
it; the END of the last one, or the footer where it is cold; the headers of its frames, also of those whose bodies or
neighbours are damaged. A shard whose only frames are among the damaged ones is in none of these. Whether there may
be one is told, too: then only a new epoch of the store keeps its indexes from coming back.

Cost: one SNAPSHOT, and the last file as a whole.
"""

from __future__ import annotations

from pathlib import Path

from headrace.core import _frames
from headrace.core._frame_table import FrameTable
from headrace.core._states import ShardStates
from headrace.disk import Disk
from headrace.errors import Corrupt
from headrace.log.cold import ColdSegment
from headrace.log.segment import COLD, HEADER_SIZE, RawSegment, decode_header, decode_snapshot, name_of
from headrace.log.verify import read_file


def indexes_given(
    directory: Path, bases: list[tuple[int, str]], visible: int, disk: Disk
) -> tuple[dict[int, int], bool]:
    """(shard -> the index after the highest that was given, whether these are all shards).

    bases: of the lane's segments. visible: lane offset up to which records had been published.
    """
    given: dict[int, int] = {}
    everything = True
    for base, kind in reversed(bases):
        file = directory / name_of(base, kind)
        try:
            whole = (
                _note_cold(file, visible, disk, given)
                if kind == COLD
                else _note_raw(file, visible, disk, given)
            )
            everything = everything and whole
            _note(decode_snapshot(start_snapshot(file, disk))[0], given)
        except (Corrupt, ValueError):
            everything = False
        else:
            return given, everything
    return given, not bases


def start_snapshot(file: Path, disk: Disk) -> bytes:
    """The body of a segment's SNAPSHOT; Corrupt where it is damaged."""
    if file.suffix == COLD:
        return ColdSegment.open(file, disk).start_snapshot()
    header = decode_header(read_file(file, disk)[:HEADER_SIZE], file)
    return RawSegment(file, header, disk, end=None).start_snapshot()


def _note(states: ShardStates, given: dict[int, int]) -> None:
    for shard in states.shards():
        given[shard] = max(states.get(shard)[0], given.get(shard, 0))


def _note_cold(file: Path, visible: int, disk: Disk, given: dict[int, int]) -> bool:
    cold = ColdSegment.open(file, disk)
    _note(decode_snapshot(cold.end_snapshot())[0], given)
    return int(cold.end) >= visible


def _note_raw(file: Path, visible: int, disk: Disk, given: dict[int, int]) -> bool:
    """Note what the frames say, all that can be found; whether none can be missing."""
    data = read_file(file, disk)
    header = decode_header(data, file)
    frames = memoryview(data)[HEADER_SIZE:]
    states, at = ShardStates(), 0
    known = 0  # up to where an END knows of everything; what was published behind it is gone
    unbroken = 0  # up to where nothing is missing
    while True:
        stop, end = _note_run(frames, at, header.salt, states)
        known = max(known, end)
        if not at:
            unbroken = stop
        following = _frames.search_frame(frames, max(stop, at + 8), header.salt)
        if following is None:
            break
        at = following
    _note(states, given)
    reach = known if at else unbroken
    return reach > 0 and header.base + reach >= visible


def _note_run(frames: memoryview, at: int, salt: int, states: ShardStates) -> tuple[int, int]:
    """Note the frames from a valid header on as far as one follows another; (where they stop, where the END among
    them ends, which knows of everything, or 0)."""
    fields = _frames.read_header(frames, at, salt)
    if fields is None:
        return at, 0
    _, _, size, _ = _frames.check_frames(frames[at:], 0, salt, fields["previous_crc"], False)
    if not size:  # its body reaches beyond the file
        if fields["kind"] == _frames.KIND_RECORDS:
            states.set(fields["shard"], fields["first_index"] + fields["count"], 0, 0)
        return at, 0
    known = 0
    for event in _frames.load_frames(frames[at:], 0, size, salt, FrameTable(), states, at):
        if event[0] != _frames.KIND_END:
            continue
        _, _, stop, _ = _frames.check_frames(frames[event[6] :], 0, salt, _previous(frames, event[6], salt))
        if stop:
            last = decode_snapshot(event[7])[0]
            for shard in last.shards():
                states.set(shard, *last.get(shard))
            known = event[6] + stop
    return at + size, known


def _previous(frames: memoryview, at: int, salt: int) -> int:
    fields = _frames.read_header(frames, at, salt)
    assert fields is not None
    return fields["previous_crc"]
