# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Vectors: a column of SQL values in numpy, with NULLs and the rows whose value could not be computed.

A constant is a vector of length one; numpy's broadcasting does the rest. Strings are int32 codes into a
list of the distinct ones, so that a function of a string runs once for each distinct string, never for
each row. Where a row is not valid its value is arbitrary, and nobody may look at it.

`failures` holds a reason (an index into REASONS) for each row whose value is an error: such a row leaves
the query as an error row, and the query goes on. A NULL is not an error, and an error is not a NULL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.analytics.types import Type

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Failures = npt.NDArray[np.int8]

REASONS = (
    "",
    "a BIGINT overflowed",
    "an INTEGER overflowed",
    "division by zero",
    "CAST of a value that does not fit",
    "a SUM is beyond BIGINT",
    "a text is longer than its VARCHAR",
    "NULL in a column that is NOT NULL",
    "a TIMESTAMP is beyond the years 1 to 9999",
)
(
    BIGINT_OVERFLOW,
    INTEGER_OVERFLOW,
    DIVISION_BY_ZERO,
    BAD_CAST,
    SUM_OVERFLOW,
    TOO_LONG,
    NULL_VALUE,
    BAD_TIME,
) = range(1, 9)

DTYPES: dict[Type, Any] = {
    Type.BIGINT: np.int64,
    Type.INTEGER: np.int64,
    Type.DOUBLE: np.float64,
    Type.BOOLEAN: np.bool_,
    Type.TIMESTAMP: np.int64,
    Type.VARCHAR: np.int32,
    Type.JSON: np.int32,
    Type.INTERVAL: np.int64,
    Type.DECIMAL: np.float64,
    Type.NULL: np.bool_,
}


@dataclass(slots=True)
class Vector:
    """Values of one SQL type.

    Attributes:
        values: the values, or codes for strings; of length one if constant.
        valid: False where NULL; None if no row is NULL.
        dictionary: the strings that codes point at.
        failures: reasons of rows that are errors; None if there is none.
    """

    type: Type
    values: Array
    valid: Mask | None = None
    dictionary: list[str] | None = None
    failures: Failures | None = None

    def truth(self) -> Mask:
        """Of a BOOLEAN: where it is true (not NULL, not false)."""
        return self.values if self.valid is None else self.values & self.valid

    def spread(self, rows: int) -> Vector:
        """The same with one value for each row, also if it was constant."""
        if len(self.values) == rows and (self.valid is None or len(self.valid) == rows):
            return self
        return Vector(
            self.type,
            np.broadcast_to(self.values, (rows,)),
            None if self.valid is None else np.broadcast_to(self.valid, (rows,)),
            self.dictionary,
            None if self.failures is None else np.broadcast_to(self.failures, (rows,)),
        )

    def take(self, rows: Any) -> Vector:
        """The rows of a mask or index array; for a vector that was spread."""
        return Vector(
            self.type,
            self.values[rows],
            None if self.valid is None else self.valid[rows],
            self.dictionary,
            None if self.failures is None else self.failures[rows],
        )


def constant(kind: Type, value: Any) -> Vector:
    """A vector of one value; None for NULL."""
    if value is None:
        dictionary: list[str] | None = [] if kind in (Type.VARCHAR, Type.JSON) else None
        fill = -1 if dictionary is not None else 0
        return Vector(kind, np.full(1, fill, DTYPES[kind]), np.zeros(1, np.bool_), dictionary)
    if kind in (Type.VARCHAR, Type.JSON):
        return Vector(kind, np.zeros(1, np.int32), None, [value])
    if isinstance(value, Decimal):
        value = float(value)
    return Vector(kind, np.array([value], DTYPES[kind]))


def both_valid(left: Vector, right: Vector) -> Mask | None:
    """Where both are not NULL."""
    if left.valid is None:
        return right.valid
    if right.valid is None:
        return left.valid
    return left.valid & right.valid


def merge_failures(*vectors: Vector) -> Failures | None:
    """The first reason of each row."""
    result: Failures | None = None
    for vector in vectors:
        if vector.failures is not None:
            result = vector.failures if result is None else np.where(result != 0, result, vector.failures)
    return result


def fail(vector: Vector, rows: Mask, reason: int) -> Vector:
    """Mark rows as errors, unless they are NULL or were errors before."""
    if vector.valid is not None:
        rows = rows & vector.valid
    if not rows.any():
        return vector
    marked = np.where(rows, np.int8(reason), np.int8(0))
    before = vector.failures
    vector.failures = marked if before is None else np.where(before != 0, before, marked)
    return vector


def map_strings(vector: Vector, function: Callable[[str], Any], dtype: Any, fill: Any) -> Array:
    """A function of each distinct string, spread over the rows by code; `fill` where NULL."""
    known = vector.dictionary or []
    table = np.full(len(known) + 1, fill, dtype=dtype)  # the last is for code -1
    if known:
        table[: len(known)] = np.fromiter((function(text) for text in known), dtype=dtype, count=len(known))
    return table[vector.values]


def common_codes(*vectors: Vector) -> tuple[list[Array], list[str]]:
    """The vectors' codes in one sorted dictionary: they compare as the strings do (by code point)."""
    joint = sorted({text for vector in vectors for text in vector.dictionary or []})
    rank = {text: index for index, text in enumerate(joint)}
    return [map_strings(vector, rank.__getitem__, np.int32, -1) for vector in vectors], joint
