# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: whatever clients send, each answer is HTTP with a right status, no good put is lost, and nothing is left behind.

Method: a real server in a process of its own with short time limits, and threads that mix good requests with broken
ones on many connections: cut, chunked, pipelined, mutated in head and body, slow, half-closed, reset, never read.
Good puts go to a stream that broken ones cannot name. Afterwards every acknowledged record is there once, the server
answers, it logged no failure, and its memory, files, buffers and connections are back. HEADRACE_SEED repeats a run;
HEADRACE_FUZZ_REQUESTS makes it longer."""

from __future__ import annotations

import base64
import json
import os
import random
import socket
import struct
import threading
import time

import pytest
from memory_load import Client
from server_process import Server

REQUESTS = int(os.environ.get("HEADRACE_FUZZ_REQUESTS", "100"))  # of each thread
THREADS = 6
STATUSES = {200, 400, 403, 404, 405, 408, 413, 415, 417, 431, 501, 505}
CONFIG = """
[server]
idle = "3s"
head_timeout = "1s"
body_timeout = "1s"
request_timeout = "5s"
"""
HEADS = [
    b"GET /-/health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"HEAD /-/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16777217\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1;x\r\na\r\n" * 50,
    b"POST / HTTP/1.1\r\nHost: localhost\r\n" + b"X-Flood: y\r\n" * 500 + b"\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 70_000,
    b"POST / HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: Kinesis_20131202.PutRecord\r\nExpect: 100-continue\r\n"
    b"Content-Length: 3\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x00" * 200,
]
BODIES = [
    b"",
    b"{}",
    b"null",
    b"[" * 50_000,
    b'{"a":' * 50_000,
    b'{"StreamName":"mutant","Data":5,"PartitionKey":"k"}',
    b'{"StreamName":"mutant","Data":"e","PartitionKey":"k"}',
    b'{"StreamName":"mutant","Data":"eA==","PartitionKey":"\x00"}',
    b'{"StreamName":"mutant","Data":"eA==","PartitionKey":"k","ExplicitHashKey":"' + b"9" * 5000 + b'"}',
    b'{"StreamName":"mutant","Records":[' + b'{"Data":"eA==","PartitionKey":"k"},' * 501 + b"]}",
    b'{"StreamName":"mutant","Limit":1e308,"ShardIterator":"\\ud800"}',
    b'{"StreamName":"' + b"m" * 300_000 + b'"}',
]
OPERATIONS = ["PutRecord", "PutRecords", "GetRecords", "GetShardIterator", "ListShards", "ListStreams", "DescribeStream",
              "AddTagsToStream", "Unheard"]  # fmt: skip


class Broken(Exception):
    """The server ended the connection."""


class Wire:
    """One connection that sends any bytes and reads answers."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.received = b""

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Broken from error

    def _more(self) -> None:
        try:
            data = self.socket.recv(1 << 18)
        except TimeoutError:
            raise AssertionError("the server neither answered nor closed") from None
        except OSError as error:
            raise Broken from error
        if not data:
            assert not self.received, f"closed inside an answer: {self.received[:200]!r}"
            raise Broken
        self.received += data

    def answer(self, head_only: bool = False) -> tuple[int, bytes]:
        """The next final answer; Broken where the connection ends before one begins."""
        while b"\r\n\r\n" not in self.received:
            self._more()
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        assert lines[0].startswith(b"HTTP/1.1 "), lines[0]
        status = int(lines[0].split()[1])
        if status == 100:
            return self.answer(head_only)
        fields = {name.lower(): value for name, value in (line.split(b": ", 1) for line in lines[1:])}
        size = 0 if head_only else int(fields[b"content-length"])
        while len(self.received) < size:
            self._more()
        body, self.received = self.received[:size], self.received[size:]
        assert status in STATUSES, (status, body[:200])
        if status >= 400 and not head_only:
            assert json.loads(body)["__type"]
        return status, body

    def close(self, reset: bool = False) -> None:
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def request(operation: str, body: bytes, chunks: list[int] | None = None, extra: bytes = b"") -> bytes:
    """A POST of an operation, chunked at the sizes given."""
    head = (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: Kinesis_20131202.%s\r\n"
        b"Content-Type: application/x-amz-json-1.1\r\n%s" % (operation.encode(), extra)
    )
    if chunks is None:
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    parts, at = [], 0
    for size in [*chunks, len(body)]:
        part = body[at : at + size]
        at += len(part)
        if part:
            parts.append(b"%x\r\n%s\r\n" % (len(part), part))
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(parts) + b"0\r\n\r\n"


class Fuzzer:
    """One thread: its connections come and go, its good puts are remembered."""

    def __init__(self, port: int, seed: int, number: int) -> None:
        self.port = port
        self.random = random.Random(f"{seed}-{number}")
        self.number = number
        self.made = 0
        self.sent: set[bytes] = set()
        self.acknowledged: list[bytes] = []
        self.error: BaseException | None = None
        self.held: list[Wire] = []  # connections that are left alone

    def run(self) -> None:
        try:
            for _ in range(REQUESTS):
                wire = Wire(self.port)
                try:
                    for _ in range(self.random.randrange(1, 4)):
                        self.good(wire)
                    self.random.choice(self.acts)(self, wire)
                except Broken:
                    pass
                if wire not in self.held:
                    wire.close(reset=self.random.random() < 0.2)
            for wire in self.held:
                self.find_cut_off(wire)
        except BaseException as error:
            self.error = error

    # --- what is good ---

    def payload(self) -> bytes:
        self.made += 1
        text = b"%d-%d-" % (self.number, self.made)
        text += self.random.randbytes(self.random.choice([0, 10, 1000, 30_000])).hex().encode()
        self.sent.add(text)
        return text

    def put(self) -> tuple[list[bytes], bytes]:
        """A good put: its payloads and the request."""
        single = self.random.random() < 0.5
        texts = [self.payload() for _ in range(1 if single else self.random.randrange(1, 8))]
        records = [
            {"Data": base64.b64encode(text).decode(), "PartitionKey": f"k{self.random.randrange(50)}"}
            for text in texts
        ]
        members = {"StreamName": "good", **(records[0] if single else {"Records": records})}
        body = json.dumps(members).encode()
        chunks = None
        if self.random.random() < 0.3:
            chunks = [self.random.randrange(1, len(body) + 1) for _ in range(self.random.randrange(5))]
        extra = b"Expect: 100-continue\r\n" if self.random.random() < 0.1 else b""
        return texts, request("PutRecord" if single else "PutRecords", body, chunks, extra)

    def good(self, wire: Wire) -> None:
        """Several good puts, pipelined, in pieces: each must be answered 200."""
        puts = [self.put() for _ in range(self.random.randrange(1, 4))]
        data = b"".join(text for _, text in puts)
        while data:
            size = self.random.choice([1, 7, 100, 5000, len(data)])
            wire.send(data[:size])
            data = data[size:]
        for texts, _ in puts:
            status, body = wire.answer()
            assert status == 200, body
            assert b'"FailedRecordCount":0' in body or len(texts) == 1
            self.acknowledged += texts

    # --- what is not ---

    def mutated(self, data: bytes) -> bytes:
        found = bytearray(data)
        for _ in range(self.random.randrange(1, 6)):
            at = self.random.randrange(len(found))
            kind = self.random.randrange(4)
            if kind == 0:
                found[at] = self.random.randrange(256)
            elif kind == 1:
                del found[at : at + self.random.randrange(1, 20)]
            elif kind == 2:
                found[at:at] = self.random.choice(
                    [b"\x00", b"\r\n", b"\n", b'"', b"{", b"\xff", b": ", b"9" * 30]
                )
            else:
                found[at:at] = found[at : at + 40]
            if not found:
                break
        return bytes(found)

    def broken(self) -> bytes:
        """A request that is wrong somewhere; most of them are no longer HTTP or no longer JSON."""
        if self.random.random() < 0.3:
            return self.random.choice(HEADS)
        body = self.random.choice(BODIES)
        operation = self.random.choice(OPERATIONS)
        if self.random.random() < 0.5:
            return request(operation, body)
        members = {"StreamName": "mutant", "Data": "aGVsbG8=", "PartitionKey": "k", "Limit": 5, "Tags": {"a": "b"},
                   "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"}  # fmt: skip
        text = json.dumps(members).encode()
        if self.random.random() < 0.5:
            return request(operation, self.mutated(text))
        return self.mutated(request(operation, text))

    def read_what_comes(self, wire: Wire) -> None:
        """Answers until the connection ends or is silent because the request is not complete."""
        wire.socket.shutdown(socket.SHUT_WR)
        while True:
            wire.answer(head_only=False)

    def send_broken(self, wire: Wire) -> None:
        data = self.broken()
        if data.startswith(b"HEAD"):
            wire.send(data)
            wire.answer(head_only=True)
            self.good(wire)
            return
        wire.send(data)
        self.read_what_comes(wire)

    def send_in_part(self, wire: Wire) -> None:
        """The beginning of a good request, then nothing: the record must not appear by half."""
        _, data = self.put()
        wire.send(data[: self.random.randrange(1, len(data))])
        if self.random.random() < 0.2:
            self.held.append(wire)

    def leave_unread(self, wire: Wire) -> None:
        """Ask for much, read nothing, go."""
        text = json.dumps({"ExclusiveStartStreamName": "a"}).encode()
        wire.send(request("ListStreams", text) * 200)

    def put_and_go(self, wire: Wire) -> None:
        """A good put whose answer nobody waits for: its records may be there, each once."""
        wire.send(self.put()[1])

    def find_cut_off(self, wire: Wire) -> None:
        """A connection that was left inside a request is told so, or just ended if nothing of one had come."""
        try:
            while True:
                assert wire.answer()[0] in (200, 408)
        except Broken:
            wire.close()

    acts = (send_broken, send_broken, send_broken, send_broken, send_in_part, leave_unread, put_and_go)


def kept(client: Client, name: str) -> list[bytes]:
    """Every record of a stream."""
    found = []
    for shard in client.call("ListShards", StreamName=name)["Shards"]:
        place = {"StreamName": name, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = client.call("GetShardIterator", **place)["ShardIterator"]
        while True:
            answer = client.call("GetRecords", ShardIterator=iterator)
            found += [base64.b64decode(record["Data"]) for record in answer["Records"]]
            iterator = answer["NextShardIterator"]
            if not answer["Records"]:
                break
    return found


def settled(client: Client) -> dict[str, float]:
    """The server's metrics once all connections but this one are gone."""
    end = time.monotonic() + 30
    while True:
        client.connection.request("GET", "/-/metrics")
        lines = client.connection.getresponse().read().decode().splitlines()
        found = {
            name: float(value) for name, value in (line.split() for line in lines if line.count(" ") == 1)
        }
        if found["headrace_http_connections"] <= 1 or time.monotonic() > end:
            return found
        time.sleep(0.1)


@pytest.fixture
def server(tmp_path):
    (tmp_path / "headrace.toml").write_text(CONFIG)
    server = Server(
        tmp_path / "store", "--config", str(tmp_path / "headrace.toml"), "--init", "good:4,mutant:2"
    )
    yield server
    assert server.stop() == 0, server.output()


def test_good_puts_survive_any_company(server):
    seed = int(os.environ.get("HEADRACE_SEED") or random.SystemRandom().randrange(1 << 30))
    print(f"HEADRACE_SEED={seed}")
    client = Client(server.port)
    client.call("ListStreams")
    memory, files = server.memory()["Anonymous"], server.open_files()
    fuzzers = [Fuzzer(server.port, seed, number) for number in range(THREADS)]
    threads = [threading.Thread(target=fuzzer.run) for fuzzer in fuzzers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for fuzzer in fuzzers:
        if fuzzer.error is not None:
            raise fuzzer.error
    client.close()
    client = Client(server.port)
    metrics = settled(client)
    assert metrics["headrace_http_connections"] == 1
    assert metrics["headrace_http_buffers_lent_bytes"] <= 65_536  # that of the request for the metrics
    assert metrics["headrace_http_requests_refused_total"] > 0
    assert metrics["headrace_http_commit_failures_total"] == 0
    assert server.memory()["Anonymous"] - memory < 60e6
    assert server.open_files() <= files + 16  # its lanes
    present = kept(client, "good")
    acknowledged = {text for fuzzer in fuzzers for text in fuzzer.acknowledged}
    assert len(acknowledged) == sum(len(fuzzer.acknowledged) for fuzzer in fuzzers) > 0
    assert len(present) == len(set(present)), "a record is there twice"
    assert acknowledged <= set(present), "an acknowledged record is not there"
    assert set(present) <= {text for fuzzer in fuzzers for text in fuzzer.sent}, "a record that nobody sent"
    assert "failed" not in server.output() and "Traceback" not in server.output()
    client.close()
