# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Keeps all deliveries of a store at work, as long as it is served.

    keeper = DeliveryKeeper(deliveries)
    await keeper.start()                    # on the loop on which the deliveries shall run
    ...
    await keeper.stop()                     # what is under way or open is taken up by the next run

Threads: a few that read and commit, and as many as objects may be under way at once, for all deliveries
together; so memory is bounded by their number, not by that of the deliveries.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from headrace import limits, telemetry
from headrace.firehose.deliveries import Deliveries
from headrace.firehose.runner import Runner

logger = logging.getLogger("headrace.firehose")

_LABELS = ("delivery",)
buffer_records = telemetry.gauge("headrace_firehose_buffer_records", "Records in the open buffer.", _LABELS)
buffer_bytes = telemetry.gauge(
    "headrace_firehose_buffer_bytes", "Bytes of data in the open buffer, before compression.", _LABELS
)
buffer_due_seconds = telemetry.gauge(
    "headrace_firehose_buffer_due_seconds", "Until the open buffer's interval is over.", _LABELS
)
freshness_seconds = telemetry.gauge(
    "headrace_firehose_freshness_seconds",
    "Age of the oldest record that was read and not delivered.",
    _LABELS,
)
failing = telemetry.gauge(
    "headrace_firehose_failing", "1 while the latest attempt to deliver failed.", _LABELS
)
_GAUGES = (buffer_records, buffer_bytes, buffer_due_seconds, freshness_seconds, failing)


_PUT = "headrace-firehose-put"
_JOIN_S = 1.0  # at the end, for all of them


def hanging() -> bool:
    """Whether a thread waits for a store that does not answer. It touches nothing of ours any more, but holds
    the process at its end, for as long as the store's time-out."""
    return any(thread.is_alive() for thread in _put_threads())


def _put_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(_PUT)]


class DeliveryKeeper:
    """Runs every delivery stream that there is or will be. Not restarted after `stop`."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._runners: dict[str, Runner] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._readers = ThreadPoolExecutor(limits.firehose_readers_max, "headrace-firehose-read")
        self._uploads = ThreadPoolExecutor(limits.firehose_uploads_max, _PUT)
        self._stop_collecting: Callable[[], None] = lambda: None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._deliveries.changed = self._changed
        self._stop_collecting = telemetry.collect(self._collect)
        for name, _ in self._deliveries.list():
            self._look(name)

    async def stop(self) -> None:
        self._deliveries.changed = lambda _name: None
        self._loop = None
        self._stop_collecting()
        await asyncio.gather(*(runner.stop() for runner in list(self._runners.values())))
        # What reads the log must be over before the log is closed; what waits for a store need not be.
        await asyncio.to_thread(self._readers.shutdown, cancel_futures=True)
        self._uploads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._join_uploads)

    def _join_uploads(self) -> None:
        """Let threads end that have nothing to do; `hanging` tells of the others."""
        deadline = time.monotonic() + _JOIN_S
        for thread in _put_threads():
            thread.join(max(deadline - time.monotonic(), 0))

    def _changed(self, name: str) -> None:
        """A client made or deleted a delivery stream; called from any thread."""
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self._look, name)

    def _look(self, name: str) -> None:
        """Have a runner where there is work for one, and have it look at its state."""
        if self._loop is None:
            return
        runner = self._runners.get(name)
        if runner is not None:
            runner.wake()
        elif self._deliveries.has_work(name):
            runner = self._runners[name] = Runner(self._deliveries, name, self._readers, self._uploads)
            runner.start(self._ended)

    def _ended(self, name: str) -> None:
        """A runner has ended. What a client did at that moment may be work for another one."""
        self._runners.pop(name, None)
        for gauge in _GAUGES:
            gauge.remove(name)
        self._look(name)

    def _collect(self) -> None:
        """Set the gauges; called when somebody asks for metrics."""
        clock = self._deliveries.clock
        now_ns, now_ms = clock.monotonic_ns(), clock.now_ms()
        for name, runner in list(self._runners.items()):
            pipeline = runner.pipeline
            if pipeline is None:
                continue
            buffer = pipeline.buffer
            due_ns = buffer.due_ns
            oldest_ms = pipeline.oldest_ms
            buffer_records.set(buffer.count, name)
            buffer_bytes.set(buffer.size, name)
            buffer_due_seconds.set(0 if due_ns is None else max(due_ns - now_ns, 0) / 1e9, name)
            freshness_seconds.set(max(now_ms - oldest_ms, 0) / 1000 if oldest_ms else 0, name)
            failing.set(1 if name in self._deliveries.failures else 0, name)
