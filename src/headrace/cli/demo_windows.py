# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The demo's two SQL windows: one in Flink's form over event time, one in the kinesis form over arrival.

Each runs in a thread while the demo feeds, over the store that the server writes, and is run once more over
the finished records at the end: its counts must add up to what was put, and no window that was shown live
may differ.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from headrace.cli.demo_server import STREAM

if TYPE_CHECKING:
    from headrace.analytics import Query
    from headrace.streams import Streams

FLINK = f"""
CREATE TABLE {STREAM} (
  ts BIGINT, host VARCHAR, metric VARCHAR, `value` DOUBLE,
  at AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR at AS at - INTERVAL '2' SECOND);
SELECT window_start, host, metric, COUNT(*) AS records, AVG(`value`) AS mean, MAX(`value`) AS peak
FROM TABLE(TUMBLE(TABLE {STREAM}, DESCRIPTOR(at), INTERVAL '5' SECOND))
GROUP BY window_start, window_end, host, metric"""

KINESIS = f"""
SELECT STREAM STEP("{STREAM}".ROWTIME BY INTERVAL '1' SECOND) AS "window_start", "metric",
  COUNT(*) AS "records", MAX("value") AS "peak"
FROM "{STREAM}"
GROUP BY "metric", STEP("{STREAM}".ROWTIME BY INTERVAL '1' SECOND)"""

WINDOWS_SHOWN = 200  # rows kept for the screen

Row = dict[str, Any]
Key = tuple[Any, ...]


class LiveWindow:
    """One query at work.

    Attributes:
        title: what it is called on the screen.
        counts: (start of the window, host and metric, or metric) -> COUNT(*), of windows that have closed.
        latest: the rows of the window that closed last.
        failure: what ended it early.
    """

    def __init__(self, title: str, text: str, streams: Streams, start: dict[int, int]) -> None:
        self.title = title
        self.counts: dict[Key, int] = {}
        self.latest: list[Row] = []
        self.doubled = 0
        self.failure: Exception | None = None
        self._text = text
        self._streams = streams
        self._start = start
        self._query: Query | None = None
        self._thread = threading.Thread(target=self._run, name=f"demo-{title}", daemon=True)

    def start(self) -> None:
        """Run in a thread. There must be a record, because columns are found by looking."""
        from headrace.analytics import open_query

        self._query = open_query(self._text, self._streams, start=self._start)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; windows that are open then are counted by `recount` only."""
        if self._query is not None:
            self._query.stop(drain=False)
            self._thread.join()

    @property
    def late(self) -> int:
        """Rows that came after their window had closed."""
        return 0 if self._query is None else self._query.late_rows + self._query.error_rows

    def recount(self) -> tuple[dict[Key, int], int]:
        """The counts of all windows over everything that is there now, and how many rows had no window."""
        from headrace.analytics import open_query

        query = open_query(self._text, self._streams, start=self._start, until="latest")
        counts: dict[Key, int] = {}
        for columns in query:
            for row in rows_of(columns):
                counts[key_of(row)] = counts.get(key_of(row), 0) + int(row["records"])
        return counts, query.late_rows + query.error_rows

    def _run(self) -> None:
        assert self._query is not None
        try:
            for columns in self._query:
                rows = rows_of(columns)
                for row in rows:
                    key = key_of(row)
                    self.doubled += key in self.counts
                    self.counts[key] = int(row["records"])
                if rows:
                    last = max(row["window_start"] for row in rows)
                    self.latest = [row for row in rows if row["window_start"] == last][:WINDOWS_SHOWN]
        except Exception as failure:  # told at the end, where the checks fail too
            self.failure = failure


def rows_of(columns: Any) -> list[Row]:
    """The rows of a result."""
    arrays = columns.to_numpy()
    names = list(arrays)
    return [
        dict(zip(names, values, strict=True))
        for values in zip(*(arrays[name].tolist() for name in names), strict=True)
    ]


def key_of(row: Row) -> Key:
    """What tells a row of a result from all others."""
    return (row["window_start"], row.get("host", ""), row["metric"])


def by_metric(counts: dict[Key, int]) -> dict[str, int]:
    """How many records all windows together counted, by metric."""
    found: dict[str, int] = defaultdict(int)
    for key, count in counts.items():
        found[key[-1]] += count
    return dict(found)
