# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A store in a directory of the test's own, and Python in another process."""

from __future__ import annotations

import subprocess
import sys

import pytest

import headrace
from headrace.errors import Backpressure
from headrace.streams import stream as inner


class Crowd:
    """Lanes that have no room, or fail, for as long as a test says so.

    full: ordinals of the lanes of stream `s` that refuse; error: what they raise.
    """

    def __init__(self, monkeypatch, store) -> None:
        self.full: set[int] = set()
        self.error: Exception = Backpressure("no room", retry_after=0.01)
        self.refusals = 0
        append_lanes = inner.append_lanes

        def crowded(entries, router, lanes, clock, framed):
            if lanes[0] not in store.inner.stream("s").lanes or not self.full:
                return append_lanes(entries, router, lanes, clock, framed)
            tickets, failures, refused = [], {}, 0
            for ordinal, positions in enumerate(entries.lanes):
                if len(positions) and ordinal in self.full:
                    self.refusals += 1
                    failures[ordinal] = self.error
                    refused += len(positions)
                elif len(positions):
                    framed[ordinal] = lanes[ordinal].append(entries, router, ordinal)
                    tickets.append((lanes[ordinal], framed[ordinal]))
            return tickets, failures or None, refused

        monkeypatch.setattr(inner, "append_lanes", crowded)


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
