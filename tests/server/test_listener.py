# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The listener gives memory back once a burst has passed, and not while it lasts. Method: its timer runs twelve times
as fast as usual; the call that has the allocator trim its heap is counted instead."""

import time

import pytest

from headrace.server import listener


@pytest.fixture
def trims(monkeypatch):
    """Times at which the heap was trimmed."""
    found: list[float] = []
    monkeypatch.setattr(listener, "trim_heap", lambda: found.append(time.monotonic()))
    return found


def test_the_heap_is_trimmed_once_after_a_burst(served, trims):
    client = served.connect()
    for _ in range(listener.BURST_BYTES // (4 << 20) + 1):
        assert client.post("Size", b"x" * (4 << 20)).answer()[0] == 200
    served.until(lambda: trims)
    seen = served.context.bytes_in
    served.until(lambda: served.listener._ticks > 5 * listener.TICKS_PER_TRIM)
    assert len(trims) == 1 and served.context.bytes_in == seen
    assert served.context.pool.retained_bytes <= 65_536


@pytest.mark.parametrize("size", [1000, 700_000])
def test_the_next_request_is_received_into_the_same_memory(served, size):
    """The loop still holds its window on a buffer when the request in it is over; fresh memory for each body would
    cost more than all that is done with it."""
    client = served.connect()
    assert client.post("Size", b"x" * size).answer()[0] == 200
    before = served.context.pool.made
    for _ in range(20):
        assert client.post("Size", b"x" * size).answer()[2] == b"%d" % size
    assert served.context.pool.made - before <= 2  # a head that came apart from its body may take one more


def test_a_little_traffic_trims_nothing(served, trims):
    client = served.connect()
    assert client.post("Size", b"x" * 1000).answer()[0] == 200
    served.until(lambda: served.listener._ticks > 3 * listener.TICKS_PER_TRIM)
    assert not trims
