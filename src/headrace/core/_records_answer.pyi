# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
from typing import final

from headrace.core._batch import RecordBatch
from headrace.core._frame_source import FrameSource

LEVELS: tuple[str, ...]

def trim() -> None: ...
def kept_size() -> int: ...

@final
class AnswerBody:
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class RecordsAnswer:
    count: int
    last_index: int
    last_arrival_ms: int
    def __init__(
        self, shard: int, created_s: int, *, encryption: str | None = None, simd: str | None = None
    ) -> None: ...
    def add(self, batch: RecordBatch) -> None: ...
    def take(self, source: FrameSource) -> None: ...
    def finish(
        self, millis_behind: int, next_iterator: str | None, child_shards_json: bytes | None = None
    ) -> bytes | AnswerBody: ...
