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

from headrace.analytics.query import Query, open_query
from headrace.analytics.types import Schema
from headrace.analytics.windows import Tumbling

__all__ = ["Query", "Schema", "Tumbling", "open_query"]
