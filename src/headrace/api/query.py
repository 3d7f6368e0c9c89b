# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""SQL without a store: over streams of any open store, batches of records, or plain rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headrace.analytics import Query, open_query
from headrace.api.stream import Stream
from headrace.core._batch import RecordBatch

__all__ = ["Query", "sql"]


def sql(query: str, **tables: Stream | RecordBatch | Iterable[Any]) -> Query:
    """A query over tables given by name; it ends with what is there now.

    Each table is a stream, a batch of records, or rows (dicts, or JSON texts). Raises SQLError.

        headrace.sql("SELECT host, cpu FROM m WHERE cpu > 90", m=metrics.read()).to_polars()
    """
    return open_query(query, sources=tables, until="latest")
