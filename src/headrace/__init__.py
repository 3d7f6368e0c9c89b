# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Headrace: a durable, native-speed Kinesis that anyone can host or embed.

    store = headrace.open("telemetry")
    stream = store.stream("metrics", shards=4)
    stream.put({"host": "web-1", "cpu": 12.5}, key="web-1")
    batch = stream.read()

Names are imported when they are first used, so that `import headrace` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from headrace.analytics import windows
    from headrace.api import Position, Positions, Store, Stream, StreamInfo, Tail, open
    from headrace.api.query import Query, sql
    from headrace.core._batch import Record, RecordBatch
    from headrace.errors import (
        AlreadyExists,
        Backpressure,
        Closed,
        Corrupt,
        DeliveryError,
        Error,
        ExpiredPosition,
        ForkedError,
        InvalidArgument,
        LeaseLost,
        LockedByOther,
        NotFound,
        SQLError,
        StorageError,
        Throttled,
        Unsupported,
    )

_HOMES = {
    **dict.fromkeys(
        ("Position", "Positions", "Store", "Stream", "StreamInfo", "Tail", "open"), "headrace.api"
    ),
    **dict.fromkeys(("Query", "sql"), "headrace.api.query"),
    "windows": "headrace.analytics",
    **dict.fromkeys(("Record", "RecordBatch"), "headrace.core._batch"),
}
_ERRORS = (
    "AlreadyExists", "Backpressure", "Closed", "Corrupt", "DeliveryError", "Error", "ExpiredPosition", "ForkedError",
    "InvalidArgument", "LeaseLost", "LockedByOther", "NotFound", "SQLError", "StorageError", "Throttled", "Unsupported",
)  # fmt: skip

__all__ = [
    "AlreadyExists",
    "Backpressure",
    "Closed",
    "Corrupt",
    "DeliveryError",
    "Error",
    "ExpiredPosition",
    "ForkedError",
    "InvalidArgument",
    "LeaseLost",
    "LockedByOther",
    "NotFound",
    "Position",
    "Positions",
    "Query",
    "Record",
    "RecordBatch",
    "SQLError",
    "StorageError",
    "Store",
    "Stream",
    "StreamInfo",
    "Tail",
    "Throttled",
    "Unsupported",
    "__version__",
    "open",
    "sql",
    "windows",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    home = "headrace.errors" if name in _ERRORS else _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'headrace' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
