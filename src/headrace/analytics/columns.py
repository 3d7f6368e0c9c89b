# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Between the scanner's Columns and the vectors that expressions compute with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from headrace.analytics.types import Type
from headrace.analytics.vectors import Vector
from headrace.core.table import NO_ROWS, Column, Columns, Strings

_TYPES = {
    "i8": Type.BIGINT,
    "f8": Type.DOUBLE,
    "bool": Type.BOOLEAN,
    "str": Type.VARCHAR,
    "timestamp": Type.TIMESTAMP,
}


def vector_of(columns: Columns, name: str, kind: Type | None = None) -> Vector:
    """A column as a vector; no value is copied."""
    column = columns.column(name)
    known = kind if kind is not None else _TYPES[column.type]
    valid = None if column.valid.all() else column.valid
    values = column.values.view(np.int64) if column.type == "timestamp" else column.values
    dictionary = column.strings.list() if column.strings is not None else None
    return Vector(known, values, valid, dictionary)


def columns_of(vectors: Mapping[str, Vector], rows: int) -> Columns:
    """Columns of vectors that are spread over the rows."""
    return Columns({name: _column_of(vector.spread(rows), rows) for name, vector in vectors.items()}, rows)


def _column_of(vector: Vector, rows: int) -> Column:
    valid = np.ones(rows, np.bool_) if vector.valid is None else np.ascontiguousarray(vector.valid)
    values = np.ascontiguousarray(vector.values)
    if vector.type in (Type.VARCHAR, Type.JSON):
        codes = np.where(valid, values, np.int32(-1)).astype(np.int32, copy=False)
        return Column("str", codes, codes >= 0, NO_ROWS, Strings.of(vector.dictionary or []))
    if vector.type is Type.TIMESTAMP:
        times = values.view("datetime64[us]")
        if not valid.all():
            times = np.where(valid, times, np.datetime64("NaT"))
        return Column("timestamp", times, valid, NO_ROWS)
    if vector.type is Type.DOUBLE:
        return Column("f8", np.where(valid, values, np.nan), valid, NO_ROWS)
    if vector.type in (Type.BOOLEAN, Type.NULL):
        return Column("bool", np.where(valid, values, False), valid, NO_ROWS)
    return Column("i8", np.where(valid, values, np.int64(0)), valid, NO_ROWS)
