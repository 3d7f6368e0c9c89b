# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Recovery over files as each kind of end may leave them: cut at every byte, torn, with holes, with left-overs.

Method: a lane of one raw segment whose groups are known is copied, harmed, and recovered as of the same boot
(nothing can be missing) and as of another one (what was not synced can).
"""

from __future__ import annotations

import os
import shutil

import pytest
from log_support import entries_of, put, read_shard, router_of

from headrace import limits
from headrace.core import _frames
from headrace.disk import SystemDisk
from headrace.errors import Corrupt
from headrace.log import Log
from headrace.log.manifest import Manifest, write_manifest
from headrace.log.recovery import INDEX_STEP, Circumstances, recover
from headrace.log.segment import HEADER_SIZE, decode_header

ROUTER = router_of(2)
DISK = SystemDisk()
SAME, LATER = Circumstances(epoch=0, visible=0), Circumstances(epoch=1, visible=0)


@pytest.fixture(scope="module")
def lane(tmp_path_factory):
    """(directory, offsets at which groups end) of a `process` lane that was killed."""
    directory = tmp_path_factory.mktemp("recovery") / "s"
    log = Log.open(directory, background=False)
    lane = log.create_lane("process")
    ends = []
    for number in range(6):
        put(lane, ROUTER, [(0, "k", b"%d" % number * 9), (1, "k", b"%d" % number * 30)])
        ends.append(lane.end)
    lane.commit(lane.append(None, None, 0, positions={b"o": b"p"}))
    lane.commit(lane.append(entries_of([(0, "k", b"t")], ROUTER), ROUTER, 0, producer=(9, 2, 5)))
    ends.append(lane.end)
    copy = tmp_path_factory.mktemp("killed") / "lane"
    shutil.copytree(lane.directory, copy)
    log.close()
    return copy, ends


@pytest.fixture
def killed(lane, tmp_path):
    """(directory to harm, its segment, offsets at which groups end)."""
    shutil.copytree(lane[0], tmp_path / "lane")
    (path,) = (tmp_path / "lane").glob("*.raw")
    return tmp_path / "lane", path, lane[1]


def records(found):
    return sum(count for s in found.segments for _, _, count, *_ in s.table(s.end).rows())


def test_a_whole_lane_is_taken_whole(killed):
    directory, _, ends = killed
    found = recover(directory, DISK, False, SAME)
    assert found.end == ends[-1] and found.damage is None and found.notes == []
    assert [found.states.get(shard)[0] for shard in (0, 1)] == [7, 6]
    assert found.positions == {b"o": b"p"}
    assert found.producers == {9 << 16 | 2: 5}


def test_cut_at_any_byte_it_ends_with_the_last_whole_group(killed):
    directory, path, ends = killed
    data = path.read_bytes()
    first = _frames.check_frames(data[HEADER_SIZE:], 0, decode_header(data, path).salt, 0, False)
    assert first[0] == 0  # the chain begins at the header's CRC
    snapshot = (
        HEADER_SIZE + 64 + -(-int.from_bytes(data[HEADER_SIZE + 12 : HEADER_SIZE + 16], "little") // 8) * 8
    )
    for size in [*range(0, HEADER_SIZE, 97), *range(HEADER_SIZE, len(data))]:
        path.write_bytes(data[:size])
        found = recover(directory, DISK, False, Circumstances(epoch=0, visible=0, writer=False))
        if size < snapshot:
            assert found.segments == [] and "holds nothing" in found.notes[0]
            continue
        # A group that POSITION and records make may end in between those in `ends`.
        whole = max([snapshot - HEADER_SIZE, *[end for end in ends if end <= size - HEADER_SIZE]])
        assert whole <= found.end <= size - HEADER_SIZE
        assert found.damage is None
        # A rest of zeroes (the first byte of a checksum may be one) is what any file ends with.
        assert bool(found.notes) == any(data[HEADER_SIZE + found.end : size])
        assert records(found) == 2 * len([end for end in ends[:6] if end <= found.end]) + (
            found.end == ends[-1]
        )


@pytest.mark.parametrize("how", [SAME, LATER], ids=["same boot", "another boot"])
def test_a_hole_before_whole_frames_is_damage_unless_the_power_may_have_made_it(killed, how):
    directory, path, ends = killed
    data = bytearray(path.read_bytes())
    at = HEADER_SIZE + ends[2]
    data[at : at + 64] = bytes(64)
    path.write_bytes(data)
    found = recover(directory, DISK, True, how)
    assert found.end == ends[2]
    assert records(found) == 6
    if how is SAME:
        assert "a whole frame follows" in found.damage.message and f"byte {at}" in found.damage.message
    else:
        assert found.damage is None and "are cut" in found.notes[0]
        assert found.states.get(0)[0] == 3 + INDEX_STEP
        assert found.states.get(99)[0] == INDEX_STEP  # a shard never seen


def test_what_was_published_and_is_gone_is_damage(killed):
    directory, path, ends = killed
    path.write_bytes(path.read_bytes()[: HEADER_SIZE + ends[3]])
    found = recover(directory, DISK, True, Circumstances(epoch=0, visible=ends[4]))
    assert f"although records up to lane offset {ends[4]} had been published" in found.damage.message


def test_frames_of_an_earlier_use_of_the_file_are_not_taken(killed):
    directory, path, ends = killed
    data = path.read_bytes()
    header = decode_header(data, path)
    forged = [
        data[
            HEADER_SIZE + ends[0] : HEADER_SIZE + ends[2]
        ],  # of this file, elsewhere in it: the chain says no
        _frames_under(header.salt + 1, data[HEADER_SIZE + ends[0] : HEADER_SIZE + ends[1]]),  # another salt
    ]
    for frames in forged:
        path.write_bytes(data[: HEADER_SIZE + ends[4]] + frames)
        found = recover(directory, DISK, False, LATER)
        assert found.end == ends[4] and records(found) == 10


def _frames_under(salt: int, frames: bytes) -> bytes:
    """The same frame with a header CRC of another salt."""
    return _frames.crc32c(frames[4:64], salt).to_bytes(4, "little") + frames[4:]


def test_left_overs_of_a_crash_are_removed_by_a_writer_only(killed):
    directory, path, ends = killed
    (directory / "x.cold.tmp").write_bytes(b"half")
    (directory / "spare-1.tmp").write_bytes(bytes(10))
    recover(directory, DISK, False, Circumstances(epoch=0, visible=0, writer=False))
    assert len(list(directory.iterdir())) == 4
    assert recover(directory, DISK, False, SAME).end == ends[-1]
    assert sorted(found.name for found in directory.iterdir()) == [path.name, "manifest"]


def several(tmp_path, monkeypatch, durability="process", cold=0):
    """(directory, bases) of a lane of several segments, closed."""
    monkeypatch.setattr(limits, "segment_size_first", 2 << 10)
    monkeypatch.setattr(limits, "segment_size_max", 2 << 10)
    log = Log.open(tmp_path / "s", background=False, codec="zstd")
    lane = log.create_lane(durability)
    for number in range(14):
        put(lane, ROUTER, [(0, "k", b"%d" % number * 200)])
    for raw in lane.raw_sealed()[:cold]:
        log.maintenance.compress(lane, raw)
    log.close()
    for spare in lane.directory.glob("*.tmp"):
        spare.unlink()
    return lane.directory, sorted(int(path.stem) for path in lane.directory.glob("0*"))


def test_a_missing_segment_is_damage_and_a_dropped_one_is_not(tmp_path, monkeypatch):
    directory, bases = several(tmp_path, monkeypatch)
    (directory / f"{bases[0]:020d}.raw").unlink()
    found = recover(directory, DISK, False, SAME)
    assert (
        f"the segment at lane offset 0 is missing; the first one starts at {bases[1]}" in found.damage.message
    )
    write_manifest(DISK, directory, Manifest(1, b"s" * 16, bases[1]))
    assert recover(directory, DISK, False, SAME).damage is None


def test_a_file_below_the_floor_is_removed(tmp_path, monkeypatch):
    directory, bases = several(tmp_path, monkeypatch)
    write_manifest(DISK, directory, Manifest(1, b"s" * 16, bases[2]))
    found = recover(directory, DISK, False, SAME)
    assert found.damage is None
    assert [segment.base for segment in found.segments] == bases[2:]
    assert sorted(int(path.stem) for path in directory.glob("*.raw")) == bases[2:]


def test_of_a_raw_and_a_cold_file_the_cold_one_is_taken(tmp_path, monkeypatch):
    directory, bases = several(tmp_path, monkeypatch, cold=2)
    assert len(list(directory.glob("*.cold"))) == 2
    (directory / f"{bases[0]:020d}.raw").write_bytes(b"what was not unlinked yet")
    found = recover(directory, DISK, False, SAME)
    assert found.damage is None
    assert [segment.kind for segment in found.segments[:3]] == [".cold", ".cold", ".raw"]
    assert not (directory / f"{bases[0]:020d}.raw").exists()


def test_cold_files_that_do_not_meet_are_named(tmp_path, monkeypatch):
    directory, bases = several(tmp_path, monkeypatch, cold=2)
    (directory / f"{bases[1]:020d}.cold").unlink()
    with pytest.raises(Corrupt, match=f"the next segment starts at {bases[2]}"):
        recover(directory, DISK, False, SAME)


def test_after_a_loss_of_power_a_process_lane_ends_at_its_first_hole(tmp_path, monkeypatch):
    directory, bases = several(tmp_path, monkeypatch)
    path = directory / f"{bases[1]:020d}.raw"
    data = bytearray(path.read_bytes())
    data[-600:] = bytes(600)
    path.write_bytes(data)
    found = recover(directory, DISK, False, LATER)
    assert found.damage is None
    assert [segment.base for segment in found.segments] == bases[:2]
    assert bases[1] < found.end < bases[2]
    assert sum("the power took records before them" in note for note in found.notes) == len(bases) - 2
    assert found.states.get(0)[0] >= INDEX_STEP
    assert sorted(int(path.stem) for path in directory.glob("*.raw")) == bases[:2]


def test_each_unclean_boot_moves_the_indexes_ahead_once(killed):
    directory, *_ = killed
    for epoch in (0, 1, 3):
        found = recover(directory, DISK, False, Circumstances(epoch=epoch, visible=0, writer=False))
        assert found.states.get(1)[0] == 6 + epoch * INDEX_STEP


def test_a_lane_without_files_starts_at_its_epoch(tmp_path):
    (tmp_path / "lane").mkdir()
    found = recover(tmp_path / "lane", DISK, False, Circumstances(epoch=2, visible=0))
    assert (found.end, found.segments, found.states.get(5)[0]) == (0, [], 2 * INDEX_STEP)


@pytest.mark.parametrize("kind", ["open", "close"])
def test_a_shard_of_which_only_its_own_frame_is_left_goes_on_above_what_was_given(tmp_path, kind):
    """The shard is made in the second epoch, so that it begins at 2**32; its records go with the power, its frame
    does not. In the third epoch it begins above all that was given in the second."""

    class Booting(SystemDisk):
        boot = 1

        def boot_id(self):
            return bytes([self.boot]) * 16

    def new_boot(log):
        if log is not None:
            os.close(log._lock_file)
            log.catalogue.close()
            log.control.close()
        Booting.boot += 1
        return Log.open(tmp_path / "s", disk=Booting(), background=False, codec=None)

    log = new_boot(None)
    lane_id = log.create_lane("process").id
    log = new_boot(log)
    lane = log.lane(lane_id)
    lane.commit(lane.append_topology([(kind, 1, b"row")]))
    image = {path: path.read_bytes() for path in lane.directory.iterdir()}
    (given, _), *_ = put(lane, ROUTER, [(1, "k", b"seen by somebody")] * 3)
    log = new_boot(log)
    for path, data in image.items():
        path.write_bytes(data)
    lane = log.lane(lane_id)
    assert read_shard(lane, 1) == []
    (index, _), *_ = put(lane, ROUTER, [(1, "k", b"later")])
    assert given == INDEX_STEP and index >= 2 * INDEX_STEP
    log.close()
