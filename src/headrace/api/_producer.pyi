# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
from collections.abc import Callable, Generator
from typing import Any, final

from headrace.api.position import Position

@final
class Batch:
    data: list[bytes]
    keys: list[str | None]
    size: int
    unkeyed: int
    parts: int
    shards: Any
    indexes: Any
    arrivals: Any
    errors: dict[int, BaseException] | None
    settled: bool
    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def settle(self) -> None: ...
    def wait(self, timeout: float | None) -> bool: ...
    def when_settled(self, callback: Callable[[], None]) -> None: ...

@final
class Ack:
    batch: Batch
    place: int
    @property
    def done(self) -> bool: ...
    def result(self, timeout: float | None = None) -> Position: ...
    def exception(self) -> BaseException | None: ...
    def __await__(self) -> Generator[Any, None, Position]: ...

@final
class Collector:
    open: Batch
    closed: bool
    batch_count: int
    batch_size: int
    def __init__(self, producer: Any, batch_count: int, batch_size: int, record_size_max: int) -> None: ...
    def put(self, data: Any, key: str | None = None) -> Ack: ...
    def take(self) -> Batch | None: ...
