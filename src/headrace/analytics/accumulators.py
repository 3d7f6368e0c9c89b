# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Aggregates kept in numbered slots, one slot for each open group: COUNT, SUM, AVG, MIN and MAX.

Each takes a batch as (codes, groups, slots, argument): row i belongs to group codes[i], and group g goes
into slot slots[g]. NULLs count for nothing. None of them depends on the order of rows or batches.

Order of doubles in MIN and MAX: -Infinity < … < Infinity < NaN; -0.0 is 0.0. Strings go by code point.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from headrace.analytics.exact import ExactSums, double_parts, integer_parts
from headrace.analytics.keys import column_of
from headrace.analytics.types import BIGINT_MAX, BIGINT_MIN, INTEGERS, Type
from headrace.analytics.vectors import SUM_OVERFLOW, Vector

Integers = npt.NDArray[np.int64]


class Accumulator(Protocol):
    """One aggregate over all open groups. `texts_size`: characters of the texts it holds."""

    texts_size: int

    def grow(self, capacity: int) -> None:
        """Make room for slots below `capacity`; new ones are empty."""
        ...

    def add(self, codes: Integers, groups: int, slots: Integers, argument: Vector | None) -> None:
        """Take in a batch."""
        ...

    def result(self, slots: Integers) -> Vector:
        """The values of some slots."""
        ...

    def reset(self, slots: Integers) -> None:
        """Empty some slots, for other groups to use."""
        ...

    def save(self, slots: Integers) -> list[Any]:
        """What is in some slots, as plain values (for `load`)."""
        ...

    def load(self, slots: Integers, saved: list[Any]) -> None:
        """Put into empty slots what `save` gave."""
        ...


def accumulator(kind: str, argument: Type | None) -> Accumulator:
    """The accumulator of an aggregate by name over an argument of a type."""
    if kind == "COUNT":
        return Count()
    if kind in ("SUM", "AVG"):
        return (IntegerSum if argument in INTEGERS else DoubleSum)(average=kind == "AVG")
    if argument is Type.VARCHAR:
        return StringExtreme(largest=kind == "MAX")
    assert argument is not None
    return NumberExtreme(argument, largest=kind == "MAX")


def _known(codes: Integers, argument: Vector) -> tuple[Integers, npt.NDArray[Any]]:
    """Codes and values of the rows that are not NULL."""
    if argument.valid is None:
        return codes, argument.values
    return codes[argument.valid], argument.values[argument.valid]


class Count:
    """COUNT(*) and COUNT(x)."""

    texts_size = 0

    def __init__(self) -> None:
        self.counts: Integers = np.zeros(0, np.int64)

    def grow(self, capacity: int) -> None:
        self.counts = np.concatenate([self.counts, np.zeros(capacity - len(self.counts), np.int64)])

    def add(self, codes: Integers, groups: int, slots: Integers, argument: Vector | None) -> None:
        if argument is not None and argument.valid is not None:
            codes = codes[argument.valid]
        self.counts[slots] += np.bincount(codes, minlength=groups)

    def result(self, slots: Integers) -> Vector:
        return Vector(Type.BIGINT, self.counts[slots])

    def reset(self, slots: Integers) -> None:
        self.counts[slots] = 0

    def save(self, slots: Integers) -> list[Any]:
        return list(self.counts[slots].tolist())

    def load(self, slots: Integers, saved: list[Any]) -> None:
        self.counts[slots] = saved


class IntegerSum:
    """SUM and AVG of integers: exact; a SUM beyond BIGINT is an error row. AVG cuts towards zero."""

    texts_size = 0

    def __init__(self, average: bool) -> None:
        self.average = average
        self.count = Count()
        self.sums = ExactSums()

    def grow(self, capacity: int) -> None:
        self.count.grow(capacity)
        self.sums.grow(capacity)

    def add(self, codes: Integers, groups: int, slots: Integers, argument: Vector | None) -> None:
        assert argument is not None
        self.count.add(codes, groups, slots, argument)
        known, values = _known(codes, argument)
        for part, unit in integer_parts(known, groups, values):
            self.sums.add(slots, part, unit)

    def result(self, slots: Integers) -> Vector:
        counts = self.count.counts[slots]
        small = self.sums.small(slots)
        if small is not None:
            if self.average:
                small = np.abs(small) // np.maximum(counts, 1) * np.sign(small)
            return Vector(Type.BIGINT, small, _nulls(counts))
        totals = self.sums.integers(slots)
        if self.average:
            totals = [
                abs(total) // (count or 1) * (1 if total >= 0 else -1)
                for total, count in zip(totals, counts.tolist(), strict=True)
            ]
        beyond = np.array([not BIGINT_MIN <= total <= BIGINT_MAX for total in totals], np.bool_)
        values = np.array(
            [0 if bad else total for total, bad in zip(totals, beyond.tolist(), strict=True)], np.int64
        )
        failures = np.where(beyond, np.int8(SUM_OVERFLOW), np.int8(0)) if beyond.any() else None
        return Vector(Type.BIGINT, values, _nulls(counts), None, failures)

    def reset(self, slots: Integers) -> None:
        self.count.reset(slots)
        self.sums.reset(slots)

    def save(self, slots: Integers) -> list[Any]:
        return [self.count.save(slots), *_save_sums(self.sums, slots)]

    def load(self, slots: Integers, saved: list[Any]) -> None:
        self.count.load(slots, saved[0])
        _load_sums(self.sums, slots, saved[1], saved[2])


class DoubleSum:
    """SUM and AVG of doubles: the exact sum, and the exact mean, rounded once.

    With a NaN, or with both infinities, the result is NaN; with one infinity it is that one.
    """

    texts_size = 0

    def __init__(self, average: bool) -> None:
        self.average = average
        self.count = Count()
        self.sums = ExactSums()
        self.special = np.zeros(0, np.uint8)  # 1: NaN, 2: Infinity, 4: -Infinity

    def grow(self, capacity: int) -> None:
        self.count.grow(capacity)
        self.sums.grow(capacity)
        self.special = np.concatenate([self.special, np.zeros(capacity - len(self.special), np.uint8)])

    def add(self, codes: Integers, groups: int, slots: Integers, argument: Vector | None) -> None:
        assert argument is not None
        self.count.add(codes, groups, slots, argument)
        known, values = _known(codes, argument)
        if not len(values):
            return
        if not math.isfinite(float(values.max()) - float(values.min())):
            known, values = self._set_apart(known, groups, slots, values)
        for part, unit in double_parts(known, groups, values):
            self.sums.add(slots, part, unit)

    def _set_apart(
        self, codes: Integers, groups: int, slots: Integers, values: npt.NDArray[np.float64]
    ) -> tuple[Integers, npt.NDArray[np.float64]]:
        """Note NaNs and infinities; the rest is left."""
        for mask, mark in ((np.isnan(values), 1), (values == np.inf, 2), (values == -np.inf, 4)):
            if mask.any():
                seen = np.bincount(codes[mask], minlength=groups) > 0
                self.special[slots] |= np.where(seen, np.uint8(mark), np.uint8(0))
        finite = np.isfinite(values)
        return codes[finite], values[finite]

    def result(self, slots: Integers) -> Vector:
        counts = self.count.counts[slots]
        values = self.sums.rounded(slots, np.maximum(counts, 1) if self.average else np.ones_like(counts))
        marks = self.special[slots]
        for index in np.flatnonzero(marks).tolist():
            values[index] = {2: math.inf, 4: -math.inf}.get(int(marks[index]), math.nan)
        return Vector(Type.DOUBLE, values, _nulls(counts))

    def reset(self, slots: Integers) -> None:
        self.count.reset(slots)
        self.sums.reset(slots)
        self.special[slots] = 0

    def save(self, slots: Integers) -> list[Any]:
        return [self.count.save(slots), *_save_sums(self.sums, slots), self.special[slots].tolist()]

    def load(self, slots: Integers, saved: list[Any]) -> None:
        self.count.load(slots, saved[0])
        _load_sums(self.sums, slots, saved[1], saved[2])
        self.special[slots] = saved[3]


class NumberExtreme:
    """MIN and MAX of numbers and timestamps."""

    texts_size = 0

    def __init__(self, kind: Type, largest: bool) -> None:
        self.type = kind
        self.largest = largest
        self.double = kind is Type.DOUBLE
        dtype = np.float64 if self.double else np.int64
        # What nothing loses against; MIN of doubles begins with NaN, the largest of all.
        self.neutral: Any = (
            (-math.inf if largest else math.nan) if self.double else (BIGINT_MIN if largest else BIGINT_MAX)
        )
        self.values = np.zeros(0, dtype)
        self.seen = np.zeros(0, np.bool_)

    def grow(self, capacity: int) -> None:
        more = capacity - len(self.values)
        self.values = np.concatenate([self.values, np.full(more, self.neutral, self.values.dtype)])
        self.seen = np.concatenate([self.seen, np.zeros(more, np.bool_)])

    def add(self, codes: Integers, groups: int, slots: Integers, argument: Vector | None) -> None:
        assert argument is not None
        known, values = _known(codes, argument)
        if self.double:
            values = values + 0.0  # -0.0 becomes 0.0
        part = np.full(groups, self.neutral, self.values.dtype)
        with np.errstate(invalid="ignore"):
            if self.largest:
                np.maximum.at(part, known, values)
                merged = np.maximum(self.values[slots], part)
            else:
                (np.fmin if self.double else np.minimum).at(part, known, values)
                merged = (np.fmin if self.double else np.minimum)(self.values[slots], part)
        self.values[slots] = merged
        self.seen[slots] |= np.bincount(known, minlength=groups) > 0

    def result(self, slots: Integers) -> Vector:
        seen = self.seen[slots]
        values = np.where(seen, self.values[slots], self.values.dtype.type(0))
        return Vector(self.type, values, None if seen.all() else seen)

    def reset(self, slots: Integers) -> None:
        self.values[slots] = self.neutral
        self.seen[slots] = False

    def save(self, slots: Integers) -> list[Any]:
        return [self.values[slots].view(np.int64).tolist(), self.seen[slots].tolist()]

    def load(self, slots: Integers, saved: list[Any]) -> None:
        self.values[slots] = np.array(saved[0], np.int64).view(self.values.dtype)
        self.seen[slots] = saved[1]


class StringExtreme:
    """MIN and MAX of strings, by code point."""

    def __init__(self, largest: bool) -> None:
        self.largest = largest
        self.texts_size = 0
        self.values: npt.NDArray[Any] = np.zeros(0, object)

    def grow(self, capacity: int) -> None:
        self.values = np.concatenate([self.values, np.full(capacity - len(self.values), None, object)])

    def add(self, codes: Integers, groups: int, slots: Integers, argument: Vector | None) -> None:
        assert argument is not None
        known, text_codes = _known(codes, argument)
        if not len(known):
            return
        dictionary = argument.dictionary or []
        order = sorted(range(len(dictionary)), key=dictionary.__getitem__)
        rank = np.empty(len(dictionary), np.int64)
        rank[order] = np.arange(len(dictionary))
        none = -1 if self.largest else len(dictionary)
        part = np.full(groups, none, np.int64)
        (np.maximum if self.largest else np.minimum).at(part, known, rank[text_codes])
        choose = max if self.largest else min
        for group in np.flatnonzero(part != none).tolist():
            slot, text = slots[group], dictionary[order[part[group]]]
            before = self.values[slot]
            chosen = self.values[slot] = text if before is None else choose(before, text)
            self.texts_size += len(chosen) - len(before or "")

    def result(self, slots: Integers) -> Vector:
        return column_of(Type.VARCHAR, self.values[slots].tolist())

    def reset(self, slots: Integers) -> None:
        self.texts_size -= sum(len(text) for text in self.values[slots].tolist() if text is not None)
        self.values[slots] = None

    def save(self, slots: Integers) -> list[Any]:
        return list(self.values[slots].tolist())

    def load(self, slots: Integers, saved: list[Any]) -> None:
        for slot, value in zip(slots.tolist(), saved, strict=True):
            self.values[slot] = value
            self.texts_size += len(value or "")


def _nulls(counts: Integers) -> npt.NDArray[np.bool_] | None:
    """The mask of a SUM or AVG: NULL where nothing was counted."""
    valid = counts > 0
    return None if valid.all() else valid


def _save_sums(sums: ExactSums, slots: Integers) -> list[Any]:
    totals, unit = sums.exact(slots)
    return [[str(total) for total in totals], unit]


def _load_sums(sums: ExactSums, slots: Integers, totals: list[str], unit: int) -> None:
    """Sums may have any number of bits: they are added 32 bits at a time."""
    rest = [int(total) for total in totals]
    while any(rest):
        last = all(-(1 << 50) < value < 1 << 50 for value in rest)
        part = rest if last else [value & 0xFFFFFFFF for value in rest]
        sums.add(slots, np.array(part, np.int64), unit)
        rest = [0] * len(rest) if last else [value >> 32 for value in rest]
        unit += 32
