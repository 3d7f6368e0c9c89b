# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Simulated losses of power over whole streams: their making, resharding and deletion, with the catalogue's own losses.

Goal and method stand in stream_power_support.py; five hundred cuts are in tests/long.
"""

from __future__ import annotations

import random

from power_support import small
from stream_power_support import lose_streams_power

CUTS = 20


def test_streams_and_their_records_belong_together_after_power_cuts(tmp_path, monkeypatch):
    small(monkeypatch)
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    done = lose_streams_power(tmp_path, CUTS, seed, monkeypatch)
    assert done["cuts"] == CUTS and min(done.values()) > 0, done
