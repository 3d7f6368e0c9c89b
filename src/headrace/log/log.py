# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A store's directory: its lock, its lanes, its bounds.

    DIR/lock                     held (flock) by the one process that writes
    DIR/control                  what processes share in mapped memory (log/control.py)
    DIR/catalogue.sqlite         small facts (log/catalogue.py)
    DIR/ballast                  space in reserve (log/ballast.py)
    DIR/lanes/<id>/manifest      log/manifest.py
    DIR/lanes/<id>/<base>.raw    log/segment.py
    DIR/lanes/<id>/<base>.cold   log/cold.py

Other rooms keep files of their own in other names below DIR.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import struct
import threading
import time
from pathlib import Path

from headrace import limits
from headrace.clock import Clock, SystemClock
from headrace.disk import FILE_SYSTEMS_ALLOWED, Disk, SystemDisk, file_system_of, write_all
from headrace.errors import Backpressure, Closed, Error, LockedByOther, NotFound, StorageError, Unsupported
from headrace.log.ballast import Ballast
from headrace.log.catalogue import Catalogue
from headrace.log.control import CLEAN, DIRTY, ControlFile
from headrace.log.failpoints import reach
from headrace.log.lane import Lane
from headrace.log.lane_reader import LaneReader
from headrace.log.lane_segments import LaneSegments
from headrace.log.maintenance import Maintenance
from headrace.log.recovery import Recovered
from headrace.log.segment import RAW

logger = logging.getLogger("headrace.log")
DROP_SIZE = 1 << 20  # of the page cache at a time
DROP_PAUSE_S = 1e-4
_FACTS = struct.Struct("<16sIQ")  # the catalogue's document log/store: store id, epoch, size limit


def epoch_of(facts: bytes) -> int:
    """The epoch in the catalogue's document log/store."""
    return int(_FACTS.unpack(facts)[1])


class Log:
    """An open store directory. Make one with `Log.open` or `Log.open_reader`."""

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        disk: Disk,
        *,
        writer: bool,
        lock_file: int,
        max_bytes: int | None,
        codec: str | None,
    ) -> None:
        self.directory = directory
        self.clock = clock
        self.disk = disk
        self.writer = writer
        self._lock_file = lock_file
        self._lanes: dict[int, LaneReader] = {}
        self._lanes_lock = threading.Lock()
        self._lane_bytes: dict[int, int] | None = None  # of lanes that are not loaded
        self.control = ControlFile(directory / "control", writer=writer, boot_id=disk.boot_id())
        self.same_boot = self.control.same_boot
        self.was_clean = self.control.clean
        self.reports: list[str] = []
        self.closed = False
        self.ballast = Ballast(directory, disk)
        self.catalogue = Catalogue(
            directory / "catalogue.sqlite", writer=writer, make_room=self.ballast.ensure
        )
        self.epoch = 0
        self.max_bytes = self.control.max_bytes
        if writer:
            self._become_writer(max_bytes)
        self.maintenance = Maintenance(self, codec)

    @classmethod
    def open(
        cls, directory: str | Path, *, clock: Clock | None = None, disk: Disk | None = None, create: bool = True,
        max_bytes: int | None = None, codec: str | None = "zstd", background: bool = True, allow_network_fs: bool = False,
    ) -> Log:  # fmt: skip
        """Open a directory for writing; one process at a time.

        max_bytes: most bytes that all lanes together may take (None: what the store was created with, or
            half of the free disk at creation). codec: how sealed segments are compressed ("zstd", "lz4",
            None: not at all). background: run the maintenance thread.
        Raises LockedByOther if another process writes it, NotFound without `create`, Unsupported on a file
        system that does not keep the promises, Corrupt.
        """
        path = Path(directory).absolute()
        if not path.exists():
            if not create:
                raise NotFound(f"{path} does not exist", hint="leave out create=False to make it")
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not allow_network_fs:
            check_file_system(path)
        lock_file = take_lock(path)
        try:
            if not (
                path / "control"
            ).exists():  # the control file comes last: then all of this is on the device
                (path / "lanes").mkdir(mode=0o700, exist_ok=True)
                (disk or SystemDisk()).sync_directory(path)
                (disk or SystemDisk()).sync_directory(path.parent)
            log = cls(
                path,
                clock or SystemClock(),
                disk or SystemDisk(),
                writer=True,
                lock_file=lock_file,
                max_bytes=max_bytes,
                codec=codec,
            )
        except OSError as problem:
            os.close(lock_file)
            raise StorageError(
                f"the store {path} could not be opened: {problem.strerror or problem}"
            ) from problem
        except BaseException:
            os.close(lock_file)
            raise
        if background:
            log.maintenance.start()
        return log

    @classmethod
    def open_reader(cls, directory: str | Path, *, clock: Clock | None = None) -> Log:
        """Open a directory for reading only, beside the process that writes it or without one."""
        path = Path(directory).absolute()
        if not (path / "control").exists():
            raise NotFound(
                f"{path} is not a headrace store", hint="headrace.open() or headrace serve makes one"
            )
        return cls(
            path, clock or SystemClock(), SystemDisk(), writer=False, lock_file=-1, max_bytes=None, codec=None
        )

    def _become_writer(self, max_bytes: int | None) -> None:
        """Settle what the store is and how the last writer ended, before any lane is looked at.

        Store id, size limit and epoch stand in the catalogue, so that the control file may be lost. The
        epoch counts the unclean starts in a new boot: a segment of an earlier epoch may have lost what was
        not synced, and indexes after it move ahead.
        """
        facts = self.catalogue.get("log", "store")
        if facts is not None:
            store_id, self.epoch, limit = _FACTS.unpack(facts)
        else:
            store_id, limit = self.control.store_id, 0
        unclean = facts is not None and not self.was_clean and not self.same_boot
        if unclean:
            self.epoch += 1
        self.max_bytes = max_bytes or limit or self.disk.free_bytes(self.directory) // 2
        now = _FACTS.pack(store_id, self.epoch, self.max_bytes)
        if now != facts:
            self.catalogue.put("log", "store", now, durable=True)
        if unclean:
            for lane, durability in self.catalogue.lanes().items():
                if durability == "process":
                    self.control.distrust(lane)
        self.control.mark(DIRTY, pid=os.getpid(), max_bytes=self.max_bytes, store_id=store_id)

    # ---------------------------------------------------------------- lanes

    def lane_directory(self, lane_id: int) -> Path:
        return self.directory / "lanes" / f"{lane_id:08d}"

    def create_lane(self, durability: str) -> Lane:
        """A new lane. Makes no file until something is appended."""
        if durability not in ("process", "disk"):
            raise Unsupported(f"durability is {durability!r}; expected 'process' or 'disk'")
        self.check_open()
        lane_id = self.catalogue.add_lane(durability)
        while self.disk.names(self.lane_directory(lane_id)):
            # The row of an earlier lane of that id was lost with the power: its files are not this lane's.
            self.reports.append(f"lane {lane_id}: files that no lane owns; the id is left out")
            self.catalogue.remove_lane(lane_id)
            lane_id = self.catalogue.add_lane(durability)
        self.control.reserve(lane_id)
        lane = Lane(self, lane_id, durability)
        with self._lanes_lock:
            self._lanes[lane_id] = lane
        return lane

    def lane(self, lane_id: int, durability: str | None = None) -> Lane:
        """An existing lane. Its files are opened when first needed.

        durability: what the catalogue says, if the caller knows it; spares the look-up. In a process that
        only reads, the object's writing methods do not work.
        """
        lane = self._lanes.get(lane_id)
        if lane is None:
            self.check_open()
            known = durability or self.catalogue.lane_durability(lane_id)
            if known is None:
                raise NotFound(f"there is no lane {lane_id} in {self.directory}")
            if self.writer:
                self.control.reserve(lane_id)
            with self._lanes_lock:
                lane = self._lanes.get(lane_id)
                if lane is None:
                    lane = (Lane if self.writer else LaneReader)(self, lane_id, known)
                    self._lanes[lane_id] = lane
        return lane  # type: ignore[return-value]

    def delete_lane(self, lane_id: int) -> None:
        """Remove a lane with its files."""
        lane = self.lane(lane_id)
        lane.abandon()
        self.catalogue.remove_lane(lane_id)
        with self._lanes_lock:
            self._lanes.pop(lane_id, None)
        if self._lane_bytes is not None:
            self._lane_bytes.pop(lane_id, None)
        shutil.rmtree(self.lane_directory(lane_id), ignore_errors=True)
        self.control.forget(lane_id)

    def loaded_lanes(self) -> list[Lane]:
        """The lanes that this process uses."""
        with self._lanes_lock:
            return [lane for lane in self._lanes.values() if isinstance(lane, Lane)]

    # ---------------------------------------------------------------- bounds

    @property
    def size(self) -> int:
        """Bytes that all lanes' files take."""
        if self._lane_bytes is None:
            self._lane_bytes = self._measure()
        loaded = self.loaded_lanes()
        for lane in loaded:
            if lane._loaded:
                self._lane_bytes.pop(lane.id, None)
        return sum(lane.size for lane in loaded) + sum(self._lane_bytes.values())

    def _measure(self) -> dict[int, int]:
        sizes: dict[int, int] = {}
        with os.scandir(self.directory / "lanes") as entries:
            for entry in entries:
                if entry.name.isdigit():
                    with contextlib.suppress(FileNotFoundError), os.scandir(entry.path) as files:
                        sizes[int(entry.name)] = sum(file.stat().st_size for file in files)
        return sizes

    def make_room(self, lane: LaneSegments, need: int) -> int:
        """Before a lane starts a segment for at least `need` bytes: drop or refuse by the limits.

        Returns the bytes that there are. Raises Backpressure when the store, the lane or the device is full.
        """
        lane.keep_within(need)
        if self.size + need > self.max_bytes:
            raise Backpressure(
                f"the store holds {self.size} bytes and its limit is {self.max_bytes}", retry_after=1.0,
                hint="raise max_bytes, delete streams, or shorten their retention",
            )  # fmt: skip
        free = self.disk.free_bytes(self.directory)
        if free < need + limits.disk_free_least:
            raise Backpressure(
                f"{free} bytes are free on the device of {self.directory}; {limits.disk_free_least} are kept free",
                retry_after=1.0,
            )
        return min(lane.room, self.max_bytes - self.size, free - limits.disk_free_least)

    def sealed(self, lane: LaneSegments) -> None:
        """A lane has a segment more that may be compressed."""
        self.maintenance.wake(lane)

    def prewrite(self, file: int, size: int, position: int = 0) -> None:
        """Fill a new file with `size` zeroes from `position` on."""
        zeroes = bytes(min(size, 1 << 20))
        for start in range(0, size, len(zeroes)):
            write_all(self.disk, file, zeroes[: size - start], position + start)

    def drop_cache(self, path: Path) -> None:
        """Have the next read of a file come from the device. A tenth of a millisecond for a MiB, and after each as long a
        pause, so that the system's threads come first: a sync of others waits for one of them."""
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):
                file = os.open(path, os.O_RDONLY)
                try:
                    for start in range(0, os.fstat(file).st_size, DROP_SIZE):
                        os.posix_fadvise(file, start, DROP_SIZE, os.POSIX_FADV_DONTNEED)
                        time.sleep(DROP_PAUSE_S)
                finally:
                    os.close(file)

    def report(self, lane: LaneSegments, found: Recovered) -> None:
        """Say what recovery found."""
        for note in [*found.notes, *([found.damage.message] if found.damage else [])]:
            self.reports.append(f"lane {lane.id}: {note}")
            logger.warning("lane %d: %s", lane.id, note)

    # ---------------------------------------------------------------- the end

    def check_open(self) -> None:
        if self.closed:
            raise Closed(f"the store {self.directory} was closed", hint="open it again")

    def close(self) -> None:
        """End every segment, sync, mark the store clean and let go of it. May be called again."""
        if self.closed:
            return
        self.closed = True
        self.maintenance.stop()
        problem: Error | OSError | None = None
        try:
            if self.writer:
                problem = self._close_lanes()
                if problem is None:
                    self.control.mark(CLEAN, pid=0)
                    reach("close.after_clean")
        finally:
            self.catalogue.close()
            self.control.close()
            if self._lock_file >= 0:
                os.close(self._lock_file)
        if problem is not None:
            raise problem

    def _close_lanes(self) -> Error | OSError | None:
        """End every lane, whatever happens to one of them; returns the first problem."""
        problem: Error | OSError | None = None
        loaded = set()
        for lane in self.loaded_lanes():
            try:
                lane.close()
                if lane._loaded:
                    loaded.add(lane.id)
            except (Error, OSError) as error:
                problem = problem or error
        if not self.was_clean and problem is None:  # what a killed writer left may not be on the device yet
            try:
                for lane_id in self.catalogue.lanes().keys() - loaded:
                    self._sync_files(self.lane_directory(lane_id))
            except (Error, OSError) as error:
                problem = error
        return problem

    def _sync_files(self, directory: Path) -> None:
        names = self.disk.names(directory)
        for name in names:
            if name.endswith(RAW):
                file = self.disk.open(directory / name, os.O_RDONLY)
                try:
                    self.disk.sync(file)
                finally:
                    self.disk.close(file)
        if names:
            self.disk.sync_directory(directory)


def take_lock(path: Path) -> int:
    """The store's lock, held until the descriptor is closed or the process ends."""
    file = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(file, 32, 0).decode(errors="replace").strip()
        os.close(file)
        raise LockedByOther(
            f"{path} is open for writing in process {holder or 'unknown'}",
            hint="headrace.open() joins it; or stop that process",
        ) from None
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    return file


def check_file_system(path: Path) -> None:
    """Refuse, by name, a file system whose writes and locks do not keep the log's promises."""
    kind = file_system_of(path)
    if kind and kind not in FILE_SYSTEMS_ALLOWED:
        raise Unsupported(
            f"{path} is on a {kind} file system; headrace keeps its promises on {', '.join(sorted(FILE_SYSTEMS_ALLOWED))}",
            hint="choose a local directory, or pass allow_network_fs=True at your own risk",
        )
