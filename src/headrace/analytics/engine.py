# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A plan at work: batches of records go in, rows of the result come out. No clock, no stream, no thread.

What comes out depends on nothing but the records, their order within each shard, and the judgements that
a shard is idle; not on how they are cut into batches, nor on the order in which shards are read.

Cost: the scanner's (about 100 ns a record of 200 bytes with three columns), and 20 to 60 ns a row here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.analytics.columns import columns_of, vector_of
from headrace.analytics.plan import Plan
from headrace.analytics.planner import ARRIVAL
from headrace.analytics.rejects import Rejects
from headrace.analytics.types import (
    INTEGER_MAX,
    INTEGER_MIN,
    TIMESTAMP_MAX,
    TIMESTAMP_MIN,
    Field,
    Type,
    format_timestamp,
)
from headrace.analytics.vectors import (
    NULL_VALUE,
    REASONS,
    TOO_LONG,
    Failures,
    Mask,
    Vector,
    fail,
    map_strings,
)
from headrace.analytics.watermark import Watermarks
from headrace.analytics.windows import Closed, Windows
from headrace.core._batch import RecordBatch
from headrace.core._columns import Field as ScanField
from headrace.core._columns import scan
from headrace.core.table import Columns

Rows = npt.NDArray[np.int64]


@dataclass
class Result:
    """Rows of the result, and the partition keys under which they go into a stream (made on demand)."""

    columns: Columns
    partition_keys: Callable[[], list[str]]


class BatchFrame:
    """The columns of a batch, or of some of its rows; each is fetched when first asked for."""

    def __init__(
        self, columns: Columns, arrivals: Rows, types: dict[str, Type], chosen: Rows | None = None
    ) -> None:
        self._columns, self._arrivals, self._types, self._chosen = columns, arrivals, types, chosen
        self._cache: dict[str, Vector] = {}
        self.rows = len(arrivals) if chosen is None else len(chosen)

    def column(self, name: str) -> Vector:
        """The column of that name."""
        vector = self._cache.get(name)
        if vector is None:
            if name == ARRIVAL:
                vector = Vector(Type.TIMESTAMP, self._arrivals)
            else:
                vector = vector_of(self._columns, name, self._types[name])
            if self._chosen is not None:
                vector = vector.take(self._chosen)
            self._cache[name] = vector
        return vector

    def take(self, kept: Mask) -> BatchFrame:
        """Some of its rows."""
        chosen = np.flatnonzero(kept) if self._chosen is None else self._chosen[kept]
        return BatchFrame(self._columns, self._arrivals, self._types, chosen)

    @property
    def numbers(self) -> Rows:
        """The rows' numbers in the batch."""
        return np.arange(self.rows) if self._chosen is None else self._chosen


def source_keys(batch: RecordBatch) -> list[str]:
    """The records' keys; for one without, its place in its stream: it spreads, and is the same at a replay."""
    places = zip(batch.keys, batch.shards.tolist(), batch.ordinals.tolist(), strict=True)
    return [key or f"{shard}-{ordinal}" for key, shard, ordinal in places]


class Engine:
    """The state of one running query.

    Args:
        plan: what to do.
        patient: the input is bounded and its text declares no watermark, so nothing is late and windows
            close at the end only.
    """

    def __init__(self, plan: Plan, *, patient: bool = False) -> None:
        self.plan = plan
        self.patient = patient
        self.fields = [ScanField(field.name, _path(field), field.scan) for field in plan.fields]
        self.types = {field.name: field.type for field in plan.fields}
        self.rejects = Rejects()
        self.windows: Windows | None = None
        self.watermarks = Watermarks(plan.window.delay if plan.window else 0)
        if plan.window is not None:
            self.windows = Windows(
                plan.window.size,
                plan.window.offset,
                [key.type for key in plan.keys],
                [(part.kind, part.argument.type if part.argument else None) for part in plan.aggregates],
            )

    # --- records in ---

    def take(self, batch: RecordBatch, *, replay: bool = False) -> Result | None:
        """Take in the next records of one shard; the rows of a query without windows.

        With `replay` the records were taken in before: what was late or wrong in them was counted then.
        """
        rows = len(batch)
        if not rows:
            return None
        shard = int(batch.shards[0])
        columns = scan(batch, self.fields)
        arrivals = batch.arrival.astype("datetime64[us]").view(np.int64)
        frame = BatchFrame(columns, arrivals, self.types)
        rejects = Rejects() if replay else self.rejects
        frame = self._readable(frame, columns, batch, rejects)
        if self.plan.window is None:
            return self._project(frame, batch, rejects)
        self._fill(frame, batch, shard, rejects)
        return None

    def _readable(
        self, frame: BatchFrame, columns: Columns, batch: RecordBatch, rejects: Rejects
    ) -> BatchFrame:
        """Without the records that do not fit the schema; those are error rows."""
        bad: Mask | None = None
        for name, rows, reason in self._faults(columns, frame):
            if not len(rows):
                continue
            if bad is None:
                bad = np.zeros(frame.rows, np.bool_)
            fresh = rows[~bad[rows]]
            bad[fresh] = True
            rejects.add_errors(batch, fresh, reason, name)
        return frame if bad is None else frame.take(~bad)

    def _faults(self, columns: Columns, frame: BatchFrame) -> list[tuple[str, Rows, str]]:
        faults = [("", columns.errors, "the record is not a JSON object")]
        for field in self.plan.fields:
            faults.append((field.name, columns.mismatches(field.name), f"the value is not {field.type}"))
            if field.type in _BOUNDS:
                rows = _outside(frame.column(field.name), *_BOUNDS[field.type])
                faults.append((field.name, rows, f"the value is beyond {field.type}"))
            if field.length is not None:
                vector = frame.column(field.name)
                long = map_strings(vector, len, np.int64, 0) > field.length
                faults.append((field.name, np.flatnonzero(long), REASONS[TOO_LONG]))
            required = field.name in self.plan.not_null
            if required or (self.plan.window is not None and field.name == self.plan.window.time):
                valid = frame.column(field.name).valid
                rows = np.zeros(0, np.int64) if valid is None else np.flatnonzero(~valid)
                faults.append((field.name, rows, REASONS[NULL_VALUE] if required else "the time is NULL"))
        return faults

    def _project(self, frame: BatchFrame, batch: RecordBatch, rejects: Rejects) -> Result | None:
        """A query without windows: filter and compute."""
        if self.plan.where is not None:
            frame = self._where(frame, batch, rejects)
        vectors, failures = self._outputs(frame)
        if failures is not None:
            bad = failures != 0
            rejects.add_failures(batch, frame.numbers[bad], failures[bad])
            vectors = {name: vector.take(~bad) for name, vector in vectors.items()}
            frame = frame.take(~bad)
        if not frame.rows:
            return None
        chosen = np.zeros(len(batch), np.bool_)
        chosen[frame.numbers] = True
        return Result(columns_of(vectors, frame.rows), lambda: source_keys(batch.filter(chosen)))

    def _where(self, frame: BatchFrame, batch: RecordBatch, rejects: Rejects) -> BatchFrame:
        assert self.plan.where is not None
        condition = self.plan.where.evaluate(frame).spread(frame.rows)
        kept = condition.truth()
        if condition.failures is not None:
            bad = condition.failures != 0
            rejects.add_failures(batch, frame.numbers[bad], condition.failures[bad])
            kept = kept & ~bad
        return frame if kept.all() else frame.take(kept)

    def _outputs(self, frame: Any) -> tuple[dict[str, Vector], Failures | None]:
        """The columns of the result, and which rows of them are errors."""
        vectors: dict[str, Vector] = {}
        failures: Failures | None = None
        for output in self.plan.outputs:
            vector = output.expression.evaluate(frame).spread(frame.rows)
            if output.length is not None:
                vector = fail(vector, map_strings(vector, len, np.int64, 0) > output.length, TOO_LONG)
            if vector.failures is not None:
                failures = (
                    vector.failures
                    if failures is None
                    else np.where(failures != 0, failures, vector.failures)
                )
            if output.not_null and vector.valid is not None and not vector.valid.all():
                null = np.where(vector.valid, np.int8(0), np.int8(NULL_VALUE))
                failures = null if failures is None else np.where(failures != 0, failures, null)
            vectors[output.name] = vector
        return vectors, failures

    # --- windows ---

    def _fill(self, frame: BatchFrame, batch: RecordBatch, shard: int, rejects: Rejects) -> None:
        """Put rows into the windows of their time."""
        plan, windows = self.plan, self.windows
        assert plan.window is not None and windows is not None
        times = frame.column(ARRIVAL if plan.window.time is None else plan.window.time).values
        numbers = windows.numbers(times)
        late = None if self.patient else self.watermarks.advance(shard, times, windows.end(numbers))
        position = np.arange(frame.rows)
        if plan.where is not None:
            kept = self._where(frame, batch, rejects)
            if kept is not frame:
                position = np.searchsorted(frame.numbers, kept.numbers)
                frame = kept
        if late is not None:
            is_late = late[position]
            if is_late.any():
                rows = position[is_late]
                rejects.add_late(batch, frame.numbers[is_late], times[rows], windows.end(numbers[rows]))
                frame, position = frame.take(~is_late), position[~is_late]
        numbers = numbers[position] if len(position) < len(numbers) else numbers
        self._add(frame, numbers, batch, rejects)

    def _add(self, frame: BatchFrame, numbers: Rows, batch: RecordBatch, rejects: Rejects) -> None:
        assert self.windows is not None
        keys = [key.evaluate(frame).spread(frame.rows) for key in self.plan.keys]
        arguments = [
            None if part.argument is None else part.argument.evaluate(frame).spread(frame.rows)
            for part in self.plan.aggregates
        ]
        failed = [
            vector.failures
            for vector in (*keys, *arguments)
            if vector is not None and vector.failures is not None
        ]
        if failed:
            failures = failed[0]
            for others in failed[1:]:
                failures = np.where(failures != 0, failures, others)
            bad = failures != 0
            if bad.any():
                rejects.add_failures(batch, frame.numbers[bad], failures[bad])
                numbers, keys = numbers[~bad], [key.take(~bad) for key in keys]
                arguments = [None if vector is None else vector.take(~bad) for vector in arguments]
        self.windows.add(numbers, keys, arguments)

    def close(self, *, everything: bool = False) -> Result | None:
        """The rows of the windows that all active shards have passed, or of all windows at the end."""
        windows = self.windows
        if windows is None:
            return None
        if everything:
            if windows.open:
                self.watermarks.close(windows.end(max(windows.open)))
            return self._finish(windows.close(None))
        frontier = None if self.patient else self.watermarks.frontier()
        if frontier is None or not windows.open:
            return None
        if windows.end(min(windows.open)) > frontier:
            return None
        return self._finish(windows.close(frontier))

    def _finish(self, closed: Closed) -> Result | None:
        """HAVING and SELECT over closed groups."""
        if not closed.rows:
            return None
        kept = np.ones(closed.rows, np.bool_)
        if self.plan.having is not None:
            condition = self.plan.having.evaluate(closed).spread(closed.rows)
            kept = condition.truth().copy()
            self._reject_groups(closed, condition.failures, None)
            if condition.failures is not None:
                kept &= condition.failures == 0
        vectors, failures = self._outputs(closed)
        self._reject_groups(closed, failures, kept)
        if failures is not None:
            kept &= failures == 0
        if not kept.any():
            return None
        if not kept.all():
            vectors = {name: vector.take(kept) for name, vector in vectors.items()}
        columns = columns_of(vectors, int(np.count_nonzero(kept)))
        return Result(columns, lambda: self._group_keys(closed, kept))

    def _reject_groups(self, closed: Closed, failures: Failures | None, kept: Mask | None) -> None:
        """Groups that have no result are error rows."""
        if failures is None:
            return
        bad = failures != 0 if kept is None else (failures != 0) & kept
        for row in np.flatnonzero(bad).tolist():
            start = int(closed.column("window_start").values[row])
            keys = ", ".join(self._key_texts(closed, row))
            self.rejects.add_group(
                REASONS[int(failures[row])], f"window {format_timestamp(start)}, {keys or 'no key'}"
            )

    def _group_keys(self, closed: Closed, kept: Mask) -> list[str]:
        """Partition keys: the grouping keys' values, or the window's start where there are none."""
        keys = []
        for row in np.flatnonzero(kept).tolist():
            text = ",".join(self._key_texts(closed, row))
            keys.append(text[:256] or format_timestamp(int(closed.column("window_start").values[row])))
        return keys

    def _key_texts(self, closed: Closed, row: int) -> list[str]:
        texts = []
        for index in range(len(self.plan.keys)):
            vector = closed.column(f"key{index}")
            if vector.valid is not None and not vector.valid[row]:
                texts.append("null")
            elif vector.dictionary is not None:
                texts.append(vector.dictionary[int(vector.values[row])])
            elif vector.type is Type.TIMESTAMP:
                texts.append(format_timestamp(int(vector.values[row])))
            else:
                texts.append(str(vector.values[row]))
        return texts


_BOUNDS = {Type.INTEGER: (INTEGER_MIN, INTEGER_MAX), Type.TIMESTAMP: (TIMESTAMP_MIN, TIMESTAMP_MAX)}
"""Types whose vectors could hold more than the type does."""


def _outside(vector: Vector, low: int, high: int) -> Rows:
    """The rows with a value beyond these bounds."""
    values = vector.values if vector.valid is None else np.where(vector.valid, vector.values, np.int64(low))
    if not len(values) or (low <= values.min() and values.max() <= high):
        return np.zeros(0, np.int64)
    return np.flatnonzero((values < low) | (values > high))


def _path(field: Field) -> str | None:
    """Where the scanner finds a column: a member's name is never read as a path here."""
    if field.path == field.name and not field.name.startswith("$"):
        return None
    return f"$['{field.path}']" if "'" not in field.path else f'$["{field.path}"]'
