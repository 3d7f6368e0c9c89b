# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The embedded library as its users meet it: one process, several processes, forks, pickles, signals."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pyarrow as pa
import pytest

import headrace
from headrace.clock import FrozenClock


@pytest.fixture
def store(tmp_path):
    with headrace.open(tmp_path / "store") as opened:
        yield opened


def run_python(code: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


# ---------------------------------------------------------------- one process


def test_put_takes_bytes_text_and_whatever_has_json(store):
    @dataclasses.dataclass
    class Reading:
        host: str
        cpu: float

    stream = store.stream("s")
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    for data in (
        b"raw",
        "text",
        bytearray(b"array"),
        {"a": 1},
        Reading("h", 0.5),
        [1, 2],
        np.float64(1.5),
        moment,
    ):
        stream.put(data, "k")
    assert stream.read().data == [
        b"raw", b"text", b"array", b'{"a":1}', b'{"host":"h","cpu":0.5}', b"[1,2]", b"1.5", b'"2026-01-02T03:04:05Z"',
    ]  # fmt: skip
    with pytest.raises(TypeError, match="object"):
        stream.put(object(), "k")


def test_a_position_names_the_record(store):
    stream = store.stream("s", shards=2)
    position = stream.put(b"a", hash_key=2**128 - 1)
    assert (position.shard, position.ordinal, position.shard_id) == (1, 0, "shardId-000000000001")
    stream.put(b"b", hash_key=2**128 - 1)
    assert stream.read(position).data == [b"a", b"b"]
    assert stream.read(position.sequence_number, shard=1).data == [b"a", b"b"]
    assert pickle.loads(pickle.dumps(position)) == position


@pytest.mark.parametrize(
    "data",
    [
        [b"aa", b"bb", b"cc"],
        np.array([b"aa", b"bb", b"cc"]),
        np.frombuffer(b"aabbcc", np.uint8).reshape(3, 2),
        pa.array([b"aa", b"bb", b"cc"]),
        pa.array(["aa", "bb", "cc"]),
        [("k", b"aa"), ("k", b"bb"), ("k", b"cc")],
    ],
    ids=["list", "S", "uint8", "arrow binary", "arrow text", "pairs"],
)
def test_put_many_takes_every_kind_of_sequence(store, data):
    stream = store.stream("s")
    positions = stream.put_many(data, None if isinstance(data, list) and isinstance(data[0], tuple) else "k")
    assert len(positions) == 3
    assert positions.ordinals.tolist() == [0, 1, 2]
    assert positions.arrival.dtype == "datetime64[ms]"
    batch = stream.read()
    assert batch.data == [b"aa", b"bb", b"cc"]
    assert batch.keys == ["k"] * 3


def test_put_many_in_pieces_gives_places_in_order(store, monkeypatch):
    from headrace import limits

    monkeypatch.setattr(limits, "put_group_size_max", 1000)
    stream = store.stream("s", shards=3)
    data = [b"%d" % i * 10 for i in range(5000)]
    positions = stream.put_many(data, [f"k{i % 97}" for i in range(5000)])
    assert len(positions) == 5000
    by_place = {}
    for batch in stream.batches():
        by_place.update({(r.shard, r.ordinal): r.data for r in batch})
    assert [by_place[p.shard, p.ordinal] for p in positions] == data


def test_records_without_a_key_are_spread_evenly(store):
    stream = store.stream("s", shards=4)
    stream.put_many([b"x"] * 400)
    for _ in range(40):
        stream.put(b"y")
    counts = np.bincount(stream.read().shards)
    assert counts.tolist() == [110] * 4


def test_read_starts_and_ends_where_it_is_told(tmp_path):
    clock = FrozenClock()
    with headrace.open(tmp_path / "s", clock=clock) as store:
        stream = store.stream("s")
        for i in range(10):
            stream.put(b"%d" % i, "k")
            clock.advance(1000)
        at = datetime.datetime.fromtimestamp((clock.now_ms() - 5000) / 1000, datetime.UTC)
        assert stream.read(at).data == [b"5", b"6", b"7", b"8", b"9"]
        assert stream.read(datetime.timedelta(seconds=2)).data == [b"8", b"9"]
        assert stream.read(end=at).data == [b"0", b"1", b"2", b"3", b"4"]
        assert stream.read(limit=3).data == [b"0", b"1", b"2"]
        assert stream.head(2).data == [b"0", b"1"]
        assert stream.read("latest").data == []
        with pytest.raises(headrace.InvalidArgument, match="allowed are 'earliest'"):
            stream.read("newest")


def test_batches_own_their_bytes_and_make_columns(store):
    stream = store.stream("s")
    stream.put_many([{"host": f"h{i % 3}", "cpu": i / 2} for i in range(100)], "k")
    batch = stream.read()
    columns = batch.columns("host", cpu="f8")
    assert columns["cpu"].tolist() == [i / 2 for i in range(100)]
    assert columns.valid["cpu"].all()
    stream.put_many([b"z" * 1000] * 10_000, "k")
    assert batch.data[99] == b'{"host":"h0","cpu":49.5}'
    assert pa.table(columns).num_rows == 100


def test_an_option_that_differs_from_what_exists_is_refused(store):
    store.stream("metrics")
    store.stream("s", shards=2, max_bytes="16MiB", on_full="drop_oldest", retention="48h")
    assert store.stream("s").shards == 2
    assert store.stream("s", shards=2, retention=datetime.timedelta(hours=48)).shards == 2
    with pytest.raises(headrace.InvalidArgument, match="exists with 2 open shards, not 3"):
        store.stream("s", shards=3)
    with pytest.raises(headrace.InvalidArgument, match="exists with durability = 'process', not 'disk'"):
        store.stream("s", durability="disk")
    with pytest.raises(headrace.NotFound, match="did you mean metrics"):
        store.stream("metrisc", create=False)


def test_split_merge_and_scale_keep_every_record(store):
    stream = store.stream("s", shards=2)
    stream.put_many([b"%d" % i for i in range(100)], [f"k{i}" for i in range(100)])
    first, second = stream.split(0)
    stream.put_many([b"%d" % i for i in range(100, 200)], [f"k{i}" for i in range(100)])
    stream.merge(first, second)
    stream.scale(4)
    stream.put_many([b"%d" % i for i in range(200, 300)], [f"k{i}" for i in range(100)])
    assert sorted(int(data) for data in stream.read().data) == list(range(300))
    assert stream.shards == 4


def test_a_full_store_blocks_then_says_which_records_it_took(tmp_path):
    with headrace.open(tmp_path / "s", compression=None) as store:
        stream = store.stream("s", max_bytes="1MiB")
        with pytest.raises(headrace.Backpressure) as caught:
            for _ in range(100):
                stream.put_many([b"x" * 1000] * 100, "k", timeout=0.2)
        assert caught.value.accepted is not None
        assert not caught.value.accepted.any()
        assert caught.value.retry_after > 0
        assert len(stream.read()) % 100 == 0


def test_close_may_be_called_again_and_then_everything_says_so(tmp_path):
    store = headrace.open(tmp_path / "s")
    stream = store.stream("s")
    store.close()
    store.close()
    for use in (lambda: stream.put(b"x"), stream.read, lambda: store.stream("t"), store.streams):
        with pytest.raises(headrace.Closed):
            use()


def test_a_store_without_a_path_is_gone_after_close():
    with headrace.open() as store:
        path = store.path
        store.stream("s").put(b"x")
    assert not path.exists()


def test_a_forgotten_store_warns(tmp_path):
    store = headrace.open(tmp_path / "s")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del store
        import gc

        gc.collect()
    assert any(issubclass(w.category, ResourceWarning) and "was not closed" in str(w.message) for w in caught)


def test_import_costs_little_beyond_numpy():
    code = "import numpy, time; t = time.perf_counter(); import headrace; print(time.perf_counter() - t)"
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    loaded = run_python(
        "import sys, headrace; print([m for m in ('sqlite3', 'msgspec', 'sqlglot', 'uvloop') if m in sys.modules])"
    )
    assert loaded.stdout.strip() == "[]"


# ---------------------------------------------------------------- following


def test_tail_gives_what_comes_and_ends_after_max_wait(store):
    stream = store.stream("s", shards=2)
    stream.put(b"before", "k")
    tail = stream.tail(max_wait=0.3)
    timer = threading.Timer(0.05, stream.put_many, ([b"a", b"b"], "k"))
    timer.start()
    assert [data for batch in tail for data in batch.data] == [b"a", b"b"]
    timer.join()


def test_async_tails_share_a_running_loop(store):
    stream = store.stream("s", shards=2)

    async def follow(count):
        found = []
        async for batch in stream.tail("earliest"):
            found += batch.data
            if len(found) >= count:
                return found

    async def main():
        followers = [asyncio.create_task(follow(20)) for _ in range(3)]
        for i in range(20):
            await asyncio.to_thread(stream.put, b"%d" % i, f"k{i}")
            await asyncio.sleep(0.001)
        return await asyncio.wait_for(asyncio.gather(*followers), 20)

    for found in asyncio.run(main()):
        assert sorted(map(int, found)) == list(range(20))


def test_a_stopped_reader_does_not_stall_intake(store):
    stream = store.stream("s", max_bytes="4MiB", on_full="drop_oldest")
    stuck = iter(stream.tail("earliest"))
    stream.put(b"first", "k")
    batch = next(stuck)
    for _ in range(200):
        stream.put_many([b"x" * 1000] * 100, "k")
    assert batch.data == [b"first"]
    assert next(stuck).data[-1] == b"x" * 1000


# ---------------------------------------------------------------- several processes


def test_another_process_reads_puts_and_follows(store):
    stream = store.stream("s", shards=2)
    stream.put(b"from the writer", "k")
    code = """
import sys, headrace
with headrace.open(sys.argv[1]) as store:
    assert not store.writer
    stream = store.stream("s")
    assert stream.read().data == [b"from the writer"]
    position = stream.put({"n": 1}, key="k")
    positions = stream.put_many([b"x", b"y"], "k", timeout=5)
    assert positions[1].ordinal == position.ordinal + 2
    with stream.producer() as out:
        acks = [out.put(b"p%d" % i, "k") for i in range(100)]
    assert acks[99].result().ordinal == position.ordinal + 102
    other = store.stream("made-by-the-joiner", shards=3)
    other.put(b"z")
    assert other.read().data == [b"z"]
    assert other.split(0) == (3, 4)
    assert other.shards == 4
    try:
        stream.put(b"a" * 2_000_000)
    except headrace.Error as error:
        print(type(error).__name__)
    print(len(stream.read()))
"""
    done = run_python(code, os.fspath(store.path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["ValidationError", "104"] or done.stdout.split() == [
        "InvalidArgument",
        "104",
    ]
    assert store.stream("made-by-the-joiner").shards == 4
    assert len(stream.read()) == 104


def test_a_second_writer_is_refused_by_name(store):
    done = run_python(
        "import sys, headrace\ntry: headrace.open(sys.argv[1], mode='write')\nexcept headrace.LockedByOther as e: print(e)",
        os.fspath(store.path),
    )
    assert f"process {os.getpid()}" in done.stdout


def test_a_reader_outlives_the_writer_and_says_what_happened_to_puts(tmp_path):
    path = tmp_path / "s"
    code = "import sys, headrace, time\ns = headrace.open(sys.argv[1])\n" + (
        "s.stream('s').put(b'x', 'k'); print('up', flush=True); time.sleep(60)"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, os.fspath(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "up\n"
        with headrace.open(path) as store:
            stream = store.stream("s")
            stream.put(b"y", "k")
            writer.kill()
            writer.wait()
            assert stream.read().data == [b"x", b"y"]
            with pytest.raises(headrace.Error, match=r"went away|takes no puts"):
                stream.put(b"z", "k")
    finally:
        writer.kill()
        writer.wait()
        assert writer.stdout is not None
        writer.stdout.close()
    with headrace.open(path, mode="write") as store:
        assert store.stream("s").read().data == [b"x", b"y"]


def test_after_fork_a_handle_is_dead_and_says_so(store):
    stream = store.stream("s")
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            stream.put(b"x")
        except headrace.ForkedError as error:
            os.write(write, str(error).encode())
        os._exit(0)
    os.close(write)
    text = os.read(read, 10_000).decode()
    os.close(read)
    os.waitpid(pid, 0)
    assert "before a fork" in text
    assert "open the store again" in text
    assert stream.put(b"y", "k").ordinal == 0


def test_a_stream_can_be_sent_to_another_process(store):
    stream = store.stream("s")
    stream.put(b"here", "k")
    assert pickle.loads(pickle.dumps(stream)).read().data == [b"here"]
    code = (
        "import pickle, sys\n"
        "stream = pickle.load(sys.stdin.buffer)\n"
        "stream.put(b'from the child', 'k')\n"
        "print(stream.read().data)\n"
        "stream._store.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(stream), capture_output=True, timeout=60, check=True
    )
    assert done.stdout == b"[b'here', b'from the child']\n"
    assert stream.read().data == [b"here", b"from the child"]


@pytest.mark.parametrize(
    "wait", ["for batch in stream.tail(): pass", "stream.put_many([b'x' * 1000] * 5000, 'k', timeout=60)"]
)
def test_ctrl_c_leaves_any_wait_at_once(tmp_path, wait):
    code = f"""
import sys, headrace
store = headrace.open(sys.argv[1], compression=None)
stream = store.stream("s", max_bytes="1MiB")
print("up", flush=True)
try:
    while True:
        {wait}
except KeyboardInterrupt:
    store.close()
    print("left", flush=True)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code, os.fspath(tmp_path / "s")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "left\n"
        assert child.wait(10) == 0
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()
