# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The room of Analytics: SQL over streams, computed by numpy windows.

text.py, dialects.py         a query's text to trees; errors with line, column and caret
planner.py, tables.py        names, types, what is refused; expressions.py compiles to numpy
discovery.py                 columns of a stream whose text declares none
engine.py                    records in, rows out; windows.py: where a window closes
runner.py, state.py, sinks.py  a query at work; exactly once into a stream; taken up after a crash
query.py                     what users hold; applications.py, keeper.py: queries that a server runs
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.analytics import windows
    from headrace.analytics.query import Query, open_query
    from headrace.analytics.types import Schema
    from headrace.analytics.windows import Tumbling

# sqlglot takes a tenth of a second to import: whoever only serves a store without queries does not pay it.
_HOMES = {"Query": "query", "open_query": "query", "Schema": "types", "Tumbling": "windows"}

__all__ = ["Query", "Schema", "Tumbling", "open_query", "windows"]


def __getattr__(name: str) -> Any:
    if name == "windows":
        return importlib.import_module("headrace.analytics.windows")
    if name not in _HOMES:
        raise AttributeError(f"module 'headrace.analytics' has no attribute {name!r}")
    return getattr(importlib.import_module(f"headrace.analytics.{_HOMES[name]}"), name)
