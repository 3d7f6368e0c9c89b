# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The file system, passed in: every call by which the log touches files.

The log takes a `Disk` and calls nothing else, so that a test can hand in one that fails, loses power or
counts. `SystemDisk` is the machine's own; for it the native write path skips the call into Python.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import sys
from pathlib import Path
from typing import Protocol

READ_SIZE_MAX = 64 << 20  # of one call; its buffer is made before anything is read
REMOVALS_MAX = 5  # attempts to remove a directory
# File systems on which pwrite, fdatasync, rename and flock mean what the crash rules need.
FILE_SYSTEMS_ALLOWED = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay", "bcachefs", "apfs"}
)


class Disk(Protocol):
    """What the log asks of a file system. Every method raises OSError on failure."""

    native: bool
    """True where `pwrite` may be replaced by the system call itself."""

    def open(self, path: Path, flags: int) -> int:
        """Open a file with mode 0600; returns a descriptor."""
        ...

    def close(self, file: int) -> None: ...

    def pwrite(self, file: int, data: memoryview | bytes, position: int) -> int:
        """Write at a position; returns how many bytes were taken."""
        ...

    def pread(self, file: int, size: int, position: int) -> bytes: ...

    def sync(self, file: int) -> None:
        """Return when data and size of the file are on the device."""
        ...

    def sync_directory(self, path: Path) -> None:
        """Return when the directory's entries are on the device."""
        ...

    def rename(self, source: Path, target: Path) -> None: ...

    def unlink(self, path: Path) -> None: ...

    def size(self, path: Path) -> int: ...

    def names(self, path: Path) -> list[str]:
        """The names in a directory, or [] if there is none."""
        ...

    def make_directory(self, path: Path) -> None: ...

    def remove_directory(self, path: Path) -> None:
        """Remove a directory with everything in it, if there is one."""
        ...

    def free_bytes(self, path: Path) -> int: ...

    def allocate(self, file: int, size: int) -> None:
        """Have the file be `size` bytes long and take that much of the device."""
        ...

    def boot_id(self) -> bytes:
        """16 bytes that change when the machine starts anew; zeroes where that cannot be told."""
        ...

    def pin(self, file: int) -> None:
        """Keep the file's bytes from being used anew while this descriptor is open."""
        ...

    def unpinned(self, path: Path) -> bool:
        """Whether nobody, in any process, has pinned the file."""
        ...


class SystemDisk:
    """The machine's own file systems."""

    native = True

    def open(self, path: Path, flags: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC, 0o600)

    def close(self, file: int) -> None:
        os.close(file)

    def pwrite(self, file: int, data: memoryview | bytes, position: int) -> int:
        return os.pwrite(file, data, position)

    def pread(self, file: int, size: int, position: int) -> bytes:
        return os.pread(file, size, position)

    if sys.platform == "darwin":  # where fsync only reaches the drive's cache

        def sync(self, file: int) -> None:
            fcntl.fcntl(file, fcntl.F_FULLFSYNC)

    else:
        sync = staticmethod(os.fdatasync)  # as it is: a frame of Python less after each sleep in it

    def sync_directory(self, path: Path) -> None:
        file = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(file)
        finally:
            os.close(file)

    def rename(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def names(self, path: Path) -> list[str]:
        try:
            return os.listdir(path)
        except FileNotFoundError:
            return []

    def make_directory(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def remove_directory(self, path: Path) -> None:
        for left in reversed(range(REMOVALS_MAX)):  # others may make or remove a file in it meanwhile
            try:
                shutil.rmtree(path)
            except OSError:
                if not left and path.exists():
                    raise
            if not path.exists():
                return

    def free_bytes(self, path: Path) -> int:
        facts = os.statvfs(path)
        return facts.f_bavail * facts.f_frsize

    def allocate(self, file: int, size: int) -> None:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, size)
        else:  # macOS
            write_all(self, file, bytes(size), 0)

    def boot_id(self) -> bytes:
        return boot_id()

    def pin(self, file: int) -> None:
        with contextlib.suppress(OSError):  # at worst the file is not recycled
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def unpinned(self, path: Path) -> bool:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(file)
        return True


def is_full(problem: OSError) -> bool:
    """Whether the device or the user's share of it has no space left."""
    return problem.errno in (errno.ENOSPC, errno.EDQUOT)


def read_all(disk: Disk, file: int, size: int, position: int, path: Path | None = None) -> bytes:
    """Read `size` bytes, or fewer at the end of the file. Takes memory for what there is, whatever was asked for.
    path: of the file, for the error; the system does not name it."""
    parts: list[bytes] = []
    while size > 0:
        try:
            part = disk.pread(file, min(size, READ_SIZE_MAX), position)
        except OSError as problem:
            problem.filename = problem.filename or path
            raise
        if not part:
            break
        parts.append(part)
        position += len(part)
        size -= len(part)
    return b"".join(parts) if len(parts) != 1 else parts[0]


def write_all(disk: Disk, file: int, data: bytes, position: int) -> None:
    """Write all of `data` at a position."""
    view = memoryview(data)
    while view:
        done = disk.pwrite(file, view, position)
        view = view[done:]
        position += done


def replace_file(disk: Disk, path: Path, data: bytes) -> None:
    """Put a file in place so that after any crash it has either its old or its new content, never a mix."""
    temporary = path.with_name(path.name + ".tmp")
    file = disk.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(disk, file, data, 0)
        disk.sync(file)
    finally:
        disk.close(file)
    disk.rename(temporary, path)
    disk.sync_directory(path.parent)


def boot_id() -> bytes:
    """16 bytes that change when the machine starts anew; zeroes where the system does not tell."""
    try:
        return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))
    except (OSError, ValueError):
        return bytes(16)


def file_system_of(path: Path) -> str:
    """The type of the file system that holds `path` (Linux), or an empty string where it cannot be told."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        fields = line.split()
        if fields[2] == wanted:
            return fields[fields.index("-") + 1]
    return ""
