# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a server's anonymous memory is flat while it takes, gives and drops records, and ten thousand idle streams cost
less than 60 MB and no segment file.

Method: a real server in a process of its own, its memory as /proc/PID/smaps_rollup says. The load mixes PutRecords of
500 × 1 KiB, single puts, readers that follow the stream, requests that are refused, and connections that come and go;
two streams drop their oldest records all the time. The median of each ten seconds after the first turnover must lie
within a tenth of the median of all (a single second may lie lower: receive buffers that nothing needed for five
seconds go back to the system). Some seconds of the same run every day in tests/server/test_memory.py:

    pytest tests/long/test_memory.py -m long -s           HEADRACE_MEMORY_SECONDS=600
"""

from __future__ import annotations

import json
import os
import time

import pytest
from memory_load import MIB, Client, Load, spread, windows
from server_process import Server

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

SECONDS = float(os.environ.get("HEADRACE_MEMORY_SECONDS", "600"))
STREAMS = 10_000


def test_anonymous_memory_is_flat_under_load_with_retention_at_work(tmp_path, capsys):
    server = Server(tmp_path / "store", "--max-bytes", "8GiB")
    load = Load(server, tmp_path, max_bytes="1GiB")
    samples = load.run(SECONDS)
    time.sleep(20)  # the burst has passed
    left = server.memory()["Rss"]
    steady = [sample for sample in samples if sample["turnovers"] >= 1]
    medians = windows([sample["anonymous"] for sample in steady], 10)
    report = {
        "seconds": SECONDS,
        "records_put": load.records_put,
        "records_read": load.records_read,
        "turnovers": samples[-1]["turnovers"],
        "anonymous_mib_of_ten_seconds": spread(medians),
        "anonymous_mib_of_a_second": spread([sample["anonymous"] for sample in steady]),
        "resident_mib_of_a_second": spread([sample["resident"] for sample in steady]),
        "resident_mib_afterwards": round(left / MIB, 2),
        "samples": samples[:: max(1, len(samples) // 60)],
    }
    with capsys.disabled():
        print("\n" + json.dumps(report), flush=True)
    assert not load.failures
    assert len(medians) >= 2, "the load did not turn the streams over"
    assert load.records_read > 0
    figures = spread(medians)
    assert figures["most"] <= 1.1 * figures["median"] and figures["least"] >= 0.9 * figures["median"]
    assert left < 80e6, "the server does not become small again"
    assert server.stop() == 0


def test_ten_thousand_idle_streams_of_a_server(tmp_path, capsys):
    server = Server(tmp_path / "store")
    client = Client(server.port)
    client.call("ListStreams")
    before = server.memory()
    for number in range(STREAMS):
        client.call("CreateStream", StreamName=f"stream-{number}", ShardCount=1)
    after = server.memory()
    client.close()
    server.restart()
    again = server.memory()
    report = {
        name: {
            "anonymous_mib": round(found["Anonymous"] / MIB, 1),
            "resident_mib": round(found["Rss"] / MIB, 1),
        }
        for name, found in (("idle", before), ("streams", after), ("restarted", again))
    }
    with capsys.disabled():
        print("\n" + json.dumps(report), flush=True)
    assert before["Rss"] < 80e6
    assert after["Rss"] - before["Rss"] < 60e6 and again["Rss"] - before["Rss"] < 60e6
    assert not list((tmp_path / "store" / "lanes").rglob("*"))
    assert server.stop() == 0
