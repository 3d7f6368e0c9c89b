# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""kinesalite and ministack as targets: how each is started, and what its acknowledgement means."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from headrace.bench.endpoint import Endpoint
from headrace.bench.target import Server, free_port
from headrace.bench.workloads import Target, TargetMaker
from peers.install import BUILD, KINESALITE, MINISTACK

HERE = Path(__file__).resolve().parent
PROMISE = "memory"  # both lose everything when their process ends


class NotInstalled(RuntimeError):
    """A peer that is asked for is not there."""


def kinesalite(core: int | None) -> TargetMaker:
    """kinesalite with its store in memory, which is its fastest."""
    module = BUILD / "kinesalite" / "node_modules" / "kinesalite"
    node = shutil.which("node")
    if node is None or not module.is_dir():
        raise NotInstalled("kinesalite is not installed: python bench/peers/install.py kinesalite")

    @contextlib.contextmanager
    def make() -> Iterator[Target]:
        command = [node, str(HERE / "kinesalite.js"), str(module)]
        with Server(command, core=core, announces=r"listening on port (\d+)") as server:
            yield Target(f"kinesalite {KINESALITE}", Endpoint(server.url), server, PROMISE)

    return make


def ministack(core: int | None) -> TargetMaker:
    """ministack with Kinesis only, in memory."""
    program = BUILD / "ministack" / "bin" / "ministack"
    if not program.exists():
        raise NotInstalled("ministack is not installed: python bench/peers/install.py ministack")

    @contextlib.contextmanager
    def make() -> Iterator[Target]:
        port = free_port()
        environment = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "SERVICES": "kinesis",
            "LOG_LEVEL": "WARNING",
        }
        with Server([str(program)], core=core, environment=environment, port=port) as server:
            yield Target(f"ministack {MINISTACK}", Endpoint(server.url), server, PROMISE)

    return make


SERVERS = {"kinesalite": kinesalite, "ministack": ministack}
