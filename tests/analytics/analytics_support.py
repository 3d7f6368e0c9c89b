# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Rows into records, shards and batches, and results out of queries, for the tests of Analytics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from headrace.analytics.query import Query, open_query
from headrace.analytics.sources import MemorySource
from headrace.core._batch import RecordBatch
from headrace.core.table import Columns


def batches_of(
    rows: Sequence[dict[str, Any]], shards: Sequence[int], size: int, *, ascii: bool = False
) -> list[RecordBatch]:
    """The rows as JSON records in shards, cut into batches of `size`, shard after shard.

    With `ascii` all else is written with escapes.
    """
    batches = []
    for shard in sorted(set(shards)):
        data = [
            json.dumps(row, ensure_ascii=ascii).encode()
            for row, own in zip(rows, shards, strict=True)
            if own == shard
        ]
        for start in range(0, len(data), size):
            batches.append(RecordBatch.of(data[start : start + size], shard=shard, first_ordinal=start))
    return batches


def interleave(batches: list[RecordBatch], turns: Sequence[int]) -> list[RecordBatch]:
    """The batches in another order that keeps the order within each shard."""
    queues: dict[int, list[RecordBatch]] = {}
    for batch in batches:
        queues.setdefault(int(batch.shards[0]), []).append(batch)
    result = []
    for turn in [*turns, *range(len(batches))]:
        waiting = [queue for queue in queues.values() if queue]
        if waiting:
            result.append(waiting[turn % len(waiting)].pop(0))
    for queue in queues.values():
        result.extend(queue)
    return result


def over(text: str, batches: list[RecordBatch], **options: Any) -> Query:
    """A query over batches, as table t."""
    return open_query(text, sources={"t": MemorySource(batches)}, **options)


def rows_of(columns: Columns) -> list[tuple[Any, ...]]:
    """Rows as tuples: None for NULL, timestamps as microseconds."""
    lists = []
    for name in columns:
        column = columns.column(name)
        values = (
            column.values.view("int64").tolist() if column.type == "timestamp" else column.array().tolist()
        )
        lists.append(
            [value if valid else None for value, valid in zip(values, column.valid.tolist(), strict=True)]
        )
    return list(zip(*lists, strict=True))
