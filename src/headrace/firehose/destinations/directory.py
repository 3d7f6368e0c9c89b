# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A directory as a store of objects: every file is there whole or not at all, also after the power was cut.

The way of a file: a temporary one beside it (`.<name>.part`) → fsync → rename → fsync of the directory. The
temporary name follows from the object's, so that what a crash left is overwritten by the next attempt.

Cost of an object beyond its bytes: four system calls and two syncs.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from headrace.errors import DeliveryError
from headrace.log.failpoints import reach


class DirectoryDestination:
    """Objects as files below `root`, which is made when it is needed."""

    local = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self.described = f"file://{root}"

    def check(self, key: str) -> None:
        """Make the directory, and write and remove a file where the first object's way leads to now.

        Directories below the root are not made: another check, or a put, may be at work in them.
        """
        path = self._path(key)
        with self._named(key):
            _make_directory(self.root)
            place = next(parent for parent in path.parents if os.path.lexists(parent))
            probe = place / f".headrace-check-{uuid.uuid4()}"
            os.close(_private(str(probe), os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            probe.unlink()

    def exists(self, key: str) -> bool:
        with self._named(key):
            return self._path(key).is_file()

    def put(self, key: str, chunks: Iterator[bytes]) -> int:
        path = self._path(key)
        part = path.with_name(f".{path.name}.part")
        with self._named(key):
            _make_directory(path.parent)
            try:
                size = _write(part, chunks)
                reach("firehose.file_before_rename")
                part.replace(path)
            except Exception:
                with contextlib.suppress(OSError):
                    part.unlink()  # half an object should not keep a full disk full
                raise
            _sync_directory(path.parent)
        return size

    def close(self) -> None:
        """Nothing is held between calls."""

    def _path(self, key: str) -> Path:
        """The file of an object. Names were checked when the delivery was created; here they must hold."""
        segments = key.split("/")
        if any(segment in ("", ".", "..") or "\0" in segment for segment in segments):
            raise DeliveryError(f"{key!r} is not a name for a file below {self.root}")
        return self.root.joinpath(*segments)

    @contextlib.contextmanager
    def _named(self, key: str) -> Iterator[None]:
        """Turn the system's errors into ours."""
        try:
            yield
        except OSError as problem:
            raise DeliveryError(f"{self.described}/{key}: {problem.strerror or problem}") from problem


def _write(path: Path, chunks: Iterator[bytes]) -> int:
    """Write a file and sync it; the bytes written."""
    size = 0
    with open(path, "wb", opener=_private) as file:
        for chunk in chunks:
            size += file.write(chunk)
        file.flush()
        reach("firehose.file_before_sync")
        os.fsync(file.fileno())
    return size


def _private(path: str, flags: int) -> int:
    """Open a file that only its owner may read, whatever the umask is; never through a link."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _make_directory(path: Path) -> None:
    """Make a directory and those above it; each new one is on the device when this returns."""
    if path.is_dir():
        return
    if path.parent != path:
        _make_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
