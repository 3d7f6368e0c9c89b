# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Three hundred rounds of kill -9 at random moments under load, for both promises: six stores, fifty lives
each; and a hundred more over a disk that fails. Goal and method stand in tests/crash/kill_support.py."""

from __future__ import annotations

import pytest
from kill_support import kill_at_random

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]
PARTS, ROUNDS = 6, 50


@pytest.mark.parametrize("part", range(PARTS), ids=lambda part: f"part{part}")
def test_three_hundred_kills_lose_nothing_acknowledged(tmp_path, part, seed, tell):
    count = kill_at_random(tmp_path / "store", ROUNDS, seed + 1000 * part)
    tell(f"{ROUNDS} kills, seed {seed}, {count} records acknowledged, all there")
    assert count > 0


@pytest.mark.parametrize("part", range(2), ids=lambda part: f"part{part}")
def test_a_hundred_kills_over_a_failing_disk_lose_nothing_acknowledged(tmp_path, part, seed, tell):
    count = kill_at_random(tmp_path / "store", ROUNDS, seed + 1000 * part, CRASH_DISK="1")
    tell(f"{ROUNDS} kills, seed {seed}, {count} records acknowledged, all there")
    assert count > 0
