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

Cost: about 5 ns a row for each cut; most batches of doubles take two, integers below 2^36 one.
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

    def doubles(self, slots: Integers) -> list[float]:
        """Sums of doubles, each rounded once; beyond the largest double an infinity."""
        totals, unit = self.exact(slots)
        return [rounded(total, unit) for total in totals]

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
