# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What a destination is: four things that it must be able to do.

Calls block; the keeper makes them in threads of its own. Every failure is a DeliveryError with words for an
operator and without secrets. Who made a destination calls `check` before anything is sent to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Destination(Protocol):
    """A store for objects.

    Attributes:
        described: where it is, for people; holds no secret.
        local: `check` returns at once, so that a delivery to it can be ACTIVE when it is created.
    """

    described: str
    local: bool

    def check(self, key: str) -> None:
        """Raise DeliveryError unless an object of such a name could be written. Leaves nothing behind."""
        ...

    def exists(self, key: str) -> bool:
        """Whether the object is there, complete."""
        ...

    def put(self, key: str, chunks: Iterator[bytes]) -> int:
        """Write an object: all of it or nothing. Returns its size when the store has confirmed it."""
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...
