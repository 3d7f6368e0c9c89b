# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A slow, plain model of frames: the byte table of native/frame.h, written once more in Python."""

from __future__ import annotations

import struct
from dataclasses import dataclass

HEADER = struct.Struct("<IIIQqIHBBQQQ")  # what the header CRC covers
BODY_MAX, RECORD_MAX, COUNT_MAX = 256 << 10, 16 << 20, 32767
RECORDS, SNAPSHOT, END = 1, 5, 7


def _table() -> list[int]:
    rows = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        rows.append(crc)
    return rows


TABLE = _table()


def crc(data: bytes, seed: int = 0) -> int:
    value = seed ^ 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


@dataclass
class Frame:
    shard: int
    first_index: int
    arrival_ms: int
    rows: list[tuple[bytes, bytes]]  # key, data
    last: bool = False
    producer: int = 0
    producer_sequence: int = 0
    synced: int = 0

    def encode(self, salt: int, previous: int) -> bytes:
        ends, payload = [], b""
        for key, data in self.rows:
            payload += key + data
            ends.append(struct.pack("<IHH", len(payload), len(key), 0))
        return encode(
            RECORDS, b"".join(ends) + payload, salt, previous, shard=self.shard, first_index=self.first_index,
            arrival_ms=self.arrival_ms, count=len(self.rows), last=self.last, producer=self.producer,
            producer_sequence=self.producer_sequence, synced=self.synced,
        )  # fmt: skip


def encode(
    kind: int, body: bytes, salt: int, previous: int, *, shard=0, first_index=0, arrival_ms=0, count=0, last=True,
    producer=0, producer_sequence=0, synced=0,
) -> bytes:  # fmt: skip
    head = HEADER.pack(
        previous, crc(body), len(body), first_index, arrival_ms, shard, count, kind, int(last), producer,
        producer_sequence, synced,
    )  # fmt: skip
    return struct.pack("<I", crc(head, salt)) + head + body + bytes(-len(body) % 8)


def split(rows: list[tuple[bytes, bytes]]) -> list[list[tuple[bytes, bytes]]]:
    """The frames that the records of one shard in one group are put in."""
    frames: list[list[tuple[bytes, bytes]]] = []
    size = 0
    for key, data in rows:
        more = 8 + len(key) + len(data)
        if not frames or size + more > BODY_MAX or size > BODY_MAX or len(frames[-1]) == COUNT_MAX:
            frames.append([])
            size = 0
        frames[-1].append((key, data))
        size += more
    return frames


def walk(data: bytes, salt: int, previous: int) -> tuple[int, int, int, str]:
    """(end of the last whole group, header CRC there, where the walk ended, why): as check_frames has it."""
    at = end = 0
    chain = end_chain = previous
    while at < len(data):
        state, stride, last, crc_now = judge(data[at:], salt, chain)
        if state != "ok":
            return end, end_chain, at, state
        at, chain = at + stride, crc_now
        if last:
            end, end_chain = at, chain
    return end, end_chain, at, "ok"


def judge(data: bytes, salt: int, previous: int) -> tuple[str, int, bool, int]:
    """(state, stride, whether it ends a group, header CRC) of the frame at the start of `data`."""
    if len(data) < 64:
        return "short", 0, False, 0
    header_crc = int.from_bytes(data[:4], "little")
    fields = HEADER.unpack(data[4:64])
    if crc(data[4:64], salt) != header_crc:
        return "bad header checksum", 0, False, 0
    if fields[0] != previous:
        return "broken chain", 0, False, 0
    _, body_crc, size, _, _, _, count, kind, flags, *_ = fields
    possible = 1 <= kind <= END and size <= RECORD_MAX and (kind == RECORDS) == (count > 0)
    if possible and kind == RECORDS:
        possible = 8 * count <= size and (count == 1 or size <= BODY_MAX)
    if not possible:
        return "impossible field", 0, False, 0
    stride = 64 + -(-size // 8) * 8
    if len(data) < stride:
        return "short", 0, False, 0
    body = data[64 : 64 + size]
    if crc(body) != body_crc or (kind == RECORDS and not rows_fit(body, count)):
        return "bad body checksum", 0, False, 0
    return "ok", stride, bool(flags & 1), header_crc


def rows_fit(body: bytes, count: int) -> bool:
    start = 0
    for row in range(count):
        end, key_size, _ = struct.unpack_from("<IHH", body, 8 * row)
        if not start + key_size <= end <= len(body) - 8 * count:
            return False
        start = end
    return start == len(body) - 8 * count
