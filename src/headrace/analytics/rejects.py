# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Rows that went into no result: error rows and late rows; all are counted, the latest are kept to look at."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace import limits
from headrace.analytics.vectors import REASONS
from headrace.core._batch import RecordBatch
from headrace.core.table import Columns

Rows = npt.NDArray[np.int64]
_RECORD_SIZE = 256  # bytes of a rejected record that are kept


class Rejects:
    """The error rows and late rows of one query."""

    def __init__(self) -> None:
        self.late = 0
        self.gaps = 0  # how often records were dropped before they were read
        self.reasons: Counter[str] = Counter()
        self._errors: deque[tuple[Any, ...]] = deque(maxlen=limits.sql_errors_kept_max)
        self._late: deque[tuple[Any, ...]] = deque(maxlen=limits.sql_errors_kept_max)

    @property
    def errors(self) -> int:
        """Error rows so far."""
        return self.reasons.total()

    def add_errors(self, batch: RecordBatch, rows: Rows, reason: str, column: str) -> None:
        """Records that do not fit."""
        if not len(rows):
            return
        self.reasons[reason] += len(rows)
        for row in rows[-limits.sql_errors_kept_max :].tolist():
            self._errors.append((*_origin(batch, row), reason, column, _text(batch, row)))

    def add_failures(self, batch: RecordBatch, rows: Rows, failures: npt.NDArray[np.int8]) -> None:
        """Rows for which an expression has no value."""
        for reason in np.unique(failures).tolist():
            self.add_errors(batch, rows[failures == reason], REASONS[reason], "")

    def add_group(self, reason: str, group: str) -> None:
        """A group for which an expression has no value."""
        self.reasons[reason] += 1
        self._errors.append((None, -1, -1, reason, "", group))

    def add_late(self, batch: RecordBatch, rows: Rows, times: Rows, ends: Rows) -> None:
        """Rows whose window had ended."""
        self.late += len(rows)
        keep = slice(-limits.sql_errors_kept_max, None)
        for row, time, end in zip(
            rows[keep].tolist(), times[keep].tolist(), ends[keep].tolist(), strict=True
        ):
            self._late.append((*_origin(batch, row), time, end, _text(batch, row)))

    def error_columns(self) -> Columns:
        """The latest error rows: where they stood, why, in which column, and what they were."""
        rows = list(self._errors)
        return Columns.from_arrays(
            {
                "arrival": np.array(
                    [row[0] if row[0] is not None else "NaT" for row in rows], "datetime64[ms]"
                ),
                "shard": np.array([row[1] for row in rows], np.int64),
                "index": np.array([row[2] for row in rows], np.int64),
                "reason": _texts(rows, 3),
                "column": _texts(rows, 4),
                "row": _texts(rows, 5),
            }
        )

    def late_columns(self) -> Columns:
        """The latest late rows: where they stood, their time, and the end of the window they missed."""
        rows = list(self._late)
        return Columns.from_arrays(
            {
                "arrival": np.array([row[0] for row in rows], "datetime64[ms]"),
                "shard": np.array([row[1] for row in rows], np.int64),
                "index": np.array([row[2] for row in rows], np.int64),
                "time": np.array([row[3] for row in rows], np.int64).view("datetime64[us]"),
                "window_end": np.array([row[4] for row in rows], np.int64).view("datetime64[us]"),
                "row": _texts(rows, 5),
            }
        )

    def save(self) -> dict[str, Any]:
        """The counts, as plain values; the kept rows are not part of the state."""
        return {"late": self.late, "gaps": self.gaps, "reasons": dict(self.reasons)}

    def load(self, saved: dict[str, Any]) -> None:
        """Take up counts."""
        self.late = saved["late"]
        self.gaps = saved.get("gaps", 0)
        self.reasons = Counter(saved["reasons"])


def _origin(batch: RecordBatch, row: int) -> tuple[Any, int, int]:
    return batch.arrival[row], int(batch.shards[row]), int(batch.ordinals[row])


def _text(batch: RecordBatch, row: int) -> str:
    return batch[row].data[:_RECORD_SIZE].decode("utf-8", "replace")


def _texts(rows: list[tuple[Any, ...]], index: int) -> npt.NDArray[Any]:
    texts = np.empty(len(rows), object)
    texts[:] = [row[index] for row in rows]
    return texts
