# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Feeds the demo's stream over HTTP, and keeps account of every record that the server acknowledged.

One thread: it takes the samples that are due, makes a record of each, and puts them by PutRecords, one
request at a time. Of each acknowledged record 16 bytes are kept, a digest of its data and one of its data
and key, so that what is read back can be compared with what was put, record by record.
"""

from __future__ import annotations

import socket
import threading
import time
from array import array
from collections import defaultdict, deque
from hashlib import blake2b
from typing import Any, Protocol

import msgspec

from headrace import limits
from headrace.cli.demo_server import STREAM, Api
from headrace.cli.demo_sources import SYNTHETIC_MAX, Sample
from headrace.errors import Error

TURN_S = 0.05  # samples of this time go in one request
RATE_MAX = round(SYNTHETIC_MAX / TURN_S)  # synthetic records a second
RETRIES = 8
LATENCIES_KEPT = 4096
SHARD_LATENCIES_KEPT = 512
_TARGET = "Kinesis_20131202.PutRecords"


class Source(Protocol):
    """Gives samples when they are due."""

    def due(self, now: float) -> Any: ...


class Entry(msgspec.Struct):
    """A record of a request; bytes become base64 in JSON."""

    Data: bytes
    PartitionKey: str


class Request(msgspec.Struct):
    """PutRecords."""

    StreamName: str
    Records: list[Entry]


class Taken(msgspec.Struct):
    """One record's part of an answer."""

    ShardId: str = ""
    ErrorCode: str | None = None


class Answer(msgspec.Struct):
    """PutRecords' answer."""

    Records: list[Taken]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Answer).decode


class Ledger:
    """What was acknowledged. Written by the feeder; the screen reads its counts.

    Attributes:
        records, nbytes: acknowledged.
        by_shard: shard id -> [records, bytes].
        by_metric: the same records, counted by metric.
        refused: records that the server would not take; they are no part of what must be found again.
        retried: records that were put once more after a refusal, which may change their order.
        data, whole: one digest a record, of its data and of its key and data.
        latencies: of the latest requests, in seconds; shard_latencies: of those that had records for a shard.
    """

    def __init__(self) -> None:
        self.records = 0
        self.nbytes = 0
        self.refused = 0
        self.retried = 0
        self.requests = 0
        self.by_shard: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self.by_metric: dict[str, int] = defaultdict(int)
        self.data = array("Q")
        self.whole = array("Q")
        self.latencies: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self.shard_latencies: dict[str, deque[float]] = defaultdict(
            lambda: deque(maxlen=SHARD_LATENCIES_KEPT)
        )

    def time(self, latency: float, shards: set[str]) -> None:
        """What a request took, and for which shards it had records."""
        self.requests += 1
        self.latencies.append(latency)
        for shard in shards:
            self.shard_latencies[shard].append(latency)

    def take(self, entry: Entry, shard: str) -> None:
        """An acknowledged record."""
        self.records += 1
        self.nbytes += len(entry.Data)
        counts = self.by_shard[shard]
        counts[0] += 1
        counts[1] += len(entry.Data)
        self.by_metric[entry.PartitionKey.partition("/")[0]] += 1
        self.data.append(digest(entry.Data))
        self.whole.append(digest(entry.Data, entry.PartitionKey))

    def quantile(self, share: float, shard: str | None = None) -> float:
        """A quantile of the latest requests' latencies, in seconds; 0 before the first."""
        found = sorted((self.latencies if shard is None else self.shard_latencies[shard]).copy())
        return found[min(int(len(found) * share), len(found) - 1)] if found else 0.0


def digest(data: bytes | memoryview, key: str = "") -> int:
    """64 bits of a record."""
    found = blake2b(data, digest_size=8)
    if key:
        found.update(b"\0" + key.encode())
    return int.from_bytes(found.digest(), "little")


class Feeder:
    """Puts what the sources give until `stop`. `failure`: what ended it before that."""

    def __init__(self, api: Api, sources: list[Source]) -> None:
        self.ledger = Ledger()
        self.failure: Exception | None = None
        self.started = threading.Event()  # after the first acknowledged record
        self._api = api
        self._sources = sources
        self._host = socket.gethostname()
        self._number = 0
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Put what is under way, then end."""
        self._stop.set()
        self._thread.join()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            told = time.monotonic()
            while not self._stop.is_set():
                now = time.monotonic()
                samples = [sample for source in self._sources for sample in source.due(now)]
                if now - told >= 1 and self.ledger.latencies:
                    told = now
                    samples.append(("put", "request", self.ledger.latencies[-1] * 1e3, {"unit": "ms"}))
                if samples:
                    self._put([self._entry(sample) for sample in samples])
                self._stop.wait(max(0.0, TURN_S - (time.monotonic() - now)))
        except Exception as failure:  # told at the end, where the checks fail too
            self.failure = failure

    def _entry(self, sample: Sample) -> Entry:
        """A record: one line of JSON, of which no two are the same."""
        metric, item, value, more = sample
        self._number += 1
        members = {
            "id": self._number, "ts": time.time_ns() // 1_000_000, "host": self._host, "metric": metric,
            "item": item, "value": value, **more,
        }  # fmt: skip
        key = f"{metric}/{item}"[: limits.partition_key_characters_max]
        return Entry(_encode(members) + b"\n", key)

    def _put(self, entries: list[Entry]) -> None:
        count, size = limits.put_records_count_max, limits.put_records_size_max // 2
        batch: list[Entry] = []
        batch_size = 0
        for entry in entries:
            if len(batch) == count or batch_size + len(entry.Data) > size:
                self._send(batch)
                batch, batch_size = [], 0
            batch.append(entry)
            batch_size += len(entry.Data) + limits.partition_key_size_max
        self._send(batch)

    def _send(self, entries: list[Entry]) -> None:
        """Put one batch; what is refused is put again some times, then counted as refused."""
        ledger = self.ledger
        for attempt in range(RETRIES):
            if not entries:
                return
            body = _encode(Request(STREAM, entries))
            began = time.perf_counter()
            answer = _decode(self._api.post(_TARGET, body))
            latency = time.perf_counter() - began
            ledger.time(latency, {taken.ShardId for taken in answer.Records if taken.ErrorCode is None})
            if len(answer.Records) != len(entries):
                raise Error(f"PutRecords answered {len(answer.Records)} of {len(entries)} records")
            again: list[Entry] = []
            for entry, taken in zip(entries, answer.Records, strict=True):
                if taken.ErrorCode is None:
                    ledger.take(entry, taken.ShardId)
                else:
                    again.append(entry)
            if ledger.records:
                self.started.set()
            entries = again
            if entries:
                ledger.retried += len(entries)
                time.sleep(0.05 * 2**attempt)
        ledger.refused += len(entries)
