# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A store in a directory of the test's own, and Python in another process."""

from __future__ import annotations

import subprocess
import sys

import pytest

import headrace
from headrace.errors import Backpressure
from headrace.log.lane import Lane


class Crowd:
    """Lanes that have no room, or fail, for as long as a test says so.

    full: ordinals of the lanes of stream `s` that refuse; error: what they raise.
    """

    def __init__(self, monkeypatch, store) -> None:
        self.full: set[int] = set()
        self.error: Exception = Backpressure("no room", retry_after=0.01)
        self.refusals = 0
        append = Lane.append

        def crowded(lane, entries, router, ordinal=0, **rest):
            if lane in store.inner.stream("s").lanes and ordinal in self.full:
                self.refusals += 1
                raise self.error
            return append(lane, entries, router, ordinal, **rest)

        monkeypatch.setattr(Lane, "append", crowded)


@pytest.fixture
def crowd(monkeypatch, store):
    return Crowd(monkeypatch, store)


@pytest.fixture
def store(tmp_path):
    with headrace.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def run_python():
    """Run code in a process of its own, in which warnings are errors and Ctrl-C is what it is at a terminal."""

    def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", code, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
