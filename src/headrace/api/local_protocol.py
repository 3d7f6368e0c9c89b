# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The messages by which processes of one machine put into a store that another one writes.

Over a Unix stream socket in the store's directory. Each message, either way:

      at  bytes  field
       0    4    magic "HRL1"
       4    4    head: bytes of a MessagePack map
       8    8    body: bytes that follow the head

A request's head is {op, …}. `put`: {stream, count, timeout}; its body is count rows of 12 bytes {u32 data
bytes, u32 key bytes or all ones for none, u32 1 where a hash key follows}, then for each record its key,
its data and, where given, 16 bytes of hash key, big-endian. The answer's head is {ok: true} and its body
three arrays of count numbers: u32 shards, u64 ordinals, i64 arrivals. `call`: {method, arguments}; the
answer's head is {ok: true, value}. An error's head is {ok: false, kind, message, hint, code, retry_after}
and, for a put of which that is known, its body is one byte a record: 1 where it was accepted.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import msgspec
import numpy as np

from headrace import errors, limits
from headrace.core._entries import Entries
from headrace.errors import Backpressure, Error, RemoteError, SerializationError

MAGIC = b"HRL1"
_HEAD = struct.Struct("<4sIQ")
_ROW = np.dtype([("data", "<u4"), ("key", "<u4"), ("hashed", "<u4")])
NO_KEY = 0xFFFF_FFFF
HEAD_SIZE_MAX = 1 << 20


def send(connection: socket.socket, head: dict[str, Any], body: bytes = b"") -> None:
    """Send one message."""
    packed = msgspec.msgpack.encode(head)
    connection.sendall(_HEAD.pack(MAGIC, len(packed), len(body)) + packed)
    if body:
        connection.sendall(body)


def _receive_exactly(connection: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        done = connection.recv_into(view)
        if not done:
            raise EOFError
        view = view[done:]
    return data


def receive(connection: socket.socket) -> tuple[dict[str, Any], bytearray]:
    """Receive one message. EOFError at the end; SerializationError if it is malformed or too large."""
    magic, head_size, body_size = _HEAD.unpack(_receive_exactly(connection, _HEAD.size))
    if magic != MAGIC or head_size > HEAD_SIZE_MAX or body_size > limits.local_message_size_max:
        raise SerializationError(
            f"message with magic {magic!r}, head of {head_size} and body of {body_size} bytes"
        )
    try:
        head = msgspec.msgpack.decode(_receive_exactly(connection, head_size), type=dict[str, Any])
    except msgspec.MsgspecError as problem:
        raise SerializationError(f"message head: {problem}") from None
    return head, _receive_exactly(connection, body_size)


def pack_entries(entries: Entries) -> bytes:
    """The body of a put."""
    data, keys, hashes = entries.data, entries.keys, entries.hash_keys
    rows = np.zeros(len(data), _ROW)
    parts: list[bytes] = [b""]
    for number, (item, key, hashed) in enumerate(zip(data, keys, hashes, strict=True)):
        encoded = key.encode() if key is not None else b""
        rows[number] = (len(item), len(encoded) if key is not None else NO_KEY, hashed is not None)
        parts += [encoded, item]
        if hashed is not None:
            parts.append(hashed.to_bytes(16, "big"))
    parts[0] = rows.tobytes()
    return b"".join(parts)


def unpack_entries(body: bytearray, count: int, record_size_max: int) -> Entries:
    """Entries from the body of a put; SerializationError where it does not add up."""
    entries = Entries()
    if not 0 <= count <= limits.put_group_count_max or len(body) < count * _ROW.itemsize:
        raise SerializationError(f"put of {count} records with {len(body)} bytes")
    rows = np.frombuffer(body, _ROW, count)
    view = memoryview(body).toreadonly()
    at = count * _ROW.itemsize
    for data_size, key_size, hashed in rows.tolist():
        key = None
        if key_size != NO_KEY:
            key = str(view[at : at + key_size], "utf-8")
            at += key_size
        data = view[at : at + data_size]
        at += data_size
        hash_key = None
        if hashed:
            hash_key = int.from_bytes(view[at : at + 16], "big")
            at += 16
        if at > len(body):
            raise SerializationError(f"put of {count} records is cut short at {len(body)} bytes")
        entries.add(data, key, hash_key, record_size_max=record_size_max)
    return entries


def pack_error(error: Error) -> tuple[dict[str, Any], bytes]:
    """The head and body that carry an error."""
    head: dict[str, Any] = {
        "ok": False, "kind": type(error).__name__, "message": error.message, "hint": error.hint, "code": error.code,
    }  # fmt: skip
    body = b""
    if isinstance(error, Backpressure):
        head["retry_after"] = error.retry_after
    if isinstance(error, RemoteError) and error.accepted is not None:
        body = np.asarray(error.accepted, bool).tobytes()
    return head, body


def unpack_error(head: dict[str, Any], body: bytearray) -> Error:
    """The error again, of its own class where this version knows it."""
    kind = getattr(errors, str(head.get("kind")), Error)
    if not (isinstance(kind, type) and issubclass(kind, Error)):
        kind = Error
    message, hint = str(head.get("message", "")), str(head.get("hint", ""))
    if kind is Backpressure:
        error: Error = Backpressure(message, retry_after=float(head.get("retry_after", 0.1)), hint=hint)
    else:
        error = kind(message, hint=hint, code=str(head.get("code", kind.code)))
    if isinstance(error, RemoteError) and body:
        error.accepted = np.frombuffer(body, bool)
    return error
