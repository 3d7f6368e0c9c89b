# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Files made ahead for the next segments of `disk` lanes, so that a roll makes, fills and drops nothing.

A sync of a file that grows, or has holes to fill, costs a commit of the file system's journal each time; so
a segment of a `disk` lane has its full size and was written once before it is begun: with zeroes, or as an
earlier segment of the lane that was dropped or compressed. Frames of the earlier use fail under the new salt.

The file stands ready under a temporary name, open and pinned. Beginning a segment gives it its name; the
name is on the device with the segment's first sync (log/lane_segments.py). A file under a temporary name
holds nothing, and the next opening of the lane removes it.

What readers and earlier writes have left of it in the page cache goes before a lane writes to it past the cache: else
each such write has to find and drop its pages, which costs a third of what the device takes.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from headrace.log.lane_segments import LaneSegments
    from headrace.log.log import Log

USED_MAX = 4  # files kept for the next segments of a lane
PART_SIZE = 4 << 20  # of a new file, synced at a time: a put's sync waits for one of them, not for all


class ReadyFile(NamedTuple):
    """A file that a segment may be begun in."""

    size: int
    path: Path
    file: int  # open for reading and writing, pinned


class FilesAhead:
    """The files made ahead, of all lanes of a store. The lanes take them, a background thread makes them."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._ready: dict[int, ReadyFile] = {}  # by lane
        self._used: dict[int, list[Path]] = {}
        self._numbers = itertools.count()

    def keeps(self, lane_id: int) -> bool:
        """Whether the lane could use one more file that was written before."""
        return len(self._used.get(lane_id, ())) < USED_MAX

    def recycle(self, lane_id: int, path: Path) -> None:
        """Take a file that the lane no longer needs; it is used again once no reader has it open."""
        with self._lock:
            self._used.setdefault(lane_id, []).append(path)

    def take(self, lane_id: int, size: int) -> ReadyFile | None:
        """A file of at least that size; it is then the caller's. None where none is ready."""
        with self._lock:
            ready = self._ready.get(lane_id)
            if ready is None or ready.size < size:
                return None
            return self._ready.pop(lane_id)

    def prepare(self, lane: LaneSegments) -> None:
        """Have a file ready before the lane's next segment is due, and none when space runs out. Raises OSError."""
        if self._log.ballast.low:
            self.forget(lane.id)
            return
        wanted = lane.next_file_size()
        ready = self._ready.get(lane.id)
        if wanted is None or (ready is not None and ready.size >= wanted):
            return
        lane.drop_ahead(wanted)
        made = self._from_used(lane.id, wanted) or self._new(lane, wanted)
        if lane.past_cache:
            self._log.drop_cache(made.path)
        with self._lock:
            ready, self._ready[lane.id] = self._ready.get(lane.id), made
        if ready is not None:
            self._remove(ready)

    def _from_used(self, lane_id: int, wanted: int) -> ReadyFile | None:
        """A file of an earlier segment that is large enough and that nobody reads; others are removed."""
        disk = self._log.disk
        while True:
            with self._lock:
                used = self._used.get(lane_id)
                path = used.pop(0) if used else None
            if path is None:
                return None
            size = disk.size(path)
            if size >= wanted and disk.unpinned(path):
                return self._open(size, path, os.O_RDWR)
            disk.unlink(path)  # its readers go on with what they have open

    def _new(self, lane: LaneSegments, wanted: int) -> ReadyFile:
        """A new file of zeroes, on the device."""
        disk = self._log.disk
        path = lane.directory / f"spare-{next(self._numbers)}.tmp"
        made = self._open(wanted, path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            for start in range(0, wanted, PART_SIZE):
                self._log.prewrite(made.file, min(PART_SIZE, wanted - start), start)
                disk.sync(made.file)
        except OSError:
            self._remove(made)
            raise
        return made

    def _open(self, size: int, path: Path, flags: int) -> ReadyFile:
        file = self._log.disk.open(path, flags)
        self._log.disk.pin(file)
        return ReadyFile(size, path, file)

    def _remove(self, ready: ReadyFile) -> None:
        self._log.disk.close(ready.file)
        with contextlib.suppress(OSError):  # else the next opening of the lane does
            self._log.disk.unlink(ready.path)

    def forget(self, lane_id: int) -> None:
        """The lane takes nothing more: its files are removed."""
        with self._lock:
            ready = self._ready.pop(lane_id, None)
            used = self._used.pop(lane_id, [])
        if ready is not None:
            self._remove(ready)
        for path in used:
            with contextlib.suppress(OSError):
                self._log.disk.unlink(path)
