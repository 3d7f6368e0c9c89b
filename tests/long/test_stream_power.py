# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Five hundred simulated losses of power over whole streams, ten to a store. Goal and method stand in
tests/crash/stream_power_support.py."""

from __future__ import annotations

import pytest
from power_support import small
from stream_power_support import lose_streams_power

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]
PARTS, CUTS = 5, 100


@pytest.mark.parametrize("part", range(PARTS), ids=lambda part: f"part{part}")
def test_five_hundred_power_cuts(tmp_path, monkeypatch, part, seed, tell):
    small(monkeypatch)
    done = lose_streams_power(tmp_path, CUTS, seed + 1000 * part, monkeypatch)
    tell(f"seed {seed}: {', '.join(f'{count} {name}' for name, count in done.items())}")
    assert done["cuts"] == CUTS and min(done.values()) > 0
