# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
from asyncio import AbstractEventLoop
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, final

@final
class LaneQueue: ...

@final
class Committer:
    turns: int
    writes: int
    syncs: int
    failures: int
    def __init__(self, loop: AbstractEventLoop, executor_factory: Callable[[], Executor]) -> None: ...
    def run(self) -> None: ...
    def worked(self, queue: LaneQueue, future: Future[Any]) -> None: ...
    @property
    def idle(self) -> bool: ...
