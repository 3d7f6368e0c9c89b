# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The control file: what the processes that share a store tell each other in mapped memory.

Little-endian. Header, 4,096 bytes:

      at  bytes  field
       0    8    magic "HRCTL001"
       8    4    version, 1
      12    4    slot size, 64
      16   16    boot id: the machine's start during which this was last opened for writing
      32    4    process id of the writer, 0 when there is none
      36    4    state: 1 clean (closed in order), 2 dirty
      40    8    generation: counts openings for writing
      48   16    store id, random, for life
      64    8    size limit of the store in bytes

then one slot of 64 bytes a lane, by lane id:

       0    8    visible: lane offset up to which readers may read; one release store is the commit
       8    4    wake: counted up at each publication; readers sleep on it (futex)
      12    4    sleepers on it
      16    8    base offset of the segment being written, or all ones
      24    4    layout: counted up when the lane's list of files changes
      28   36    zero

Nothing here is needed to recover data: the boot id and the state only spare work or forbid a shortcut, and
`visible` of a dirty store of the same boot is a lower bound that recovery checks its result against. A
file with another magic or version is refused; a missing one means an unclean start in another boot.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

from headrace.core._shared import SharedWords
from headrace.disk import SystemDisk, replace_file
from headrace.disk import boot_id as machine_boot_id
from headrace.errors import Corrupt, StorageError
from headrace.log.refusals import UNREAD, words

MAGIC = b"HRCTL001"
VERSION = 1
HEADER_SIZE = 4096
SLOT_SIZE = 64
SLOTS_STEP = 1024
CLEAN, DIRTY = 1, 2
NO_SEGMENT = 0xFFFF_FFFF_FFFF_FFFF

_HEADER = struct.Struct("<8sII16sIIQ16sQ")


def _lost(path: Path) -> bool:
    """Whether there is no control file, or one whose bytes never reached the device."""
    try:
        return not path.read_bytes()[:HEADER_SIZE].strip(b"\0")
    except FileNotFoundError:
        return True


def _create(path: Path) -> None:
    """A control file of a store that was not closed in order; whole whenever it has its name."""
    header = _HEADER.pack(MAGIC, VERSION, SLOT_SIZE, bytes(16), 0, DIRTY, 0, os.urandom(16), 0)
    replace_file(SystemDisk(), path, header.ljust(HEADER_SIZE + SLOTS_STEP * SLOT_SIZE, b"\0"))


class ControlFile:
    """The mapped control file. Open it for writing only under the store's lock."""

    def __init__(self, path: Path, *, writer: bool, boot_id: bytes | None = None) -> None:
        self.path = path
        self._boot_id = machine_boot_id() if boot_id is None else boot_id
        self._maps: list[mmap.mmap] = []  # earlier, smaller maps of the same file stay valid
        self.created = writer and _lost(path)
        if self.created:
            _create(path)
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        if os.fstat(self._file).st_size < HEADER_SIZE:
            os.close(self._file)
            raise Corrupt(f"{path} is cut short", hint="open the store for writing; that makes it anew")
        self._map()
        magic, version, slot_size, *_ = self._header()
        if (magic, version, slot_size) != (MAGIC, VERSION, SLOT_SIZE):
            os.close(self._file)
            raise Corrupt(
                f"{path} has magic {magic!r}, version {version}; this headrace reads {MAGIC!r}, version {VERSION}"
            )

    def _map(self) -> None:
        try:
            size = os.fstat(self._file).st_size
            self._maps.append(mmap.mmap(self._file, size))
        except OSError as problem:
            raise StorageError(
                f"the store's control file could not be mapped: {words(problem, self.path)}", hint=UNREAD
            ) from problem
        self.words = SharedWords(self._maps[-1])
        self.slot_count = (size - HEADER_SIZE) // SLOT_SIZE

    def _header(self) -> tuple[bytes, int, int, bytes, int, int, int, bytes, int]:
        fields: tuple[bytes, int, int, bytes, int, int, int, bytes, int] = _HEADER.unpack_from(self._maps[-1])
        return fields

    @property
    def clean(self) -> bool:
        """Whether the last writer closed the store in order."""
        return self._header()[5] == CLEAN

    @property
    def same_boot(self) -> bool:
        """Whether the last writer ran since the machine's last start."""
        return self._header()[3] == self._boot_id != bytes(16)

    @property
    def generation(self) -> int:
        return self._header()[6]

    @property
    def writer_pid(self) -> int:
        return self._header()[4]

    @property
    def store_id(self) -> bytes:
        return self._header()[7]

    @property
    def max_bytes(self) -> int:
        return self._header()[8]

    def mark(
        self, state: int, *, pid: int, max_bytes: int | None = None, store_id: bytes | None = None
    ) -> None:
        """Record who has the store open for writing, in which boot, and whether it is clean."""
        magic, version, slot_size, _, _, _, generation, known_id, limit = self._header()
        store_id = store_id or known_id
        generation += state == DIRTY
        limit = limit if max_bytes is None else max_bytes
        _HEADER.pack_into(
            self._maps[-1],
            0,
            magic,
            version,
            slot_size,
            self._boot_id,
            pid,
            state,
            generation,
            store_id,
            limit,
        )
        self._maps[-1].flush(0, HEADER_SIZE)

    def reserve(self, lane: int) -> None:
        """Make room for a lane's slot; existing maps stay valid. Readers map anew when they miss one."""
        if lane < self.slot_count:
            return
        size = os.fstat(self._file).st_size
        wanted = HEADER_SIZE + (lane // SLOTS_STEP + 1) * SLOTS_STEP * SLOT_SIZE
        if wanted > size:
            os.ftruncate(self._file, wanted)
        self._map()

    def remap(self, lane: int) -> bool:
        """As a reader: see slots that were added since; False if the lane still has none."""
        if lane >= self.slot_count and os.fstat(self._file).st_size > len(self._maps[-1]):
            self._map()
        return lane < self.slot_count

    @staticmethod
    def slot(lane: int) -> int:
        """Byte offset of a lane's slot."""
        return HEADER_SIZE + lane * SLOT_SIZE

    def visible(self, lane: int) -> int:
        return self.words.load64(self.slot(lane)) if self.remap(lane) else 0

    def publish(self, lane: int, offset: int) -> None:
        """Let every process read up to `offset`; wakes sleepers."""
        self.words.publish(HEADER_SIZE + lane * SLOT_SIZE, offset)

    def layout(self, lane: int) -> int:
        return self.words.load32(self.slot(lane) + 24) if self.remap(lane) else 0

    def layout_changed(self, lane: int, base: int) -> None:
        """Say that the lane's files changed and which segment is written now."""
        self.words.store64(self.slot(lane) + 16, base)
        self.words.add32(self.slot(lane) + 24, 1)

    def distrust(self, lane: int) -> None:
        """Forget what was published in a `process` lane before the power went: it promised nothing."""
        if lane < self.slot_count:
            self.words.store64(self.slot(lane), 0)

    def forget(self, lane: int) -> None:
        """Clear the slot of a deleted lane, so that its id may be used again."""
        at = self.slot(lane)
        self._maps[-1][at : at + 8] = bytes(8)
        self._maps[-1][at + 16 : at + 24] = struct.pack("<Q", NO_SEGMENT)
        self.words.add32(at + 24, 1)

    def sync(self) -> None:
        """Bring all of it to the device."""
        for mapped in self._maps:
            mapped.flush()
        os.fsync(self._file)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
