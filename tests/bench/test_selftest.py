# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: the measurement is honest. Method: `headrace bench selftest`'s own checks, as they are shipped."""

from __future__ import annotations

import pytest

from headrace.bench import selftest
from headrace.bench.machine import Cores

NOWHERE = Cores(None, None)  # the suite's machine has other work on its cores


def test_nothing_wrong_is_found_in_a_healthy_server() -> None:
    finding = selftest.healthy(NOWHERE)
    assert finding.holds, finding


@pytest.mark.parametrize("fault", selftest.FAULTS)
def test_each_kind_of_damage_is_found_and_named(fault: str) -> None:
    finding = selftest.damage(NOWHERE, fault)
    assert finding.holds, finding


def test_a_known_delay_is_measured_within_five_percent() -> None:
    finding = selftest.known_delay(NOWHERE)
    assert finding.holds, finding


def test_a_stall_of_a_second_shows_in_the_p99_of_an_open_loop() -> None:
    finding = selftest.stall_in_open_loop(NOWHERE)
    assert finding.holds, finding


def test_the_same_stall_does_not_show_in_a_closed_loop() -> None:
    finding = selftest.stall_in_closed_loop(NOWHERE, seconds=5.0)
    assert finding.holds, finding
