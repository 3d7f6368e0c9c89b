# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A disk that loses power: what was not synced may be there, be missing or be half there afterwards.

What is written goes to real files, so that native reads work, and is remembered beside them: for each file
its bytes as of the last sync and the sectors written since; for each directory its entries as of the last
sync and the changes since. `cut` puts back what a device may hold after the power went: each unsynced
sector (512 bytes, atomic) and each unsynced directory change survives or not, as a seeded generator says,
in no particular order. Every call is counted; the one with the number `cut_at` raises PowerCut, and after
that the disk is dead.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

from headrace.disk import SystemDisk

SECTOR = 512


class PowerCut(BaseException):
    """The power went. No `except Exception` may hide it."""


class Inode:
    """A file's bytes now and as of the last sync."""

    def __init__(self) -> None:
        self.current = bytearray()
        self.durable = b""
        self.dirty: set[int] = set()

    def write(self, data: bytes, position: int) -> None:
        end = position + len(data)
        if end > len(self.current):
            self.current.extend(bytes(end - len(self.current)))
        self.current[position:end] = data
        self.dirty.update(range(position // SECTOR, -(-end // SECTOR)))

    def after_cut(self, numbers: random.Random, keep: float) -> bytes:
        size = numbers.choice((len(self.durable), len(self.current)))
        image = bytearray(self.durable.ljust(size, b"\0"))
        for sector in sorted(self.dirty):
            if numbers.random() < keep:
                part = self.current[sector * SECTOR : (sector + 1) * SECTOR]
                end = sector * SECTOR + len(part)
                image.extend(bytes(max(end - len(image), 0)))
                image[sector * SECTOR : end] = part
        return bytes(image)


class SimulatedDisk(SystemDisk):
    """Below `root` everything is simulated; the files are real as long as there is power."""

    native = False

    def __init__(self, root: Path, seed: int, cut_at: int | None = None) -> None:
        self.root = root
        self.numbers = random.Random(seed)
        self.cut_at = cut_at
        self.calls = 0
        self.dead = False
        self._boot = self.numbers.randbytes(16)
        self._files: dict[int, Inode] = {}  # by descriptor
        self._now: dict[Path, dict[str, Inode]] = {}
        self._durable: dict[Path, dict[str, Inode]] = {}
        self._changes: dict[Path, list[tuple[str | None, str | None, Inode]]] = {}  # (gone, come, file)
        self._directories: set[Path] = set()  # whose own entry is on the device
        self._removed: dict[Path, dict[str, Inode]] = {}  # directories whose removal may not be
        for directory in root.glob("*"):
            self._adopt(directory)

    def _adopt(self, directory: Path) -> None:
        entries = {}
        for path in directory.iterdir():
            inode = entries[path.name] = Inode()
            inode.durable = path.read_bytes()
            inode.current = bytearray(inode.durable)
        self._now[directory] = entries
        self._durable[directory] = dict(entries)
        self._changes[directory] = []
        self._directories.add(directory)

    def count_call(self) -> None:
        """Something that goes to the device beside these files: the power may go there, too."""
        self._call()

    def _call(self) -> None:
        if self.dead:
            raise PowerCut
        self.calls += 1
        if self.calls == self.cut_at:
            self.dead = True
            raise PowerCut

    def _simulated(self, path: Path) -> bool:
        return path.parent in self._now

    # ---------------------------------------------------------------- the calls

    def boot_id(self) -> bytes:
        return self._boot

    def open(self, path: Path, flags: int) -> int:
        if flags & (os.O_CREAT | os.O_TRUNC):
            self._call()
        file = super().open(path, flags)
        if self._simulated(path):
            inode = self._now[path.parent].get(path.name)
            if inode is None:
                inode = self._now[path.parent][path.name] = Inode()
                self._changes[path.parent].append((None, path.name, inode))
            elif flags & os.O_TRUNC:
                inode.current = bytearray()
            self._files[file] = inode
        return file

    def close(self, file: int) -> None:
        self._files.pop(file, None)
        super().close(file)

    def pwrite(self, file: int, data: memoryview | bytes, position: int) -> int:
        try:
            self._call()
        except PowerCut:
            if file in self._files and not isinstance(data, bytes | memoryview):
                raise
            done = self.numbers.randrange(len(data) + 1) if self.calls == self.cut_at else 0
            if file in self._files:  # the call that the cut came into may have got anywhere
                self._files[file].write(bytes(data[:done]), position)
            raise
        done = super().pwrite(file, data, position)
        if file in self._files:
            self._files[file].write(bytes(data[:done]), position)
        return done

    def sync(self, file: int) -> None:
        self._call()
        inode = self._files.get(file)
        if inode is not None:
            inode.durable = bytes(inode.current)
            inode.dirty.clear()

    def sync_directory(self, path: Path) -> None:
        self._call()
        if path in self._now:
            self._durable[path] = dict(self._now[path])
            self._changes[path] = []
        if path == self.root:
            self._directories |= set(self._now)
            self._removed.clear()

    def rename(self, source: Path, target: Path) -> None:
        self._call()
        super().rename(source, target)
        if self._simulated(source):
            inode = self._now[source.parent].pop(source.name)
            self._now[source.parent][target.name] = inode
            self._changes[source.parent].append((source.name, target.name, inode))

    def unlink(self, path: Path) -> None:
        self._call()
        super().unlink(path)
        if self._simulated(path):
            inode = self._now[path.parent].pop(path.name)
            self._changes[path.parent].append((path.name, None, inode))

    def make_directory(self, path: Path) -> None:
        self._call()
        super().make_directory(path)
        if path.parent == self.root and path not in self._now:
            self._now[path], self._durable[path], self._changes[path] = {}, {}, []

    def remove_directory(self, path: Path) -> None:
        self._call()
        super().remove_directory(path)
        if path in self._now:
            self._removed[path] = self._durable.pop(path)
            del self._now[path], self._changes[path]

    # ---------------------------------------------------------------- the cut

    def cut(self) -> None:
        """Make the real files what the device holds after the power went."""
        self.dead = True
        keep = self.numbers.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        for directory, entries in self._removed.items():
            if directory in self._directories and self.numbers.random() < 0.5:
                directory.mkdir()
                for name, inode in entries.items():
                    if self.numbers.random() < 0.5:  # its files went one by one
                        (directory / name).write_bytes(inode.durable)
        for directory in self._now:
            survives = directory in self._directories or self.numbers.random() < 0.5
            shutil.rmtree(directory)
            if not survives:
                continue
            directory.mkdir()
            for name, inode in self._entries_after(directory).items():
                (directory / name).write_bytes(inode.after_cut(self.numbers, keep))

    def _entries_after(self, directory: Path) -> dict[str, Inode]:
        entries = dict(self._durable[directory])
        changes = self._changes[directory]
        if self.numbers.random() < 0.5:  # as a journal does it: up to some point
            kept = changes[: self.numbers.randrange(len(changes) + 1)]
        else:  # as nothing forbids
            kept = [change for change in changes if self.numbers.random() < 0.5]
        for gone, come, inode in kept:
            if gone is not None and entries.get(gone) is inode:
                del entries[gone]
            if come is not None:
                entries[come] = inode
        return entries
