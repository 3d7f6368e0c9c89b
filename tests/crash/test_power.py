# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Simulated losses of power: what a `disk` lane acknowledged is kept, and no number is given twice.

Goal and method stand in power_support.py; two thousand cuts are in tests/long.
"""

from __future__ import annotations

import random

from power_support import lose_power, small

CUTS = 50


def test_what_a_disk_lane_acknowledged_survives_power_cuts(tmp_path, monkeypatch):
    small(monkeypatch)
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    assert lose_power(tmp_path, CUTS, seed) > 0
