# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""How the end of a process, or a fork of it, leaves a store to others: free, and in order where that can be.

Method: a process of its own opens the store and says so; then it forks, ends, stops or is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import headrace
from headrace.api import local_client
from headrace.api import store as stores
from headrace.log.log import release_lock, take_lock

OPEN = """
import os, sys, time, headrace
store = headrace.open(sys.argv[1])
store.stream("s").put(b"x", "k")
"""


class Opener:
    """A process that opens the store and says a number once it is where the test wants it."""

    def __init__(self, path, code: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", OPEN + code, os.fspath(path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = int(self.process.stdout.readline())

    def end(self) -> None:
        for pid in {self.said, self.process.pid}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def opener(tmp_path):
    with contextlib.ExitStack() as stack:

        def start(code: str) -> Opener:
            found = Opener(tmp_path / "s", code)
            stack.callback(found.end)
            return found

        yield start


FORK = """
told, tell = os.pipe()
child = os.fork()
if child == 0:
    os.write(tell, b"here")
    time.sleep(100)
    os._exit(0)
os.read(told, 4)
"""


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_a_forked_child_does_not_keep_the_store(opener, tmp_path, how):
    parent = opener(
        FORK + ("store.close()\nprint(child, flush=True)\ntime.sleep(100)" if how == "closed" else
                "print(child, flush=True)\ntime.sleep(100)")
    )  # fmt: skip
    if how == "killed":
        parent.process.kill()
        parent.process.wait()
    before = time.monotonic()
    for mode in ("write", "auto"):
        with headrace.open(tmp_path / "s", mode=mode) as store:
            assert store.writer
            assert store._log.was_clean == (how == "closed" or mode == "auto")
            store.stream("s").put(b"y", "k")
    assert time.monotonic() - before < 5
    os.kill(parent.said, 0)  # the child is still there


def test_a_forked_child_of_a_process_that_joined_keeps_no_connection(opener, tmp_path):
    with headrace.open(tmp_path / "s") as store:
        joined = opener(FORK + "store.close()\nprint(child, flush=True)\ntime.sleep(100)")
        os.kill(joined.said, 0)
        end = time.monotonic() + 10
        while store._server._connections:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_fork_takes_nothing_from_the_parent(opener, tmp_path):
    """The child ends in order, with its own end of the interpreter."""
    parent = opener("""
child = os.fork()
if child == 0:
    sys.exit()
os.waitpid(child, 0)
print(os.getpid(), flush=True)
time.sleep(100)
""")
    with pytest.raises(headrace.LockedByOther, match=f"process {parent.process.pid}"):
        headrace.open(tmp_path / "s", mode="write")
    with headrace.open(tmp_path / "s") as joined:
        assert not joined.writer
        assert joined.stream("s").put(b"y", "k").ordinal == 1


def test_a_writer_that_does_not_answer_is_named(opener, tmp_path, monkeypatch):
    monkeypatch.setattr(local_client, "ANSWER_S", 0.2)
    monkeypatch.setattr(stores, "START_S", 0.1)
    writer = opener("print(os.getpid(), flush=True)\ntime.sleep(100)")
    os.kill(writer.said, signal.SIGSTOP)
    before = time.monotonic()
    with pytest.raises(
        headrace.LockedByOther,
        match=rf"written by process {writer.said}, which does not answer within 0\.2 s",
    ):
        headrace.open(tmp_path / "s")
    assert time.monotonic() - before < 5
    with headrace.open(tmp_path / "s", mode="read") as reader:
        assert reader.stream("s").read().data == [b"x"]
    for _ in range(20):  # more than may wait to be taken
        with pytest.raises(headrace.LockedByOther, match=r"does not answer|takes no puts"):
            local_client.LocalClient(tmp_path / "s")
    os.kill(writer.said, signal.SIGCONT)
    with headrace.open(tmp_path / "s") as joined:
        joined.stream("s").put(b"y", "k")


def test_a_writer_that_is_just_ending_is_waited_for(tmp_path):
    """Its socket is gone, its lock not yet."""
    headrace.open(tmp_path / "s").close()
    lock = take_lock(tmp_path / "s")
    timer = threading.Timer(0.2, release_lock, (lock,))
    timer.start()
    with headrace.open(tmp_path / "s") as store:
        assert store.writer
    timer.join()


HELD = "import threading\nthreading.Thread(target=lambda kept: time.sleep(100), args=(store,), daemon=True).start()\n"


@pytest.mark.parametrize("held", ["", HELD], ids=["of a module", "held by a thread"])
def test_what_is_open_at_the_interpreters_end_is_closed_and_says_so(tmp_path, run_python, held):
    code = """
joined = headrace.open(sys.argv[1])
out = joined.stream("s").producer(linger="1h")
ack = out.put(b"last", "k")
"""
    done = run_python(OPEN + held + code, os.fspath(tmp_path / "s"))
    assert done.returncode == 0
    assert f"ResourceWarning: the store {tmp_path / 's'} was not closed" in done.stderr
    with headrace.open(tmp_path / "s") as store:
        assert store._log.was_clean
        assert store.stream("s").read().data == [b"x", b"last"]


def test_what_was_closed_says_nothing_at_the_end(tmp_path, run_python):
    done = run_python(OPEN + "store.close()", os.fspath(tmp_path / "s"))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_private_store_is_gone_at_the_interpreters_end(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "import headrace\nstore = headrace.open()\nprint(store.path)"],
        capture_output=True, text=True, timeout=60, check=True, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_forgotten_store_is_closed_also_where_warnings_are_errors(tmp_path, run_python):
    code = "import sys, gc, headrace\nheadrace.open(sys.argv[1])\ngc.collect()\nheadrace.open(sys.argv[1], mode='write').close()"
    done = run_python(code, os.fspath(tmp_path / "s"))
    assert done.returncode == 0
    assert "ResourceWarning: the store" in done.stderr
