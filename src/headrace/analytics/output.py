# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Rows of a result as JSON records: the columns' names are the keys, in the order of the SELECT.

NULL is null; a TIMESTAMP is 'yyyy-MM-dd HH:mm:ss.SSS'; NaN and infinities are the texts "NaN", "Infinity",
"-Infinity", because JSON has no numbers for them; a JSON column stands as it was read.

Cost: about 1 µs a row and 0.1 µs a value.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from headrace.analytics.types import Schema, Type, format_timestamp
from headrace.core.table import Column, Columns

_encode = msgspec.json.Encoder().encode


def records(columns: Columns, schema: Schema) -> list[bytes]:
    """Each row as a JSON object."""
    lists = [values(columns.column(name), kind) for name, kind in schema.types.items()]
    names = list(schema)
    return [_encode(dict(zip(names, row, strict=True))) for row in zip(*lists, strict=True)]


def values(column: Column, kind: Type) -> list[Any]:
    """A column's values as msgspec writes them."""
    if kind is Type.TIMESTAMP:
        listed: list[Any] = _timestamps(column)
    elif kind is Type.JSON:
        listed = [None if text is None else msgspec.Raw(text.encode()) for text in column.array().tolist()]
    else:
        listed = column.array().tolist()
        if kind is Type.DOUBLE and not np.isfinite(column.values).all():
            listed = [value if -np.inf < value < np.inf else _special(value) for value in listed]
    if not column.valid.all():
        return [value if valid else None for value, valid in zip(listed, column.valid.tolist(), strict=True)]
    return listed


def _timestamps(column: Column) -> list[Any]:
    micros = column.values.view(np.int64)
    distinct, codes = np.unique(np.where(column.valid, micros, 0), return_inverse=True)
    texts = np.array([format_timestamp(value) for value in distinct.tolist()], object)
    listed: list[Any] = texts[codes.reshape(len(micros))].tolist() if len(distinct) else []
    return listed


def _special(value: float) -> str:
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
