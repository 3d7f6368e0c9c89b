# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The measured server as a process: started on its own core, watched, and ended by its process id."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from headrace.bench.machine import processor_seconds
from headrace.errors import RemoteError

READY_SECONDS = 60.0
STOP_SECONDS = 30.0


class TargetFailed(RemoteError):
    """The server that was to be measured did not start or died."""


@dataclass(frozen=True)
class Usage:
    """What a process has used so far. Bytes are resident memory; peak counts from its start."""

    cpu_seconds: float
    rss_bytes: int
    rss_anonymous_bytes: int
    rss_peak_bytes: int


@contextlib.contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Run what is inside on one core; a process started inside stays there."""
    if core is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Server:
    """One server process that tells its port by a ready file or by a line of its output.

    command: `{port_file}` in it is replaced by the path of the ready file. A server that knows no such file
    is ready when a line of its output contains its URL or port (`announces`, a pattern with one group).
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        core: int | None = None,
        environment: Mapping[str, str] | None = None,
        announces: str | None = None,
        port: int | None = None,
    ) -> None:
        self._scratch = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
        self._ready = self._scratch / "ready"
        self._output: IO[bytes] = (self._scratch / "output").open("wb")
        self.command = [word.replace("{port_file}", str(self._ready)) for word in command]
        self.core = core
        self.started_seconds = 0.0
        self._announces = re.compile(announces) if announces else None
        begin = time.monotonic()
        try:
            with on_core(core):
                self.process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=self._output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **_absolute_path(), "PYTHONUNBUFFERED": "1", **(environment or {})},
                    cwd=self._scratch,
                )
        except OSError as error:
            self._output.close()
            shutil.rmtree(self._scratch, ignore_errors=True)
            raise TargetFailed(f"cannot start {self.command[0]}: {error.strerror}") from error
        try:
            self.url = self._await(begin, port)
        except BaseException:
            self.stop()
            raise
        self.started_seconds = time.monotonic() - begin

    @property
    def output(self) -> str:
        """What the server has printed so far, at most the last 4,000 characters."""
        try:
            return (self._scratch / "output").read_text("utf-8", "replace")[-4000:]
        except OSError:
            return ""

    def _await(self, begin: float, port: int | None) -> str:
        """Wait until the server says where it listens, or answers at the port it was given."""
        while True:
            if self.process.poll() is not None:
                raise TargetFailed(
                    f"{self.command[0]} ended with {self.process.returncode}: {self.output.strip()}"
                )
            text = self._ready.read_text() if self._ready.exists() else ""
            found = re.search(r"(?:http://[^\s:/\"]+:|^\s*|\"port\":\s*)(\d+)", text)
            if not found and self._announces:
                found = self._announces.search(self.output)
            if found:
                return f"http://127.0.0.1:{int(found[1])}"
            if port is not None and self._listens(port):
                return f"http://127.0.0.1:{port}"
            if time.monotonic() - begin > READY_SECONDS:
                raise TargetFailed(
                    f"{self.command[0]} is not ready after {READY_SECONDS:g} s: {self.output.strip()}"
                )
            time.sleep(0.02)

    @staticmethod
    def _listens(port: int) -> bool:
        import socket

        with contextlib.closing(socket.socket()) as probe:
            probe.settimeout(0.5)
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def usage(self) -> Usage:
        """Processor time and memory of the server and its children. Raises TargetFailed if it is gone."""
        try:
            process = psutil.Process(self.process.pid)
            family = [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess as error:
            raise TargetFailed(f"{self.command[0]} has died: {self.output.strip()}") from error
        resident = anonymous = peak = 0
        for member in family:
            lines = dict(
                line.split(":", 1)
                for line in Path(f"/proc/{member.pid}/status").read_text().splitlines()
                if line.startswith(("VmRSS", "VmHWM", "RssAnon"))
            )
            resident += int(lines.get("VmRSS", "0 kB").split()[0]) * 1024
            anonymous += int(lines.get("RssAnon", "0 kB").split()[0]) * 1024
            peak += int(lines.get("VmHWM", "0 kB").split()[0]) * 1024
        return Usage(processor_seconds([process]), resident, anonymous, peak)

    def stop(self) -> int | None:
        """End the server (SIGTERM, then SIGKILL after 30 s); returns its exit code."""
        children: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self._output.close()
        shutil.rmtree(self._scratch, ignore_errors=True)
        return self.process.returncode

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _absolute_path() -> dict[str, str]:
    """PYTHONPATH with its relative parts made absolute: a server is started in another directory."""
    path = os.environ.get("PYTHONPATH")
    return (
        {"PYTHONPATH": os.pathsep.join(str(Path(part).absolute()) for part in path.split(os.pathsep))}
        if path
        else {}
    )


def free_port() -> int:
    """A port on loopback that nobody listens on just now."""
    import socket

    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def headrace_command(directory: Path, extra: Sequence[str] = ()) -> list[str]:
    """How a headrace server of this very installation is started for a measurement."""
    return [
        sys.executable,
        "-m",
        "headrace",
        "serve",
        str(directory),
        "--bind",
        "127.0.0.1:0",
        "--ready-file",
        "{port_file}",
        *extra,
    ]
