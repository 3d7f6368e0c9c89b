# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Today's code reads the files of every version ever released: same records, same facts, sound, and goes on.

Method: each store under tests/golden (golden_make.py tells how it was made) is copied, read as another process would,
verified, opened for writing, written to and read again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from golden_make import facts
from log_support import put, read_shard, router_of

from headrace.core import _frames
from headrace.log import Log
from headrace.log.segment import HEADER_SIZE, decode_header
from headrace.log.verify import verify
from headrace.streams import Streams

HERE = Path(__file__).parent
VERSIONS = sorted(path.parent.name for path in HERE.glob("*/expected.json"))


@pytest.fixture(params=VERSIONS)
def golden(request, tmp_path):
    shutil.copytree(HERE / request.param / "store", tmp_path / "store")
    return tmp_path / "store", json.loads((HERE / request.param / "expected.json").read_text())


def test_there_is_a_golden_store_of_every_format_and_kind_of_frame():
    assert VERSIONS
    kinds, suffixes, codecs = set(), set(), set()
    for version in VERSIONS:
        for path in (HERE / version / "store").rglob("*"):
            suffixes.add(path.suffix or path.name)
            if path.suffix == ".raw":
                data = path.read_bytes()
                header = decode_header(data[:HEADER_SIZE], path)
                frames = data[HEADER_SIZE:]
                end = _frames.check_frames(frames, 0, header.salt, header.chain)[0]
                at = 0
                while at < end:
                    fields = _frames.read_header(frames, at, header.salt)
                    kinds.add(fields["kind"])
                    at += 64 + -(-fields["body_size"] // 8) * 8
            elif path.suffix == ".cold":
                codecs.add(int.from_bytes(path.read_bytes()[12:16], "little"))
    assert {".raw", ".cold", "manifest", "control", ".sqlite"} <= suffixes
    assert codecs == {1, 2}
    assert kinds == {1, 2, 3, 4, 5, 6, 7}


def test_what_was_written_then_is_read_now(golden):
    directory, expected = golden
    assert facts(directory) == expected


def test_it_is_sound_and_is_written_on(golden):
    directory, expected = golden
    assert verify(directory).findings == []
    log = Log.open(directory, background=False)
    assert log.reports == []
    streams = Streams(log)
    assert [stream.name for stream in streams.list()] == ["disk", "process"]
    router = router_of(1)
    for lane_id, lane_facts in expected["lanes"].items():
        lane = log.lane(int(lane_id))
        before = [tuple(row[:2]) for row in lane_facts["records"]["1"]]
        assert [row[:2] for row in read_shard(lane, 1)] == before
        index = put(lane, router, [(0, "k", b"of today")])[0][0]
        assert index == lane_facts["bounds"]["0"][1]
        assert read_shard(lane, 0)[-1] == (index, "k", b"of today")
    log.close()
    assert verify(directory).findings == []
