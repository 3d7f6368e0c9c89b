# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""JSON 1.1 as the AWS services speak it: bodies to values of a declared shape, and values to bodies.

Blobs are base64 text; timestamps are epoch seconds with fractions. What does not parse or has the wrong type
is a SerializationError in the service's words; limits are another matter and `shapes.validate` judges them.
Of duplicate keys the last wins. Unknown members are skipped without being built.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from headrace import limits
from headrace.errors import SerializationError
from headrace.streams.shapes import (
    Blob,
    Boolean,
    Double,
    Integer,
    List,
    Map,
    Shape,
    String,
    Structure,
    Timestamp,
    validate,
)

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_any = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=]|=(?=[^=])")

_NUMBER = "class com.amazon.coral.value.json.numbers.TruncatingBigNumber"
_JAVA = {bool: "class java.lang.Boolean", int: _NUMBER, float: _NUMBER, str: "class java.lang.String"}
_LIST_UNEXPECTED = "Start of list found where not expected"
_MAP_UNEXPECTED = "Start of structure or map found where not expected."


def decode(shape: Structure, body: bytes | bytearray | memoryview) -> dict[str, Any]:
    """Parse a request and check it against its shape.

    Raises SerializationError (not JSON, too deep, a wrong type) or ValidationError (a violated limit).
    """
    value = parse(shape, body)
    validate(shape, value)
    return value


def parse(shape: Structure, body: bytes | bytearray | memoryview) -> dict[str, Any]:
    """Parse a request into values of the shape's types, without judging limits."""
    body = bytes(body)
    if depth(body) > limits.json_depth_max:
        raise SerializationError(f"The body is nested deeper than {limits.json_depth_max} levels")
    result = {}
    try:
        body.decode("utf-8")  # a member that is passed over is not looked into otherwise
        members = _decode_object(body)
        for name, raw in members.items():
            member = shape.members.get(name)
            if member is not None:
                value = _convert(member, _decode_any(raw))
                if value is not None:
                    result[name] = value
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise SerializationError(f"The body is not valid JSON: {error}") from None
    return result


def encode(shape: Structure | None, value: dict[str, Any] | None) -> bytes:
    """Write an answer. An operation without output has an empty body."""
    if shape is None:
        return b""
    return _encode(_prepare(shape, value or {}))


def depth(body: bytes) -> int:
    """How deep arrays and objects are nested, or an upper bound of it where that is small enough.

    Brackets are counted over the whole body first (two memchr-like passes): nearly every request ends
    there. Otherwise strings are cut out and the running depth of what remains is computed by numpy.
    """
    brackets = body.count(b"[") + body.count(b"{")
    if brackets <= limits.json_depth_max:
        return brackets
    skeleton = np.frombuffer(_QUOTED.sub(b"", body).translate(None, _NOT_BRACKETS), dtype=np.uint8)
    if not skeleton.size:
        return 0
    opening = (skeleton == ord("[")) | (skeleton == ord("{"))
    return int(np.cumsum(np.where(opening, np.int8(1), np.int8(-1)), dtype=np.int32).max())


def _convert(shape: Shape, value: Any) -> Any:
    """One JSON value as the shape's type; null is None. Raises SerializationError."""
    return None if value is None else _CONVERTERS[type(shape)](shape, value)


def _refuse(value: Any, target: str) -> SerializationError:
    """The text for a scalar, list or object where something else was expected."""
    if isinstance(value, list):
        return SerializationError(_LIST_UNEXPECTED)
    if isinstance(value, dict):
        return SerializationError(_MAP_UNEXPECTED)
    return SerializationError(f"{_JAVA[type(value)]} can not be converted to {target}")


def _string(shape: Shape, value: Any) -> str:
    if isinstance(value, str):
        return value
    raise _refuse(value, "an String")


def _integer(shape: Integer, value: Any) -> int:
    target = "an Integer" if shape.bits == 32 else "an Long"
    if type(value) not in (int, float):
        raise _refuse(value, target)
    number = int(value // 1)
    if not -(1 << (shape.bits - 1)) <= number < 1 << (shape.bits - 1):
        raise _refuse(value, target)
    return number


def _double(shape: Shape, value: Any) -> float:
    if type(value) not in (int, float):
        raise _refuse(value, "an Double")
    try:
        return float(value)
    except OverflowError:
        raise _refuse(value, "an Double") from None


def _boolean(shape: Shape, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        raise SerializationError(f"'{_cut(value.upper())}' can not be converted to an Boolean")
    raise _refuse(value, "an Boolean")


def _timestamp(shape: Shape, value: Any) -> int:
    if type(value) not in (int, float) or not -(1 << 42) <= value <= 1 << 42:
        raise _refuse(value, "milliseconds since epoch")
    milliseconds: int = round(value * 1000)
    return milliseconds


def _blob(shape: Shape, value: Any) -> bytes:
    if not isinstance(value, str):
        raise _refuse(value, "a Blob")
    try:
        data = binascii.a2b_base64(value, strict_mode=True) if value else b""
    except ValueError:
        data = None
    # Bits behind the last byte must be zero; only the last four characters can break that.
    if data is None or (
        data and binascii.b2a_base64(data[-(len(data) % 3 or 3) :])[:4] != value[-4:].encode()
    ):
        raise SerializationError(f"'{_cut(value)}' can not be converted to a Blob: {_base64_fault(value)}")
    return data


def _base64_fault(value: str) -> str:
    """What is wrong with base64 text that does not decode."""
    if len(value) % 4:
        return f"Base64 encoded length is expected a multiple of 4 bytes but found: {len(value)}"
    wrong = _NOT_BASE64.search(value)
    if wrong is not None:
        return f"Invalid Base64 character: '{wrong[0]}'"
    return "Invalid last non-pad Base64 character dectected"


def _list(shape: List, value: Any) -> list[Any]:
    if isinstance(value, dict):
        raise SerializationError(_MAP_UNEXPECTED)
    if not isinstance(value, list):
        raise SerializationError("Expected list or null")
    return [_convert(shape.member, item) for item in value]


def _map(shape: Map, value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        raise SerializationError(_LIST_UNEXPECTED)
    if not isinstance(value, dict):
        raise SerializationError("Expected map or null")
    return {key: _convert(shape.value, item) for key, item in value.items() if item is not None}


def _structure(shape: Structure, value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        raise SerializationError(_LIST_UNEXPECTED)
    if not isinstance(value, dict):
        raise SerializationError("Expected null")
    return {
        name: _convert(shape.members[name], item)
        for name, item in value.items()
        if item is not None and name in shape.members
    }


_CONVERTERS: dict[type[Shape], Callable[[Any, Any], Any]] = {
    String: _string,
    Integer: _integer,
    Double: _double,
    Boolean: _boolean,
    Timestamp: _timestamp,
    Blob: _blob,
    List: _list,
    Map: _map,
    Structure: _structure,
}


def _cut(text: str) -> str:
    """A value in an error text, at a bounded length."""
    limit = limits.error_value_characters_max
    return text if len(text) <= limit else text[:limit] + "..."


def _prepare(shape: Shape, value: Any) -> Any:
    """The value in types that JSON has. Shapes without blobs and timestamps pass unchanged."""
    if shape.plain:
        return value
    if isinstance(shape, Structure):
        return {name: _prepare(shape.members[name], item) for name, item in value.items() if item is not None}
    if isinstance(shape, List):
        return [_prepare(shape.member, item) for item in value]
    if isinstance(shape, Map):
        return {key: _prepare(shape.value, item) for key, item in value.items()}
    if isinstance(shape, Blob):
        return binascii.b2a_base64(value, newline=False).decode("ascii")
    assert isinstance(shape, Timestamp)
    return value // 1000 if value % 1000 == 0 else value / 1000
