# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A real server in a process of its own, as `headrace serve` starts it, and what the system says of its memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


class Server:
    """`python -m headrace serve` on a free port; stopped by SIGTERM, or killed.

    Attributes:
        process, url, port: of the server as it runs now.
    """

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self.arguments = arguments
        self.start()

    def start(self) -> None:
        ready = self.directory.with_name(self.directory.name + ".ready")
        ready.unlink(missing_ok=True)
        self.log = self.directory.with_name(self.directory.name + ".log").open("ab")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "HEADRACE_"))}
        environment |= {name: os.environ[name] for name in ("HEADRACE_SIMD",) if name in os.environ}
        command = [sys.executable, "-m", "headrace", "serve", str(self.directory), "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--ready-file", str(ready), *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            env=environment,
        )
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.005)
        found = json.loads(ready.read_text())
        self.url: str = found["url"]
        self.port: int = found["port"]

    def output(self) -> str:
        return self.directory.with_name(self.directory.name + ".log").read_text()

    def stop(self) -> int:
        """Stop gracefully; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            self.log.close()

    def kill(self) -> None:
        """As `kill -9` does."""
        self.process.kill()
        self.process.wait()
        self.log.close()

    def restart(self, how: str = "stop") -> None:
        getattr(self, how)()
        self.start()

    def memory(self) -> dict[str, int]:
        """Bytes by the names of /proc/PID/smaps_rollup: Rss, Anonymous, Private_Dirty and others."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
        return {name: int(size) * 1024 for name, size in (line.split(":") for line in map(_plain, lines))}

    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def files(self) -> list[str]:
        """What is open, by name."""
        return sorted(str(link.readlink()) for link in Path(f"/proc/{self.process.pid}/fd").iterdir())


def _plain(line: str) -> str:
    """ "Rss:   123 kB" -> "Rss:123"."""
    return line.removesuffix(" kB").replace(" ", "")
