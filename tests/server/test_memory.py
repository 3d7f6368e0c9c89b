# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a server is small when idle, idle shards cost next to nothing, and load leaves nothing behind. Method: a real
server in a process of its own, its memory as /proc/PID/smaps_rollup says; hours of the same in tests/long."""

from __future__ import annotations

import time

import pytest
from memory_load import MIB, Client, Load, spread, windows
from server_process import Server


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "store")
    yield server
    assert server.stop() == 0, server.output()


def test_an_idle_server_has_less_than_80_mb_and_ten_thousand_shards_add_less_than_60(server, tmp_path):
    client = Client(server.port)
    client.call("ListStreams")
    before = server.memory()
    assert before["Rss"] < 80e6
    client.call("CreateStream", StreamName="many", ShardCount=10_000)
    listed, token = 0, None
    while listed < 10_000:
        found = client.call("ListShards", **({"NextToken": token} if token else {"StreamName": "many"}))
        listed, token = listed + len(found["Shards"]), found.get("NextToken")
    client.call("DescribeStreamSummary", StreamName="many")
    client.close()
    assert server.memory()["Rss"] - before["Rss"] < 60e6
    assert not list((tmp_path / "store" / "lanes").rglob("*"))


def test_memory_files_and_connections_do_not_grow_under_load(server, tmp_path):
    files = server.open_files()
    load = Load(server, tmp_path, max_bytes="16MiB")
    samples = load.run(8.0)
    assert not load.failures
    assert load.records_read > 0 and samples[-1]["turnovers"] > 1
    anonymous = [sample["anonymous"] for sample in samples]
    first, *_, last = windows(anonymous[2:], 2)
    assert last <= 1.1 * first, spread(anonymous)
    client = Client(server.port)
    for name in ("bulk", "single"):
        client.call("DeleteStream", StreamName=name)
    metrics = metrics_of(client)
    assert metrics["headrace_http_connections"] == 1
    assert metrics["headrace_http_buffers_lent_bytes"] <= 65_536  # that of this very request
    assert metrics["headrace_http_buffers_kept_bytes"] <= 32 * MIB
    client.close()
    end = time.monotonic() + 20
    while server.open_files() > files + 2:  # a segment that was being compressed is let go when that is done
        assert time.monotonic() < end, server.files()
        time.sleep(0.05)


def metrics_of(client: Client) -> dict[str, float]:
    """The server's metrics without labels, by name."""
    client.connection.request("GET", "/-/metrics")
    lines = client.connection.getresponse().read().decode().splitlines()
    return {name: float(value) for name, value in (line.split() for line in lines if line.count(" ") == 1)}
