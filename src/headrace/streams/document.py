# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What the catalogue keeps of a stream: one JSON document under ("stream", name).

A reshard in progress stands beside it under ("intent", name), a deleted stream whose lanes are not yet gone
under ("dropped", id). `topology.py` and `streams.py` finish both when a store is opened.
"""

from __future__ import annotations

import msgspec

from headrace import limits
from headrace.errors import Corrupt
from headrace.streams.shards import Change, Row, ShardTable

STREAM = "stream"
INTENT = "intent"
DROPPED = "dropped"

PROVISIONED = "PROVISIONED"
ON_DEMAND = "ON_DEMAND"
AUTO = "AUTO"
USER_PARTITION_KEY = "USER_PARTITION_KEY"


class StreamDocument(msgspec.Struct, omit_defaults=True):
    """Everything about a stream but its records."""

    id: int  # random: tells streams of one name apart
    created_ms: int
    durability: str
    lanes: list[int]
    even: int  # shards at creation, of even ranges
    format: int = 1
    mode: str = PROVISIONED
    retention_hours: int = limits.retention_hours_min
    max_bytes: int | None = None
    on_full: str = "throttle"
    record_size_max: int = limits.record_size_default
    internal: bool = False
    distribution: str = USER_PARTITION_KEY
    tags: dict[str, str] = {}
    rows: list[Row] = []
    closed: list[tuple[int, int]] = []
    scaled_ms: list[int] = []  # recent UpdateShardCount calls, kept where limits are on

    def table(self) -> ShardTable:
        return ShardTable(self.even, self.created_ms // 1000, len(self.lanes), self.rows, dict(self.closed))


class Dropped(msgspec.Struct):
    """Lanes that must go."""

    lanes: list[int]


encode = msgspec.json.Encoder().encode
_decode_stream = msgspec.json.Decoder(StreamDocument).decode
_decode_change = msgspec.json.Decoder(Change).decode
_decode_row = msgspec.json.Decoder(Row).decode
_decode_dropped = msgspec.json.Decoder(Dropped).decode


def decode_stream(name: str, value: bytes) -> StreamDocument:
    try:
        document = _decode_stream(value)
    except msgspec.DecodeError as error:
        raise Corrupt(f"The catalogue's document of stream {name} does not parse: {error}") from None
    if document.format != 1:
        raise Corrupt(f"The catalogue's document of stream {name} has format {document.format}; known is 1")
    return document


def decode_change(name: str, value: bytes) -> Change:
    try:
        return _decode_change(value)
    except msgspec.DecodeError as error:
        raise Corrupt(f"The catalogue's reshard of stream {name} does not parse: {error}") from None


def decode_row(name: str, value: bytes) -> Row:
    try:
        return _decode_row(value)
    except msgspec.DecodeError as error:
        raise Corrupt(f"A lane's OPEN frame of stream {name} does not parse: {error}") from None


def decode_dropped(value: bytes) -> Dropped:
    return _decode_dropped(value)
