# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Counters, gauges and histograms of this process, kept cheaply and rendered when somebody asks.

    appended = telemetry.counter("headrace_records_appended_total", "Records taken in.", ("stream",))
    appended.add(500, "metrics")

Cost: about 0.2 µs a call (a lock, a dictionary), so call once a batch, never once a record. What is counted
natively elsewhere is fetched at scrape time by a function given to `collect`. Nothing here imports
prometheus-client until `render` is called.

Names: `headrace_<noun>_<unit>_total` for counters, `headrace_<noun>_<unit>` for the others.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
LABEL_SETS_MAX = 10_000  # of one metric: a label must not carry what clients invent without end
SECONDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

_NAME = re.compile(r"headrace_[a-z][a-z0-9_]*")
Labels = tuple[str, ...]


class Metric:
    """What counters, gauges and histograms have in common: a name, label names and values by labels."""

    kind = ""

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"metric name {name!r} is not headrace_<noun>_<unit>")
        self.name = name
        self.help = help
        self.labels = tuple(labels)
        self._lock = threading.Lock()

    def _check(self, labels: Labels, known: Mapping[Labels, Any]) -> None:
        if len(labels) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}; got {labels}")
        if len(known) >= LABEL_SETS_MAX:
            raise ValueError(f"{self.name} has {LABEL_SETS_MAX} label sets, the most that are kept")


class Counter(Metric):
    """A number that only grows."""

    kind = "counter"

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, help, labels)
        if not name.endswith("_total"):
            raise ValueError(f"counter name {name!r} does not end in _total")
        self._values: dict[Labels, float] = {}

    def add(self, n: float = 1, *labels: str) -> None:
        """Count `n` more; one value for each label name."""
        if n < 0:
            raise ValueError(f"{self.name} cannot go down; got {n}")
        with self._lock:
            if labels not in self._values:
                self._check(labels, self._values)
                self._values[labels] = 0
            self._values[labels] += n

    def set(self, v: float, *labels: str) -> None:
        """Take over a count that is kept elsewhere (from a function given to `collect`)."""
        with self._lock:
            if labels not in self._values:
                self._check(labels, self._values)
            self._values[labels] = v

    def value(self, *labels: str) -> float:
        """The count so far, 0 where nothing was counted."""
        return self._values.get(labels, 0)

    def samples(self) -> list[tuple[Labels, float]]:
        """All values with their labels."""
        with self._lock:
            return list(self._values.items())


class Gauge(Metric):
    """A number that goes up and down."""

    kind = "gauge"

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, help, labels)
        self._values: dict[Labels, float] = {}

    def set(self, v: float, *labels: str) -> None:
        """Set the value."""
        with self._lock:
            if labels not in self._values:
                self._check(labels, self._values)
            self._values[labels] = v

    def add(self, n: float, *labels: str) -> None:
        """Move the value by `n`, up or down."""
        with self._lock:
            if labels not in self._values:
                self._check(labels, self._values)
                self._values[labels] = 0
            self._values[labels] += n

    def remove(self, *labels: str) -> None:
        """Forget a label set (a stream was deleted)."""
        with self._lock:
            self._values.pop(labels, None)

    def value(self, *labels: str) -> float:
        """The present value, 0 where none was set."""
        return self._values.get(labels, 0)

    def samples(self) -> list[tuple[Labels, float]]:
        """All values with their labels."""
        with self._lock:
            return list(self._values.items())


class Histogram(Metric):
    """Counts of values below fixed bounds, and their sum."""

    kind = "histogram"

    def __init__(
        self, name: str, help: str, labels: Sequence[str] = (), bounds: Sequence[float] = SECONDS
    ) -> None:
        super().__init__(name, help, labels)
        self.bounds = tuple(bounds)
        if not self.bounds or list(self.bounds) != sorted(set(self.bounds)):
            raise ValueError(f"the bounds of {name} are not increasing: {self.bounds}")
        self._values: dict[Labels, tuple[list[int], float]] = {}

    def add(self, v: float, *labels: str) -> None:
        """Count one observed value."""
        with self._lock:
            known = self._values.get(labels)
            if known is None:
                self._check(labels, self._values)
                known = ([0] * (len(self.bounds) + 1), 0.0)
            known[0][bisect_left(self.bounds, v)] += 1
            self._values[labels] = (known[0], known[1] + v)

    def set_counts(self, counts: Sequence[int], total: float, *labels: str) -> None:
        """Replace counts (one a bound, and one for what is above) and sum by those kept elsewhere."""
        if len(counts) != len(self.bounds) + 1:
            raise ValueError(f"{self.name} has {len(self.bounds) + 1} buckets; got {len(counts)}")
        with self._lock:
            if labels not in self._values:
                self._check(labels, self._values)
            self._values[labels] = (list(counts), total)

    def count(self, *labels: str) -> int:
        """How many values were observed."""
        return sum(self._values[labels][0]) if labels in self._values else 0

    def samples(self) -> list[tuple[Labels, tuple[list[int], float]]]:
        """All (counts by bucket, sum) with their labels."""
        with self._lock:
            return [(labels, (list(counts), total)) for labels, (counts, total) in self._values.items()]


M = TypeVar("M", bound=Metric)


class Registry:
    """The metrics of one process, by name."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}
        self._collectors: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def register(self, kind: type[M], name: str, help: str, labels: Sequence[str], *rest: Any) -> M:
        """The metric of this name, made if it is new; ValueError if it exists in another shape."""
        with self._lock:
            known = self._metrics.get(name)
            if known is None:
                known = self._metrics[name] = kind(name, help, labels, *rest)
            elif type(known) is not kind or known.labels != tuple(labels):
                raise ValueError(f"metric {name} exists as a {known.kind} with the labels {known.labels}")
            assert isinstance(known, kind)
            return known

    def collect(self, function: Callable[[], None]) -> Callable[[], None]:
        """Call `function` before each rendering, to set what is kept elsewhere; returns how to stop that."""
        with self._lock:
            self._collectors.append(function)

        def stop() -> None:
            with self._lock:
                if function in self._collectors:
                    self._collectors.remove(function)

        return stop

    def metrics(self) -> list[Metric]:
        """All metrics, after the collectors have run."""
        with self._lock:
            collectors = list(self._collectors)
        for function in collectors:
            function()
        with self._lock:
            return list(self._metrics.values())

    def render(self) -> bytes:
        """Everything in Prometheus's text format."""
        from prometheus_client import generate_latest
        from prometheus_client.registry import CollectorRegistry

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families(self))
        return generate_latest(registry)


class _Families:
    """Our metrics as prometheus-client's families."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def describe(self) -> Iterable[Any]:
        return ()

    def collect(self) -> Iterable[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        for metric in self._registry.metrics():
            if isinstance(metric, Counter):
                counter = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
                for labels, value in metric.samples():
                    counter.add_metric(labels, value)
                yield counter
            elif isinstance(metric, Gauge):
                gauge = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
                for labels, value in metric.samples():
                    gauge.add_metric(labels, value)
                yield gauge
            elif isinstance(metric, Histogram):
                histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
                for labels, (counts, total) in metric.samples():
                    histogram.add_metric(labels, _buckets(metric.bounds, counts), total)
                yield histogram


def _buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Accumulated counts with their upper bounds, as the text format wants them."""
    result: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip([*(repr(bound) for bound in bounds), "+Inf"], counts, strict=True):
        below += count
        result.append((bound, below))
    return result


registry = Registry()  # of this process


def counter(name: str, help: str, labels: Sequence[str] = ()) -> Counter:
    """The process's counter of this name."""
    return registry.register(Counter, name, help, labels)


def gauge(name: str, help: str, labels: Sequence[str] = ()) -> Gauge:
    """The process's gauge of this name."""
    return registry.register(Gauge, name, help, labels)


def histogram(
    name: str, help: str, labels: Sequence[str] = (), bounds: Sequence[float] = SECONDS
) -> Histogram:
    """The process's histogram of this name."""
    return registry.register(Histogram, name, help, labels, bounds)


def collect(function: Callable[[], None]) -> Callable[[], None]:
    """Have `function` called before each rendering; returns how to stop that."""
    return registry.collect(function)


def render() -> bytes:
    """Everything in Prometheus's text format (what `/-/metrics` answers)."""
    return registry.render()
