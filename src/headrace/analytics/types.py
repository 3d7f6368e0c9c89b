# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The SQL types of both dialects, and how their values are written in text.

    type       in numpy                      in JSON
    BIGINT     int64                         number
    INTEGER    int64, 32 bits checked        number
    DOUBLE     float64                       number; "NaN", "Infinity", "-Infinity" as text
    VARCHAR    codes into a dictionary       string
    BOOLEAN    bool                          true, false
    TIMESTAMP  int64 microseconds, UTC       "yyyy-MM-dd HH:mm:ss.SSS" (six digits if there are microseconds)
    JSON       codes; nested values, as read the same text; may only be passed through
DECIMAL, INTERVAL and NULL are types of literals only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from types import MappingProxyType


class Type(Enum):
    """A SQL type; the value is its name in messages."""

    BIGINT = "BIGINT"
    INTEGER = "INTEGER"
    DOUBLE = "DOUBLE"
    VARCHAR = "VARCHAR"
    BOOLEAN = "BOOLEAN"
    TIMESTAMP = "TIMESTAMP"
    JSON = "JSON"
    DECIMAL = "DECIMAL"
    INTERVAL = "INTERVAL"
    NULL = "NULL"

    def __str__(self) -> str:
        return self.value


INTEGERS = frozenset({Type.BIGINT, Type.INTEGER})
NUMBERS = frozenset({Type.BIGINT, Type.INTEGER, Type.DOUBLE, Type.DECIMAL})

BIGINT_MIN, BIGINT_MAX = -(2**63), 2**63 - 1
INTEGER_MIN, INTEGER_MAX = -(2**31), 2**31 - 1

TIMESTAMP_MIN, TIMESTAMP_MAX = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The first and last microsecond of the years 1 to 9999, beyond which nothing is a TIMESTAMP."""

_EPOCH = datetime(1970, 1, 1)
_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[ T]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?)?"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})?",
    re.ASCII,
)


class Schema(Mapping[str, str]):
    """The columns of a table or result, in order: name to SQL type. `notes` say what was guessed, and why."""

    __slots__ = ("_columns", "notes")

    def __init__(self, columns: Mapping[str, Type], notes: tuple[str, ...] = ()) -> None:
        self._columns = MappingProxyType(dict(columns))
        self.notes = notes

    @property
    def types(self) -> Mapping[str, Type]:
        """The same with the types as `Type`."""
        return self._columns

    def __getitem__(self, name: str) -> str:
        return self._columns[name].value

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"Schema({', '.join(f'{name} {kind}' for name, kind in self.items())})"


@dataclass(frozen=True)
class Field:
    """A column to read from the JSON records.

    Attributes:
        name: the column's name in the query.
        path: the member's name in the record.
        type: its SQL type.
        scan: the scanner's type for it.
        length: of a VARCHAR(n): a longer text is an error row.
    """

    name: str
    path: str
    type: Type
    scan: str
    length: int | None = None


def parse_timestamp(text: str) -> int | None:
    """Microseconds since 1970 UTC of an ISO 8601 or SQL timestamp, or None if it is none.

    A date alone is its midnight; more than six digits of a second are cut off.
    """
    match = _TIMESTAMP.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        moment = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))
    except ValueError:
        return None
    micros = (moment - _EPOCH) // timedelta(microseconds=1)
    if fraction:
        micros += int(fraction[:6].ljust(6, "0"))
    if zone and zone != "Z":
        if int(zone[-2:]) > 59 or int(zone[1:3]) > 18:
            return None
        offset = (int(zone[1:3]) * 60 + int(zone[-2:])) * 60_000_000
        micros -= offset if zone[0] == "+" else -offset
    return micros if TIMESTAMP_MIN <= micros <= TIMESTAMP_MAX else None


def format_timestamp(micros: int) -> str:
    """The SQL form, with milliseconds; with microseconds where there are any."""
    try:
        moment = _EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return f"{micros} us since 1970-01-01"
    text = moment.strftime("%Y-%m-%d %H:%M:%S").rjust(19, "0")
    return f"{text}.{moment.microsecond:06d}" if micros % 1000 else f"{text}.{moment.microsecond // 1000:03d}"


def utc(micros: int) -> datetime:
    """A moment as an aware datetime."""
    return _EPOCH.replace(tzinfo=UTC) + timedelta(microseconds=micros)
