# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A store as its users meet it: opening, closing, several processes, forks, pickles, signals."""

from __future__ import annotations

import datetime
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings

import pytest

import headrace


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


def test_another_process_reads_puts_and_follows(store, run_python):
    stream = store.stream("s", shards=2)
    stream.put(b"from the writer", "k")
    code = """
import signal, sys, headrace
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
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


def test_a_second_writer_is_refused_by_name(store, run_python):
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
import signal, sys, headrace
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
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
