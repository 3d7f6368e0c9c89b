# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A lane's manifest: which of its bytes were dropped on purpose.

The directory itself says which segments there are, since each file's name is its base offset. What it
cannot say is whether a missing file was dropped or lost; that is the manifest. File `manifest`, 64 bytes,
little-endian, replaced as a whole (temporary file, sync, rename, directory sync):

      at  bytes  field
       0    8    magic "HRMAN001"
       8    4    version, 1
      12    4    lane id
      16   16    store id
      32    8    floor: everything before this lane offset was dropped on purpose
      40    8    bytes that size limits dropped so far (drop_oldest; files, as they stood)
      48    8    records that they dropped
      56    4    durability: 0 process, 1 disk
      60    4    CRC-32C of bytes 0 to 59

The floor moves before a file is unlinked: a file below it is a left-over of a crash and is unlinked by
recovery. A first segment whose base lies above the floor means that a file was lost.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from headrace.core import _frames
from headrace.disk import Disk, read_all, replace_file
from headrace.errors import Corrupt
from headrace.log import failpoints

MAGIC = b"HRMAN001"
VERSION = 1
NAME = "manifest"
_FIELDS = struct.Struct("<8sII16sQQQI")
assert _FIELDS.size == 60


@dataclass(frozen=True, slots=True)
class Manifest:
    """The fields of the table above."""

    lane: int
    store_id: bytes
    floor: int = 0
    dropped_bytes: int = 0
    dropped_records: int = 0
    disk: bool = False


def write_manifest(disk: Disk, directory: Path, manifest: Manifest) -> None:
    """Replace the lane's manifest; on the device when this returns."""
    data = _FIELDS.pack(
        MAGIC, VERSION, manifest.lane, manifest.store_id, manifest.floor, manifest.dropped_bytes,
        manifest.dropped_records, int(manifest.disk),
    )  # fmt: skip
    failpoints.reach("manifest.before_replace")
    replace_file(disk, directory / NAME, data + struct.pack("<I", _frames.crc32c(data)))
    failpoints.reach("manifest.after_replace")


def read_manifest(disk: Disk, directory: Path) -> Manifest | None:
    """The lane's manifest, or None if the lane has none yet; Corrupt where it is damaged."""
    path = directory / NAME
    if NAME not in disk.names(directory):
        return None
    file = disk.open(path, os.O_RDONLY)
    try:
        data = read_all(disk, file, _FIELDS.size + 8, 0, path)
    finally:
        disk.close(file)
    if len(data) != _FIELDS.size + 4 or _frames.crc32c(data[:60]) != int.from_bytes(data[60:], "little"):
        raise Corrupt(
            f"{path} is damaged ({len(data)} bytes)", hint="headrace repair makes it anew from the segments"
        )
    magic, version, lane, store_id, floor, dropped_bytes, dropped_records, durable = _FIELDS.unpack(data[:60])
    if magic != MAGIC or version != VERSION:
        raise Corrupt(
            f"{path} has magic {magic!r}, version {version}; this headrace reads {MAGIC!r}, version {VERSION}"
        )
    return Manifest(lane, store_id, floor, dropped_bytes, dropped_records, bool(durable))
