# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A listener in a thread over a small service of the tests' own, and a client that speaks raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time

import pytest
import uvloop

from headrace.config import Duration
from headrace.config import Server as ServerConfig
from headrace.errors import NotFound, StorageError
from headrace.server.listener import Listener, bind_socket
from headrace.server.router import Router
from headrace.streams.answers import Answer, Pending

WAIT = 10.0


class FakeLane:
    """Keeps the lane's side of the committer's bargain, with failures and a gate that tests steer."""

    def __init__(self, needs_sync: bool = False) -> None:
        self.needs_sync = needs_sync
        self.appended = self.written = self.durable = 0
        self.writes = self.syncs = 0
        self.fail_write = self.fail_sync = False
        self.gate = threading.Event()
        self.gate.set()
        self.failures: list[tuple[int, int]] = []
        self.write_may_wait = False
        self.writers: set[str] = set()  # names of threads

    def append(self) -> int:
        self.appended += 1
        return self.appended

    @property
    def has_failed(self) -> bool:
        return bool(self.failures)

    def outcome(self, ticket: int) -> None:
        if any(low < ticket <= high for low, high in self.failures):
            raise StorageError("the device is on fire")

    def write(self) -> int:
        self.writes += 1
        self.writers.add(threading.current_thread().name)
        if self.fail_write:
            self.failures.append((self.written, self.appended))
            self.written = self.appended
            if not self.needs_sync:
                self.durable = self.written
            raise StorageError("the device is on fire")
        self.written = self.appended
        if not self.needs_sync:
            self.durable = self.written
        return self.written

    def sync(self) -> int:
        target = self.written
        assert self.gate.wait(WAIT)
        self.syncs += 1
        if self.fail_sync:
            raise StorageError("the sync failed")
        self.durable = max(self.durable, target)
        return target

    def commit(self, ticket: int) -> None:
        if self.written < ticket:
            self.write()
        self.sync()


class EchoService:
    """Operations that show what the server does with each kind of result."""

    blocking = frozenset({"Block"})

    @property
    def operations(self) -> set[str]:
        return {name.removeprefix("do_") for name in dir(self) if name.startswith("do_")} | {"Unheard"}

    def __init__(self) -> None:
        self.lane = FakeLane()
        self.disk = FakeLane(needs_sync=True)
        self.kept: list[memoryview] = []
        self.gate: asyncio.Event | None = None
        self.thread = ""

    def call(self, operation: str, body):
        return getattr(self, f"do_{operation}")(body)

    def do_Echo(self, body):
        return Answer(200, bytes(body))

    def do_Size(self, body):
        assert body.readonly
        return Answer(200, b"%d" % len(body))

    def do_Put(self, body):
        return Pending(bytes(body), [(self.lane, self.lane.append())])

    def do_PutDisk(self, body):
        return Pending(bytes(body), [(self.disk, self.disk.append())])

    def do_PutBoth(self, body):
        return Pending(bytes(body), [(self.lane, self.lane.append()), (self.disk, self.disk.append())])

    def do_PutNone(self, body):
        return Pending(bytes(body), [])

    def do_Keep(self, body):
        self.kept.append(memoryview(body))
        return Answer(200, b"kept")

    def do_Big(self, body):
        return Answer(200, b"x" * int(bytes(body)))

    def do_Bug(self, body):
        raise RuntimeError("a bug of ours")

    def do_Missing(self, body):
        raise NotFound("Stream x not found.", hint="not for the wire")

    def do_Wrong(self, body):
        return "neither"

    def do_Block(self, body):
        self.thread = threading.current_thread().name
        assert type(body) is bytes
        return Answer(200, body)

    def do_BlockBug(self, body):
        raise RuntimeError("a bug of ours")

    def do_Wait(self, body):
        text = bytes(body)

        async def wait():
            assert self.gate is not None
            await self.gate.wait()
            return (
                Pending(text, [(self.lane, self.lane.append())]) if text == b"pending" else Answer(200, text)
            )

        return wait()


class Client:
    """A connection that sends bytes and reads answers one by one."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT)
        self.received = b""

    def send(self, data: bytes) -> Client:
        self.socket.sendall(data)
        return self

    def post(self, operation: str, body: bytes = b"", **headers: str) -> Client:
        return self.send(request(operation, body, **headers))

    def _read(self) -> bytes:
        data = self.socket.recv(1 << 20)
        self.received += data
        return data

    def answer(self, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers (lower case) and body."""
        while b"\r\n\r\n" not in self.received:
            assert self._read(), f"closed after {self.received!r}"
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
        status = int(lines[0].split()[1])
        size = 0 if head_only or status == 100 else int(headers["content-length"])
        while len(self.received) < size:
            assert self._read()
        body, self.received = self.received[:size], self.received[size:]
        return status, headers, body

    def closed(self) -> bool:
        """Does the server close without a further byte?"""
        try:
            return not self.received and self._read() == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.socket.close()


def request(operation: str, body: bytes = b"", **headers: str) -> bytes:
    """A POST of one operation of the test's service."""
    fields = {
        "Host": "localhost",
        "X-Amz-Target": f"Echo_1.{operation}",
        "Content-Type": "application/x-amz-json-1.1",
        "Content-Length": str(len(body)),
    }
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join(["POST / HTTP/1.1", *lines, "", ""]).encode("latin-1") + body


class Served:
    """The listener, its loop and its clients; `close` checks that nothing leaked."""

    def __init__(self, **config) -> None:
        self.service = EchoService()
        pages = {b"/-/health": lambda: (200, b"application/json", b'{"status":"ok"}', None)}
        router = Router({"Echo_1": self.service}, pages, allowed_hosts=("kinesis.test",))
        self.bound = bind_socket("127.0.0.1", 0)
        self.port = self.bound.getsockname()[1]
        self.config = ServerConfig(
            **{name: Duration(v) if isinstance(v, float) else v for name, v in config.items()}
        )
        self.listener = Listener(router, self.bound, self.config, tick_seconds=0.02)
        self.clients: list[Client] = []
        ready = threading.Event()
        self.loop = uvloop.new_event_loop()
        self.errors: list[dict] = []

        def run() -> None:
            asyncio.set_event_loop(self.loop)
            self.loop.set_exception_handler(lambda _loop, context: self.errors.append(context))
            self.service.gate = asyncio.Event()
            self.loop.run_until_complete(self.listener.start())
            ready.set()
            self.loop.run_forever()
            self.loop.close()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        assert ready.wait(WAIT)

    @property
    def context(self):
        return self.listener.context

    def connect(self) -> Client:
        client = Client(self.port)
        self.clients.append(client)
        return client

    def run(self, coroutine, wait: float = WAIT):
        """Run a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(wait)

    def do(self, function) -> None:
        """Call a function on the server's loop."""

        async def call():
            return function()

        self.run(call())

    def until(self, condition) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + WAIT
        while not condition():
            assert time.monotonic() < end, "the condition did not come true"
            time.sleep(0.005)

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.service.lane.gate.set()
        self.service.disk.gate.set()
        self.do(self.service.gate.set)
        self.until(lambda: not self.context.connections)
        assert self.context.pool.lent_count == 0 and self.context.pool.lent_bytes == 0
        assert self.context.committer.idle
        self.run(self.listener.stop(1.0))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(WAIT)
        assert not self.errors, self.errors


@pytest.fixture
def start():
    """Start listeners with a configuration; all are closed and checked for leaks at the end."""
    with contextlib.ExitStack() as stack:

        def begin(**config) -> Served:
            served = Served(**config)
            stack.callback(served.close)
            return served

        yield begin


@pytest.fixture
def served(start) -> Served:
    return start()


@pytest.fixture
def client(served) -> Client:
    return served.connect()


@pytest.fixture(name="request_bytes")
def request_bytes_fixture():
    return request
