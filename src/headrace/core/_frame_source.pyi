# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
from collections.abc import Iterator
from typing import final

from headrace.core._batch import RecordBatch
from headrace.core._frame_table import FrameTable
from headrace.core._frames import Tail

@final
class FrameSource:
    salt: int
    shard: int
    index: int
    max_records: int
    max_bytes: int
    size: int
    def __init__(
        self, shard: int, index: int, max_records: int, max_bytes: int, salt: int, held: object
    ) -> None: ...
    def in_segment(
        self,
        table: FrameTable,
        end: int,
        file: int,
        tail: Tail | None = None,
        base: int = 0,
        read_ahead: bool = False,
    ) -> FrameSource | None: ...
    def in_pieces(self, pieces: Iterator[tuple[bytes, int, int]], size: int) -> FrameSource: ...
    def joined(self) -> bytes: ...
    def batch(self) -> RecordBatch: ...
