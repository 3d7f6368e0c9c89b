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
import struct
import threading
import time
from collections.abc import Collection
from pathlib import Path

from headrace import limits
from headrace.clock import Clock, SystemClock
from headrace.config import check_choice, check_count
from headrace.disk import FILE_SYSTEMS_ALLOWED, Disk, SystemDisk, file_system_of, write_all
from headrace.errors import (
    Backpressure,
    Closed,
    Corrupt,
    Error,
    LockedByOther,
    NotFound,
    StorageError,
    Unsupported,
)
from headrace.log.ballast import Ballast
from headrace.log.catalogue import Catalogue
from headrace.log.control import CLEAN, DIRTY, ControlFile
from headrace.log.failpoints import reach
from headrace.log.lane import Lane
from headrace.log.lane_reader import LaneReader
from headrace.log.lane_segments import LaneSegments
from headrace.log.maintenance import Maintenance
from headrace.log.recovery import Recovered
from headrace.log.refusals import unreadable, words
from headrace.log.segment import HEADER_SIZE, RAW

logger = logging.getLogger("headrace.log")
CODECS = ("zstd", "lz4", None)
DROP_SIZE = 1 << 20  # of the page cache at a time
DROP_PAUSE_S = 1e-4
_FACTS = struct.Struct("<16sIQ")  # the catalogue's document log/store: store id, epoch, size limit


def epoch_of(facts: bytes) -> int:
    """The epoch in the catalogue's document log/store."""
    return int(_FACTS.unpack(facts)[1])


def in_next_epoch(facts: bytes) -> bytes:
    """The same document in the epoch that follows."""
    store_id, epoch, max_bytes = _FACTS.unpack(facts)
    return _FACTS.pack(store_id, epoch + 1, max_bytes)


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
        self.codec = codec
        self._lanes: dict[int, LaneReader] = {}
        self._lanes_lock = threading.Lock()
        self._lane_bytes: dict[int, int] | None = None  # of lanes that are not loaded
        self.control = ControlFile(directory / "control", writer=writer, boot_id=disk.boot_id())
        self.same_boot = self.control.same_boot
        self.was_clean = self.control.clean
        self.reports: list[str] = []
        self.closed = False
        self.ballast = Ballast(directory, disk)
        if writer and not has_content(directory / "catalogue.sqlite"):
            self._refuse_lanes("is missing or empty")
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
        system that does not keep the promises, InvalidArgument, StorageError, Corrupt.
        """
        check_choice("compression", codec, CODECS)
        if max_bytes is not None:
            max_bytes = check_count("max_bytes of a store", max_bytes, limits.store_size_least)
        path = Path(directory).absolute()
        try:
            lock_file = _enter(path, create, allow_network_fs)
        except OSError as problem:
            raise _not_opened(path, problem) from problem
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
            release_lock(lock_file)
            raise _not_opened(path, problem) from problem
        except BaseException:
            release_lock(lock_file)
            raise
        if background:
            log.maintenance.start()
        return log

    @classmethod
    def open_reader(
        cls, directory: str | Path, *, clock: Clock | None = None, allow_network_fs: bool = False
    ) -> Log:
        """Open a directory for reading only, beside the process that writes it or without one.

        Raises NotFound where there is no store, Unsupported as `open` does, StorageError, Corrupt.
        """
        path = Path(directory).absolute()
        try:
            if not (path / "control").exists():
                raise NotFound(
                    f"{path} is not a headrace store", hint="headrace.open() or headrace serve makes one"
                )
            if not allow_network_fs:
                check_file_system(path)
            return cls(
                path, clock or SystemClock(), SystemDisk(), writer=False, lock_file=-1, max_bytes=None, codec=None
            )  # fmt: skip
        except OSError as problem:
            raise _not_opened(path, problem) from problem

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
            self._refuse_lanes("does not know this store")
            self.disk.sync_directory(self.directory)  # the catalogue's own name
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
        for lane, size in sorted(self._strays().items()):
            self.note(
                f"lane {lane}: {size} bytes in files that no lane of the catalogue owns; they stay, count as used,"
                f" and the id is left out"
            )

    def stored_epoch(self) -> int:
        """The epoch as the catalogue has it now; for who does not write the store."""
        facts = self.catalogue.get("log", "store")
        return 0 if facts is None else epoch_of(facts)

    def _refuse_lanes(self, what: str) -> None:
        """Without its catalogue a store that holds records must not look like an empty one."""
        lanes = stray_lanes(self.directory, self.disk, set())
        if lanes:
            raise Corrupt(
                f"{self.directory / 'catalogue.sqlite'} {what}, but there are files of {len(lanes)} lanes, which only"
                " the catalogue can say the meaning of",
                hint="put the catalogue back, or move the store aside and begin a new one",
            )

    def _strays(self) -> dict[int, int]:
        """Bytes of the lanes in the directory that the catalogue does not know, by id."""
        return stray_lanes(self.directory, self.disk, self.catalogue.lanes().keys())

    def note(self, text: str) -> None:
        """Something that whoever opened the store should know."""
        self.reports.append(text)
        logger.warning("%s: %s", self.directory, text)

    # ---------------------------------------------------------------- lanes

    def lane_directory(self, lane_id: int) -> Path:
        return self.directory / "lanes" / f"{lane_id:08d}"

    def create_lane(self, durability: str) -> Lane:
        """A new lane. Makes no file until something is appended."""
        if durability not in ("process", "disk"):
            raise Unsupported(f"durability is {durability!r}; expected 'process' or 'disk'")
        self.check_open()
        with self.catalogue.transaction(durable=True):
            lane_id = self.add_lane(durability)
        self.control.reserve(lane_id)
        lane = Lane(self, lane_id, durability)
        with self._lanes_lock:
            self._lanes[lane_id] = lane
        return lane

    def add_lane(self, durability: str) -> int:
        """The id of a new lane: the only way to get one. Within a durable transaction of the catalogue.

        Never an id of which there are files: they are of a lane whose row was lost (the catalogue was changed
        for an older one, or the device did not keep what it had synced), and not this lane's.
        """
        lane_id = self.catalogue.add_lane(durability)
        while self._has_files(lane_id):
            self.note(f"lane {lane_id}: files that no lane owns; the id is left out")
            self.catalogue.remove_lane(lane_id)
            lane_id = self.catalogue.add_lane(durability)
        if self.control.visible(lane_id):
            self.control.forget(lane_id)
        return lane_id

    def _has_files(self, lane_id: int) -> bool:
        path = self.lane_directory(lane_id)
        try:
            return bool(self.disk.names(path))
        except OSError as problem:
            raise unreadable(problem, f"the directory of lane {lane_id}", path) from problem

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
        """Remove a lane with its files. Its row goes last, when they are gone from the device: whatever happens
        in between, no file is left without an owner, and the call may be made again. Raises StorageError."""
        if self.catalogue.lane_durability(lane_id) is None:
            return
        lane, path = self.lane(lane_id), self.lane_directory(lane_id)
        lane.abandon()
        try:
            if path.exists():
                self.disk.remove_directory(path)
                self.disk.sync_directory(path.parent)
        except OSError as problem:
            raise StorageError(
                f"the files of lane {lane_id} could not be removed: {problem.strerror or problem}",
                hint="this is tried again when the store is opened anew",
            ) from problem
        with self._lanes_lock:
            self._lanes.pop(lane_id, None)
        if self._lane_bytes is not None:
            self._lane_bytes.pop(lane_id, None)
        self.control.forget(lane_id)
        self.catalogue.remove_lane(lane_id)

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
        path = self.directory / "lanes"
        try:
            for name in self.disk.names(path):
                if name.isdigit():
                    sizes[int(name)] = size_of_files(path / name, self.disk)
        except OSError as problem:
            raise unreadable(problem, "the size of the store", path) from problem
        return sizes

    def make_room(self, lane: LaneSegments, need: int, extra: int = 0) -> int:
        """Before a lane starts a segment for a group of `need` bytes, and `extra` for other frames: drop or refuse
        by the limits.

        Returns the bytes that there are. Raises Backpressure when the store, the lane or the device is full.
        """
        lane.keep_within(need, extra)
        need += extra
        if self.size + HEADER_SIZE + need > self.max_bytes:
            raise Backpressure(
                f"the store holds {self.size} bytes and its limit is {self.max_bytes}", retry_after=1.0,
                hint="raise max_bytes, delete streams, or shorten their retention",
            )  # fmt: skip
        try:
            free = self.disk.free_bytes(self.directory)
        except OSError as problem:
            raise unreadable(problem, "the free space of the store", self.directory) from problem
        if free < need + limits.disk_free_least:
            raise Backpressure(
                f"{free} bytes are free on the device of {self.directory}; {limits.disk_free_least} are kept free",
                retry_after=1.0,
            )
        return min(lane.room, self.max_bytes - self.size - HEADER_SIZE, free - limits.disk_free_least)

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
                release_lock(self._lock_file)
        if isinstance(problem, OSError):
            raise StorageError(
                f"the store was closed, and what was not synced may not survive a loss of power: {words(problem)}"
            ) from problem
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


def _enter(path: Path, create: bool, allow_network_fs: bool) -> int:
    """Make the directory if it may be made, and take its lock."""
    if not create and not any((path / name).exists() for name in ("control", "catalogue.sqlite")):
        what = "is not a headrace store" if path.exists() else "does not exist"
        raise NotFound(f"{path} {what}", hint="leave out create=False to make it")
    if not path.exists():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not allow_network_fs:
        check_file_system(path)
    return take_lock(path)


def _not_opened(path: Path, problem: OSError) -> StorageError:
    return StorageError(f"the store {path} could not be opened: {words(problem)}")


def has_content(path: Path) -> bool:
    """Whether a file is there and not empty."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def size_of_files(path: Path, disk: Disk) -> int:
    """Bytes of the files in a directory; one that goes meanwhile counts nothing."""
    size = 0
    for name in disk.names(path):
        with contextlib.suppress(FileNotFoundError):
            size += disk.size(path / name)
    return size


def stray_lanes(directory: Path, disk: Disk, known: Collection[int]) -> dict[int, int]:
    """Bytes of the files in lane directories other than those of the known lanes, by id."""
    strays: dict[int, int] = {}
    for name in disk.names(directory / "lanes"):
        if name.isdigit() and int(name) not in known:
            path = directory / "lanes" / name
            files = disk.names(path) if path.is_dir() else []
            if files:
                strays[int(name)] = sum(disk.size(path / file) for file in files)
    return strays


_locks: dict[int, os.stat_result] = {}  # descriptors by which this process holds locks, and what they are of


def take_lock(path: Path) -> int:
    """The store's lock, held until the descriptor is closed or the process ends."""
    file = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    _locks[file] = os.fstat(file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        release_lock(file)
        raise LockedByOther(
            f"{path} is open for writing in process {lock_holder(path)}",
            hint="headrace.open() joins it; or stop that process",
        ) from None
    except OSError:
        release_lock(file)
        raise
    return file


def release_lock(file: int) -> None:
    """Let go of a lock. Not in a forked child, which holds none: there the number may be another file's."""
    if _locks.pop(file, None) is not None:
        os.close(file)


def lock_holder(path: Path) -> str:
    """The process that took the store's lock last, for messages."""
    try:
        return (path / "lock").read_bytes()[:32].decode(errors="replace").strip() or "unknown"
    except OSError:
        return "unknown"


def _leave_locks() -> None:
    """In a forked child: close the copies of the parent's locks, which else would outlive it here.

    Closing leaves the parent's lock alone; unlocking would not.
    """
    for file, known in _locks.items():
        with contextlib.suppress(OSError):  # closed without release_lock
            if os.path.samestat(os.fstat(file), known):
                os.close(file)
    _locks.clear()


os.register_at_fork(after_in_child=_leave_locks)


def check_file_system(path: Path) -> None:
    """Refuse, by name, a file system whose writes and locks do not keep the log's promises."""
    kind = file_system_of(path)
    if kind and kind not in FILE_SYSTEMS_ALLOWED:
        raise Unsupported(
            f"{path} is on a {kind} file system; headrace keeps its promises on {', '.join(sorted(FILE_SYSTEMS_ALLOWED))}",
            hint="choose a local directory, or pass allow_network_fs=True at your own risk",
        )
