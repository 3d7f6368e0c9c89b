# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The site: one store with every service over it, built in this one place.

    site = Site(log, config)                   # streams, services, keepers; nothing runs yet
    await serve(site, bound, ready, stop)      # until `stop` is set; then everything ends in order
    with ServerThread(site, "127.0.0.1", 0) as server: ...    # the same in a thread (notebooks, tests)

A room above streams joins by a row in ROOMS: "package.module:function", called with the site; it calls
`site.add_service(prefix, service)` and `site.add_keeper(keeper)`. A keeper is an object with
`async start()` and `async stop()`: something that works as long as the site is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from headrace.clock import Clock, SystemClock
from headrace.config import Config, Secret
from headrace.errors import ConfigurationError
from headrace.log import Log
from headrace.server import health
from headrace.server.listener import Listener, bind_socket, check_exposure, is_loopback
from headrace.server.router import METRICS, Router, Service
from headrace.streams.service import KinesisService
from headrace.streams.streams import StreamDefaults, Streams

ROOMS: tuple[str, ...] = ("headrace.firehose:join", "headrace.analytics.keeper:join")
KEEPER_STOP_SECONDS = 15.0

logger = logging.getLogger("headrace.server")


class Keeper(Protocol):
    """Works beside the requests as long as the site is served."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Site:
    """One store and what is served of it.

    log: an open Log of which this process is the writer. config: what applies to new streams, buckets and
    the listener. clock: passed on to every room.
    """

    def __init__(
        self,
        log: Log,
        config: Config | None = None,
        *,
        clock: Clock | None = None,
        streams: Streams | None = None,
    ) -> None:
        self.log = log
        self.config = config or Config()
        self.clock = clock or SystemClock()
        self.metrics_token = _revealed(self.config.server.metrics_token)
        self.streams = streams or open_streams(log, self.config, self.clock)
        self.services: dict[str, Service] = {}
        self.keepers: list[Keeper] = []
        self.addresses: list[tuple[str, int]] = []  # where it is served just now
        self.add_service(KinesisService.target, KinesisService(self.streams))
        for row in ROOMS:
            module, _, function = row.partition(":")
            getattr(importlib.import_module(module), function)(self)

    def add_service(self, prefix: str, service: Service) -> None:
        """Answer the operations of an X-Amz-Target prefix by `service`."""
        assert prefix not in self.services
        self.services[prefix] = service

    def add_keeper(self, keeper: Keeper) -> None:
        """Have `keeper` started before the first request and stopped after the last, in reverse order."""
        self.keepers.append(keeper)


def _revealed(token: Secret | None) -> str | None:
    if token is None:
        return None
    found = token.reveal()
    if not found:
        raise ConfigurationError(
            "metrics_token of [server] is empty", hint="leave it out, or write a long one"
        )
    return found


def open_streams(log: Log, config: Config, clock: Clock) -> Streams:
    """The streams of a log with the configured account, region and defaults."""
    return Streams(
        log,
        clock=clock,
        account=config.streams.account,
        region=config.streams.region or os.environ.get("AWS_REGION") or "us-east-1",
        defaults=StreamDefaults(
            durability=config.store.durability,
            max_bytes=None if config.streams.max_bytes is None else int(config.streams.max_bytes),
            on_full=config.streams.on_full,
            enforce_limits=config.streams.enforce_limits,
        ),
    )


async def serve(
    site: Site,
    bound: socket.socket,
    ready: Callable[[Listener], None],
    stop: asyncio.Event,
    *,
    alone: bool = True,
) -> Listener:
    """Serve a site on a bound socket until `stop` is set, then end in order: no more connections, answers
    that are owed, keepers in reverse, the log's last writes. The log itself stays open.

    alone: the process does nothing else, so what is there when it starts may be taken for lasting."""
    started = time.monotonic()
    server = site.config.server
    pages = {
        b"/-/health": health.health_page(started, lambda: "stopping" if stop.is_set() else "ok"),
        METRICS: health.metrics_page,
    }
    router = Router(
        site.services,
        pages,
        allowed_hosts=server.allowed_hosts,
        beyond_loopback=not is_loopback(bound.getsockname()[0]),
        metrics_token=site.metrics_token,
    )
    listener = Listener(router, bound, server)
    address = bound.getsockname()[:2]
    site.addresses.append(address)
    begun: list[Keeper] = []
    unwatch: Callable[[], None] | None = None
    try:
        for keeper in site.keepers:
            await keeper.start()
            begun.append(keeper)
        await listener.start()
        unwatch = health.watch(listener.context)
        if alone:
            gc.collect()
            gc.freeze()  # what was built until here lives as long as the process
        ready(listener)
        await stop.wait()
    finally:
        await listener.stop()
        for keeper in reversed(begun):
            await _stop_keeper(keeper)
        for lane in site.log.loaded_lanes():
            lane.write()
        if unwatch is not None:
            unwatch()
        site.addresses.remove(address)
    return listener


async def _stop_keeper(keeper: Keeper) -> None:
    """Stop one keeper; a failure or a long wait is logged and does not keep the others from stopping."""
    try:
        await asyncio.wait_for(keeper.stop(), KEEPER_STOP_SECONDS)
    except Exception as error:
        logger.error("%s did not stop: %s", type(keeper).__name__, error or type(error).__name__)


class ServerThread:
    """A site served from a thread of this process, for notebooks, tests and the embedded library.

    with ServerThread(site, "127.0.0.1", 0) as server: server.url
    Raises what binding raises. The site's log is not closed at the end.
    """

    def __init__(self, site: Site, host: str = "127.0.0.1", port: int = 0) -> None:
        check_exposure(host, site.config.server.insecure)
        self._site = site
        self._bound = bind_socket(host, port)
        self.host, self.port = self._bound.getsockname()[:2]
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.listener: Listener | None = None
        self._thread = threading.Thread(target=self._run, name="headrace-server", daemon=True)

    @property
    def url(self) -> str:
        """The endpoint URL for clients."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the thread is there."""
        return self._thread.is_alive()

    def boto3(self) -> dict[str, str]:
        """Arguments for boto3.client: endpoint, region, and credentials that the server does not look at."""
        return {
            "endpoint_url": self.url,
            "region_name": self._site.streams.region,
            "aws_access_key_id": "headrace",
            "aws_secret_access_key": "headrace",
        }

    def start(self) -> ServerThread:
        """Start the thread and return when requests are answered."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def _run(self) -> None:
        import uvloop

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._main())
        except BaseException as failure:
            self._failure = failure
            if self._ready.is_set():
                logger.exception("the server's thread ended")
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await serve(self._site, self._bound, self._set_ready, self._stop, alone=False)

    def _set_ready(self, listener: Listener) -> None:
        self.listener = listener
        self._ready.set()

    def stop(self) -> None:
        """Stop gracefully and wait for the end. May be called again."""
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop ended by itself meanwhile
                loop.call_soon_threadsafe(stop.set)
        if self._thread.ident is None:
            self._bound.close()  # it was never started
        else:
            self._thread.join()

    def __enter__(self) -> ServerThread:
        return self.start()

    def __exit__(self, *_: Any) -> None:
        self.stop()
