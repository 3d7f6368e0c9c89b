# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The background threads of a store: one ends idle segments and makes files ahead, one compresses; rooms above add
theirs.

Compression runs at the lowest priority; it, reading and writing leave the GIL free. Its backlog costs disk,
never refusals: raw segments wait until their turn comes or retention drops them. Those of a `disk` lane also
wait while it takes in more than compression could follow, since both want the same device: each sync would
wait for what compression writes, and a limit would drop the segments soon after. Where the backlog takes
room that puts may need, they wait no longer.

The threads are woken from within puts, under a lane's lock, where a Ctrl-C may come at any line of Python: what
wakes them is one call into C, a SimpleQueue's `put`, which takes no lock that an exception could leave taken. (An
Event's `set` does, and whoever calls it next would wait for ever.)
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from headrace import limits
from headrace.errors import Corrupt, Error
from headrace.log.ahead import FilesAhead
from headrace.log.cold import ColdSegment, write_cold
from headrace.log.failpoints import reach
from headrace.log.segment import RawSegment

if TYPE_CHECKING:
    from headrace.log.lane import Lane
    from headrace.log.lane_segments import LaneSegments
    from headrace.log.log import Log

logger = logging.getLogger("headrace.log")
PAUSE_S = 1.0  # between two looks where nobody wakes
PAUSE_FAILED_S = 5.0  # after a failure


Wake = queue.SimpleQueue[None]


class Maintenance:
    """What a store does beside taking in and giving out."""

    def __init__(self, log: Log, codec: str | None) -> None:
        self._log = log
        self._codec = codec
        self._stopping = False
        self._works: list[tuple[str, Callable[[], None], Wake]] = []
        self._running = False
        self._threads: list[threading.Thread] = []
        self.ahead = FilesAhead(log)
        self._damaged: set[Path] = set()  # raw segments that cannot be compressed
        self.compressed_bytes = 0  # of frames, before
        self.cold_bytes = 0  # of files, after
        self.add("ahead", self.look_ahead)
        self.add("compression", self.compress_all)

    def add(self, name: str, work: Callable[[], None]) -> None:
        """Have `work` called about once a second until `stop`, in a thread of its own, where the store works in the
        background. An Error or OSError is logged, and it is called again."""
        self._works.append((name, work, queue.SimpleQueue()))
        if self._running:
            self._begin(*self._works[-1])

    def start(self) -> None:
        """Run until `stop`."""
        self._running = True
        for work in self._works:
            self._begin(*work)

    def _begin(self, name: str, work: Callable[[], None], wake: Wake) -> None:
        thread = threading.Thread(
            target=self._run, args=(work, wake, name == "compression"), name=f"headrace-{name}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """End after the segment in work."""
        self._stopping = True
        for _, _, wake in self._works:
            wake.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def wake(self, lane: LaneSegments) -> None:
        """There may be something to do."""
        for _, _, wake in self._works:
            if wake.empty():  # else it has yet to look
                wake.put(None)

    def _run(self, work: Callable[[], None], wake: Wake, nice: bool) -> None:
        if nice:
            with contextlib.suppress(OSError, AttributeError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        pause = PAUSE_S
        while not self._stopping:
            with contextlib.suppress(queue.Empty):
                wake.get(timeout=pause)
            pause = PAUSE_S
            if self._stopping:
                return
            try:
                work()
            except (OSError, Error) as problem:
                logger.warning("maintenance of %s: %s", self._log.directory, problem)
                pause = PAUSE_FAILED_S

    def run_once(self) -> None:
        """Everything that is due now."""
        self.look_ahead()
        self.compress_all()

    def look_ahead(self) -> None:
        """End idle segments, and have a file ready where one is wanted before long."""
        for lane in self._log.loaded_lanes():
            try:
                lane.seal_idle(limits.segment_idle_ns)
                if lane.needs_sync:
                    self.ahead.prepare(lane)
            except (OSError, Error) as problem:  # of one lane; the others go on
                logger.warning("maintenance of lane %d: %s", lane.id, problem)

    def compress_all(self) -> None:
        """Compress every segment that does not have to wait."""
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
            if lane.outruns_compression():
                continue
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
            if raw not in lane.raw_sealed():
                return True  # dropped meanwhile
            self._damaged.add(raw.path)  # somebody else removed it: asking again would never end
            logger.warning("%s is gone: its records cannot be read", raw.path)
            return False
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
