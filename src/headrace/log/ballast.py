# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The ballast: space held in reserve, so that a full disk still lets deletes, positions and compression go on.

Intake keeps `limits.disk_free_least` free, but other programs may take that. A file `DIR/ballast` of
`limits.ballast_size` bytes, which carries nothing, is removed when one of these needs space that is not there, and
made again when there is plenty. What it gives up is not for records: a lane that draws on it takes positions
only, until a segment can be begun within all bounds (log/lane_segments.py).

Cost: making it allocates without writing (`posix_fallocate`); a look at the free space is one system call.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from headrace import limits
from headrace.disk import Disk, is_full

logger = logging.getLogger("headrace.log")
Answer = TypeVar("Answer")


class Ballast:
    """The reserve of one store. Used by the process that writes it only."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self.path = directory / "ballast"
        self._disk = disk
        self._lock = threading.Lock()

    @property
    def held(self) -> bool:
        """Whether there is something to give up."""
        return self.path.name in self._disk.names(self.path.parent)

    @property
    def low(self) -> bool:
        """Whether less is free than intake leaves."""
        return self._disk.free_bytes(self.path.parent) < limits.disk_free_least

    def release(self) -> bool:
        """Give the space back; False where there is none to give."""
        with self._lock:
            try:
                if not self.held:
                    return False
                self._disk.unlink(self.path)
            except OSError as problem:
                logger.warning("%s could not be removed: %s", self.path, problem)
                return False
            logger.warning("the disk is full: the reserve of %d bytes was given up", limits.ballast_size)
            return True

    def ensure(self) -> None:
        """Before a small write that must not fail: give the space back if hardly any is left."""
        try:
            urgent = self._disk.free_bytes(self.path.parent) < limits.disk_free_urgent
        except OSError as problem:  # the write itself says what is wrong, if anything is
            logger.warning("the free space of %s cannot be told: %s", self.path.parent, problem)
            return
        if urgent:
            self.release()

    def spend(self, action: Callable[[], Answer]) -> Answer:
        """Do something that must not fail for want of space: once more, on the reserve, if the disk is full."""
        self.ensure()
        try:
            return action()
        except OSError as problem:
            if not is_full(problem) or not self.release():
                raise
        return action()

    def restore(self) -> None:
        """Make the file again where there is plenty of space."""
        with self._lock:
            try:
                free = self._disk.free_bytes(self.path.parent)
                if self.held or free < limits.disk_free_least + 2 * limits.ballast_size:
                    return
                file = self._disk.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
                try:
                    self._disk.allocate(file, limits.ballast_size)
                finally:
                    self._disk.close(file)
            except OSError as problem:  # tried again later
                logger.warning("no reserve for a full disk: %s", problem)
