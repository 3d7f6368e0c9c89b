# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Following: plain and async loops get what comes, wait without burning, and need no thread a reader.

Method: followers are started before the records are put, in the process that writes and in one that joined;
threads are counted while all of them wait.
"""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

import headrace
from headrace.streams import StreamReader


def test_tail_gives_what_comes_and_ends_after_max_wait(store):
    stream = store.stream("s", shards=2)
    stream.put(b"before", "k")
    tail = stream.tail(max_wait=0.3)
    timer = threading.Timer(0.05, stream.put_many, ([b"a", b"b"], "k"))
    timer.start()
    assert [data for batch in tail for data in batch.data] == [b"a", b"b"]
    timer.join()


def test_a_tail_of_one_shard_ends_with_it(store):
    stream = store.stream("s")
    stream.put(b"a", "k")
    stream.split(0)
    stream.put(b"b", "k")
    assert [data for batch in stream.tail("earliest", shard=0) for data in batch.data] == [b"a"]
    assert [d for b in stream.tail("earliest", max_wait=0.0) for d in b.data] == [b"a", b"b"]


async def follow(stream, count):
    found = []
    async for batch in stream.tail("earliest"):
        found += batch.data
        if len(found) >= count:
            return found


def test_async_tails_share_a_running_loop(store):
    stream = store.stream("s", shards=2)

    async def main():
        followers = [asyncio.create_task(follow(stream, 20)) for _ in range(3)]
        for i in range(20):
            await asyncio.to_thread(stream.put, b"%d" % i, f"k{i}")
            await asyncio.sleep(0.001)
        return await asyncio.wait_for(asyncio.gather(*followers), 20)

    for found in asyncio.run(main()):
        assert sorted(map(int, found)) == list(range(20))


def test_an_async_tail_ends_after_max_wait(store):
    stream = store.stream("s")

    async def main():
        return [batch async for batch in stream.tail(max_wait=0.05)]

    assert asyncio.run(main()) == []


def test_async_tails_in_the_writers_process_need_no_thread(store):
    stream = store.stream("s", shards=2)

    async def main():
        before = {thread.name for thread in threading.enumerate()}
        followers = [asyncio.create_task(follow(stream, 1)) for _ in range(50)]
        await asyncio.sleep(0.1)
        assert {thread.name for thread in threading.enumerate()} == before
        await asyncio.to_thread(stream.put, b"x", "k")
        return await asyncio.wait_for(asyncio.gather(*followers), 20)

    assert asyncio.run(main()) == [[b"x"]] * 50


def test_async_tails_of_a_process_that_joined_share_one_thread(store, run_python):
    store.stream("s", shards=2)
    code = """
import asyncio, sys, threading, headrace

async def follow(stream):
    async for batch in stream.tail():
        return batch.data

async def main(stream):
    followers = [asyncio.create_task(follow(stream)) for _ in range(50)]
    await asyncio.sleep(0.2)
    print(sum(thread.name == "headrace-tail" for thread in threading.enumerate()), threading.active_count())
    await asyncio.to_thread(stream.put, b"x", "k")
    print(await asyncio.wait_for(asyncio.gather(*followers), 20) == [[b"x"]] * 50)
    await asyncio.sleep(0.2)
    print(sum(thread.name == "headrace-tail" for thread in threading.enumerate()))

with headrace.open(sys.argv[1]) as store:
    asyncio.run(main(store.stream("s")))
"""
    done = run_python(code, os.fspath(store.path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "2", "True", "0"]


def test_waiting_is_sleeping(store, monkeypatch):
    """Method: the looks of 20 idle followers are counted; whoever polled instead of sleeping would look often."""
    stream = store.stream("s", shards=2)
    looks = []
    poll = StreamReader.poll
    monkeypatch.setattr(StreamReader, "poll", lambda self, *rest: looks.append(self) or poll(self, *rest))

    async def main():
        followers = [asyncio.create_task(follow(stream, 1)) for _ in range(20)]
        await asyncio.sleep(1.0)
        for follower in followers:
            follower.cancel()

    asyncio.run(main())
    assert len(looks) <= 20 * 5


def test_a_closed_store_ends_its_followers(tmp_path):
    store = headrace.open(tmp_path / "s")
    stream = store.stream("s", shards=2)

    async def main():
        follower = asyncio.create_task(follow(stream, 1))
        await asyncio.sleep(0.05)
        store.close()
        with pytest.raises(headrace.Closed):
            await asyncio.wait_for(follower, 20)

    plain: list[BaseException] = []

    def wait():
        try:
            for _ in stream.tail():
                pass
        except headrace.Closed as error:
            plain.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    asyncio.run(main())
    thread.join(20)
    assert len(plain) == 1


def test_a_deleted_stream_ends_its_followers(store):
    stream = store.stream("s")

    async def main():
        follower = asyncio.create_task(follow(stream, 1))
        await asyncio.sleep(0.05)
        store.delete("s")
        with pytest.raises(headrace.NotFound):
            await asyncio.wait_for(follower, 20)

    asyncio.run(main())


def test_a_stopped_reader_does_not_stall_intake(store):
    stream = store.stream("s", max_bytes="4MiB", on_full="drop_oldest")
    stuck = iter(stream.tail("earliest"))
    stream.put(b"first", "k")
    batch = next(stuck)
    for _ in range(200):
        stream.put_many([b"x" * 1000] * 100, "k")
    assert batch.data == [b"first"]
    assert next(stuck).data[-1] == b"x" * 1000
