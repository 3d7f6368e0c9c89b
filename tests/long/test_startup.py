# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: know how long a server takes from the start of its process to its first answer, for an empty store, for one with
a stream of 2 GB after a clean stop, and for the same after `kill -9` under load. Method: the process is started and
its port is tried each millisecond until `/-/health` answers; then a record of the stream is read. The median of each
must be under half a second. That is generous, but the machine must be quiet: beside the time stands what of it the
server had a processor for. The figures are printed as one line of JSON and belong into docs/results.md:

    pytest tests/long/test_startup.py -m long -s          HEADRACE_STARTUP_BYTES=2000000000 HEADRACE_STARTUP_TIMES=5
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time

import boto3
import psutil
import pytest

import headrace

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

BYTES = int(os.environ.get("HEADRACE_STARTUP_BYTES", "2000000000"))
TIMES = int(os.environ.get("HEADRACE_STARTUP_TIMES", "5"))
RECORD = b"x" * 1000
MEDIAN_SECONDS_MAX = 0.5
PUT = json.dumps({"StreamName": "s", "Data": "eA==", "PartitionKey": "k"}).encode()
HEADERS = {"X-Amz-Target": "Kinesis_20131202.PutRecord", "Content-Type": "application/x-amz-json-1.1"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


class Started:
    """A server that was started and has answered."""

    def __init__(self, directory) -> None:
        self.port = free_port()
        command = [
            sys.executable, "-m", "headrace", "serve", str(directory), "--bind", f"127.0.0.1:{self.port}"
        ]  # fmt: skip
        began = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while True:
            assert self.process.poll() is None
            try:
                assert self.ask("GET", "/-/health")[0] == 200
                break
            except OSError:
                time.sleep(0.001)
        self.seconds = time.perf_counter() - began
        used = psutil.Process(self.process.pid).cpu_times()
        self.cpu_seconds = used.user + used.system

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, HEADERS if body else {})
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    def first_record(self) -> bytes:
        client = boto3.client(
            "kinesis",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id="a",
            aws_secret_access_key="b",
        )
        place = {"ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"}
        iterator = client.get_shard_iterator(StreamName="s", **place)["ShardIterator"]
        found = client.get_records(ShardIterator=iterator, Limit=1)["Records"][0]["Data"]
        client.close()
        return found

    def put_until_it_ends(self) -> None:
        """Put records one after another until the server is gone."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            while True:
                connection.request("POST", "/", PUT, HEADERS)
                connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            connection.close()

    def end(self, how: str) -> None:
        """Stop it, or kill it while it takes records."""
        if how == "stop":
            self.process.terminate()
        else:
            loads = [threading.Thread(target=self.put_until_it_ends) for _ in range(4)]
            for load in loads:
                load.start()
            time.sleep(0.5)
            self.process.kill()
            for load in loads:
                load.join()
        self.process.wait()


def measured(directory, how: str) -> list[tuple[float, float]]:
    """Seconds to the first answer, and those of a processor, each time after the server was ended in this way."""
    found = []
    for _ in range(TIMES):
        server = Started(directory)
        found.append((server.seconds, server.cpu_seconds))
        if how != "empty":
            assert server.first_record() == RECORD
        server.end("kill" if how == "kill" else "stop")
    return found


def test_from_the_start_of_the_process_to_the_first_answer(tmp_path, capsys):
    store = headrace.open(tmp_path / "full", max_bytes=4 * BYTES + (1 << 28))
    stream = store.stream("s", shards=1)
    for _ in range(BYTES // (100_000 * len(RECORD))):
        stream.put_many([RECORD] * 100_000, keys="k")
    store.close()
    Started(tmp_path / "empty").end("stop")
    times = {"empty": measured(tmp_path / "empty", "empty"), "stop": measured(tmp_path / "full", "stop")}
    Started(tmp_path / "full").end("kill")  # so that the first start finds a crash, too
    times["kill"] = measured(tmp_path / "full", "kill")
    medians = {how: statistics.median(seconds for seconds, _ in found) for how, found in times.items()}
    report = {
        "store_bytes": BYTES,
        **{
            how: {
                "median_ms": round(medians[how] * 1000),
                "worst_ms": round(max(found)[0] * 1000),
                "median_cpu_ms": round(statistics.median(cpu for _, cpu in found) * 1000),
                "times": len(found),
            }
            for how, found in times.items()
        },
    }
    with capsys.disabled():
        print("\n" + json.dumps(report), flush=True)
    assert max(medians.values()) < MEDIAN_SECONDS_MAX, (
        "slow, or the machine is not quiet: compare median_cpu_ms"
    )
