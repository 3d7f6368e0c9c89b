# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The pages for machines: `/-/health` and `/-/metrics`, and the server's own metrics."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from headrace import __version__, telemetry
from headrace.server._context import Context
from headrace.server.router import JSON, Page

PREFIX = "headrace_http_"
# ⌊log2(µs)⌋ buckets are kept natively; the bounds shown are the powers of two in seconds
LATENCY_BOUNDS = tuple(2.0 ** (i + 1) / 1e6 for i in range(27))


def health_page(started: float, state: Callable[[], str]) -> Callable[[], Page]:
    """The health page: 200 while requests are taken, 503 during the stop."""
    dropped = telemetry.counter("headrace_records_dropped_total", "Counted by the lanes that drop.")

    def page() -> Page:
        now = state()
        body = {
            "status": now, "version": __version__, "uptime_s": round(time.monotonic() - started, 3),
            "records_dropped": int(dropped.value()),
        }  # fmt: skip
        return 200 if now == "ok" else 503, JSON, json.dumps(body).encode(), b"Cache-Control: no-store\r\n"

    return page


def metrics_page() -> Page:
    """Everything that this process counts, for Prometheus."""
    return 200, telemetry.CONTENT_TYPE, telemetry.render(), b"Cache-Control: no-store\r\n"


def watch(context: Context) -> Callable[[], None]:
    """Have the listener's own counts in the metrics; returns how to stop that."""
    counters = {
        name: telemetry.counter(f"{PREFIX}{name}_total", help)
        for name, help in (
            ("connections_accepted", "Connections accepted."),
            ("connections_turned_away", "Connections refused because there were too many."),
            ("requests", "Requests whose head was understood."),
            ("requests_refused", "Requests refused before they reached a service."),
            ("timeouts", "Connections that took too long."),
            ("received_bytes", "Bytes received."),
            ("sent_bytes", "Bytes of answers handed to the system."),
            ("commit_turns", "Turns of the loop that committed something."),
            ("commit_writes", "Writes of lanes, one a turn and lane."),
            ("commit_syncs", "Syncs of lanes, one for all that came meanwhile."),
            ("commit_failures", "Requests answered with InternalFailure because their commit failed."),
        )
    }
    connections = telemetry.gauge(f"{PREFIX}connections", "Open connections.")
    lent = telemetry.gauge(f"{PREFIX}buffers_lent_bytes", "Receive buffers in use.")
    kept = telemetry.gauge(f"{PREFIX}buffers_kept_bytes", "Free receive buffers kept for the next requests.")
    resident = telemetry.gauge("headrace_process_resident_bytes", "Resident memory of the server's process.")
    answers = telemetry.counter(
        "headrace_operation_answers_total",
        "Answers, by operation and class of status.",
        ("service", "operation", "status"),
    )
    seconds = telemetry.histogram(
        "headrace_operation_seconds",
        "From the request's head to its answer.",
        ("service", "operation"),
        LATENCY_BOUNDS,
    )

    def collect() -> None:
        committer = context.committer
        for name, value in (
            ("connections_accepted", context.accepted),
            ("connections_turned_away", context.turned_away),
            ("requests", context.requests),
            ("requests_refused", context.refused),
            ("timeouts", context.timeouts),
            ("received_bytes", context.bytes_in),
            ("sent_bytes", context.writer.bytes_out),
            ("commit_turns", committer.turns),
            ("commit_writes", committer.writes),
            ("commit_syncs", committer.syncs),
            ("commit_failures", committer.failures),
        ):
            counters[name].set(value)
        connections.set(len(context.connections))
        lent.set(context.pool.lent_bytes)
        kept.set(context.pool.retained_bytes)
        resident.set(resident_bytes())
        for route in context.routes_seen:
            for status, count in route.counts.items():
                answers.set(count, route.service, route.operation, status)
            total, buckets = route.latency
            seconds.set_counts(buckets, total, route.service, route.operation)

    return telemetry.collect(collect)


def resident_bytes() -> int:
    """Resident memory of this process; 0 where the system does not say it in /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    import resource

    return pages * resource.getpagesize()
