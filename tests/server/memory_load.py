# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A load that keeps every part of a server busy while its memory is looked at."""

from __future__ import annotations

import base64
import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from server_process import Server

MIB = 1 << 20
STREAMS = ("bulk", "single")
SHARDS = 4


class Client:
    """One connection that sends operations."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, operation: str, body: bytes | dict[str, Any]) -> tuple[int, bytes]:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {
            "X-Amz-Target": f"Kinesis_20131202.{operation}",
            "Content-Type": "application/x-amz-json-1.1",
        }
        self.connection.request("POST", "/", text, headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def call(self, operation: str, **members: Any) -> dict[str, Any]:
        status, text = self.ask(operation, members)
        assert status == 200, text
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def close(self) -> None:
        self.connection.close()


class Load:
    """Two streams that drop their oldest records, and threads that put, read, err and come and go.

    Attributes:
        records_put, records_read, failures: what happened so far.
    """

    def __init__(self, server: Server, directory: Path, max_bytes: str) -> None:
        self.server = server
        self.records_put = self.records_read = 0
        self.failures: list[str] = []
        self._ending = threading.Event()
        for name in STREAMS:
            subprocess.run(
                [sys.executable, "-m", "headrace", "streams", "create", name, "--shards", str(SHARDS),
                 "--store", str(server.directory), "--max-bytes", max_bytes, "--on-full", "drop_oldest"],
                check=True, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        noise = os.urandom(1 << 20)
        self._bulk = json.dumps(
            {
                "StreamName": "bulk",
                "Records": [
                    {"Data": base64.b64encode(noise[i * 997 :][:1024]).decode(), "PartitionKey": f"key-{i}"}
                    for i in range(500)
                ],
            }
        ).encode()
        self.max_bytes = parse(max_bytes)

    def run(self, seconds: float) -> list[dict[str, float]]:
        """Load the server for so long; one sample of its memory a second."""
        work = [self._put_bulk, self._put_bulk, self._put_single, self._read, self._err]
        threads = [threading.Thread(target=self._guard, args=(function,)) for function in work]
        for thread in threads:
            thread.start()
        samples = []
        began = time.monotonic()
        while time.monotonic() - began < seconds and not self.failures:
            time.sleep(1.0)
            memory = self.server.memory()
            samples.append(
                {
                    "second": round(time.monotonic() - began, 1),
                    "anonymous": round(memory["Anonymous"] / MIB, 2),
                    "resident": round(memory["Rss"] / MIB, 2),
                    "turnovers": round(self.records_put * 1100 / self.max_bytes, 2),
                }
            )
        self._ending.set()
        for thread in threads:
            thread.join()
        return samples

    def _guard(self, function: Any) -> None:
        try:
            client = Client(self.server.port)
            function(client)
            client.close()
        except Exception as error:
            self.failures.append(f"{function.__name__}: {error!r}")

    def _put_bulk(self, client: Client) -> None:
        while not self._ending.is_set():
            status, text = client.ask("PutRecords", self._bulk)
            assert status == 200 and b'"FailedRecordCount":0' in text, text[:200]
            self.records_put += 500

    def _put_single(self, client: Client) -> None:
        body = {"StreamName": "single", "Data": base64.b64encode(os.urandom(3000)).decode()}
        number = 0
        while not self._ending.is_set():
            number += 1
            client.call("PutRecord", PartitionKey=str(number), **body)
            time.sleep(0.001)

    def _read(self, client: Client) -> None:
        """Follow one shard after another from its end on, and now and then from its beginning."""
        turn = 0
        while not self._ending.is_set():
            place = {"StreamName": STREAMS[turn % 2], "ShardId": f"shardId-{turn % SHARDS:012d}"}
            kind = "TRIM_HORIZON" if turn % 8 == 0 else "LATEST"
            iterator = client.call("GetShardIterator", ShardIteratorType=kind, **place)["ShardIterator"]
            for _ in range(20):
                found = client.call("GetRecords", ShardIterator=iterator, Limit=2000)
                self.records_read += len(found["Records"])
                iterator = found["NextShardIterator"]
                time.sleep(0.005)
            turn += 1

    def _err(self, client: Client) -> None:
        """Requests that are refused, on connections that come and go."""
        while not self._ending.is_set():
            other = Client(self.server.port)
            assert (
                other.ask("PutRecord", {"StreamName": "nowhere", "Data": "eA==", "PartitionKey": "k"})[0]
                == 400
            )
            assert other.ask("PutRecords", self._bulk[:-1])[0] == 400
            assert other.ask("Unheard", b"{}")[0] == 400
            assert other.ask("ListShards", b"[" * 10_000)[0] == 400
            other.close()
            client.call("DescribeStream", StreamName="bulk")
            time.sleep(0.01)


def parse(size: str) -> int:
    """Bytes of "1GiB" or "64MiB"."""
    return int(size[:-3]) << {"MiB": 20, "GiB": 30}[size[-3:]]


def windows(values: list[float], size: int) -> list[float]:
    """The medians of each `size` values in a row; fewer at the end are left out."""
    return [statistics.median(values[at : at + size]) for at in range(0, len(values) - size + 1, size)]


def spread(values: list[float]) -> dict[str, float]:
    """The least, the median and the most of some values."""
    if not values:
        return {"least": 0.0, "median": 0.0, "most": 0.0}
    return {"least": min(values), "median": round(statistics.median(values), 2), "most": max(values)}
