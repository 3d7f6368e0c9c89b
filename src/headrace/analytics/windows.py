# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Tumbling windows: rows go into the window of their time, and a window closes here, once and for good.

A window is [start, start + size): half open, also before 1970. It closes when the watermark reaches its
end, or by `flush` at the end of a bounded input; then its rows leave in the order of their keys, and its
memory is free. A row whose window has ended by the watermark of its own shard, or was closed, is late: it
is counted and shown, and goes into no window.

`Windows` is the operator that SQL runs on; `Tumbling` is the same with names, for use without SQL:

    per_second = Tumbling("1s", time="ts", by=["host"], aggregates={"n": "count", "peak": ("max", "cpu")})
    closed = per_second.push(batch.columns("host", ts="timestamp", cpu="f8"))     # Columns
    rest = per_second.flush()

State: one slot for each open group (window and key), in the accumulators' arrays; for each window the
numbers of its keys, ascending, and their slots. So memory follows the open groups, 16 bytes each beside
what keys and aggregates hold, however many windows are open and however many keys there were.

Cost: about 5 ns a row for window and slot, and what keys and aggregates cost beside (see there); a group
that is new in a batch moves what its window has, about 1 ns a group that is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from headrace import limits
from headrace.analytics.accumulators import accumulator
from headrace.analytics.columns import columns_of, vector_of
from headrace.analytics.keys import KeyTable
from headrace.analytics.types import INTEGERS, TIMESTAMP_MAX, TIMESTAMP_MIN, Type
from headrace.analytics.vectors import Vector
from headrace.analytics.watermark import Watermarks
from headrace.core.table import Columns
from headrace.errors import InvalidArgument, LimitExceeded

Integers = npt.NDArray[np.int64]


@dataclass
class Closed:
    """The groups of closed windows, as a frame: `window_start`, `window_end`, `window_time`, `key0` …,
    `aggregate0` … are its columns."""

    rows: int
    columns: dict[str, Vector]

    def column(self, name: str) -> Vector:
        """One of the columns."""
        return self.columns[name]


@dataclass(slots=True)
class Members:
    """The groups of one open window: the numbers of their keys, ascending, and their slots."""

    keys: Integers
    slots: Integers

    def find(self, wanted: Integers) -> tuple[Integers, npt.NDArray[np.bool_]]:
        """For each wanted key where it stands, or would stand; and whether it is there."""
        places = np.searchsorted(self.keys, wanted)
        if not len(self.keys):
            return places, np.zeros(len(wanted), np.bool_)
        there: npt.NDArray[np.bool_] = self.keys[np.minimum(places, len(self.keys) - 1)] == wanted
        return places, there

    def insert(self, places: Integers, keys: Integers, slots: Integers) -> None:
        """Take in keys that were not there, at the places that `find` gave."""
        order = np.argsort(keys)
        self.keys = np.insert(self.keys, places[order], keys[order])
        self.slots = np.insert(self.slots, places[order], slots[order])


class Windows:
    """The open windows of one query and the groups in them.

    Args:
        size, offset: microseconds.
        keys: the types of the grouping keys.
        aggregates: for each aggregate its function's name and its argument's type (None: COUNT(*)).
    """

    def __init__(
        self, size: int, offset: int, keys: Sequence[Type], aggregates: Sequence[tuple[str, Type | None]]
    ) -> None:
        self.size, self.offset = size, offset
        self.table = KeyTable(tuple(keys))
        self.accumulators = [accumulator(kind, argument) for kind, argument in aggregates]
        self.open: dict[int, Members] = {}  # by window number
        self.capacity = 0
        self.free: Integers = np.zeros(0, np.int64)

    def __len__(self) -> int:
        """Open groups."""
        return self.capacity - len(self.free)

    def numbers(self, times: Integers) -> Integers:
        """The number of each time's window: floor((time - offset) / size)."""
        if not len(times):
            return np.zeros(0, np.int64)
        first = (int(times.min()) - self.offset) // self.size
        last = (int(times.max()) - self.offset) // self.size
        if first == last:
            return np.full(len(times), first, np.int64)
        if last - first == 1:
            return np.where(times < self.offset + last * self.size, np.int64(first), np.int64(last))
        return (times - self.offset) // self.size

    def end(self, number: Any) -> Any:
        """The end of windows by number."""
        return (number + 1) * self.size + self.offset

    def add(self, numbers: Integers, keys: list[Vector], arguments: list[Vector | None]) -> None:
        """Take in rows that are not late.

        Args:
            numbers: the number of each row's window.
            keys, arguments: vectors spread over the rows.

        Raises:
            LimitExceeded: more open groups, or more text in them, than a query may have.
        """
        rows = len(numbers)
        if not rows:
            return
        codes, key_numbers = self.table.encode(keys, rows)
        windows, keys_of, codes = self._cells(numbers, codes, len(key_numbers))
        slots = self._slots(windows, key_numbers[keys_of])
        for each, argument in zip(self.accumulators, arguments, strict=True):
            each.add(codes, len(slots), slots, argument)
        texts = self.table.texts_size + sum(each.texts_size for each in self.accumulators)
        if texts > limits.sql_texts_size_max:
            raise LimitExceeded(
                f"the open groups of the query hold {texts} bytes of text; at most {limits.sql_texts_size_max} are kept",
                hint="declare a WATERMARK so that windows close, or group by less or by shorter texts",
            )

    def _cells(self, numbers: Integers, codes: Integers, keys: int) -> tuple[Integers, Integers, Integers]:
        """The batch's groups: their windows (ascending), their keys, and for each row which group it is in."""
        bound = 4 * len(numbers) + 65536
        low, high = int(numbers.min()), int(numbers.max())
        if (high - low + 1) * keys <= bound:
            count, windows = high - low + 1, None
            combined = codes if low == high else (numbers - low) * keys + codes
        else:
            windows, positions = np.unique(numbers, return_inverse=True)
            count, combined = len(windows), positions.reshape(len(numbers)) * keys + codes
        if count * keys <= bound:
            present = np.flatnonzero(np.bincount(combined, minlength=count * keys))
            if len(present) < count * keys:
                dense = np.empty(count * keys, np.int64)
                dense[present] = np.arange(len(present))
                combined = dense[combined]
        else:
            present, combined = np.unique(combined, return_inverse=True)
            combined = combined.reshape(len(numbers))
        positions = present // keys
        return positions + low if windows is None else windows[positions], present % keys, combined

    def _slots(self, windows: Integers, key_numbers: Integers) -> Integers:
        """The slot of each (window, key); new ones are made. `windows` ascends."""
        slots = np.empty(len(windows), np.int64)
        edges = np.flatnonzero(np.diff(windows, prepend=windows[0] - 1, append=windows[-1] + 1))
        for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            number = int(windows[start])
            known = self.open.get(number)
            if known is None:
                known = Members(np.zeros(0, np.int64), np.zeros(0, np.int64))
            wanted = key_numbers[start:stop]
            places, there = known.find(wanted)
            if there.all():
                slots[start:stop] = known.slots[places]
                continue
            fresh = ~there
            made = self._allocate(int(np.count_nonzero(fresh)))
            found = np.empty(len(wanted), np.int64)
            found[there], found[fresh] = known.slots[places[there]], made
            known.insert(places[fresh], wanted[fresh], made)
            self.open[number] = known
            slots[start:stop] = found
        return slots

    def _allocate(self, count: int) -> Integers:
        if len(self.free) < count:
            if len(self) + count > limits.sql_groups_max:
                raise LimitExceeded(
                    f"the query has more than {limits.sql_groups_max} open groups (windows and keys together)",
                    hint="declare a WATERMARK so that windows close, take shorter windows, or group by less",
                )
            capacity = max(2 * self.capacity, self.capacity + count, 64)
            self.free = np.concatenate([self.free, np.arange(self.capacity, capacity)])
            self.capacity = capacity
            for each in self.accumulators:
                each.grow(capacity)
        taken, self.free = self.free[:count], self.free[count:]
        return taken

    def close(self, until: int | None) -> Closed:
        """Close each window whose end is not after `until` (None: all), and give what is in them.

        Rows are ordered by window, then by key.
        """
        due = sorted(number for number in self.open if until is None or self.end(number) <= until)
        starts, key_parts, slot_parts = [], [], []
        for number in due:
            members = self.open.pop(number)
            order = self.table.order(members.keys)
            key_parts.append(members.keys[order])
            slot_parts.append(members.slots[order])
            starts.append(np.full(len(order), number * self.size + self.offset, np.int64))
        start = np.concatenate(starts) if starts else np.zeros(0, np.int64)
        key_numbers = np.concatenate(key_parts) if key_parts else np.zeros(0, np.int64)
        slots = np.concatenate(slot_parts) if slot_parts else np.zeros(0, np.int64)
        columns = {
            "window_start": Vector(Type.TIMESTAMP, start),
            "window_end": Vector(Type.TIMESTAMP, start + self.size),
            "window_time": Vector(Type.TIMESTAMP, start + self.size - 1000),
        }
        for index, vector in enumerate(self.table.vectors(key_numbers)):
            columns[f"key{index}"] = vector
        for index, each in enumerate(self.accumulators):
            columns[f"aggregate{index}"] = each.result(slots)
            each.reset(slots)
        self.free = np.concatenate([self.free, slots])
        self._forget_keys()
        return Closed(len(slots), columns)

    def _forget_keys(self) -> None:
        """Drop keys that no open window has, once they are most of the table."""
        if len(self.table) < 4096:
            return
        used = np.zeros(len(self.table), np.bool_)
        for members in self.open.values():
            used[members.keys] = True
        kept = np.flatnonzero(used)
        if 2 * len(kept) > len(self.table):
            return
        moved = self.table.keep(kept)
        for members in self.open.values():
            members.keys = moved[members.keys]  # in the same order as before

    # --- state ---

    def save(self) -> dict[str, Any]:
        """All open windows, as plain values."""
        windows = {}
        for number, members in self.open.items():
            keys = [list(self.table.keys[key]) for key in members.keys.tolist()]
            windows[number] = [keys, [each.save(members.slots) for each in self.accumulators]]
        return {"size": self.size, "offset": self.offset, "windows": list(windows.items())}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Take up what `save` gave, in windows that are empty so far."""
        if (saved["size"], saved["offset"]) != (self.size, self.offset):
            raise InvalidArgument("this state is of windows of another size or offset")
        for number, (keys, parts) in saved["windows"]:
            key_numbers = np.array([self.table.number(tuple(key)) for key in keys], np.int64)
            slots = self._slots(np.full(len(keys), number, np.int64), key_numbers)
            for each, part in zip(self.accumulators, parts, strict=True):
                each.load(slots, part)


# --- the operator in public ---


class Tumbling:
    """Tumbling windows over columns, without SQL and without a stream.

    Args:
        size: the windows' length: a timedelta, or a text such as "1s", "500ms", "5m", "1h", "1d".
        time: the name of the time column (a timestamp).
        by: the names of the grouping keys.
        aggregates: for each column of the result: "count", or a function and a column: ("sum", "bytes"),
            ("min" | "max" | "avg" | "count", name).
        offset: shifts where windows begin.
        delay: how far the watermark stays behind the latest time of each shard.

    Results have the columns window_start, window_end, the keys and the aggregates, ordered by window and
    key. Rows without a time are counted in `null_times`, late rows in `late_rows`.
    """

    def __init__(
        self,
        size: str | timedelta,
        *,
        time: str,
        by: Sequence[str] = (),
        aggregates: Mapping[str, str | tuple[str, str]] | None = None,
        offset: str | timedelta = timedelta(0),
        delay: str | timedelta = timedelta(0),
    ) -> None:
        self.size, self.offset = duration_micros(size), duration_micros(offset)
        if self.size <= 0:
            raise InvalidArgument(f"a window is longer than nothing; got {size!r}")
        self.time, self.by = time, tuple(by)
        self.aggregates = {
            name: (given.upper(), None) if isinstance(given, str) else (given[0].upper(), given[1])
            for name, given in (aggregates if aggregates is not None else {"count": "count"}).items()
        }
        for name, (kind, argument) in self.aggregates.items():
            if kind not in ("COUNT", "SUM", "MIN", "MAX", "AVG") or (argument is None and kind != "COUNT"):
                raise InvalidArgument(
                    f"aggregate {name!r} is {kind.lower()!r} of {argument!r}",
                    hint='write "count", or one of count, sum, min, max, avg with a column: ("sum", "bytes")',
                )
        taken = ["window_start", "window_end", *self.by, *self.aggregates]
        if len(set(taken)) < len(taken):
            raise InvalidArgument(f"two columns of the result have one name: {', '.join(taken)}")
        self.watermarks = Watermarks(duration_micros(delay))
        self.late_rows = 0
        self.null_times = 0
        self._windows: Windows | None = None
        self._types: list[Type] = []
        self._saved: dict[str, Any] | None = None

    def push(self, columns: Columns, *, shard: int = 0) -> Columns:
        """Take in rows of one shard, in their order; the groups of the windows that this closed.

        Raises:
            InvalidArgument: a column is missing or has the wrong type, or a time is beyond the year 9999.
            LimitExceeded: too many open groups.
        """
        vectors = {name: vector_of(columns, name) for name in self._names()}
        time = vectors[self.time]
        if time.type is not Type.TIMESTAMP:
            raise InvalidArgument(f"column {self.time!r} is {time.type}; the time column is a timestamp")
        windows = self._opened(vectors)
        known = time.values if time.valid is None else time.values[time.valid]
        if len(known) and not TIMESTAMP_MIN <= known.min() <= known.max() <= TIMESTAMP_MAX:
            raise InvalidArgument(f"a time in column {self.time!r} is beyond the years 1 to 9999")
        if time.valid is not None and not time.valid.all():
            self.null_times += int(np.count_nonzero(~time.valid))
            vectors = {name: vector.take(time.valid) for name, vector in vectors.items()}
            time = vectors[self.time]
        numbers = windows.numbers(time.values)
        late = self.watermarks.advance(shard, time.values, windows.end(numbers))
        if late is not None:
            self.late_rows += int(np.count_nonzero(late))
            numbers = numbers[~late]
            vectors = {name: vector.take(~late) for name, vector in vectors.items()}
        arguments = [
            None if argument is None else vectors[argument] for _, argument in self.aggregates.values()
        ]
        windows.add(numbers, [vectors[name] for name in self.by], arguments)
        frontier = self.watermarks.frontier()
        return self._result(windows.close(frontier) if frontier is not None else None)

    def flush(self) -> Columns:
        """Close all windows, as at the end of a bounded input; the groups in them."""
        windows = self._windows
        if windows is None:
            return Columns({}, 0)
        if windows.open:
            self.watermarks.close(windows.end(max(windows.open)))
        return self._result(windows.close(None))

    def state(self) -> bytes:
        """Everything that is open, for `restore`."""
        inside = self._saved if self._windows is None else self._windows.save()
        return msgspec.msgpack.encode(
            {
                "version": 1,
                "types": [kind.value for kind in self._types],
                "windows": inside,
                "watermarks": self.watermarks.save(),
                "late_rows": self.late_rows,
                "null_times": self.null_times,
            }
        )

    def restore(self, state: bytes) -> None:
        """Take up what `state` gave, in an operator made with the same arguments."""
        try:
            saved = msgspec.msgpack.decode(state)
            types, inside = [Type(kind) for kind in saved["types"]], saved["windows"]
            if saved["version"] != 1:
                raise InvalidArgument(
                    f"this state is of version {saved['version']}; this headrace reads version 1"
                )
            self._windows, self._types = None, []
            if types:
                self._make(types).load(inside)
            self.watermarks.load(saved["watermarks"])
            self.late_rows, self.null_times = saved["late_rows"], saved["null_times"]
        except InvalidArgument:
            raise
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            raise InvalidArgument(f"this is no state of a window operator: {error}") from error

    # --- inside ---

    def _names(self) -> list[str]:
        arguments = [argument for _, argument in self.aggregates.values() if argument is not None]
        return list(dict.fromkeys([self.time, *self.by, *arguments]))

    def _opened(self, vectors: dict[str, Vector]) -> Windows:
        """The windows, made when the first columns tell their types."""
        types = [vectors[name].type for name in self._names()]
        if self._windows is None:
            return self._make(types)
        if types != self._types:
            raise InvalidArgument(f"the columns {self._names()} had other types before")
        return self._windows

    def _make(self, types: list[Type]) -> Windows:
        if len(types) != len(self._names()):
            raise InvalidArgument("this state is of an operator with other columns")
        known = dict(zip(self._names(), types, strict=True))
        for kind, argument in self.aggregates.values():
            numeric = argument is None or known[argument] in (*INTEGERS, Type.DOUBLE)
            if (kind in ("SUM", "AVG") and not numeric) or (
                kind in ("MIN", "MAX") and known[argument or ""] is Type.BOOLEAN
            ):
                raise InvalidArgument(
                    f"{kind.lower()} of column {argument!r}, which is {known[argument or '']}"
                )
        aggregates = [
            (kind, None if argument is None else known[argument])
            for kind, argument in self.aggregates.values()
        ]
        self._types = types
        self._windows = Windows(self.size, self.offset, [known[name] for name in self.by], aggregates)
        return self._windows

    def _result(self, closed: Closed | None) -> Columns:
        if closed is None:
            assert self._windows is not None
            closed = self._windows.close(-(2**62))  # nothing is that old: the columns without rows
        names = [("window_start", "window_start"), ("window_end", "window_end")]
        names += [(name, f"key{index}") for index, name in enumerate(self.by)]
        names += [(name, f"aggregate{index}") for index, name in enumerate(self.aggregates)]
        return columns_of({name: closed.column(part) for name, part in names}, closed.rows)


_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(us|ms|s|m|h|d)")
_UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


def duration_micros(duration: str | timedelta) -> int:
    """Microseconds of a timedelta or of a text such as "1s"."""
    if isinstance(duration, timedelta):
        return duration // timedelta(microseconds=1)
    match = _DURATION.fullmatch(duration.strip())
    if match is None:
        raise InvalidArgument(
            f"{duration!r} is not a duration", hint='write a number and us, ms, s, m, h or d: "1.5s"'
        )
    return round(float(match.group(1)) * _UNITS[match.group(2)])
