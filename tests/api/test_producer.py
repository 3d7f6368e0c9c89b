# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Producers: every ack tells the truth, order holds within a shard, nothing waits without bound."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
import warnings

import pytest

import headrace


@pytest.fixture(params=["process", "disk"])
def stream(request, tmp_path):
    with headrace.open(tmp_path / "store", durability=request.param) as store:
        yield store.stream("s", shards=3)


def test_a_done_ack_is_a_record_that_can_be_read(stream):
    with stream.producer(max_batch=7) as out:
        acks = [out.put(b"%d" % i, f"k{i % 11}") for i in range(500)]
    assert all(ack.done for ack in acks)
    found = {(r.shard, r.ordinal): r.data for batch in stream.batches() for r in batch}
    assert len(found) == 500
    for i, ack in enumerate(acks):
        position = ack.result()
        assert found[position.shard, position.ordinal] == b"%d" % i


def test_order_holds_within_a_key(stream):
    with stream.producer(max_batch=13) as out:
        for i in range(1000):
            out.put(b"%d" % i, f"k{i % 5}")
    for batch in stream.batches():
        by_key: dict[str, list[int]] = {}
        for record in batch:
            by_key.setdefault(record.key, []).append(int(record.data))
        for values in by_key.values():
            assert values == sorted(values)


def test_a_batch_that_does_not_fill_is_sent_after_the_linger(stream):
    out = stream.producer(linger="20ms")
    ack = out.put(b"x", "k")
    deadline = time.monotonic() + 20
    while not ack.done and time.monotonic() < deadline:
        time.sleep(0.005)
    assert ack.done
    out.close()


@pytest.mark.parametrize("bound", [{"max_batch": 1}, {"max_pending_bytes": 1}])
def test_a_first_record_that_fills_its_batch_becomes_durable(stream, bound):
    with stream.producer(linger="1h", **bound) as out:
        assert out.put(b"x", "k").result(30).ordinal == 0


def test_waiting_for_an_ack_does_not_linger(stream):
    out = stream.producer(linger="1h")
    assert out.put(b"x", "k").result(20).ordinal == 0

    async def main():
        return await out.put(b"y", "k")

    assert asyncio.run(main()).ordinal == 1
    out.close()


def test_a_bad_record_is_refused_alone(stream):
    with stream.producer() as out:
        first = out.put(b"good", "k")
        with pytest.raises(headrace.Error, match="key has 0 characters"):
            out.put(b"bad", "")
        with pytest.raises(headrace.Error, match="allows"):
            out.put(b"x" * (1 << 20), "k")
        with pytest.raises(TypeError):
            out.put(object(), "k")
        second = out.put({"also": "good"}, None)
    assert first.result() != second.result()
    assert sorted(stream.read().data) == [b"good", b'{"also":"good"}']


def test_many_threads_share_a_producer(stream):
    acks: list[list] = [[] for _ in range(4)]
    with stream.producer(max_batch=50) as out:

        def work(number):
            acks[number] += [out.put(b"%d.%d" % (number, i), f"t{number}") for i in range(2000)]

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = {(r.shard, r.ordinal): r.data for batch in stream.batches() for r in batch}
    assert len(found) == 8000
    for number in range(4):
        for i, ack in enumerate(acks[number]):
            position = ack.result()
            assert found[position.shard, position.ordinal] == b"%d.%d" % (number, i)


def test_records_that_find_no_room_fail_with_their_acks(tmp_path):
    with headrace.open(tmp_path / "s", compression=None) as store:
        stream = store.stream("s", max_bytes="1MiB")
        out = stream.producer(timeout=0.05)
        acks = [out.put(b"x" * 1000, "k") for _ in range(5000)]
        with pytest.raises(headrace.Backpressure):
            out.flush()
        good = [ack for ack in acks if ack.exception() is None]
        assert 0 < len(good) < 5000
        assert len(stream.read()) == len(good)
        with pytest.raises(headrace.Backpressure):
            acks[-1].result()
        out.close()


def test_a_closed_producer_says_so(stream):
    out = stream.producer()
    out.close()
    out.close()
    for record in (b"x", b"y", object(), b"z"):
        with pytest.raises(headrace.Closed):
            out.put(record, "k")
    with stream.producer(max_batch=1) as small:
        small.put(b"kept", "k")
    for record in (b"x", b"y"):
        with pytest.raises(headrace.Closed):
            small.put(record, "k")
    for each in (out, small):
        each.flush()
    assert stream.read().data == [b"kept"]


def test_every_put_beside_a_close_is_stored_or_raises(stream):
    out = stream.producer(max_batch=7, linger="1h")
    acks: list[list] = [[], [], []]

    def work(mine):
        with pytest.raises(headrace.Closed):
            while True:
                mine.append(out.put(b"x", "k"))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in acks]
    for thread in threads:
        thread.start()
    until(lambda: all(acks))
    out.close()
    for thread in threads:
        thread.join()
    found = {(record.shard, record.ordinal) for record in stream.read()}
    positions = [ack.result(0) for mine in acks for ack in mine]
    assert len(found) == len(positions)
    assert {(position.shard, position.ordinal) for position in positions} == found


def test_the_interpreters_end_flushes(tmp_path):
    code = "import sys, headrace\nout = headrace.open(sys.argv[1]).stream('s').producer(linger='1h')\nout.put(b'last', 'k')"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "s")], check=True, timeout=60)
    with headrace.open(tmp_path / "s") as store:
        assert store.stream("s").read().data == [b"last"]


# ---------------------------------------------------------------- partial failures


@pytest.fixture
def two_lanes(store, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    stream = store.stream("s", shards=2)
    keys = {0: "", 1: ""}
    for i in range(100):
        keys[stream.put(b"probe", f"key{i}").shard] = f"key{i}"
    return stream, keys


def order(stream, shard):
    return [int(data) for data in stream.read(shard=shard).data if data != b"probe"]


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_acks_of_a_batch_taken_in_part_tell_the_truth(two_lanes, crowd):
    stream, keys = two_lanes
    crowd.full = {1}
    out = stream.producer(max_batch=10, timeout=0.05)
    acks = [out.put(b"%d" % i, keys[i % 2]) for i in range(100)]
    with pytest.raises(headrace.Backpressure, match="50 records failed"):
        out.flush()
    assert [ack.exception() is None for ack in acks] == [i % 2 == 0 for i in range(100)]
    assert order(stream, 0) == list(range(0, 100, 2))
    assert order(stream, 1) == []
    assert [ack.result().ordinal for ack in acks[::2]] == sorted({a.result().ordinal for a in acks[::2]})
    out.close()


def test_a_refused_record_is_tried_until_its_time_is_over_whatever_the_log_expects(two_lanes, crowd):
    stream, keys = two_lanes
    crowd.error = headrace.Backpressure("no room", retry_after=10.0)
    crowd.full = {1}
    out = stream.producer(max_batch=10, timeout=20)
    acks = [out.put(b"%d" % i, keys[1]) for i in range(10)]
    crowd.full = set()
    out.flush()
    assert all(ack.exception() is None for ack in acks)
    out.close()
    crowd.full = {1}
    out = stream.producer(max_batch=1, timeout=0.2)
    before = time.monotonic()
    ack = out.put(b"x", keys[1])
    with pytest.raises(headrace.Backpressure):
        ack.result()
    assert time.monotonic() - before >= 0.2
    crowd.full = set()
    with pytest.raises(headrace.Backpressure):
        out.close()


@pytest.mark.parametrize("ordered", [True, False])
def test_later_records_of_a_shard_wait_for_refused_ones_if_ordered(two_lanes, crowd, ordered):
    """A lane has no room for one batch, then has, while later batches come: those of the other lane go ahead
    at once; those of the same lane only if nothing was said of their order."""
    stream, keys = two_lanes
    out = stream.producer(max_batch=4, ordered=ordered, linger="1ms")
    out._retry_at = time.monotonic() + 1000
    crowd.full = {1}
    first = [out.put(b"%d" % i, keys[i % 2]) for i in range(4)]
    until(lambda: out._held)
    out._retry_at = time.monotonic() + 1000  # nothing is tried again until the test says so
    crowd.full = set()
    later = [out.put(b"%d" % i, keys[i % 2]) for i in range(4, 40)]
    until(lambda: len(order(stream, 0)) == 20)
    assert order(stream, 0) == list(range(0, 40, 2))
    assert not any(ack.done for ack in first)
    assert order(stream, 1) == ([] if ordered else list(range(5, 40, 2)))
    assert [ack.done for ack in later] == [not ordered] * 36
    out._retry_at = 0.0
    out._call()
    out.flush()
    assert order(stream, 1) == (list(range(1, 40, 2)) if ordered else [*range(5, 40, 2), 1, 3])
    assert [ack.exception() for ack in first + later] == [None] * 40
    out.close()


def test_order_holds_through_refusals_that_come_and_go(two_lanes, crowd):
    stream, keys = two_lanes
    stop = threading.Event()

    def flicker():
        turn = 0
        while not stop.wait(0.002):
            turn += 1
            crowd.full = [set(), {0}, {1}, {0, 1}][turn % 4]
        crowd.full = set()

    thread = threading.Thread(target=flicker)
    crowd.full = {0, 1}
    try:
        with stream.producer(max_batch=16, max_pending_bytes="4KiB") as out:
            acks = [out.put(b"%d" % i, keys[i % 2]) for i in range(16)]
            until(lambda: crowd.refusals > 0)  # before the lanes come and go, however late that thread is
            thread.start()
            acks += [out.put(b"%d" % i, keys[i % 2]) for i in range(16, 3000)]
            stop.set()
    finally:
        stop.set()
        if thread.ident is not None:
            thread.join()
    assert crowd.refusals > 0
    assert [ack.exception() for ack in acks] == [None] * 3000
    for shard in (0, 1):
        assert order(stream, shard) == list(range(shard, 3000, 2))


def test_what_waits_for_room_is_bounded(two_lanes, crowd):
    """A put beyond the bound blocks, until there is room; without the bound all would be held at once."""
    stream, keys = two_lanes
    crowd.full = {0, 1}
    out = stream.producer(max_batch=10, max_pending_bytes=2_000, timeout=60)
    acks = []
    thread = threading.Thread(
        target=lambda: acks.extend(out.put(b"%d" % i + b" " * 95, keys[0]) for i in range(200)), daemon=True
    )
    thread.start()
    until(lambda: len(acks) >= 19)
    time.sleep(0.2)
    assert 0 < out._pending_bytes <= 2_000
    assert len(acks) < 40
    crowd.full = set()
    thread.join(20)
    out.close()
    assert order(stream, 0) == list(range(200))


def test_many_threads_behind_the_bound_of_a_disk_stream_all_get_on(tmp_path):
    """Whoever waits for the device must not hold what the thread that waits for it needs."""
    with headrace.open(tmp_path / "s", durability="disk") as store:
        stream = store.stream("s")
        with stream.producer(max_batch=20, max_pending_bytes=3_000, linger="1ms") as out:

            def work(number):
                for i in range(300):
                    out.put(b"%d" % i + b" " * 90, f"t{number}")

            threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
                assert not thread.is_alive()
        for batch in stream.batches():
            for number in range(4):
                mine = [int(r.data) for r in batch if r.key == f"t{number}"]
                assert mine == sorted(mine)
        assert len(stream.read()) == 1200


def test_awaiting_an_ack_does_not_block_the_loop(two_lanes, crowd):
    stream, keys = two_lanes
    crowd.full = {0, 1}

    async def main():
        out = stream.producer(linger="1h", max_pending_bytes=1000)
        waiting = asyncio.create_task(take(out.put(b"0", keys[0])))
        for _ in range(5):  # would not come round if the task blocked
            await asyncio.sleep(0.01)
        assert not waiting.done()
        crowd.full = set()
        found = await asyncio.wait_for(waiting, 20)
        out.close()
        return found

    async def take(ack):
        return await ack

    assert asyncio.run(main()).shard == 0


def test_the_interpreters_end_says_what_was_not_sent(tmp_path):
    code = """
import sys, headrace, headrace.api.producer as producer
producer.EXIT_DEADLINE_S = 0.2
store = headrace.open(sys.argv[1], compression=None)
stream = store.stream("s", max_bytes="1MiB")
out = stream.producer(timeout=60)
for _ in range(5000):
    out.put(b"x" * 1000, "k")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "a producer of stream s ended with records unsent" in done.stderr


def test_a_producer_in_a_forked_child_is_dead_and_says_so(stream):
    out = stream.producer(max_batch=2)
    out.put(b"0", "k").result()
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            acks = [out.put(b"1", "k"), out.put(b"2", "k")]
            acks[0].result(5)
        except headrace.ForkedError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert "open the store again" in pipe.read()
    os.waitpid(pid, 0)
    out.put(b"3", "k")
    out.close()
    assert stream.read().data == [b"0", b"3"]
