# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from typing_extensions import Buffer

from headrace.core._entries import Entries, Router
from headrace.core._frame_table import FrameTable
from headrace.core._states import ShardStates

LEVELS: tuple[str, ...]
KIND_RECORDS: int
KIND_OPEN: int
KIND_CLOSE: int
KIND_POSITION: int
KIND_SNAPSHOT: int
KIND_GAP: int
KIND_END: int
FLAG_LAST: int
HEADER_SIZE: int
SEGMENT_HEADER_SIZE: int
SHARD_CLOSED: int
NEEDS_ROOM: int
NEEDS_SEGMENT: int
STATE_NAMES: tuple[str, ...]

def crc32c(data: Buffer, seed: int = 0, simd: str | None = None) -> int: ...
def crc32c_copy(target: Buffer, source: Buffer, seed: int = 0, simd: str | None = None) -> int: ...

@final
class Tail:
    table: FrameTable
    states: ShardStates
    base: int
    limit: int
    appended: int
    written: int
    kept: int
    synced: int
    closed: int
    opened: int
    salt: int
    chain: int
    file: int
    direct_path: Path | None
    direct_least: int
    direct_bytes: int
    ring_collapsed: bool
    ring_huge: bool
    @property
    def may_wait(self) -> bool: ...
    def __init__(self, disk: Any = None, states: ShardStates | None = None) -> None: ...
    @property
    def ring_size(self) -> int: ...
    @property
    def pending(self) -> int: ...
    def start(self, file: int, base: int, limit: int, salt: int, chain: int) -> None: ...
    def write_direct_from(self, path: Path, least: int, speed_min: int) -> None: ...
    def grow(self, capacity: int) -> None: ...
    def take_ring(self, other: Tail) -> None: ...
    def discard(self) -> None: ...
    def hold(self, size: int, urgent: bool = False) -> int: ...
    def release(self, closed: bool = False) -> None: ...
    def measure(self, entries: Entries, router: Router, ordinal: int) -> int: ...
    def append(
        self,
        entries: Entries,
        router: Router,
        ordinal: int,
        now_ms: int,
        producer: int = 0,
        producer_sequence: int = 0,
        last: bool = True,
        extra: int = 0,
    ) -> int: ...
    def append_body(
        self,
        kind: int,
        shard: int,
        body: bytes,
        first_index: int = 0,
        arrival_ms: int = 0,
        producer: int = 0,
        producer_sequence: int = 0,
        last: bool = True,
    ) -> int: ...
    def write(self) -> int: ...
    def rewind(self, offset: int) -> None: ...
    def copy_ring(self, offset: int, size: int) -> bytes | None: ...

def check_frames(
    data: Buffer, start: int, salt: int, previous: int, bodies: bool = True
) -> tuple[int, int, int, int]: ...
def load_frames(
    data: Buffer,
    start: int,
    end: int,
    salt: int,
    table: FrameTable,
    states: ShardStates | None,
    offset: int,
) -> list[tuple[int, int, int, int, int, int, int, bytes]]: ...
def read_header(data: Buffer, at: int, salt: int) -> dict[str, int] | None: ...
def search_frame(data: Buffer, start: int, salt: int) -> int | None: ...
def read_runs(file: int, runs: Sequence[tuple[int, int]]) -> bytes: ...
