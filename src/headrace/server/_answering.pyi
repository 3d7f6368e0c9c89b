# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
from asyncio import Future
from typing import Any

from headrace.server._answers import Slot
from headrace.server._context import Peer

class Answering(Peer):
    def fail(self, slot: Slot, error: BaseException) -> None: ...
    def arrived(self, slot: Slot, future: Future[Any]) -> None: ...
