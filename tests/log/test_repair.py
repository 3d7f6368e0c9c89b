# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Repair makes a damaged store one that opens, and keeps what is whole.

Method: the store of conftest.py is damaged in one place of each kind, mended in both ways, and read: what is read
was written there, in order; a dry run changes nothing; the next record gets an index that nobody may hold. Who only
reads finds the same at once, without a writer. Of a store of tiny segments any byte is flipped, and any of its files
are lost together. Where the system refuses a file, nothing is changed.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_support import damage, forget_boot, put, read_shard, router_of

from headrace.disk import SystemDisk
from headrace.errors import Backpressure, Corrupt, Error, StorageError
from headrace.log import Log
from headrace.log.cold import ColdSegment
from headrace.log.control import ControlFile
from headrace.log.count import INDEX_STEP
from headrace.log.given import start_snapshot
from headrace.log.repair import _with_gaps, repair
from headrace.log.segment import HEADER_SIZE, decode_header, decode_snapshot
from headrace.log.verify import verify

ROUTER = router_of(2)


def read_lenient(directory, expected):
    """(what every shard gives, whether anything was called corrupt). Anything but Corrupt is an error."""
    found, corrupt = {}, False
    log = Log.open(directory, background=False)
    try:
        for lane_id, shard in expected:
            try:
                found[lane_id, shard] = read_shard(log.lane(lane_id), shard)
            except Corrupt:
                corrupt = True
        corrupt = corrupt or any("damage" in r or "although" in r or "follows" in r for r in log.reports)
    finally:
        log.close()
    return found, corrupt


def harm(lane, what):
    """Damage a lane of the store in one place."""
    raw, cold = sorted(lane.glob("*.raw")), sorted(lane.glob("*.cold"))
    if what == "raw middle":
        damage(raw[0], 6000)
    elif what == "raw snapshot":
        damage(raw[1], HEADER_SIZE, 8)
    elif what == "last snapshot":
        damage(raw[-1], HEADER_SIZE + 64, 8)
    elif what == "raw head":
        damage(raw[1], 0, 4096)
    elif what == "cold block":
        damage(cold[1], 4200)
    elif what == "cold footer":
        damage(cold[1], cold[1].stat().st_size - 50, 40)
    elif what == "missing":
        raw[1].unlink()
    elif what == "cut short":
        os.truncate(raw[-1], len(raw[-1].read_bytes().rstrip(b"\0")) - 200)
    else:
        damage(lane / "manifest", 20, 8)


KINDS = [
    "raw middle",
    "raw snapshot",
    "last snapshot",
    "raw head",
    "cold block",
    "cold footer",
    "missing",
    "cut short",
    "manifest",
]


@pytest.mark.parametrize("how", ["cut", "skip"])
@pytest.mark.parametrize("what", KINDS)
def test_repair_makes_a_store_that_opens_and_keeps_what_is_whole(store, how, what):
    directory, expected = store
    lane = sorted((directory / "lanes").iterdir())[0]
    harm(lane, what)
    before = verify(directory)
    assert before.findings
    assert repair(directory, how, dry_run=True)[1]
    assert len(verify(directory).findings) == len(before.findings)
    _, changes = repair(directory, how)
    assert changes
    assert verify(directory).findings == []
    found, corrupt = read_lenient(directory, expected)
    assert not corrupt
    other = sorted({lane_id for lane_id, _ in expected})[1]
    for key, rows in found.items():
        by_index = {index: (name, data) for index, name, data in expected[key]}
        assert all(by_index[index] == (name, data) for index, name, data in rows)
        assert [index for index, _, _ in rows] == sorted(index for index, _, _ in rows)
        if key[0] == other or what == "manifest" or (how == "skip" and "snapshot" in what):
            assert rows == expected[key]
        elif how == "skip":
            assert len(rows) >= len(expected[key]) // 2
            assert what == "cut short" or rows[-1] == expected[key][-1]
    log = Log.open(directory, background=False)
    try:
        first = int(lane.name)
        index, _ = put(log.lane(first), ROUTER, [(0, "k", b"after")])[0]
        assert index >= 1 << 32
        assert read_shard(log.lane(first), 0)[-1] == (index, "k", b"after")
    except Error as error:  # pragma: no cover - shown where it fails
        pytest.fail(str(error))
    finally:
        log.close()


def seen_by_readers(directory, lane_id):
    """What each shard of a lane gives to a process that does not write the store."""
    log = Log.open_reader(directory)
    try:
        found = {shard: read_shard(log.lane(lane_id), shard) for shard in range(2)}
        assert log.lane(lane_id).records() == sum(map(len, found.values()))
        return found
    finally:
        log.close()


@pytest.mark.parametrize("how", ["cut", "skip"])
@pytest.mark.parametrize("what", KINDS)
@pytest.mark.parametrize("ended", ["in order", "power"])
@pytest.mark.parametrize("number", [0, 1], ids=["process", "disk"])
def test_who_only_reads_sees_a_mended_lane_at_once(store, how, what, ended, number):
    directory, _ = store
    lane = sorted((directory / "lanes").iterdir())[number]
    harm(lane, what)
    if ended == "power":
        forget_boot(directory)
    if not repair(directory, how)[1]:
        # That is no damage, but what such a lane may lose.
        assert what in ("cut short", "last snapshot") and (ended, number) == ("power", 0)
        return
    found = seen_by_readers(directory, int(lane.name))
    assert any(found.values())
    written, corrupt = read_lenient(directory, [(int(lane.name), shard) for shard in range(2)])
    assert not corrupt
    assert written == {(int(lane.name), shard): rows for shard, rows in found.items()}
    assert seen_by_readers(directory, int(lane.name)) == found
    for file in lane.glob("*.raw"):
        assert decode_header(file.read_bytes()[:HEADER_SIZE], file).disk == (number == 1)


@pytest.mark.parametrize("how", ["cut", "skip"])
def test_how_the_last_writer_ended_is_left_for_the_next_one_to_judge(store, how):
    directory, _ = store
    mended, other = sorted((directory / "lanes").iterdir())
    damage(sorted(mended.glob("*.raw"))[0], 6000)
    forget_boot(directory)
    repair(directory, how)
    control = ControlFile(directory / "control", writer=False)
    assert not control.clean and not control.same_boot
    last = sorted(mended.glob("*.raw"))[-1]
    assert control.visible(int(mended.name)) == int(last.stem) + last.stat().st_size - HEADER_SIZE
    control.close()
    log = Log.open(directory, background=False)
    try:
        assert log.epoch == 1
        assert put(log.lane(int(other.name)), ROUTER, [(0, "k", b"x")])[0][0] >= INDEX_STEP
        assert put(log.lane(int(mended.name)), ROUTER, [(0, "k", b"x")])[0][0] >= 2 * INDEX_STEP
        assert log.reports == []
    finally:
        log.close()


@pytest.mark.parametrize("how", ["cut", "skip"])
def test_a_store_that_was_closed_in_order_stays_so(store, how):
    directory, _ = store
    harm(sorted((directory / "lanes").iterdir())[0], "raw middle")
    repair(directory, how)
    log = Log.open(directory, background=False)
    assert log.was_clean and log.epoch == 0
    log.close()


class Shards:
    """A lane whose shards 1 and 2 come only late, after a step, and the indexes that were given."""

    def __init__(self, directory, durability):
        self.directory, self.router = directory, router_of(3)
        self.highest = [0, 0, 0]
        log = Log.open(directory, background=False, codec=None, max_bytes=1 << 30)
        log.create_lane(durability)
        for _ in range(20):
            self.put(log, 0)
        log.close()
        forget_boot(directory)
        log = Log.open(directory, background=False, codec=None)
        for _ in range(10):
            self.put(log, 0)
        self.put(log, 1)
        self.put(log, 2)
        log.close()
        self.files = sorted(directory.glob("lanes/*/*.raw"))

    def put(self, log, shard):
        index = put(log.lane(1), self.router, [(shard, "k", b"x" * 300)])[0][0]
        assert index >= self.highest[shard]
        self.highest[shard] = index + 1

    def go_on(self):
        """Put once more into each shard, which checks the indexes."""
        log = Log.open(self.directory, background=False)
        for shard in range(3):
            self.put(log, shard)
        log.close()


PLACES = {
    "before a step": (0, 6000, 64),
    "before the only records of two shards": (1, 6000, 64),
    "a header, and all that tells of two shards": (1, 0, 4096),
    "the only records of two shards, and the END": (1, 6000, 1 << 20),
}


@pytest.mark.parametrize("how", ["cut", "skip"])
@pytest.mark.parametrize("place", PLACES)
def test_no_index_is_given_twice(tmp_path, durability, how, place):
    file, at, size = PLACES[place]
    made = Shards(tmp_path / "store", durability)
    damage(made.files[file], at, min(size, made.files[file].stat().st_size - at))
    repair(made.directory, how)
    assert verify(made.directory).findings == []
    made.go_on()


SNAPSHOT, SHARDS_MAX = HEADER_SIZE + 4, 4


@pytest.fixture(scope="module", params=["process", "disk"])
def tiny(request, tmp_path_factory):
    """(a store of four segments with a record in each shard, of which each segment has one more, what its shards hold)."""
    directory = tmp_path_factory.mktemp("tiny") / "store"
    for shards in range(1, SHARDS_MAX + 1):
        log = Log.open(directory, background=False, codec=None, max_bytes=1 << 30)
        lane = log.create_lane(request.param) if shards == 1 else log.lane(1)
        put(lane, router_of(shards), [(shard, "k", b"%d" % shards) for shard in range(shards)])
        expected = [read_shard(lane, shard) for shard in range(shards)]
        log.close()
    return directory, expected


def mend_tiny(tiny, how, harm):
    """Harm a copy of it, mend that and read it; returns how many records are lost."""
    directory, expected = tiny
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "store"
        shutil.copytree(directory, copy)
        harm(sorted(copy.glob("lanes/*/*.raw")))
        damaged = bool(verify(copy).findings)
        assert bool(repair(copy, how)[1]) == damaged
        assert verify(copy).findings == []
        log = Log.open(copy, background=False)
        try:
            assert log.reports == [] or not damaged
            found = [read_shard(log.lane(1), shard) for shard in range(SHARDS_MAX)]
            for shard in range(SHARDS_MAX):
                assert [row for row in expected[shard] if row in found[shard]] == found[shard]
                ((index, _),) = put(log.lane(1), router_of(SHARDS_MAX), [(shard, "k", b"next")])
                assert index > expected[shard][-1][0]
                assert read_shard(log.lane(1), shard) == [*found[shard], (index, "k", b"next")]
        finally:
            log.close()
        return sum(map(len, expected)) - sum(map(len, found))


def flip(file, at):
    data = bytearray(file.read_bytes())
    data[at] ^= 0x55
    file.write_bytes(data)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["cut", "skip"]), st.integers(0, SHARDS_MAX - 1), st.integers(0, 1 << 20))
def test_any_byte_of_a_tiny_segment_may_be_flipped(tiny, how, number, at):
    file = sorted(tiny[0].glob("lanes/*/*.raw"))[number]
    at = HEADER_SIZE + at % (len(file.read_bytes().rstrip(b"\0")) - HEADER_SIZE)
    lost = mend_tiny(tiny, how, lambda files: flip(files[number], at))
    assert lost <= 1 or how == "cut"


@pytest.mark.parametrize("which", range(1, 1 << SHARDS_MAX))
def test_skip_makes_every_snapshot_anew(tiny, which):
    def harm(files):
        for number, file in enumerate(files):
            if which >> number & 1:
                flip(file, SNAPSHOT)

    assert mend_tiny(tiny, "skip", harm) == 0


@pytest.mark.parametrize("how", ["cut", "skip"])
@pytest.mark.parametrize("lost", ["header", "file"])
@pytest.mark.parametrize("which", [1, 2, 4, 8, 6, 12, 14])
def test_a_gap_may_be_smaller_than_the_snapshot_of_what_follows(tiny, how, lost, which):
    def harm(files):
        for number, file in enumerate(files):
            if which >> number & 1:
                damage(file, 0, HEADER_SIZE)
                if lost == "file":
                    file.unlink()

    records = sum(number + 1 for number in range(SHARDS_MAX) if which >> number & 1)
    assert mend_tiny(tiny, how, harm) == records or how == "cut"


def test_the_last_snapshot_is_made_anew_with_producers_and_positions(tmp_path, durability):
    directory, router = tmp_path / "store", router_of(2)
    log = Log.open(directory, background=False, codec=None, max_bytes=1 << 30)
    lane = log.create_lane(durability)
    put(lane, router, [(0, "k", b"x"), (1, "k", b"x")])
    lane.commit(lane.append(None, None, producer=(7, 1, 0), positions={b"owner": b"far"}))
    for _ in range(2):
        log.close()
        log = Log.open(directory, background=False, codec=None)
        put(log.lane(1), router, [(0, "k", b"y")])
    log.close()
    last = sorted(directory.glob("lanes/*/*.raw"))[-1]
    states, producers, positions = decode_snapshot(start_snapshot(last, SystemDisk()))
    assert positions == {b"owner": b"far"}
    flip(last, SNAPSHOT)
    repair(directory, "skip")
    made, producers_made, positions_made = decode_snapshot(start_snapshot(last, SystemDisk()))
    assert (producers_made, positions_made) == (producers, positions)
    assert [made.get(shard) for shard in range(2)] == [states.get(shard) for shard in range(2)]


@pytest.mark.parametrize("number", range(SHARDS_MAX))
def test_a_gap_where_the_snapshot_was_is_damage(tiny, number):
    """As repairs of earlier versions left it: every frame whole and in the chain."""

    def harm(files):
        data = files[number].read_bytes()
        header = decode_header(data, files[number])
        end = (
            int(files[number + 1].stem) - header.base if number + 1 < SHARDS_MAX else len(data.rstrip(b"\0"))
        )
        frames = bytearray(data[HEADER_SIZE : HEADER_SIZE + end])
        frames[SNAPSHOT - HEADER_SIZE] ^= 1
        mended = _with_gaps(memoryview(frames), header.salt, header.chain, number + 1 < SHARDS_MAX)
        files[number].write_bytes(data[:HEADER_SIZE] + mended)

    assert mend_tiny(tiny, "skip", harm) == 0


def test_a_snapshot_behind_a_damaged_one_is_made_anew_of_what_that_was(tiny, tmp_path):
    shutil.copytree(tiny[0], tmp_path / "store")
    files = sorted(tmp_path.glob("store/lanes/*/*.raw"))
    for file in files[1:3]:
        flip(file, SNAPSHOT)
    repair(tmp_path / "store", "skip")
    made = [ColdSegment.open(file.with_suffix(".cold"), SystemDisk()) for file in files[1:3]]
    assert [cold.end for cold in made] == [int(file.stem) for file in files[2:4]]
    assert [cold.start_states().shards() for cold in made] == [[0, 1], [0, 1, 2]]


@pytest.mark.parametrize("how", ["cut", "skip"])
@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("number", [0, -1])
def test_a_file_that_the_system_does_not_read_is_a_storage_error(store, how, dry_run, number):
    directory, _ = store
    files = sorted(sorted((directory / "lanes").iterdir())[0].glob("*.raw"))
    flip(files[0 if number else 1], SNAPSHOT)
    files[number].unlink()
    files[number].mkdir()
    before = {
        path: path.stat().st_mtime_ns for path in [directory / "control", *directory.rglob("lanes/**/*")]
    }
    with pytest.raises(
        StorageError, match=r"lane 1 could not be read: .*\.raw: Is a directory \(EISDIR\)"
    ) as info:
        repair(directory, how, dry_run=dry_run)
    assert "nothing was changed" in info.value.hint
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert set(directory.rglob("lanes/**/*")) < set(before)


@pytest.mark.parametrize(("code", "kind"), [(errno.EIO, StorageError), (errno.ENOSPC, Backpressure)])
def test_a_repair_that_cannot_write_says_so_and_goes_on_when_it_can(store, monkeypatch, code, kind):
    directory, expected = store
    lane = sorted((directory / "lanes").iterdir())[0]
    for what in ("raw snapshot", "last snapshot"):
        harm(lane, what)
    rename, calls = SystemDisk.rename, []

    def refuse(disk, source, target):
        calls.append(target)
        if len(calls) == 3:
            raise OSError(code, os.strerror(code), str(target))
        rename(disk, source, target)

    with monkeypatch.context() as patch:
        patch.setattr(SystemDisk, "rename", refuse)
        with pytest.raises(kind, match="the repair"):
            repair(directory, "skip")
    repair(directory, "skip")
    assert verify(directory).findings == []
    found, corrupt = read_lenient(directory, expected)
    assert (found, corrupt) == (expected, False)
