# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The keeper of named queries: runs those that are to run for as long as the store is served.

Each runs in a thread of its own. One that fails is started again after a pause that doubles, from one second
to a minute; it goes on where its position says. Stopping the keeper leaves each query marked to run.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from headrace.analytics import applications
from headrace.errors import Error, ResourceInUse
from headrace.streams.streams import Streams

if TYPE_CHECKING:
    from headrace.analytics.query import Query

logger = logging.getLogger(__name__)

_LOOK_S = 1.0
_PAUSE_S_MAX = 60.0


class SqlKeeper:
    """Runs the named queries of a store."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.queries: dict[str, Query] = {}
        self._pauses: dict[str, tuple[float, float]] = {}  # name: (not before, pause)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start what is to run, and look after it from now on."""
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Stop all queries where they stand; the next start goes on there."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*(asyncio.to_thread(self._halt, name) for name in list(self.queries)))

    async def _keep(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._look)
            except Error as error:
                logger.error("the named queries could not be looked after: %s", error)
            await asyncio.sleep(_LOOK_S)

    def _look(self) -> None:
        """Start what is new, start again what failed, stop what was deleted or stopped."""
        wanted = {each.name: each for each in applications.everything(self.streams.log.catalogue) if each.run}
        for name, query in list(self.queries.items()):
            known = wanted.get(name)
            if known is None or not query.is_of(known):
                self._halt(name)
                self._pauses.pop(name, None)  # what comes under this name has not failed yet
            elif not query.running:
                self._halt(name)
        now = self.streams.clock.monotonic_ns() / 1e9
        for name, application in wanted.items():
            if name not in self.queries and now >= self._pauses.get(name, (0.0, 0.0))[0]:
                self._start(application, now)

    def _start(self, application: applications.Application, now: float) -> None:
        from headrace.analytics.query import resume

        pause = min(max(1.0, self._pauses.get(application.name, (0.0, 0.0))[1] * 2), _PAUSE_S_MAX)
        try:
            self.queries[application.name] = resume(application, self.streams)
        except ResourceInUse:
            return  # it runs in this process already, in the hands of whoever started it
        except Error as error:
            logger.error("the query %s did not start: %s", application.name, error)
        self._pauses[application.name] = (now + pause, pause)

    def _halt(self, name: str) -> None:
        query = self.queries.pop(name)
        try:
            query.halt()
        except Exception as error:
            logger.error("the query %s failed: %s", name, error)


def join(site: Any) -> None:
    """Have a server run the named queries of its store."""
    site.add_keeper(SqlKeeper(site.streams))
