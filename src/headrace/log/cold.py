# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Cold files: a sealed segment compressed, its frames sorted by shard and index.

File `<base>.cold`, little-endian. Header, 4,096 bytes:

      at  bytes  field
       0    8    magic "HRCLD001"
       8    4    version, 1
      12    4    codec: 1 zstd, 2 lz4 (frame format)
      16   16    store id
      32    4    lane id
      36    4    salt of the raw segment: seed of its frames' header CRCs
      40    8    base offset
      48    8    end offset: where the raw segment ended
      56    4    header CRC of the raw segment's last frame
      60    4    blocks
      64    8    latest arrival before the segment, ms
      72    8    latest arrival in it or before, ms
      80    8    footer: its position in the file
      88    4    footer: its bytes in the file (zstd)
      92    4    footer: CRC-32C of these bytes
      96    8    records
     104    8    bytes of frames before compression
     112    4    epoch in which the SNAPSHOT as of the end stood so (log/recovery.py)
     116    4    CRC-32C of bytes 0 to 115

From byte 4,096 the blocks, each the compressed concatenation of whole RECORDS frames of about 64 KiB (one
frame where that is larger), unchanged but for their order: by shard, then by index. Then the footer, one
zstd frame of: u32 size and the SNAPSHOT as of the base, u32 size and the SNAPSHOT as of the end, then a
row of 24 bytes a block {u64 position, u32 bytes in the file, u32 bytes of frames, u32 CRC-32C of the bytes
in the file, u32 zero}, then a row of 40 bytes a frame {u64 first index, i64 arrival ms, u32 shard, u32
records, u32 block, u32 offset in the block, u32 stride, u32 zero}.

The raw segment's other frames are not kept: what POSITION, OPEN and CLOSE said stands in the end SNAPSHOT
and in the catalogue.

Valid: magic and header CRC hold, base and name agree; a footer or block is valid when its CRC holds, and
each frame is checked again by its own when read. Crash argument: the file is written under a temporary
name, synced, renamed, and the directory synced, before the raw file is unlinked. Whichever of these was
last, either the raw file is whole or the cold one is, and where both stand the cold one is taken.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.core import _frame_batch, _frames
from headrace.core._frame_source import FrameSource
from headrace.core._states import ShardStates
from headrace.disk import Disk, read_all, write_all
from headrace.errors import Corrupt, Unsupported
from headrace.log.failpoints import reach

if TYPE_CHECKING:
    from headrace.log.segment import RawSegment

MAGIC = b"HRCLD001"
VERSION = 1
CODECS = {"zstd": 1, "lz4": 2}
HEADER_SIZE = 4096
BLOCK_SIZE = 64 << 10
BLOCK_SIZE_MAX = _frames.HEADER_SIZE + (16 << 20) + 8
FOOTER_SIZE_MAX = 1 << 30
BLOCKS_CACHED = 8

_HEADER = struct.Struct("<8sII16sIIQQIIqqQIIQQI")
assert _HEADER.size == 116
_BLOCK_ROW = np.dtype(
    [("position", "<u8"), ("size", "<u4"), ("raw_size", "<u4"), ("crc", "<u4"), ("zero", "<u4")]
)
_FRAME_ROW = np.dtype([
    ("first_index", "<u8"), ("arrival_ms", "<i8"), ("shard", "<u4"), ("count", "<u4"),
    ("block", "<u4"), ("offset", "<u4"), ("stride", "<u4"), ("zero", "<u4"),
])  # fmt: skip
assert _BLOCK_ROW.itemsize == 24 and _FRAME_ROW.itemsize == 40


def compressor_of(codec: str) -> Any:
    """A function bytes -> bytes that runs without the GIL."""
    if codec == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=1).compress
    if codec == "lz4":
        import lz4.frame

        return lambda data: lz4.frame.compress(data, store_size=True)
    raise Unsupported(f"cold codec {codec!r}; expected 'zstd' or 'lz4'")


_here = threading.local()  # a decompressor each thread; making one costs more than a block


def _decompress(codec: int, data: bytes, size: int) -> bytes:
    """Exactly `size` bytes, or ValueError."""
    if codec == CODECS["zstd"]:
        import zstandard

        decompressor = getattr(_here, "zstd", None)
        if decompressor is None:
            decompressor = _here.zstd = zstandard.ZstdDecompressor()
        try:
            result: bytes = decompressor.decompress(data, max_output_size=size)
        except zstandard.ZstdError as problem:
            raise ValueError(str(problem)) from None
    else:
        import lz4.frame

        try:
            result = lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=size)
        except RuntimeError as problem:
            raise ValueError(str(problem)) from None
    if len(result) != size:
        raise ValueError(f"{len(result)} bytes where {size} were compressed")
    return result


def write_cold(
    raw: RawSegment, end_snapshot: bytes, last_crc: int, last_arrival_ms: int, disk: Disk, codec: str = "zstd",
    epoch: int = 0,
) -> Path:  # fmt: skip
    """Make the cold file of a sealed raw segment; on the device, under its name, when this returns.

    Memory: one block, the table of frames, and 64 bytes a frame for the sort. Cost: one read, one
    compression, one write and one sync of the segment; the GIL is free in all of these.
    """
    assert raw.end is not None
    target = raw.path.with_suffix(".cold")
    temporary = target.with_name(target.name + ".tmp")
    compress = compressor_of(codec)
    reach("cold.before_write")
    file = disk.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    done = False
    try:
        blocks, frames, position = _write_blocks(raw, disk, file, compress)
        start_snapshot = raw.start_snapshot()
        footer = (
            struct.pack("<I", len(start_snapshot))
            + start_snapshot
            + struct.pack("<I", len(end_snapshot))
            + end_snapshot
        )
        footer = compressor_of("zstd")(footer + blocks.tobytes() + frames.tobytes())
        write_all(disk, file, footer, position)
        head = _HEADER.pack(
            MAGIC, VERSION, CODECS[codec], raw.header.store_id, raw.header.lane, raw.salt, raw.base, raw.end, last_crc,
            len(blocks), raw.arrival_before_ms, last_arrival_ms, position, len(footer), _frames.crc32c(footer),
            int(frames["count"].sum()), int(frames["stride"].sum()), epoch,
        )  # fmt: skip
        head += struct.pack("<I", _frames.crc32c(head))
        write_all(disk, file, head.ljust(HEADER_SIZE, b"\0"), 0)
        reach("cold.after_write")
        disk.sync(file)
        reach("cold.after_sync")
        done = True
    finally:
        disk.close(file)
        if not done:
            with contextlib.suppress(OSError):  # recovery removes it otherwise
                disk.unlink(temporary)
    disk.rename(temporary, target)
    disk.sync_directory(target.parent)
    reach("cold.after_rename")
    return target


def _write_blocks(
    raw: RawSegment, disk: Disk, file: int, compress: Any
) -> tuple[np.ndarray, np.ndarray, int]:
    """Write the compressed blocks; returns their rows, the frames' rows and the position after them."""
    assert raw.end is not None
    rows = raw.table(raw.end).rows()
    source = np.array(
        rows,
        dtype=[
            ("shard", "u4"),
            ("first_index", "u8"),
            ("count", "u4"),
            ("arrival_ms", "i8"),
            ("offset", "u8"),
            ("stride", "u4"),
        ],
    )
    source = source[np.lexsort((source["first_index"], source["shard"]))]
    frames = np.zeros(len(source), _FRAME_ROW)
    for name in ("first_index", "arrival_ms", "shard", "count", "stride"):
        frames[name] = source[name]
    blocks: list[tuple[int, int, int, int, int]] = []
    position = HEADER_SIZE
    for start, stop in _block_ranges(source["stride"]):
        data = _frames.read_runs(raw.file, _runs(source[start:stop]))
        try:
            _frame_batch.decode_frames(data, raw.salt, 0, 1, 1)  # every checksum, before the raw file goes
        except ValueError as problem:
            raise Corrupt(f"{raw.path}: {problem}", hint="headrace verify shows what can be read") from None
        strides = source["stride"][start:stop].astype(np.int64)
        frames["block"][start:stop] = len(blocks)
        frames["offset"][start:stop] = np.cumsum(strides) - strides
        packed = compress(data)
        write_all(disk, file, packed, position)
        blocks.append((position, len(packed), len(data), _frames.crc32c(packed), 0))
        position += len(packed)
    return np.array(blocks, _BLOCK_ROW), frames, position


def _block_ranges(strides: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of frames that make blocks of about BLOCK_SIZE."""
    ends = np.cumsum(strides.astype(np.int64))
    start = 0
    while start < len(strides):
        before = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, before + BLOCK_SIZE, side="right")), start + 1)
        yield start, stop
        start = stop


def _runs(source: np.ndarray) -> list[tuple[int, int]]:
    """(offset, size) runs of the frames in their given order; neighbours in the file make one run."""
    offsets = source["offset"].astype(np.int64)
    strides = source["stride"].astype(np.int64)
    breaks = np.flatnonzero(offsets[1:] != offsets[:-1] + strides[:-1]) + 1
    starts = np.concatenate(([0], breaks))
    stops = np.concatenate((breaks, [len(source)]))
    ends = offsets + strides
    return [(int(offsets[a]), int(ends[b - 1] - offsets[a])) for a, b in zip(starts, stops, strict=True)]


class ColdSegment:
    """A cold file as readers use it."""

    kind = ".cold"

    def __init__(self, path: Path, disk: Disk, fields: tuple[Any, ...], file_size: int) -> None:
        (_, _, self._codec, self.store_id, self.lane, self.salt, self.base, self.end, self.last_crc, self._block_count,
         self.arrival_before_ms, self.last_arrival_ms, self._footer_at, self._footer_size, self._footer_crc, self.records,
         self.raw_bytes, self.epoch) = fields  # fmt: skip
        self.path = path
        self.size = file_size
        self._disk = disk
        self._file: int | None = None
        self._opening = threading.Lock()
        self._blocks: np.ndarray | None = None
        self._frames = np.zeros(0, _FRAME_ROW)
        self._start_snapshot = self._end_snapshot = b""
        self._start_states: ShardStates | None = None
        self._cache: OrderedDict[int, bytes] = OrderedDict()

    @classmethod
    def open(cls, path: Path, disk: Disk) -> ColdSegment:
        """Read and check the header; Corrupt names what is wrong."""
        file = disk.open(path, os.O_RDONLY)
        try:
            head = read_all(disk, file, HEADER_SIZE, 0, path)
        finally:
            disk.close(file)
        if len(head) < HEADER_SIZE or _frames.crc32c(head[:116]) != int.from_bytes(head[116:120], "little"):
            raise Corrupt(f"{path} has a damaged header", hint="headrace repair leaves a visible gap there")
        fields = _HEADER.unpack(head[:116])
        if fields[0] != MAGIC or fields[1] != VERSION or fields[2] not in CODECS.values():
            raise Corrupt(
                f"{path} has magic {fields[0]!r}, version {fields[1]}, codec {fields[2]}; this headrace reads version {VERSION}"
            )
        if fields[6] != int(path.stem):
            raise Corrupt(f"{path} says that it starts at lane offset {fields[6]}")
        return cls(path, disk, fields, disk.size(path))

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self._disk.close(self._file)  # type: ignore[arg-type]

    @property
    def file(self) -> int:
        with self._opening:
            if self._file is None:
                self._file = self._disk.open(self.path, os.O_RDONLY)
            return self._file

    def _damaged(self, what: str) -> Corrupt:
        return Corrupt(f"{self.path}: {what}", hint="headrace repair leaves a visible gap there")

    def _load(self) -> np.ndarray:
        """Read the footer once."""
        if self._blocks is not None:
            return self._blocks
        import zstandard

        packed = read_all(self._disk, self.file, self._footer_size, self._footer_at, self.path)
        if len(packed) != self._footer_size or _frames.crc32c(packed) != self._footer_crc:
            raise self._damaged("the footer's checksum does not match")
        try:
            size = zstandard.frame_content_size(packed)
            if not 8 <= size <= FOOTER_SIZE_MAX:
                raise ValueError(f"the footer has {size} bytes")
            data = _decompress(CODECS["zstd"], packed, size)
            (start_size,) = struct.unpack_from("<I", data)
            (end_size,) = struct.unpack_from("<I", data, 4 + start_size)
            at = 8 + start_size + end_size
            blocks = np.frombuffer(data, _BLOCK_ROW, self._block_count, at)
            frames = (
                np.frombuffer(data, _FRAME_ROW, -1, at + blocks.nbytes)
                if at + blocks.nbytes < len(data)
                else self._frames
            )
        except (ValueError, struct.error, zstandard.ZstdError) as problem:
            raise self._damaged(f"the footer is malformed: {problem}") from None
        if len(frames) and (
            int(frames["block"].max()) >= len(blocks)
            or bool(
                (
                    frames["offset"].astype(np.int64) + frames["stride"] > blocks["raw_size"][frames["block"]]
                ).any()
            )
            or int(blocks["raw_size"].max()) > BLOCK_SIZE_MAX
        ):
            raise self._damaged("the footer points outside its blocks")
        self._start_snapshot = data[4 : 4 + start_size]
        self._end_snapshot = data[8 + start_size : at]
        self._frames, self._blocks = frames, blocks
        return blocks

    def start_states(self) -> ShardStates:
        """The shards' states as of the base."""
        if self._start_states is None:
            self._load()
            states = ShardStates()
            states.load(self._start_snapshot)
            self._start_states = states
        return self._start_states

    def start_snapshot(self) -> bytes:
        """The body of the SNAPSHOT as of the base."""
        self._load()
        return self._start_snapshot

    def end_snapshot(self) -> bytes:
        """The body of the SNAPSHOT as of the end."""
        self._load()
        return self._end_snapshot

    def _of_shard(self, shard: int) -> tuple[int, int]:
        """The range of the shard's frames."""
        self._load()
        shards = self._frames["shard"]
        return int(np.searchsorted(shards, shard, "left")), int(np.searchsorted(shards, shard, "right"))

    def _block(self, number: int) -> bytes:
        """One block's frames, from a small cache or decompressed."""
        data = self._cache.get(number)
        if data is not None:
            return data
        row = self._load()[number]
        packed = read_all(self._disk, self.file, int(row["size"]), int(row["position"]), self.path)
        if len(packed) != row["size"] or _frames.crc32c(packed) != row["crc"]:
            raise self._damaged(f"the checksum of block {number} at byte {row['position']} does not match")
        try:
            data = _decompress(self._codec, packed, int(row["raw_size"]))
        except ValueError as problem:
            raise self._damaged(
                f"block {number} at byte {row['position']} does not decompress: {problem}"
            ) from None
        self._cache[number] = data
        while len(self._cache) > BLOCKS_CACHED:
            self._cache.popitem(last=False)
        return data

    def frames(
        self, shard: int, index: int, max_records: int, max_bytes: int, visible: int, tail: object = None
    ) -> FrameSource | None:
        """Where the shard's records from `index` on are read from, or None where there are none."""
        start, stop = self._of_shard(shard)
        rows = self._frames[start:stop]
        first = int(np.searchsorted(rows["first_index"] + rows["count"], index, "right"))
        if first >= len(rows):
            return None
        rows = rows[first:]
        sizes = np.cumsum(rows["stride"].astype(np.int64))
        records = np.cumsum(rows["count"].astype(np.int64)) - max(index - int(rows["first_index"][0]), 0)
        enough = int(np.searchsorted(records, max_records, "left")) + 1
        count = max(min(int(np.searchsorted(sizes, max_bytes, "right")), enough, len(rows)), 1)
        source = FrameSource(shard, index, max_records, max_bytes, self.salt, self)
        return source.in_pieces(self._pieces(rows[:count], self.file), int(sizes[count - 1]))

    def _pieces(self, rows: np.ndarray, file: int) -> Iterator[tuple[bytes, int, int]]:
        """The blocks that hold these frames of one shard, with where in them the frames begin and end."""
        numbers, at = np.unique(rows["block"], return_index=True)
        starts = rows["offset"][at].tolist()
        last = np.append(at[1:], len(rows)) - 1
        stops = (rows["offset"][last].astype(np.int64) + rows["stride"][last]).tolist()
        for number, start, stop in zip(numbers.tolist(), starts, stops, strict=True):
            yield self._block(number), start, stop

    def damaged(self, problem: ValueError) -> Corrupt:
        """The error of a reader that found a bad frame."""
        return self._damaged(str(problem))

    def bounds(self, shard: int, visible: int) -> tuple[int, int, int] | None:
        """(first index, next index, last arrival ms) of the shard's records here, or None."""
        start, stop = self._of_shard(shard)
        if start == stop:
            return None
        last = self._frames[stop - 1]
        return (
            int(self._frames["first_index"][start]),
            int(last["first_index"]) + int(last["count"]),
            int(last["arrival_ms"]),
        )

    def indexes(self, shard: int) -> tuple[np.ndarray, np.ndarray]:
        """(first index, records) of the shard's frames here, in order."""
        start, stop = self._of_shard(shard)
        rows = self._frames[start:stop]
        return rows["first_index"].astype(np.int64), rows["count"].astype(np.int64)

    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(shard, first index, records) of all frames, those of each shard in order."""
        self._load()
        shards, firsts, counts = (
            self._frames[name].astype(np.int64) for name in ("shard", "first_index", "count")
        )
        return shards, firsts, counts

    def index_at_time(self, shard: int, arrival_ms: int, visible: int) -> int | None:
        """First index here with that arrival or later."""
        start, stop = self._of_shard(shard)
        at = start + int(np.searchsorted(self._frames["arrival_ms"][start:stop], arrival_ms, "left"))
        return int(self._frames["first_index"][at]) if at < stop else None

    def packed_blocks(self) -> Iterator[tuple[bytes, int]]:
        """Each block as it is stored, and its size before compression. For measurements."""
        for row in self._load():
            yield (
                read_all(self._disk, self.file, int(row["size"]), int(row["position"])),
                int(row["raw_size"]),
            )

    def check(self) -> Iterator[str]:
        """Read everything; yields what is wrong. For `headrace verify`."""
        try:
            blocks = self._load()
        except Corrupt as problem:
            yield problem.message
            return
        for number in range(len(blocks)):
            try:
                data = self._block(number)
                self._cache.clear()
                _frame_batch.decode_frames(data, self.salt, 0, 1, 1)
            except Corrupt as problem:
                yield problem.message
            except ValueError as problem:
                yield f"{self.path}: block {number}: {problem}"


def rewrite_without_damage(path: Path, disk: Disk) -> bytes | None:
    """The content of a cold file again, without its damaged blocks; None where header or footer is gone."""
    try:
        cold = ColdSegment.open(path, disk)
        blocks = cold._load()
    except Corrupt:
        return None
    kept: list[tuple[int, int, int, int, int]] = []
    numbers: dict[int, int] = {}
    parts: list[bytes] = []
    position = HEADER_SIZE
    for number, row in enumerate(blocks):
        packed = read_all(disk, cold.file, int(row["size"]), int(row["position"]))
        if len(packed) != row["size"] or _frames.crc32c(packed) != row["crc"]:
            continue
        numbers[number] = len(kept)
        kept.append((position, len(packed), int(row["raw_size"]), int(row["crc"]), 0))
        parts.append(packed)
        position += len(packed)
    frames = cold._frames[np.isin(cold._frames["block"], list(numbers))].copy()
    frames["block"] = [numbers[int(block)] for block in frames["block"]]
    start, end = cold._start_snapshot, cold._end_snapshot
    footer = struct.pack("<I", len(start)) + start + struct.pack("<I", len(end)) + end
    footer = compressor_of("zstd")(footer + np.array(kept, _BLOCK_ROW).tobytes() + frames.tobytes())
    head = _HEADER.pack(
        MAGIC, VERSION, cold._codec, cold.store_id, cold.lane, cold.salt, cold.base, cold.end, cold.last_crc, len(kept),
        cold.arrival_before_ms, cold.last_arrival_ms, position, len(footer), _frames.crc32c(footer),
        int(frames["count"].sum()), int(frames["stride"].sum()), cold.epoch,
    )  # fmt: skip
    head += struct.pack("<I", _frames.crc32c(head))
    content: bytes = head.ljust(HEADER_SIZE, b"\0") + b"".join(parts) + footer
    return content
