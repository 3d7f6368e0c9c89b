# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
from typing import final

SMALL_SIZE: int

def trim_heap() -> None: ...

@final
class Buffer:
    capacity: int
    def __init__(self, capacity: int) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class BufferPool:
    retained_bytes: int
    lent_bytes: int
    lent_count: int
    lent_large_bytes: int
    made: int
    waits: int
    lent_bytes_max: int
    retained_bytes_max: int
    def __init__(self, lent_bytes_max: int, retained_bytes_max: int) -> None: ...
    def trim(self) -> None: ...
    def lend(self, size: int) -> Buffer: ...
    def give_back(self, buffer: Buffer) -> None: ...
