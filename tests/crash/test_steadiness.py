# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What must not move: a batch that somebody holds, and intake beside a reader that has stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from log_support import entries_of, put, read_shard, router_of

from headrace import limits
from headrace.log import Log

READER = """
import sys, time
from headrace.log import Log
log = Log.open_reader(sys.argv[1])
lane = log.lane(int(sys.argv[2]))
held = lane.read(0, 0)
print(len(held), flush=True)
while True:
    lane.wait(lane.visible, 1.0)
    lane.read(0, lane.bounds(0)[1] - 1)
"""


def test_a_batch_stays_as_it_is_over_a_thousand_turnovers_of_the_ring(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "ring_size_first", 64 << 10)
    monkeypatch.setattr(limits, "segment_size_first", 256 << 10)
    monkeypatch.setattr(limits, "segment_size_max", 1 << 20)
    log = Log.open(tmp_path / "s", background=False, max_bytes=1 << 30)
    lane, router = log.create_lane("process"), router_of(1)
    put(lane, router, [(0, f"k{i}", os.urandom(700)) for i in range(50)])
    held = lane.read(0, 0)
    view, copy, keys = held.buffer, bytes(held.buffer), list(held.keys)
    lane.set_limit(8 << 20, "drop_oldest")
    for turn in range(1000):
        put(lane, router, [(0, "k", bytes([turn % 256]) * (60 << 10))])
    assert lane.bounds(0)[0] > 50
    assert bytes(view) == copy
    assert held.keys == keys
    log.close()


def test_a_stopped_reader_does_not_stall_intake_and_is_right_when_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "segment_size_first", 256 << 10)
    monkeypatch.setattr(limits, "segment_size_max", 256 << 10)
    log = Log.open(tmp_path / "s", background=False, max_bytes=1 << 30)
    for durability in ("process", "disk"):
        lane, router = log.create_lane(durability), router_of(1)
        put(lane, router, [(0, "k", b"first")])
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, log.directory, str(lane.id)], stdout=subprocess.PIPE
        )
        try:
            assert reader.stdout is not None and reader.stdout.readline() == b"1\n"
            os.kill(reader.pid, signal.SIGSTOP)
            lane.set_limit(2 << 20, "drop_oldest")
            for _ in range(100):
                put(lane, router, [(0, "k", bytes(50_000))])
                log.maintenance.run_once()
            assert lane.bounds(0)[1] == 101
            os.kill(reader.pid, signal.SIGCONT)
            put(lane, router, [(0, "k", b"last")])
            time.sleep(0.3)
            assert reader.poll() is None, "the reader failed when it went on"
        finally:
            reader.kill()
            reader.wait()
            reader.stdout.close()
        assert read_shard(lane, 0)[-1] == (101, "k", b"last")
    log.close()


def test_a_group_of_several_frames_lets_no_other_group_in_between(tmp_path):
    log = Log.open(tmp_path / "s", background=False)
    lane, router = log.create_lane("process"), router_of(1)
    put(lane, router, [(0, "k", b"a")])
    entries = entries_of([(0, "k", b"b")], router)
    tail = lane._tail
    assert tail.hold(100) == 0
    assert tail.append(entries, router, 0, 0) < 0, "an append that is not part of the group was taken"
    tail.release()
    assert tail.append(entries, router, 0, 0) > 0
    log.close()
