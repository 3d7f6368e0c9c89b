# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Time, passed in: what tells the hour to every other room."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where a room reads the time. Tests and simulations hand in one that they steer."""

    def now_ms(self) -> int:
        """Wall clock: milliseconds since 1970-01-01 UTC. It may jump, also backwards."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds from an arbitrary start; never decreases."""
        ...


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


class FrozenClock:
    """A clock that stands still until it is moved; for tests of expiry, retention and intervals."""

    __slots__ = ("_monotonic_ns", "_now_ms")

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic_ns = 0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def advance(self, milliseconds: int) -> None:
        """Move both clocks forward."""
        if milliseconds < 0:
            raise ValueError(
                f"advance() moves forward only; got {milliseconds} ms; use jump() for the wall clock"
            )
        self._now_ms += milliseconds
        self._monotonic_ns += milliseconds * 1_000_000

    def jump(self, milliseconds: int) -> None:
        """Move the wall clock only, in either direction, as an operator or NTP would."""
        self._now_ms += milliseconds
