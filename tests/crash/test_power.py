# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Simulated losses of power: what a `disk` lane acknowledged is kept, and no number is given twice.

Goal and method stand in power_support.py; two thousand cuts are in tests/long.
"""

from __future__ import annotations

import random

import pytest
from disk import PowerCut, SimulatedDisk
from log_support import entries_of, read_shard, router_of
from power_support import cut_power, lose_power, small

from headrace.log import Log

CUTS = 50


def test_what_a_disk_lane_acknowledged_survives_power_cuts(tmp_path, monkeypatch):
    small(monkeypatch)
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    assert lose_power(tmp_path, CUTS, seed) > 0


@pytest.mark.parametrize("ahead", [True, False])
def test_a_cut_at_each_call_of_a_roll_loses_nothing_acknowledged(tmp_path, monkeypatch, ahead):
    """Method: segments filled one group after the other, the power cut at each disk call in turn and what
    was not synced kept or lost in two ways: names, headers and groups, each without the others. With `ahead`
    the files stand ready: cuts also come before and after a segment is begun in one."""
    small(monkeypatch)
    router, cut_at, done = router_of(1), 1, False
    data = [bytes([65 + number]) * 3000 for number in range(9)]
    while not done:
        for seed in range(2):
            directory = tmp_path / f"{cut_at}-{seed}"
            (directory / "lanes").mkdir(parents=True)
            disk = SimulatedDisk(directory / "lanes", seed * 1000 + cut_at, cut_at)
            log, promised = None, 0
            try:
                log = Log.open(directory, disk=disk, background=False, max_bytes=1 << 30, codec=None)
                lane = log.create_lane("disk")
                for number, text in enumerate(data):
                    lane.commit(lane.append(entries_of([(0, "k", text)], router), router, 0))
                    promised = number + 1
                    if ahead:
                        log.maintenance.look_ahead()
                done = True
            except PowerCut:
                pass
            cut_power(log, disk)
            log = Log.open(directory, background=False)
            for lane_id in log.catalogue.lanes():
                lane = log.lane(lane_id)
                found = [text for _, _, text in read_shard(lane, 0)]
                assert found == data[: len(found)] and len(found) >= promised, (cut_at, seed)
                lane.commit(lane.append(entries_of([(0, "k", b"next")], router), router, 0))
                assert read_shard(lane, 0)[-1][2] == b"next"
            assert not [note for note in log.reports if "although" in note or "follows" in note], log.reports
            log.close()
        cut_at += 1
    assert cut_at > 30
