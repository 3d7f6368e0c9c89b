# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The background thread of a store: ends idle segments, compresses sealed ones, makes files ahead.

It runs at the lowest priority; compression, reading and writing leave the GIL free. Its backlog costs
disk, never refusals: raw segments wait until their turn comes or retention drops them.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from headrace import limits
from headrace.errors import Corrupt, Error
from headrace.log.cold import ColdSegment, write_cold
from headrace.log.failpoints import reach
from headrace.log.segment import RawSegment

if TYPE_CHECKING:
    from headrace.log.lane import Lane
    from headrace.log.lane_segments import LaneSegments
    from headrace.log.log import Log

logger = logging.getLogger("headrace.log")

SPARES_MAX = 4  # files kept for the next segments of a `disk` lane


class Maintenance:
    """What a store does beside taking in and giving out."""

    def __init__(self, log: Log, codec: str | None) -> None:
        self._log = log
        self._codec = codec
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._spares: dict[int, list[tuple[int, Path]]] = {}  # by lane: (bytes, file)
        self._used: dict[int, list[Path]] = {}
        self._numbers = itertools.count()
        self._damaged: set[Path] = set()  # raw segments that cannot be compressed
        self.compressed_bytes = 0  # of frames, before
        self.cold_bytes = 0  # of files, after

    def start(self) -> None:
        """Run until `stop`."""
        self._thread = threading.Thread(target=self._run, name="headrace-maintenance", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the segment in work."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def wake(self, lane: LaneSegments) -> None:
        """There may be something to do."""
        self._wake.set()

    def _run(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while not self._stopping:
            self._wake.wait(1.0)
            self._wake.clear()
            if self._stopping:
                return
            try:
                self.run_once()
            except (OSError, Error) as problem:
                logger.warning("maintenance of %s: %s", self._log.directory, problem)
                self._wake.wait(5.0)

    def run_once(self) -> None:
        """Everything that is due now."""
        for lane in self._log.loaded_lanes():
            try:
                lane.seal_idle(limits.segment_idle_ns)
                if lane.needs_sync:
                    self._make_spares(lane)
            except (OSError, Error) as problem:  # of one lane; the others go on
                logger.warning("maintenance of lane %d: %s", lane.id, problem)
        while not self._stopping and self._compress_one():
            pass
        if any(lane.size for lane in self._log.loaded_lanes()):
            self._log.ballast.restore()

    @property
    def backlog(self) -> int:
        """Bytes of sealed segments that wait for compression."""
        if self._codec is None:
            return 0
        return sum(raw.size for lane in self._log.loaded_lanes() for raw in lane.raw_sealed())

    def _compress_one(self) -> bool:
        """Compress the oldest sealed segment of some lane; False where there is none."""
        if self._codec is None:
            return False
        for lane in self._log.loaded_lanes():
            for raw in lane.raw_sealed():
                if raw.path not in self._damaged and self.compress(lane, raw):
                    return True
        return False

    def compress(self, lane: Lane, raw: RawSegment) -> bool:
        """Put a cold file in the raw segment's place; False where it must wait."""
        assert self._codec is not None
        end = lane.end_of(raw)
        if end is None:
            return False
        snapshot, last_crc, last_arrival_ms, epoch = end
        try:
            path = self._log.ballast.spend(
                lambda: write_cold(
                    raw, snapshot, last_crc, last_arrival_ms, self._log.disk, self._codec or "", epoch
                )
            )
        except FileNotFoundError:
            return True  # dropped meanwhile
        except Corrupt as problem:
            self._damaged.add(raw.path)  # stays as it is, for repair
            logger.warning("%s", problem)
            return False
        cold = ColdSegment.open(path, self._log.disk)
        if not lane.replace_segment(raw, cold):
            self._log.disk.unlink(path)
            return True
        reach("cold.after_unlink")
        self.compressed_bytes += cold.raw_bytes
        self.cold_bytes += cold.size
        return True

    # ---------------------------------------------------------------- files made ahead

    def keeps(self, lane_id: int) -> bool:
        """Whether the lane could use one more file that was written before."""
        return len(self._spares.get(lane_id, ())) + len(self._used.get(lane_id, ())) < SPARES_MAX

    def recycle(self, lane_id: int, path: Path) -> None:
        """Take a file that the lane no longer needs; it becomes a spare once no reader has it open."""
        self._used.setdefault(lane_id, []).append(path)
        self._wake.set()

    def _make_spares(self, lane: Lane) -> None:
        """Have a file ready before the lane's next segment is due: an old one, else a new one of zeroes."""
        spares = self._spares.setdefault(lane.id, [])
        for path in self._used.pop(lane.id, []):
            if self._log.disk.unpinned(path):
                spares.append((self._log.disk.size(path), path))
            else:
                self._log.disk.unlink(path)  # its readers go on with what they have open
        if self._log.ballast.low:
            while spares:
                self._log.disk.unlink(spares.pop()[1])
            return
        wanted = lane.next_file_size()
        if wanted is None or any(size >= wanted for size, _ in spares):
            return
        path = lane.directory / f"spare-{next(self._numbers)}.tmp"
        file = self._log.disk.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            self._log.prewrite(file, wanted)
            self._log.disk.sync(file)
        except OSError:
            with contextlib.suppress(OSError):
                self._log.disk.unlink(path)
            raise
        finally:
            self._log.disk.close(file)
        spares.append((wanted, path))

    def take_spare(self, lane_id: int, size: int) -> Path | None:
        """A file of at least that size that was written before; it is then the caller's."""
        spares = self._spares.get(lane_id, [])
        for spare in list(spares):
            if spare[0] >= size:
                try:
                    spares.remove(spare)
                except ValueError:  # given up for want of space
                    continue
                self._wake.set()
                return spare[1]
        return None
