# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Sums that are exact: of integers in any number of bits, of doubles rounded once, whatever the order.

A sum is kept as an integer in base 2^32: limb b counts multiples of 2^(32 b), for integers from limb 0
upwards, for doubles from limb -34 (2^-1074) to 32. Adding is exact, so the order of rows, the size of
batches and the split into shards cannot show. The result of a DOUBLE sum is the exact sum, rounded once.

How a batch is reduced without a loop over rows: each double is cut into integers of 36 bits at powers of
two that are chosen for the batch (two cuts hold every bit of numbers within a factor of half a million of
the largest; more follow while something is left). At most 65,536 of them are added at a time by
`np.bincount`, whose float64 sums then stay below 2^53 and are exact.

Cost: about 5 ns a row for each cut; most batches of doubles take two, integers below 2^36 one. A result
costs about 0.1 µs where two doubles hold its sum exactly, which is the common case, and 1.5 µs where not.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

LIMB = 32
_CUT = 36
_ROWS = 1 << 16
_ADDITIONS_MAX = 1 << 9  # of values below 2^53 into an int64 limb
_CARRY = 1 << 40
_MASK = np.int64((1 << LIMB) - 1)

Part = tuple[Integers, int]
"""Integers, one for each group, in units of a power of two."""


def integer_parts(codes: Integers, groups: int, values: Integers) -> list[Part]:
    """The sum of each group as parts: `codes` holds each row's group, below `groups`."""
    if not len(values):
        return []
    if int(values.min()) > -(1 << _CUT) and int(values.max()) < 1 << _CUT:
        return _added(codes, groups, [(values.astype(np.float64), 0)])
    low = values & _MASK
    return _added(codes, groups, [(low.astype(np.float64), 0), ((values >> LIMB).astype(np.float64), LIMB)])


def double_parts(codes: Integers, groups: int, values: Doubles) -> list[Part]:
    """The sum of each group of finite doubles as parts."""
    cuts: list[tuple[Doubles, int]] = []
    rest = values
    while len(rest):
        largest = max(abs(float(rest.max())), abs(float(rest.min())))
        if largest == 0.0:
            break
        unit = max(math.frexp(largest)[1] - _CUT, -1074)
        whole = np.trunc(_scaled(rest, -unit))
        cuts.append((whole, unit))
        if unit == -1074:
            break
        rest = rest - _scaled(whole, unit)
    return _added(codes, groups, cuts)


def _scaled(values: Doubles, exponent: int) -> Doubles:
    """values * 2^exponent, exactly (what is lost below the smallest double is far below a unit)."""
    if -1000 < exponent < 1000:
        return values * 2.0**exponent
    return np.ldexp(values, exponent)


def _added(codes: Integers, groups: int, cuts: list[tuple[Doubles, int]]) -> list[Part]:
    """Each cut's sum by group."""
    parts: list[Part] = []
    for whole, unit in cuts:
        total = np.zeros(groups, np.int64)
        for start in range(0, len(whole), _ROWS):
            rows = slice(start, start + _ROWS)
            total += np.bincount(codes[rows], weights=whole[rows], minlength=groups).astype(np.int64)
        parts.append((total, unit))
    return parts


class ExactSums:
    """Exact sums in numbered slots."""

    __slots__ = ("additions", "capacity", "limbs")

    def __init__(self, capacity: int = 0) -> None:
        self.capacity = capacity
        self.limbs: dict[int, Integers] = {}
        self.additions = 0

    def grow(self, capacity: int) -> None:
        """Make room for slots below `capacity`."""
        for limb, values in self.limbs.items():
            self.limbs[limb] = np.concatenate([values, np.zeros(capacity - self.capacity, np.int64)])
        self.capacity = capacity

    def add(self, slots: Integers, part: Integers, unit: int) -> None:
        """Add part * 2^unit; no slot stands twice in `slots`, and |part| is below 2^53 + 2^32."""
        limb, shift = divmod(unit, LIMB)
        if shift == 0:
            low, high = part & _MASK, part >> LIMB
        else:
            low, high = (part & ((1 << (LIMB - shift)) - 1)) << shift, part >> (LIMB - shift)
        self._limb(limb)[slots] += low
        if high.any():
            self._limb(limb + 1)[slots] += high
        self.additions += 1
        if self.additions >= _ADDITIONS_MAX:
            self.normalise()

    def normalise(self) -> None:
        """Carry, so that every limb is small again; the sums stay the same."""
        self.additions = 0
        limb = min(self.limbs, default=0)
        while limb <= max(self.limbs, default=-1):
            values = self.limbs.get(limb)
            # The uppermost limb keeps its sign, and carries only when it has to: else -1 would carry for ever.
            if values is not None and (limb < max(self.limbs) or bool((np.abs(values) >= _CARRY).any())):
                carry = values >> LIMB
                if carry.any():
                    self._limb(limb + 1)[:] += carry
                    self.limbs[limb] = values & _MASK
            limb += 1

    def reset(self, slots: Integers) -> None:
        """Set slots to zero."""
        for values in self.limbs.values():
            values[slots] = 0

    def exact(self, slots: Integers) -> tuple[list[int], int]:
        """The sums of slots as integers, and the power of two that they count."""
        if not self.limbs:
            return [0] * len(slots), 0
        lowest = min(self.limbs)
        totals = [0] * len(slots)
        for limb, values in self.limbs.items():
            shift = LIMB * (limb - lowest)
            totals = [
                total + (value << shift) for total, value in zip(totals, values[slots].tolist(), strict=True)
            ]
        return totals, LIMB * lowest

    def integers(self, slots: Integers) -> list[int]:
        """Sums of integers."""
        totals, unit = self.exact(slots)
        assert unit >= 0
        return [total << unit for total in totals]

    def small(self, slots: Integers) -> Integers | None:
        """Sums of integers as int64, or None where one of them may need more bits."""
        if any(limb > 2 for limb in self.limbs):
            return None
        low, high, top = (self._picked(limb, slots) for limb in (0, 1, 2))
        if len(slots) and (_largest(low) >= 1 << 61 or _largest(high) >= 1 << 61 or _largest(top) >= 1 << 20):
            return None
        high = high + (top << LIMB)  # a negative part leaves -1 here
        if len(slots) and _largest(high) >= 1 << 29:
            return None
        return low + (high << LIMB)

    def rounded(self, slots: Integers, divisors: Integers) -> Doubles:
        """Each sum over its divisor (1 to 2^53) as the nearest double; beyond the largest an infinity."""
        values, sure = _nearest(self._carried(slots), divisors)
        if not sure.all():
            unsure = np.flatnonzero(~sure)
            totals, unit = self.exact(slots[unsure])
            values[unsure] = [
                rounded(total, unit, divisor)
                for total, divisor in zip(totals, divisors[unsure].tolist(), strict=True)
            ]
        return values

    def _picked(self, limb: int, slots: Integers) -> Integers:
        values = self.limbs.get(limb)
        return np.zeros(len(slots), np.int64) if values is None else values[slots]

    def _carried(self, slots: Integers) -> list[tuple[Integers, int]]:
        """The limbs of slots, uppermost first, all but the uppermost below 2^32; and what power each counts."""
        parts: list[tuple[Integers, int]] = []
        limbs = sorted(self.limbs)
        carry = np.zeros(len(slots), np.int64)
        for limb in range(limbs[0], limbs[-1] + 2) if limbs else ():
            values = self._picked(limb, slots) + carry
            last = limb > limbs[-1]
            carry = values >> LIMB
            parts.append((values if last else values & _MASK, LIMB * limb))
        return [part for part in reversed(parts) if part[0].any()]

    def _limb(self, limb: int) -> Integers:
        values = self.limbs.get(limb)
        if values is None:
            values = self.limbs[limb] = np.zeros(self.capacity, np.int64)
        return values


def rounded(total: int, unit: int, divisor: int = 1) -> float:
    """total * 2^unit / divisor as the nearest double."""
    try:
        return total / (divisor << -unit) if unit < 0 else (total << unit) / divisor
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def _largest(values: Integers) -> int:
    return max(abs(int(values.min())), abs(int(values.max())))


def _two_sum(a: Doubles, b: Doubles) -> tuple[Doubles, Doubles]:
    """The nearest double of a + b, and what is missing, exactly (Knuth)."""
    total = a + b
    shown = total - a
    return total, (a - (total - shown)) + (b - shown)


def _two_product(a: Doubles, b: Doubles) -> tuple[Doubles, Doubles]:
    """The nearest double of a * b, and what is missing, exactly (Dekker; Veltkamp's split)."""
    product = a * b
    parts = []
    for value in (a, b):
        scaled = value * 134217729.0
        high = scaled - (scaled - value)
        parts.append((high, value - high))
    (a_high, a_low), (b_high, b_low) = parts
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _nearest(parts: list[tuple[Integers, int]], divisors: Integers) -> tuple[Doubles, npt.NDArray[np.bool_]]:
    """The sum of the parts over each divisor as the nearest double, and where that is certain.

    The sum is held as two doubles where they hold it exactly. Its quotient is corrected by the exact rest of
    a first try; what then is not near the middle between two doubles is rounded right. The rest, and what is
    near the ends of a double's range, is left to whole numbers.
    """
    count = len(divisors)
    high, low, sure = np.zeros(count), np.zeros(count), np.ones(count, np.bool_)
    if any(not -960 < unit < 900 for _, unit in parts):
        return high, ~sure
    for values, unit in parts:
        scaled: Doubles = values * np.float64(2.0**unit)
        high, rest = _two_sum(high, scaled)
        low, lost = _two_sum(low, rest)
        sure &= lost == 0.0
    high, low = _two_sum(high, low)
    sure &= (high == 0.0) | ((np.abs(high) > 1e-250) & (np.abs(high) < 1e250))
    high, low = np.where(sure, high, 0.0), np.where(sure, low, 0.0)
    divisor = divisors.astype(np.float64)
    first = high / divisor
    product, missing = _two_product(first, divisor)
    correction = (((high - product) - missing) + low) / divisor
    result, rest = _two_sum(first, correction)
    gap = np.spacing(np.abs(result))
    # Below a power of two the gap is half as wide; so near its middle whole numbers decide, too.
    middle = np.where(np.frexp(result)[0] == np.copysign(0.5, result), 0.2, 0.49) * gap
    return result, sure & ((np.abs(rest) < middle) | (rest == 0.0))
