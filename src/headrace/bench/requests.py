# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The prepared requests of a load: distinct corpus records in the wire form of the AWS SDKs."""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.bench._load import Plan, corpus, corpus_keys
from headrace.bench.endpoint import Endpoint

POOL_BYTES = 8 * 1024 * 1024  # distinct payload before records repeat: 128 times a 64 KiB compression block
SEED = 20260101
KEY_BEFORE = b'","PartitionKey":"'


@dataclass(frozen=True)
class Shape:
    """What one request carries: its operation, how many records, how large."""

    operation: str
    records: int
    size: int

    @property
    def payload_bytes(self) -> int:
        return self.records * self.size


PUT_1K = Shape("PutRecords", 500, 1024)
PUT_100 = Shape("PutRecords", 500, 100)
PUT_SINGLE = Shape("PutRecord", 1, 1024)


def templates(shape: Shape, writers: int, pool_bytes: int = POOL_BYTES) -> int:
    """How many distinct requests a load needs: the pool's worth, and one for each writer at least."""
    return max(writers, -(-pool_bytes // shape.payload_bytes), 1)


def http_plan(
    endpoint: Endpoint,
    stream: str,
    shape: Shape,
    *,
    writers: int,
    seed: int = SEED,
    pool_bytes: int = POOL_BYTES,
) -> Plan:
    """Prepare the requests of an HTTP load, heads included. About 1 µs a record, once."""
    count = templates(shape, writers, pool_bytes)
    raw = corpus(seed, 0, count * shape.records, shape.size)
    keys = corpus_keys(seed, 0, count * shape.records)
    head = endpoint.head(shape.operation)
    requests = bytearray()
    starts, texts, places = [0], [], []
    for first in range(0, count * shape.records, shape.records):
        body = bytearray()
        for number in range(first, first + shape.records):
            text = binascii.b2a_base64(raw[number * shape.size : (number + 1) * shape.size], newline=False)
            opening, closing = _around(
                shape, stream, keys[number], number == first, number == first + shape.records - 1
            )
            body += opening
            texts.append(len(body))
            body += text + KEY_BEFORE
            places.append(len(body))
            body += closing
        full_head = head + b"Content-Length: %d\r\n\r\n" % len(body)
        for offsets in (texts, places):
            offsets[-shape.records :] = [at + len(full_head) for at in offsets[-shape.records :]]
        requests += full_head + body
        starts.append(len(requests))
    return Plan(
        raw,
        shape.size,
        shape.records,
        requests,
        np.array(starts, dtype=np.uint64),
        np.array(texts, dtype=np.uint32),
        np.array(places, dtype=np.uint32),
    )


def homes(plan: Plan, ranges: Sequence[tuple[int, int]], *, seed: int = SEED) -> NDArray[np.uint32]:
    """The shard that each record of an HTTP plan belongs to, by its key's MD5 and the shards' hash key ranges.

    ranges: first and last hash key of each shard. The result is a shard's place there; ValueError if a key is in
    none. This is the plain way on purpose (hashlib, a loop): what is checked by it uses another.
    """
    found: dict[str, int] = {}
    keys = corpus_keys(seed, 0, plan.count * plan.records)
    for key in set(keys):
        value = int.from_bytes(hashlib.md5(key.encode(), usedforsecurity=False).digest(), "big")
        inside = [number for number, (first, last) in enumerate(ranges) if first <= value <= last]
        if len(inside) != 1:
            raise ValueError(
                f"the hash key {value} of key {key!r} is in {len(inside)} shards; it must be in one"
            )
        found[key] = inside[0]
    return np.array([found[key] for key in keys], dtype=np.uint32)


def _around(shape: Shape, stream: str, key: str, first: bool, last: bool) -> tuple[bytes, bytes]:
    """What stands before the base64 text of one record, and behind it and KEY_BEFORE."""
    if shape.operation == "PutRecord":
        return f'{{"StreamName":"{stream}","Data":"'.encode(), f'{key}"}}'.encode()
    opening = f'{{"StreamName":"{stream}","Records":[{{"Data":"' if first else ',{"Data":"'
    closing = f'{key}"}}' + ("]}" if last else "")
    return opening.encode(), closing.encode()


def embedded_plan(
    size: int, records: int, *, seed: int = SEED, pool_bytes: int = POOL_BYTES, count: int | None = None
) -> Plan:
    """Prepare records that go through Python calls and not over HTTP."""
    count = count if count is not None else max(1, -(-pool_bytes // (size * records)))
    return Plan(corpus(seed, 0, count * records, size), size, records)
