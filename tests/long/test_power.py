# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Two thousand simulated losses of power, ten to a store. Goal and method stand in
tests/crash/power_support.py."""

from __future__ import annotations

import pytest
from power_support import lose_power, small

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]
PARTS, CUTS = 10, 200


@pytest.mark.parametrize("part", range(PARTS), ids=lambda part: f"part{part}")
def test_two_thousand_power_cuts(tmp_path, monkeypatch, part, seed, tell):
    small(monkeypatch)
    given = lose_power(tmp_path, CUTS, seed + 1000 * part)
    tell(f"{CUTS} cuts, seed {seed}, {given} records given")
    assert given > 0
