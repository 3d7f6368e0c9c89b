# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The long forms of tests whose short forms run every day: `pytest tests/long -m long`.

Each run prints its seed and its counts; HEADRACE_SEED repeats one. Runs are cut into parts of some minutes,
so that one may be left and taken up again (`-k "part3"`). Results stand, dated, in docs/results.md.
"""

from __future__ import annotations

import os
import random

import pytest


@pytest.fixture
def seed() -> int:
    """The run's seed: HEADRACE_SEED, or a new one."""
    return int(os.environ.get("HEADRACE_SEED") or random.SystemRandom().randrange(1 << 30))


@pytest.fixture
def tell(request, capsys):
    """Say something on the terminal whatever pytest captures."""

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n{request.node.name}: {text}", flush=True)

    return say
