# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
from asyncio import AbstractEventLoop
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Protocol, final, type_check_only

from headrace.server._answers import AnswerWriter, Outlet, Route
from headrace.server._buffers import BufferPool
from headrace.server._commit import Committer

@type_check_only
class Application(Protocol):
    def resolve(self, target: bytes) -> Route | tuple[int, str, str]: ...
    def host_allowed(self, host: bytes) -> bool: ...
    def origin_allowed(self, origin: bytes, host: bytes) -> bool: ...
    def content_type(self, content_type: bytes) -> bytes | None: ...
    def page(self, method: str, path: bytes, head: bytes) -> tuple[int, bytes, bytes, bytes | None]: ...

@final
class Context:
    pool: BufferPool
    committer: Committer
    writer: AnswerWriter
    unknown: Route
    connections: set[Peer]
    tick_seconds: float
    body_size_max: int
    connections_max: int
    accepted: int
    requests: int
    bytes_in: int
    refused: int
    timeouts: int
    continued: int
    turned_away: int
    def __init__(
        self,
        loop: AbstractEventLoop,
        application: Application,
        answer_type: type[Any],
        pending_type: type[Any],
        pool: BufferPool,
        committer: Committer,
        executor_factory: Callable[[], Executor],
        *,
        times: dict[str, float],
        body_size_max: int,
        connections_max: int,
        tick_seconds: float = 0.25,
    ) -> None: ...
    def tick(self) -> None: ...
    def begin_stop(self) -> None: ...
    def abort(self) -> int: ...
    def admit(self) -> None: ...
    @property
    def routes_seen(self) -> list[Route]: ...

def wanted(connection: Peer) -> int: ...

class Peer(Outlet):
    def __init__(self, context: Context) -> None: ...
    def expire(self) -> None: ...
    def begin_stop(self) -> None: ...
