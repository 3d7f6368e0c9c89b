# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A put that was taken in part says exactly which records were, here and by way of the local socket.

Method: a lane of two is made to refuse; what a call says it took is compared with what the stream holds.
"""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

import headrace
from headrace import limits
from headrace.errors import Backpressure, StorageError

KEYS = [f"k{i}" for i in range(400)]
DATA = [b"%03d" % i + b"x" * 97 for i in range(400)]


@pytest.fixture
def stream(store, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    stream = store.stream("s", shards=2)
    assert len(store.inner.stream("s").lanes) == 2
    return stream


def held(stream) -> list[bytes]:
    return stream.read().data


def test_what_a_full_lane_refused_is_named_and_can_be_put_again(stream, crowd):
    crowd.full = {1}
    with pytest.raises(Backpressure) as caught:
        stream.put_many(DATA, KEYS, timeout=0.05)
    accepted = caught.value.accepted
    assert 0 < accepted.sum() < 400
    assert sorted(held(stream)) == sorted(np.array(DATA)[accepted].tolist())
    assert caught.value.retry_after == pytest.approx(0.01)
    crowd.full = set()
    again = np.flatnonzero(~accepted)
    stream.put_many([DATA[i] for i in again], [KEYS[i] for i in again])
    assert sorted(held(stream)) == DATA


def test_a_put_waits_until_there_is_room_and_puts_only_what_was_refused(stream, crowd):
    crowd.full = {0}
    timer = threading.Timer(0.1, crowd.full.clear)
    timer.start()
    positions = stream.put_many(DATA, KEYS)
    timer.join()
    assert crowd.refusals > 1
    by_place = {(r.shard, r.ordinal): r.data for batch in stream.batches() for r in batch}
    assert [by_place[p.shard, p.ordinal] for p in positions] == DATA
    for shard in (0, 1):
        assert held_in_order(stream, shard)


def test_it_waits_as_long_as_it_may_whatever_the_log_expects(stream, crowd):
    """A lane that asks to be left alone for ten seconds is asked again until the time is over, and then."""
    crowd.error = Backpressure("no room", retry_after=10.0)
    crowd.full = {0, 1}
    timer = threading.Timer(0.1, crowd.full.clear)
    timer.start()
    stream.put_many(DATA, KEYS, timeout=20)
    timer.join()
    assert sorted(held(stream)) == DATA
    crowd.full = {0, 1}
    before, crowd.refusals = time.monotonic(), 0
    with pytest.raises(Backpressure) as caught:
        stream.put_many(DATA, KEYS, timeout=0.2)
    assert time.monotonic() - before >= 0.2
    assert crowd.refusals >= 4  # of two lanes: at the start and at the end, at least
    assert caught.value.retry_after == 10.0


def held_in_order(stream, shard: int) -> bool:
    data = stream.read(shard=shard).data
    return data == sorted(data)


@pytest.mark.parametrize("full", [{1}, {0, 1}])
def test_of_a_call_in_many_groups_accepted_is_as_long_as_the_call(stream, crowd, monkeypatch, full):
    """The first groups are taken, then a lane fills: nothing behind the first refusal is tried."""
    monkeypatch.setattr(limits, "put_group_size_max", 5_000)
    append, calls = stream._inner.append_parts, []

    def count(entries):
        calls.append(entries.count)
        if len(calls) == 4:
            crowd.full = full
        return append(entries)

    monkeypatch.setattr(type(stream._inner), "append_parts", lambda _, entries: count(entries))
    with pytest.raises(Backpressure) as caught:
        stream.put_many(DATA, KEYS, timeout=0.03)
    accepted = caught.value.accepted
    assert len(accepted) == 400
    assert sorted(held(stream)) == sorted(np.array(DATA)[accepted].tolist())
    groups = sum(calls[:3])
    assert accepted[:groups].all()
    assert not accepted[groups + calls[3] :].any()


def test_the_time_is_that_of_the_whole_call(stream, crowd, monkeypatch):
    """With every group of 100 refused, a call of its own time each would sleep in all of them."""
    monkeypatch.setattr(limits, "put_group_size_max", 500)
    crowd.full = {0, 1}
    before = time.monotonic()
    with pytest.raises(Backpressure):
        stream.put_many(DATA, KEYS, timeout=0.05)
    assert time.monotonic() >= before
    attempts = crowd.refusals
    assert attempts <= 2 * (0.05 / 0.01 + 2)


def test_a_failed_lane_is_no_silent_partial_success(stream, crowd):
    crowd.error = StorageError("the disk is gone")
    crowd.full = {1}
    with pytest.raises(StorageError, match="the disk is gone") as caught:
        stream.put_many(DATA, KEYS, timeout=30)
    assert crowd.refusals == 1  # it is not tried again
    accepted = caught.value.accepted
    assert sorted(held(stream)) == sorted(np.array(DATA)[accepted].tolist())
    assert crowd.error.accepted is None  # the lane's own error stays as it is


def test_a_single_put_says_at_once_that_there_is_no_room(stream, crowd):
    crowd.full = {0, 1}
    with pytest.raises(Backpressure, match="no room"):
        stream.put(b"x", "k")
    assert crowd.refusals == 1
    assert held(stream) == []


def test_a_process_that_joined_learns_the_same(stream, store, crowd, run_python):
    crowd.full = {1}
    code = """
import sys, headrace
with headrace.open(sys.argv[1]) as store:
    stream = store.stream("s")
    data = [b"%03d" % i for i in range(400)]
    try:
        stream.put_many(data, [f"k{i}" for i in range(400)], timeout=0.05)
    except headrace.Backpressure as error:
        print(sorted(d.decode() for d in stream.read().data) == [d.decode() for d, a in zip(data, error.accepted) if a])
        print(0 < error.accepted.sum() < 400, len(error.accepted))
"""
    done = run_python(code, os.fspath(store.path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "True", "400"]
    with pytest.raises(headrace.Backpressure):
        stream.put_many(DATA, KEYS, timeout=0.0)
