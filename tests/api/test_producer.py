# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Producers: every ack tells the truth, order holds within a shard, nothing waits without bound."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

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
    with pytest.raises(headrace.Closed):
        out.put(b"x", "k")


def test_the_interpreters_end_flushes(tmp_path):
    code = "import sys, headrace\nout = headrace.open(sys.argv[1]).stream('s').producer(linger='1h')\nout.put(b'last', 'k')"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "s")], check=True, timeout=60)
    with headrace.open(tmp_path / "s") as store:
        assert store.stream("s").read().data == [b"last"]
