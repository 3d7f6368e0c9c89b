# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Metrics count what they are told, refuse what makes no sense, and render as Prometheus reads them."""

import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace import telemetry
from headrace.telemetry import Counter, Gauge, Histogram, Registry


def rendered(registry: Registry) -> dict[tuple[str, tuple], float]:
    """Samples by name and labels, read back by prometheus-client's own parser."""
    families = text_string_to_metric_families(registry.render().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_counters_gauges_and_histograms_render_what_was_counted():
    registry = Registry()
    counter = registry.register(Counter, "headrace_things_total", "Things.", ("kind",))
    gauge = registry.register(Gauge, "headrace_depth_bytes", "Depth.", ())
    histogram = registry.register(Histogram, "headrace_wait_seconds", "Waiting.", ("lane",), (0.1, 1.0))
    counter.add(2, "a")
    counter.add(3, 'b"\n')
    gauge.set(7)
    gauge.add(-2)
    for value in (0.05, 0.1, 0.5, 5.0):
        histogram.add(value, "0")
    samples = rendered(registry)
    assert samples[("headrace_things_total", (("kind", "a"),))] == 2
    assert samples[("headrace_things_total", (("kind", 'b"\n'),))] == 3
    assert samples[("headrace_depth_bytes", ())] == 5
    bucket = "headrace_wait_seconds_bucket"
    assert samples[(bucket, (("lane", "0"), ("le", "0.1")))] == 2  # a bound belongs to its bucket
    assert samples[(bucket, (("lane", "0"), ("le", "1.0")))] == 3
    assert samples[(bucket, (("lane", "0"), ("le", "+Inf")))] == 4
    assert samples[("headrace_wait_seconds_sum", (("lane", "0"),))] == pytest.approx(5.65)
    assert histogram.count("0") == 4 and histogram.count("1") == 0


def test_a_metric_is_made_once_and_refused_in_another_shape():
    registry = Registry()
    first = registry.register(Counter, "headrace_a_total", "A.", ("x",))
    assert registry.register(Counter, "headrace_a_total", "A.", ("x",)) is first
    with pytest.raises(ValueError, match="exists as a counter with the labels"):
        registry.register(Gauge, "headrace_a_total", "A.", ("x",))
    with pytest.raises(ValueError, match="exists as a counter"):
        registry.register(Counter, "headrace_a_total", "A.", ("y",))


def test_wrong_names_labels_and_values_are_refused():
    with pytest.raises(ValueError, match="does not end in _total"):
        Counter("headrace_a", "A.")
    with pytest.raises(ValueError, match="is not headrace_"):
        Gauge("other_a", "A.")
    with pytest.raises(ValueError, match="not increasing"):
        Histogram("headrace_a", "A.", (), (1.0, 1.0))
    counter = Counter("headrace_a_total", "A.", ("x",))
    with pytest.raises(ValueError, match="has the labels"):
        counter.add(1)
    with pytest.raises(ValueError, match="cannot go down"):
        counter.add(-1, "x")
    with pytest.raises(ValueError, match="has 2 buckets"):
        Histogram("headrace_b", "B.", (), (1.0,)).set_counts([1], 1.0)


def test_label_sets_are_bounded(monkeypatch):
    monkeypatch.setattr(telemetry, "LABEL_SETS_MAX", 3)
    gauge = Gauge("headrace_a", "A.", ("x",))
    for i in range(3):
        gauge.set(i, str(i))
    with pytest.raises(ValueError, match="the most that are kept"):
        gauge.set(9, "9")
    gauge.remove("0")
    gauge.set(9, "9")
    assert gauge.value("9") == 9 and gauge.value("0") == 0


def test_collectors_run_before_each_rendering_until_stopped():
    registry = Registry()
    gauge = registry.register(Gauge, "headrace_a", "A.", ())
    histogram = registry.register(Histogram, "headrace_b_seconds", "B.", (), (1.0,))

    def fetch() -> None:
        gauge.add(1)
        histogram.set_counts([1, 2], 8.0)

    stop = registry.collect(fetch)
    registry.render()
    assert rendered(registry)[("headrace_a", ())] == 2
    assert rendered(registry)[("headrace_b_seconds_count", ())] == 3
    stop()
    stop()
    registry.render()
    assert gauge.value() == 3


def test_counting_from_threads_loses_nothing():
    counter = Counter("headrace_a_total", "A.")
    threads = [threading.Thread(target=lambda: [counter.add() for _ in range(5000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.value() == 20_000


def test_the_process_registry_renders():
    telemetry.counter("headrace_test_events_total", "Events of this test.").add(1)
    telemetry.gauge("headrace_test_level", "A level.").set(1.5)
    telemetry.histogram("headrace_test_seconds", "Seconds.").add(0.2)
    stop = telemetry.collect(lambda: None)
    text = telemetry.render()
    stop()
    assert b"headrace_test_events_total 1.0" in text and b"headrace_test_level 1.5" in text
