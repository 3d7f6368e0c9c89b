# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The listener: one bound socket, its connections, and their graceful end.

    listener = Listener(router, bind_socket("127.0.0.1", 0))
    await listener.start()
    ...
    await listener.stop(timeout=10)

Runs on the loop that calls `start` (uvloop in `headrace serve`). Beside the connections there is one timer
a quarter of a second apart for all time limits, dates and the trimming of buffers.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from email.utils import formatdate
from functools import partial
from typing import Any

from headrace import limits
from headrace.config import Server as ServerConfig
from headrace.core._records_answer import trim as trim_answers
from headrace.errors import AddressInUse, ConfigurationError
from headrace.server._buffers import BufferPool, trim_heap
from headrace.server._commit import Committer
from headrace.server._connection import Connection
from headrace.server._context import Context
from headrace.server.router import Router
from headrace.streams.answers import Answer, Pending

BACKLOG = 1024
TICK_SECONDS = 0.25
TICKS_PER_TRIM = 20
QUIET_BYTES = 4 << 20  # of traffic between two trims: the burst is over
BURST_BYTES = 16 << 20  # of traffic after which the heap may hold memory that nothing needs
LINGER_SECONDS = 2.0
THREADS = 4  # for syncs, and as many for operations that wait for the world

logger = logging.getLogger("headrace.server")


def bind_socket(host: str, port: int) -> socket.socket:
    """A bound TCP socket that does not listen yet. AddressInUse or ConfigurationError where it cannot be."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigurationError(
            f"the host {host!r} of the address to bind is not known: {error.strerror}",
            hint="bind 127.0.0.1 or an address of this machine",
        ) from None
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise AddressInUse(
            f"cannot listen on {host} port {port}: {reason}",
            hint="choose another --bind, or --port 0 for any free one",
        ) from None
    bound.setblocking(False)
    return bound


def is_loopback(host: str) -> bool:
    """Do all addresses of this host lead back to this machine only? An empty host means every address."""
    if not host:
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address[0]).split("%")[0]).is_loopback for *_, address in found)


def check_exposure(host: str, insecure: bool) -> None:
    """Refuse to listen where others can reach us without authentication, unless told to."""
    if not insecure and not is_loopback(host):
        raise ConfigurationError(
            f"{host or '*'} can be reached from other machines, and requests are not authenticated",
            hint="bind 127.0.0.1; or, where the network itself keeps strangers out (a container), pass --insecure "
            "or set HEADRACE_INSECURE=1",
        )


class Listener:
    """Accepts connections on one socket until it is stopped.

    router: decides where requests go. bound: a socket of `bind_socket`. config: time limits and counts.
    """

    def __init__(
        self,
        router: Router,
        bound: socket.socket,
        config: ServerConfig | None = None,
        *,
        tick_seconds: float = TICK_SECONDS,
    ) -> None:
        self.config = config or ServerConfig()
        self.router = router
        self._socket = bound
        self._tick_seconds = tick_seconds
        host, port = bound.getsockname()[:2]
        self.host: str = host
        self.port: int = port
        self.context: Context
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ticks = 0
        self._traffic = self._traffic_trimmed = 0  # bytes at the last look and at the last trim of the heap
        self._pools: dict[str, ThreadPoolExecutor] = {}

    @property
    def url(self) -> str:
        """What clients take as endpoint URL."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    def _pool(self, name: str) -> Executor:
        if name not in self._pools:
            self._pools[name] = ThreadPoolExecutor(THREADS, thread_name_prefix=f"headrace-{name}")
        return self._pools[name]

    async def start(self) -> None:
        """Listen; requests are answered from here on."""
        loop = asyncio.get_running_loop()
        config = self.config
        self.context = Context(
            loop,
            self.router,
            Answer,
            Pending,
            BufferPool(limits.http_bodies_size_max, limits.http_buffers_kept_max),
            Committer(loop, lambda: self._pool("sync")),
            lambda: self._pool("operation"),
            times={
                "idle": config.idle,
                "head": config.head_timeout,
                "body": config.body_timeout,
                "request": config.request_timeout,
                "write": config.idle,
                "linger": LINGER_SECONDS,
            },
            body_size_max=limits.http_body_size_max,
            connections_max=config.connections_max,
            tick_seconds=self._tick_seconds,
        )
        self._set_date()
        protocol: Any = partial(Connection, self.context)
        self._server = await loop.create_server(protocol, sock=self._socket, backlog=BACKLOG)
        self._timer = loop.call_later(self._tick_seconds, self._tick)

    def _set_date(self) -> None:
        self.context.writer.set_date(formatdate(time.time(), usegmt=True).encode())

    def _tick(self) -> None:
        self._ticks += 1
        self.context.tick()
        if self._ticks % max(1, round(1 / self._tick_seconds)) == 0:
            self._set_date()
        if self._ticks % TICKS_PER_TRIM == 0:
            self._trim()
        self._timer = asyncio.get_running_loop().call_later(self._tick_seconds, self._tick)

    def _trim(self) -> None:
        """Give memory back: buffers that nothing needed, and the heap's free pages once a burst has passed."""
        self.context.pool.trim()
        trim_answers()
        traffic = self.context.bytes_in + self.context.writer.bytes_out
        quiet = traffic - self._traffic < QUIET_BYTES
        self._traffic = traffic
        if quiet and traffic - self._traffic_trimmed > BURST_BYTES:
            self._traffic_trimmed = traffic
            trim_heap()

    async def stop(self, timeout: float | None = None) -> int:
        """Accept no more, answer what is under way, close. Returns connections that had to be cut off."""
        if self._server is None:
            self._socket.close()
            return 0
        deadline = time.monotonic() + (self.config.stop_timeout if timeout is None else timeout)
        self._server.close()
        # What has been sent to us already is a request under way, even if the loop has not read it yet.
        await asyncio.sleep(0)
        self.context.begin_stop()
        while (self.context.connections or not self.context.committer.idle) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        cut = self.context.abort()
        if cut:
            logger.warning("%d connections were cut off at the end of the stop", cut)
            await asyncio.sleep(0.01)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._server.wait_closed(), 1)
        if self._timer is not None:
            self._timer.cancel()
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        return cut
