# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Ctrl-C wherever it may come within a put that rolls: the lane goes on, and nothing acknowledged is lost.

Method: the interpreter runs a signal's handler when a function of Python begins and when one of C has returned. A
profile function sees both, and raises KeyboardInterrupt at the n-th of them below a piece of work, for each n. Then
somebody else, in a thread with a deadline, does the same work: a lock that was left taken holds him up for ever. A
put that was interrupted may have been taken, or not.
"""

from __future__ import annotations

import sys
import threading
import time

import pytest
from log_support import put, read_shard, router_of

from headrace import limits
from headrace.clock import FrozenClock
from headrace.core._entries import Entries
from headrace.log import Log
from headrace.streams import StreamDefaults, StreamReader, Streams

ROUTER = router_of(1)
DEADLINE_S = 10


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "segment_size_first", 8 << 10)
    monkeypatch.setattr(limits, "segment_size_max", 8 << 10)
    found = Log.open(tmp_path / "s", clock=FrozenClock(), background=False, max_bytes=1 << 30)
    yield found
    in_time(found.close)


def interrupted_at(number, action) -> bool:
    """Do it, with a KeyboardInterrupt at the place of that number; False where there are not so many."""
    left = number

    def profile(frame, event, argument):
        nonlocal left
        left -= event in ("call", "c_return")
        if left == 0:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        action()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def in_time(action):
    """Do it in another thread; fails where that does not end."""
    failures = []

    def work():
        try:
            action()
        except BaseException as problem:
            failures.append(problem)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    assert not thread.is_alive(), "a lock was left taken"
    if failures:
        raise failures[0]


def test_a_wake_that_was_interrupted_does_not_hold_up_the_next(log):
    lane, number = log.create_lane("process"), 1
    while interrupted_at(number, lambda: log.maintenance.wake(lane)):
        in_time(lambda: log.maintenance.wake(lane))
        number += 1
    assert number > 3


@pytest.mark.parametrize("durability", ["process", "disk"])
def test_a_put_that_was_interrupted_while_it_rolled_loses_nothing_and_the_next_goes_on(log, durability):
    lane, number, acknowledged, doubtful = log.create_lane(durability), 1, [], []
    while True:
        # Two of these fill a segment, so that the third has to roll.
        for turn in range(3):
            name = f"{number}.{turn}"
            data = name.encode() + bytes(3_500)

            def put_it(data=data):
                put(lane, ROUTER, [(0, "k", data)])

            if turn < 2:
                in_time(put_it)
            elif interrupted_at(number, put_it):
                doubtful.append(data)
                continue
            else:
                assert number > 100
                found = [record for _, _, record in read_shard(lane, 0)]
                assert [record for record in found if record not in doubtful] == [*acknowledged, data]
                assert len(set(found)) == len(found)
                assert {record for record in found if record in doubtful} <= set(doubtful)
                return
            acknowledged.append(data)
        number += 1


def test_a_put_that_was_interrupted_while_it_woke_a_reader_does_not_hold_up_the_next(log):
    """A reader of several lanes sleeps until whoever puts calls it, under the lane's lock."""
    streams = Streams(log, defaults=StreamDefaults(cores=2))
    stream = streams.create("s", 2)
    reader, number, stop = StreamReader(stream), 1, threading.Event()

    def put_it():
        entries = Entries()
        entries.add(b"x", "k")
        stream.append(entries)
        stream.commit()

    def follow():
        while not stop.is_set():
            if reader.wait(0.5):
                reader.poll()

    put_it()
    assert len(stream.lanes) == 2
    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        while interrupted_at(number, put_it):
            in_time(put_it)
            deadline = time.monotonic() + DEADLINE_S
            while not any(lane._callbacks for lane in stream.lanes):  # it sleeps again
                assert time.monotonic() < deadline, "the reader is held up"
                time.sleep(0.001)
            number += 1
    finally:
        stop.set()
        thread.join(DEADLINE_S)
    assert number > 10 and not thread.is_alive()
