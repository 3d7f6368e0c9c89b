# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
from collections.abc import Callable
from typing import Any, final

from typing_extensions import Buffer

@final
class Route:
    call: Callable[[str, Any], Any]
    operation: str
    service: str
    blocking: bool
    def __init__(
        self, call: Callable[[str, Any], Any], service: str, operation: str, blocking: bool = False
    ) -> None: ...
    @property
    def counts(self) -> dict[str, int]: ...
    @property
    def latency(self) -> tuple[float, list[int]]: ...

class Outlet: ...

@final
class Slot: ...

@final
class AnswerWriter:
    date: bytes
    bytes_out: int
    def __init__(self, seed: bytes | None = None) -> None: ...
    def set_date(self, date: bytes) -> None: ...
    def encode(
        self,
        status: int,
        body: Buffer,
        content_type: bytes = ...,
        extra: bytes | None = None,
        close: bool = False,
    ) -> bytes: ...
