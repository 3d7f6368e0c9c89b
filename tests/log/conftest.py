# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What several tests of the log start from: an open store, and one to be damaged for verify and repair."""

from __future__ import annotations

import random
import shutil

import pytest
from log_support import put, read_shard, router_of

from headrace import limits
from headrace.clock import FrozenClock
from headrace.log import Log

SHARDS = 2


@pytest.fixture(params=["process", "disk"])
def durability(request):
    return request.param


@pytest.fixture
def clock():
    return FrozenClock()


@pytest.fixture
def log(tmp_path, clock):
    with_log = Log.open(tmp_path / "store", clock=clock, background=False, max_bytes=1 << 30)
    yield with_log
    with_log.close()


@pytest.fixture(scope="session")
def whole_store(tmp_path_factory):
    """A store of two lanes with three cold and some raw segments each, and what it holds."""
    directory, router = tmp_path_factory.mktemp("whole") / "store", router_of(SHARDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "segment_size_first", 8 << 10)
        patch.setattr(limits, "segment_size_max", 8 << 10)
        numbers = random.Random(1)
        log = Log.open(directory, background=False, max_bytes=1 << 30)
        lanes = [log.create_lane("process"), log.create_lane("disk")]
        for turn in range(24):
            for lane in lanes:
                put(lane, router, [(i % SHARDS, f"k{i}", numbers.randbytes(400)) for i in range(4)])
            if turn == 14:
                log.maintenance.run_once()
        expected = {(lane.id, shard): read_shard(lane, shard) for lane in lanes for shard in range(SHARDS)}
        log.close()
    return directory, expected


@pytest.fixture
def store(whole_store, tmp_path):
    """(a copy of it, what it holds by lane and shard)."""
    shutil.copytree(whole_store[0], tmp_path / "store")
    return tmp_path / "store", whole_store[1]
