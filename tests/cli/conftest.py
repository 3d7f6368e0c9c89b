# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Commands run as a user runs them: in a process of their own, with a clean environment."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

WAIT = 20.0


class Command:
    """Runs `python -m headrace …` in a directory, away from the user's own configuration."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: list[subprocess.Popen[str]] = []
        keep = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "ASAN_OPTIONS", "HEADRACE_SIMD")
        self.environ = {name: os.environ[name] for name in keep if name in os.environ}
        self.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        self.environ |= {
            "HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory),
            "XDG_DATA_HOME": str(directory),
        }

    def start(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace", *words],
            cwd=self.directory,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def run(self, *words: str, **environ: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        process = self.start(*words, **environ)
        out, err = process.communicate(timeout=WAIT)
        return process.returncode, out, err

    def serve(self, *words: str, **environ: str) -> tuple[subprocess.Popen[str], dict]:
        """A running server and what its ready file says."""
        ready = self.directory / f"ready-{len(self.processes)}.json"
        process = self.start("serve", *words, "--port", "0", "--ready-file", str(ready), **environ)
        end = time.monotonic() + WAIT
        while not ready.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.005)
        return process, json.loads(ready.read_text())

    def stop(self, process: subprocess.Popen[str], with_signal: int = signal.SIGTERM) -> tuple[int, str, str]:
        process.send_signal(with_signal)
        out, err = process.communicate(timeout=WAIT)
        return process.returncode, out, err

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def headrace(tmp_path):
    command = Command(tmp_path)
    yield command
    command.close()


class Cli:
    """Commands one after another: `run` checks the exit code, `rows` are the JSON lines of what came out."""

    COMMAND: ClassVar[list[str]] = [sys.executable, "-m", "headrace"]

    def __init__(self, directory: Path) -> None:
        keep = {n: v for n, v in os.environ.items() if not n.startswith(("HEADRACE", "AWS_", "XDG_"))}
        home = {"HOME": str(directory), "XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}
        self.environ = {**keep, **home, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self.store = ["--store", str(directory / "store")]

    def run(
        self, *words: str, data: bytes = b"", code: int = 0, **environ: str
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [*self.COMMAND, *words], input=data, capture_output=True, timeout=60, check=False,
            env={**self.environ, **environ},
        )  # fmt: skip
        assert done.returncode == code, (done.stdout, done.stderr)
        assert b"Traceback" not in done.stderr, done.stderr
        return done

    def fails(self, *words: str, code: int = 1, **rest: Any) -> str:
        """The one line that a failure is."""
        done = self.run(*words, code=code, **rest)
        lines = done.stderr.decode().splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("headrace: ")
        return lines[0]

    def rows(self, done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
        return [json.loads(line) for line in done.stdout.splitlines()]

    def at_a_terminal(
        self, *words: str, columns: int = 80, seconds: float = 30, **environ: str
    ) -> tuple[int, str]:
        """Exit code and everything shown (both outputs) at a terminal of so many columns."""
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        child = subprocess.Popen(
            [*self.COMMAND, *words], stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
            env={**self.environ, "TERM": "xterm-256color", **environ},
        )  # fmt: skip
        os.close(follower)
        shown, end = b"", time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                if select.select([leader], [], [], 0.1)[0]:
                    try:
                        part = os.read(leader, 65536)
                    except OSError:  # the other end was closed
                        break
                    if not part:
                        break
                    shown += part
            return child.wait(max(end - time.monotonic(), 1)), shown.decode("utf-8", "replace")
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
            os.close(leader)


@pytest.fixture
def cli(tmp_path):
    return Cli(tmp_path)


@pytest.fixture
def server(tmp_path, headrace):
    """URL and directory of a running server."""
    process, ready = headrace.serve(str(tmp_path / "store"))
    yield ready["url"], tmp_path / "store"
    headrace.stop(process)


@pytest.fixture(params=["directory", "beside a server", "endpoint"])
def where(request, tmp_path):
    if request.param == "directory":
        return ["--store", str(tmp_path / "store")]
    url, directory = request.getfixturevalue("server")
    return ["--store", str(directory)] if request.param == "beside a server" else ["--endpoint", url]
