# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A catalogue that loses power: beside a SimulatedDisk, what the device may hold of SQLite's files.

SQLite in WAL mode promises that a commit with synchronous FULL is on the device when it returns, and that any
other one may be lost together with all after it, but not without them. So after each commit the files are
copied; a durable one counts as a call of the disk and leaves its own copy only, any other adds one. A cut puts one of
the copies back; one that came into a durable commit may find it done or not.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from disk import PowerCut, SimulatedDisk

from headrace.log.catalogue import Catalogue

Files = dict[str, bytes]


class SimulatedCatalogue:
    """What a device may hold of the catalogue of one store."""

    def __init__(self, directory: Path, disk: SimulatedDisk) -> None:
        self.directory = directory
        self.disk = disk
        self.states: list[Files] = [self._files()]

    def _paths(self) -> list[Path]:
        return [path for path in self.directory.glob("catalogue.sqlite*") if not path.name.endswith("-shm")]

    def _files(self) -> Files:
        return {path.name: path.read_bytes() for path in self._paths()}

    def committed(self, durable: bool) -> None:
        """A commit is in the files."""
        if self.disk.dead:
            return
        if not durable:
            self.states.append(self._files())
            return
        try:
            self.disk.count_call()
        except PowerCut:
            self.states.append(self._files())
            raise
        self.states = [self._files()]

    def cut(self) -> None:
        """Make the real files what the device holds after the power went."""
        for path in self.directory.glob("catalogue.sqlite*"):
            path.unlink()
        for name, data in self.disk.numbers.choice(self.states).items():
            (self.directory / name).write_bytes(data)


def watch(monkeypatch, stores: dict[Path, SimulatedCatalogue]) -> None:
    """Have every commit in a catalogue told to the one of its directory in `stores`."""
    transaction = Catalogue.transaction

    @contextlib.contextmanager
    def watched(self, *, durable=False):
        outermost = not self._depth
        with transaction(self, durable=durable):
            yield
        simulated = stores.get(self.path.parent)
        if outermost and simulated is not None:
            simulated.committed(durable)

    monkeypatch.setattr(Catalogue, "transaction", watched)
