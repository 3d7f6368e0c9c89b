# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What the catalogue holds of deliveries, as JSON documents by kind and name.

    firehose              name of the delivery stream -> Delivery: its settings and state
    firehose.position     id of the delivery          -> Position: all before it is in the store
    firehose.plan         id of the delivery          -> Plan: the object that is under way

A plan is committed before the first byte of its object leaves and removed in the transaction that moves the
position, after the store has confirmed the object. So after a crash at any moment each record is before the
position (its object is there), in the plan (its object is there or will be, under the plan's key), or after.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from headrace.errors import Corrupt

DELIVERY = "firehose"
POSITION = "firehose.position"
PLAN = "firehose.plan"

CREATING = "CREATING"
CREATING_FAILED = "CREATING_FAILED"
ACTIVE = "ACTIVE"
DELETING = "DELETING"
DELETING_FAILED = "DELETING_FAILED"

DIRECT_PUT = "DirectPut"
STREAM_SOURCE = "KinesisStreamAsSource"
GZIP = "GZIP"
UNCOMPRESSED = "UNCOMPRESSED"


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """The stream that is delivered. For DirectPut it is an internal one."""

    name: str
    stream_id: int  # a stream of the same name that is made later is another
    arn: str = ""  # as the client gave it; empty for DirectPut
    role: str = ""


class Destination(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where objects go and how they are made. `given`: members as the client wrote them, to be described."""

    bucket: str
    prefix: str = ""
    size_mb: int = 5
    interval_s: int = 300
    codec: str = UNCOMPRESSED
    extension: str | None = None
    zone: str = ""
    extended: bool = True
    given: dict[str, object] = {}


class Delivery(msgspec.Struct, frozen=True, omit_defaults=True):
    """A delivery stream: its settings and its state."""

    id: str  # random: tells delivery streams of one name apart
    created_ms: int
    type: str
    source: Source
    destination: Destination
    status: str = CREATING
    format: int = 1
    version: int = 1
    updated_ms: int = 0
    failure: str = ""  # why creating or deleting failed
    force: bool = False  # delete even what cannot be delivered
    tags: dict[str, str] = {}


class Position(msgspec.Struct, frozen=True):
    """shard -> next index to deliver, as StreamReader takes it."""

    shards: dict[int, int]
    format: int = 1


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """One object: what is in it, what it is called, how it is made. Its bytes follow from this alone."""

    key: str
    ranges: list[tuple[int, int, int]]  # shard, first index, end; in the order of the object
    codec: str
    count: int
    size: int  # bytes of data, uncompressed
    oldest_ms: int
    after: dict[int, int]  # the position when it is done
    format: int = 1


encode = msgspec.json.Encoder().encode
_delivery = msgspec.json.Decoder(Delivery).decode
_position = msgspec.json.Decoder(Position).decode
_plan = msgspec.json.Decoder(Plan).decode
_T = TypeVar("_T", Delivery, Position, Plan)


def decode_delivery(name: str, value: bytes) -> Delivery:
    return _checked(_delivery, name, value)


def decode_position(name: str, value: bytes) -> Position:
    return _checked(_position, name, value)


def decode_plan(name: str, value: bytes) -> Plan:
    return _checked(_plan, name, value)


def _checked(decode: Callable[[bytes], _T], name: str, value: bytes) -> _T:
    """Decode, or say by name that the catalogue is damaged or newer than this program."""
    try:
        document = decode(value)
    except msgspec.DecodeError as error:
        raise Corrupt(f"The catalogue's facts of delivery {name} do not parse: {error}") from None
    if document.format != 1:
        raise Corrupt(f"The catalogue's facts of delivery {name} have format {document.format}; known is 1")
    return document
