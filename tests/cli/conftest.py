# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Commands run as a user runs them: in a process of their own, with a clean environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

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
