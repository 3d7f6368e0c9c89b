# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Failpoints: named, armed by hand or from the environment, and each one stands somewhere in the code."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import headrace
from headrace.log import failpoints


@pytest.fixture(autouse=True)
def disarmed():
    yield
    failpoints.disarm()


def test_each_name_stands_in_the_code_exactly_once():
    found = []
    for path in Path(headrace.__file__).parent.rglob("*.py"):
        found += re.findall(r'\breach\("([^"]+)"\)', path.read_text())
    assert sorted(found) == sorted(failpoints.NAMES)


def test_an_armed_place_runs_what_it_was_given_until_it_is_disarmed():
    seen = []
    failpoints.arm("write.before", lambda: seen.append(1))
    failpoints.reach("write.after")
    failpoints.reach("write.before")
    failpoints.disarm()
    failpoints.reach("write.before")
    assert seen == [1]


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="no failpoint 'nowhere'"):
        failpoints.arm("nowhere", lambda: None)


@pytest.mark.parametrize(("wish", "passed"), [("sync.before", 0), ("sync.before:3", 2)])
def test_the_environment_kills_at_the_named_time(wish, passed):
    program = (
        "from headrace.log.failpoints import reach\n"
        "for n in range(9):\n    reach('sync.before')\n    print(n, flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "HEADRACE_FAILPOINT": wish},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == [str(n) for n in range(passed)]
