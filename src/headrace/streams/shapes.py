# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Shapes: what the members of a request or answer may be, apart from any wire format.

A service declares its shapes as a table of these objects (Data Streams: `model.py`) and everything else
follows from the table: decoding and encoding (`wire_json.py`), and `validate`, which answers a violation in
the words of the real service:

    1 validation error detected: Value 'a b' at 'streamName' failed to satisfy constraint: Member must
    satisfy regular expression pattern: [a-zA-Z0-9_.-]+

A decoded value is a str, int, float, bool, bytes (blob), int milliseconds since 1970 (timestamp), list or
dict; a member that is absent or null is not in its dict. Members that a shape does not declare are ignored,
as the real service does.

Cost: about 0.3 µs a member; only requests that the native scan does not take come here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from headrace import limits
from headrace.errors import ValidationError


@dataclass(frozen=True)
class Shape:
    """Base of all shapes."""

    @property
    def plain(self) -> bool:
        """Whether an encoder can hand the value on as it is: nothing inside needs converting."""
        return True


@dataclass(frozen=True)
class String(Shape):
    """Text. `pattern` is the model's; the whole value must match it. `enum` lists the allowed values."""

    min: int | None = None
    max: int | None = None
    pattern: str | None = None
    enum: tuple[str, ...] = ()

    @cached_property
    def matcher(self) -> re.Pattern[str] | None:
        return None if self.pattern is None else re.compile(self.pattern, re.ASCII)

    @cached_property
    def pattern_text(self) -> str:
        """The pattern as error texts show it: without `^(…)$` around it."""
        text = self.pattern or ""
        return text[2:-2] if text.startswith("^(") and text.endswith(")$") else text


@dataclass(frozen=True)
class Integer(Shape):
    """A whole number of 32 bits (`bits` 64 for long)."""

    min: int | None = None
    max: int | None = None
    bits: int = 32


@dataclass(frozen=True)
class Double(Shape):
    """A floating point number."""

    min: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class Boolean(Shape):
    """True or false."""


@dataclass(frozen=True)
class Blob(Shape):
    """Bytes."""

    min: int | None = None
    max: int | None = None

    @property
    def plain(self) -> bool:
        return False


@dataclass(frozen=True)
class Timestamp(Shape):
    """A moment, in milliseconds since 1970-01-01 UTC."""

    @property
    def plain(self) -> bool:
        return False


@dataclass(frozen=True)
class List(Shape):
    """Values of one shape in order."""

    member: Shape
    min: int | None = None
    max: int | None = None

    @property
    def plain(self) -> bool:
        return self.member.plain


@dataclass(frozen=True)
class Map(Shape):
    """Values by text key."""

    key: String
    value: Shape
    min: int | None = None
    max: int | None = None

    @property
    def plain(self) -> bool:
        return self.value.plain


@dataclass(frozen=True)
class Structure(Shape):
    """Named members. Their order is that in which violations are reported."""

    name: str
    members: Mapping[str, Shape] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    @cached_property
    def _plain(self) -> bool:
        return all(shape.plain for shape in self.members.values())

    @property
    def plain(self) -> bool:
        return self._plain


def validate(shape: Structure, value: Mapping[str, Any]) -> None:
    """Check a decoded request against its shape. Raises ValidationError naming up to ten violations."""
    found: list[str] = []
    for text in _structure(shape, value, ""):
        found.append(text)
        if len(found) == limits.validation_errors_max:
            break
    if found:
        plural = "s" if len(found) > 1 else ""
        raise ValidationError(f"{len(found)} validation error{plural} detected: {'; '.join(found)}")


def violation(value: Any, shape: Shape, path: str, constraint: str) -> str:
    """The service's text for one violated constraint."""
    shown = "null" if value is None else f"'{_shown(value, shape)}'"
    return f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}"


def _structure(shape: Structure, value: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, member in shape.members.items():
        path = prefix + name[0].lower() + name[1:]
        item = value.get(name)
        if item is not None:
            yield from _value(member, item, path)
        elif name in shape.required:
            yield violation(None, member, path, "Member must not be null")


def _value(shape: Shape, value: Any, path: str) -> Iterator[str]:
    """The violations of one present value and of what is inside it."""
    if isinstance(shape, Structure):
        yield from _structure(shape, value, path + ".")
        return
    for constraint in _broken(shape, value):
        yield violation(value, shape, path, constraint)
    if isinstance(shape, List):
        yield from _list(shape, value, path)
    elif isinstance(shape, Map):
        yield from _map(shape, value, path)


def _list(shape: List, value: list[Any], path: str) -> Iterator[str]:
    """Items of text are judged together, structures one by one as `path.1.member`."""
    for number, item in enumerate(value, 1):
        if item is None:
            yield violation(None, shape.member, f"{path}.{number}.member", "Member must not be null")
        elif isinstance(shape.member, Structure | List | Map):
            yield from _value(shape.member, item, f"{path}.{number}.member")
    if isinstance(shape.member, Structure | List | Map) or None in value:
        return
    if any(True for item in value for _ in _broken(shape.member, item)):
        yield violation(value, shape, path, f"Member must satisfy constraint: [{_constraints(shape.member)}]")


def _map(shape: Map, value: dict[str, Any], path: str) -> Iterator[str]:
    if any(True for key in value for _ in _broken(shape.key, key)):
        yield violation(value, shape, path, f"Map keys must satisfy constraint: [{_constraints(shape.key)}]")
    if isinstance(shape.value, Structure | List | Map):
        for key, item in value.items():
            yield from _value(shape.value, item, f"{path}.{key}.member")
    elif any(True for item in value.values() for _ in _broken(shape.value, item)):
        yield violation(
            value, shape, path, f"Map value must satisfy constraint: [{_constraints(shape.value)}]"
        )


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    """The constraints that the value itself breaks, in the service's order: pattern, maximum, minimum."""
    if isinstance(shape, String):
        if shape.enum and value not in shape.enum:
            yield f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"
        if shape.matcher is not None and not shape.matcher.fullmatch(value):
            yield f"Member must satisfy regular expression pattern: {shape.pattern_text}"
    if isinstance(shape, Integer | Double):
        if shape.max is not None and value > shape.max:
            yield f"Member must have value less than or equal to {shape.max}"
        if shape.min is not None and value < shape.min:
            yield f"Member must have value greater than or equal to {shape.min}"
    elif isinstance(shape, String | Blob | List | Map):
        if shape.max is not None and _length(value) > shape.max:
            yield f"Member must have length less than or equal to {shape.max}"
        if shape.min is not None and len(value) < shape.min:
            yield f"Member must have length greater than or equal to {shape.min}"


def _length(value: Any) -> int:
    """A length as the service counts: characters of text are UTF-16 units."""
    if isinstance(value, str) and not value.isascii():
        return len(value.encode("utf-16-le")) // 2
    return len(value)


def _constraints(shape: Shape) -> str:
    """All constraints of the items of a list or map, as the service lists them."""
    texts = []
    if isinstance(shape, String | Blob):
        if shape.max is not None:
            texts.append(f"Member must have length less than or equal to {shape.max}")
        if shape.min is not None:
            texts.append(f"Member must have length greater than or equal to {shape.min}")
    if isinstance(shape, String):
        if shape.pattern is not None:
            texts.append(f"Member must satisfy regular expression pattern: {shape.pattern_text}")
        if shape.enum:
            texts.append(f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
    if isinstance(shape, Integer | Double):
        if shape.max is not None:
            texts.append(f"Member must have value less than or equal to {shape.max}")
        if shape.min is not None:
            texts.append(f"Member must have value greater than or equal to {shape.min}")
    return ", ".join(texts)


def _shown(value: Any, shape: Shape) -> str:
    """A value as the service prints it (Java's manner), cut where it would flood the answer."""
    if isinstance(shape, Structure):
        text = f"{shape.name}@{id(shape) & 0xFFFFFFFF:x}"
    elif isinstance(shape, Blob):
        text = f"java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]"
    elif isinstance(shape, List):
        text = "[" + ", ".join(_shown(item, shape.member) for item in value[:500]) + "]"
    elif isinstance(shape, Map):
        pairs = list(value.items())[:500]
        text = "{" + ", ".join(f"{key}={_shown(item, shape.value)}" for key, item in pairs) + "}"
    elif isinstance(value, bool):
        text = "true" if value else "false"
    else:
        text = str(value)
    if len(text) > limits.error_value_characters_max:
        return text[: limits.error_value_characters_max] + "..."
    return text
