# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A disk of a given size that other programs share: writes beyond what is free fail with ENOSPC, half done.

What lies below `root` counts as it stands in the real files; `others` is what somebody else has on it.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from headrace.disk import SystemDisk


class FullDisk(SystemDisk):
    native = False

    def __init__(self, root: Path, capacity: int) -> None:
        self.root = root
        self.capacity = capacity
        self.others = 0
        self.refused = 0

    @property
    def free(self) -> int:
        used = 0
        for at, _, names in os.walk(self.root):
            used += sum(Path(at, name).stat().st_size for name in names)
        return max(self.capacity - self.others - used, 0)

    def fill(self, left: int = 0) -> None:
        """Somebody else takes all but `left` bytes."""
        self.others += self.free - left

    def free_bytes(self, path: Path) -> int:
        return self.free

    def _refuse(self) -> OSError:
        self.refused += 1
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def pwrite(self, file: int, data: memoryview | bytes, position: int) -> int:
        size = os.fstat(file).st_size
        grows = position + len(data) > size
        room = size + self.free - position if grows else len(data)
        if len(data) > room:
            if room > 0:
                super().pwrite(file, data[:room], position)
            raise self._refuse()
        return super().pwrite(file, data, position)

    def allocate(self, file: int, size: int) -> None:
        if size - os.fstat(file).st_size > self.free:
            raise self._refuse()
        super().allocate(file, size)
