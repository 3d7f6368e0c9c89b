# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The columns of a stream, found by looking at some of its records; frozen when a query starts.

All integers: BIGINT. Numbers of both kinds: DOUBLE. Texts: VARCHAR, also where they look like times. Objects,
arrays, mixed types, and integers beyond BIGINT: JSON, which can only be passed through, with a note that
says why. A member that is null in every record looked at is VARCHAR, with a note.

Only the column that windows take for the time is guessed to be a TIMESTAMP: a text must be ISO 8601 or SQL
in every record; a number counts seconds, milliseconds or microseconds since 1970, whichever puts the
largest one seen before the year 2286 (below 1e10: seconds, below 1e13: milliseconds). The note says which.
What is beyond the year 9999 even as microseconds, such as nanoseconds, is taken for no time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from headrace import limits
from headrace.analytics.tables import Table, undeclared
from headrace.analytics.types import BIGINT_MAX, BIGINT_MIN, TIMESTAMP_MAX, Schema, Type, parse_timestamp
from headrace.core._batch import RecordBatch

_EPOCHS = ((1e10, "timestamp[s]", "seconds"), (1e13, "timestamp[ms]", "milliseconds"))


def discover(batches: Sequence[RecordBatch], time: str | None = None) -> Table | None:
    """A table of the members that the first records have, or None if there is no record with any.

    Args:
        batches: records; at most `limits.sql_discovery_records_max` of them are looked at, as many of each
            batch, from all over it: one shard's first records need not be like the others'.
        time: the column that windows take for the time.
    """
    seen: dict[str, list[Any]] = {}
    looked = 0
    share = max(limits.sql_discovery_records_max // max(len(batches), 1), 1)
    for batch in batches[: limits.sql_discovery_records_max]:
        for data in _spread(batch, share).data:
            looked += 1
            for name, value in _members(data).items():
                if name in seen or len(seen) < limits.sql_columns_max:
                    seen.setdefault(name, []).append(value)
    if not seen:
        return None
    columns: dict[str, Type] = {}
    notes = [f"columns found in {looked} records, frozen now"]
    for name, values in seen.items():
        columns[name], note = _type_of(values)
        if note:
            notes.append(f"{name}: {note}")
    table = undeclared("", Schema(columns, tuple(notes)))
    return table if time is None or time not in columns else _with_time(table, time, seen[time])


def _spread(batch: RecordBatch, count: int) -> RecordBatch:
    """At most `count` records from all over the batch, its first and last among them."""
    if len(batch) <= count:
        return batch
    chosen = np.zeros(len(batch), bool)
    chosen[np.linspace(0, len(batch) - 1, count).astype(np.int64)] = True
    return batch.filter(chosen)


def _members(data: bytes) -> dict[str, Any]:
    """The members of a record, or none if it is not a JSON object."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _type_of(values: list[Any]) -> tuple[Type, str]:
    """The type of a member's values, and a note where it is a guess."""
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return Type.VARCHAR, "null in every record looked at; taken for VARCHAR"
    if kinds == {bool}:
        return Type.BOOLEAN, ""
    if kinds == {str}:
        return Type.VARCHAR, ""
    if kinds <= {int, float}:
        if float in kinds:
            return Type.DOUBLE, ""
        if all(value is None or BIGINT_MIN <= value <= BIGINT_MAX for value in values):
            return Type.BIGINT, ""
        return Type.JSON, "integers beyond BIGINT; declare the column to use it"
    if kinds <= {dict, list}:
        return Type.JSON, ""
    names = sorted({"number" if kind in (int, float) else _NAMES[kind] for kind in kinds})
    return Type.JSON, f"mixed ({', '.join(names)}); declare the column to use it"


_NAMES: dict[type, str] = {bool: "boolean", str: "text", dict: "object", list: "array"}


def _with_time(table: Table, name: str, values: list[Any]) -> Table:
    """The table with its time column as a TIMESTAMP, if its values allow that."""
    field, present = table.fields[name], [value for value in values if value is not None]
    scan, why = "", ""
    if field.type in (Type.BIGINT, Type.DOUBLE):
        largest = max(abs(value) for value in present)
        if not largest <= TIMESTAMP_MAX:
            note = (
                f"{name}: numbers up to {largest:g} are no seconds, milliseconds or microseconds since 1970"
            )
            return replace(table, notes=(*table.notes, note))
        scan, why = next(
            ((kind, unit) for limit, kind, unit in _EPOCHS if largest < limit),
            ("timestamp[us]", "microseconds"),
        )
        why = f"numbers up to {largest:g}, taken for {why} since 1970"
    elif (
        field.type is Type.VARCHAR
        and present
        and all(parse_timestamp(value) is not None for value in present)
    ):
        scan, why = "timestamp", "texts that are all ISO 8601 or SQL timestamps"
    if not scan:
        return table
    fields = {**table.fields, name: replace(field, type=Type.TIMESTAMP, scan=scan)}
    return replace(table, fields=fields, notes=(*table.notes, f"{name}: the time column; {why}"))
