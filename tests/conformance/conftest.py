# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A real server in a process of its own, as `headrace serve` starts it, for real clients."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

ACCOUNT = "000000000000"


class Server:
    """`python -m headrace serve` on a free port; stopped by SIGTERM, or killed."""

    def __init__(self, directory, *arguments):
        self.directory = directory
        self.arguments = arguments
        self.start()

    def start(self):
        ready = self.directory.with_name(self.directory.name + ".ready")
        ready.unlink(missing_ok=True)
        self.log = self.directory.with_name(self.directory.name + ".log").open("ab")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "HEADRACE"))}
        command = [sys.executable, "-m", "headrace", "serve", str(self.directory), "--port", "0"]
        self.process = subprocess.Popen(
            [*command, "--ready-file", str(ready), *self.arguments],
            stdout=self.log,
            stderr=self.log,
            env=environment,
        )
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.01)
        self.url = json.loads(ready.read_text())["url"]

    def output(self):
        return self.directory.with_name(self.directory.name + ".log").read_text()

    def stop(self):
        """Stop gracefully; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            self.log.close()

    def kill(self):
        """As `kill -9` does."""
        self.process.kill()
        self.process.wait()
        self.log.close()

    def restart(self, how="stop"):
        getattr(self, how)()
        self.start()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for a module."""
    server = Server(tmp_path_factory.mktemp("server") / "store")
    yield server
    assert server.stop() == 0, server.output()


@pytest.fixture
def endpoint(server):
    """The URL of the module's server, as it is now."""
    return server.url
