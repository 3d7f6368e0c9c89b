# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Verify finds every changed byte that matters, and repair makes a store that opens and keeps what is whole.

Method: a small store with raw and cold segments of both promises; a part of it is damaged, mended, and read.
What one changed byte does is in test_damage.py.
"""

from __future__ import annotations

import os
import random
import shutil

import pytest
from log_support import put, read_shard, router_of

from headrace import limits
from headrace.errors import Corrupt, Error, LockedByOther, NotFound
from headrace.log import Log
from headrace.log.repair import repair
from headrace.log.verify import verify

SHARDS = 2
ROUTER = router_of(SHARDS)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A store of two lanes with three cold and some raw segments each, and what it holds."""
    directory = tmp_path_factory.mktemp("verify") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "segment_size_first", 8 << 10)
        patch.setattr(limits, "segment_size_max", 8 << 10)
        random_numbers = random.Random(1)
        log = Log.open(directory, background=False, max_bytes=1 << 30)
        lanes = [log.create_lane("process"), log.create_lane("disk")]
        for turn in range(24):
            for lane in lanes:
                put(lane, ROUTER, [(i % SHARDS, f"k{i}", random_numbers.randbytes(400)) for i in range(4)])
            if turn == 14:
                log.maintenance.run_once()
        expected = {(lane.id, shard): read_shard(lane, shard) for lane in lanes for shard in range(SHARDS)}
        log.close()
    return directory, expected


@pytest.fixture
def store(original, tmp_path):
    shutil.copytree(original[0], tmp_path / "store")
    return tmp_path / "store", original[1]


def files_of(directory, pattern="*"):
    return sorted(path for path in (directory / "lanes").glob(f"*/{pattern}") if path.is_file())


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


def test_a_sound_store_is_sound(store):
    directory, expected = store
    steps = []
    report = verify(directory, advance=steps.append)
    assert report.findings == []
    assert report.records == sum(len(rows) for rows in expected.values())
    assert sum(steps) == report.bytes
    assert len(files_of(directory, "*.cold")) >= 6
    assert len(files_of(directory, "*.raw")) >= 4


def test_a_store_in_use_or_none_is_refused(store, tmp_path):
    directory, _ = store
    log = Log.open(directory, background=False)
    with pytest.raises(LockedByOther):
        verify(directory)
    log.close()
    with pytest.raises(NotFound):
        verify(tmp_path / "nowhere")


def damage(path, at, size=64):
    data = bytearray(path.read_bytes())
    data[at : at + size] = os.urandom(size)
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["cut", "skip"])
@pytest.mark.parametrize(
    "what", ["raw middle", "raw head", "cold block", "cold footer", "missing", "manifest"]
)
def test_repair_makes_a_store_that_opens_and_keeps_what_is_whole(store, how, what):
    directory, expected = store
    lane = sorted((directory / "lanes").iterdir())[0]
    raw, cold = sorted(lane.glob("*.raw")), sorted(lane.glob("*.cold"))
    if what == "raw middle":
        damage(raw[0], 6000)
    elif what == "raw head":
        damage(raw[1], 0, 4096)
    elif what == "cold block":
        damage(cold[1], 4200)
    elif what == "cold footer":
        damage(cold[1], cold[1].stat().st_size - 50, 40)
    elif what == "missing":
        raw[1].unlink()
    else:
        damage(lane / "manifest", 20, 8)
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
        if key[0] == other or what == "manifest":
            assert rows == expected[key]
        elif how == "skip":
            assert len(rows) >= len(expected[key]) // 2
            assert rows[-1] == expected[key][-1]
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
