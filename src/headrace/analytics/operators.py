# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What SQL's operators do to vectors: arithmetic that never wraps, three-valued logic, comparisons, casts.

Cost: a few numpy passes for each operator, about 1 ns a row each; strings once for each distinct one.
"""

from __future__ import annotations

import math
import operator as _operator
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from headrace.analytics.types import (
    BIGINT_MAX,
    BIGINT_MIN,
    INTEGER_MAX,
    INTEGER_MIN,
    INTEGERS,
    TIMESTAMP_MAX,
    TIMESTAMP_MIN,
    Type,
    format_timestamp,
    parse_timestamp,
)
from headrace.analytics.vectors import (
    BAD_CAST,
    BAD_TIME,
    BIGINT_OVERFLOW,
    DIVISION_BY_ZERO,
    Array,
    Failures,
    Mask,
    Vector,
    both_valid,
    common_codes,
    fail,
    map_strings,
    merge_failures,
)

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "=": np.equal,
    "<>": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}

STRING_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "=": _operator.eq,
    "<>": _operator.ne,
    "<": _operator.lt,
    "<=": _operator.le,
    ">": _operator.gt,
    ">=": _operator.ge,
}


def to_double(vector: Vector) -> Vector:
    """A number as DOUBLE."""
    if vector.type is Type.DOUBLE:
        return vector
    return Vector(Type.DOUBLE, vector.values.astype(np.float64), vector.valid, None, vector.failures)


# --- arithmetic ---


def arithmetic(operator: str, left: Vector, right: Vector, *, strict_division: bool) -> Vector:
    """`left operator right` for two numbers; DOUBLE if either is, else BIGINT.

    Integers never wrap: an overflow is an error row. Integer division cuts towards zero, and the remainder
    has the dividend's sign. With `strict_division` a DOUBLE divided by zero is an error too (kinesis);
    without, it is an infinity or NaN (flink).
    """
    if Type.DOUBLE in (left.type, right.type):
        return _double_arithmetic(operator, to_double(left), to_double(right), strict_division)
    a, b = left.values, right.values
    result = Vector(Type.BIGINT, a, both_valid(left, right), None, merge_failures(left, right))
    with np.errstate(all="ignore"):
        if operator == "+":
            result.values = a + b
            return fail(result, ((a ^ result.values) & (b ^ result.values)) < 0, BIGINT_OVERFLOW)
        if operator == "-":
            result.values = a - b
            return fail(result, ((a ^ b) & (a ^ result.values)) < 0, BIGINT_OVERFLOW)
        if operator == "*":
            result.values = a * b
            return fail(result, _product_overflows(a, b, result.values), BIGINT_OVERFLOW)
        zero = b == 0
        divisor = np.where(zero, 1, b)
        if operator == "%":
            result.values = np.where(divisor == -1, 0, np.fmod(a, divisor))
        else:
            minimum = (a == BIGINT_MIN) & (divisor == -1)
            dividend = np.where(minimum, 0, a)
            result.values = (dividend - np.fmod(dividend, divisor)) // divisor
            result = fail(result, minimum, BIGINT_OVERFLOW)
    return fail(result, np.broadcast_to(zero, result.values.shape), DIVISION_BY_ZERO)


def _double_arithmetic(operator: str, left: Vector, right: Vector, strict_division: bool) -> Vector:
    a, b = left.values, right.values
    functions = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "%": np.fmod}
    with np.errstate(all="ignore"):
        values = functions[operator](a, b)
    result = Vector(Type.DOUBLE, values, both_valid(left, right), None, merge_failures(left, right))
    if operator in "/%" and strict_division:
        return fail(result, np.broadcast_to(b == 0, values.shape), DIVISION_BY_ZERO)
    return result


def _product_overflows(a: Array, b: Array, product: Array) -> Mask:
    """Where a * b is beyond 64 bits; exact only where the extremes leave a doubt."""
    if len(a) and len(b):
        largest = max(abs(int(a.min())), abs(int(a.max()))) * max(abs(int(b.min())), abs(int(b.max())))
        if largest <= BIGINT_MAX:
            return np.zeros(product.shape, np.bool_)
    one_is_minus = (a == -1) & (b == BIGINT_MIN) | (b == -1) & (a == BIGINT_MIN)
    divisor = np.where((a == 0) | (a == -1), 1, a)
    wrong = np.where(
        (a == 0) | (a == -1), False, (np.fmod(product, divisor) != 0) | (product // divisor != b)
    )
    overflows: Mask = wrong | one_is_minus
    return overflows


def negate(vector: Vector) -> Vector:
    """-x."""
    result = Vector(vector.type, np.negative(vector.values), vector.valid, None, vector.failures)
    if vector.type in INTEGERS:
        result.type = Type.BIGINT
        return fail(result, vector.values == BIGINT_MIN, BIGINT_OVERFLOW)
    return result


def shift_time(time: Vector, interval: Vector, sign: int) -> Vector:
    """A timestamp plus or minus an interval; beyond the year 9999 it is an error row."""
    moved = arithmetic("+" if sign > 0 else "-", time, interval, strict_division=True)
    moved.type = Type.TIMESTAMP
    return fail(moved, (moved.values < TIMESTAMP_MIN) | (moved.values > TIMESTAMP_MAX), BAD_TIME)


def floor_time(vector: Vector, step: int) -> Vector:
    """The last multiple of `step` microseconds since 1970 that is not after the time."""
    return Vector(vector.type, vector.values - vector.values % step, vector.valid, None, vector.failures)


# --- comparisons ---


def compare(operator: str, left: Vector, right: Vector) -> Vector:
    """`left operator right` for two vectors of comparable types."""
    result = Vector(Type.BOOLEAN, left.values, both_valid(left, right), None, merge_failures(left, right))
    if left.type is Type.VARCHAR:
        result.values = _compare_strings(operator, left, right)
    elif Type.DOUBLE in (left.type, right.type):
        result.values = _compare_doubles(operator, to_double(left).values, to_double(right).values)
    else:
        result.values = COMPARISONS[operator](left.values, right.values)
    return result


def _compare_doubles(operator: str, a: Array, b: Array) -> Mask:
    """As IEEE 754 compares: NaN is unequal to everything, -0.0 equals 0.0."""
    with np.errstate(invalid="ignore"):
        return np.asarray(COMPARISONS[operator](a, b))


def _compare_strings(operator: str, left: Vector, right: Vector) -> Array:
    """By code point, as UTF-8 bytes compare; against a literal once for each distinct string."""
    test = STRING_TESTS[operator]
    if len(right.values) == 1 and right.dictionary and len(right.dictionary) == 1:
        last = right.dictionary[0]
        return map_strings(left, lambda text: test(text, last), np.bool_, False)
    if len(left.values) == 1 and left.dictionary and len(left.dictionary) == 1:
        first = left.dictionary[0]
        return map_strings(right, lambda text: test(first, text), np.bool_, False)
    (a, b), _ = common_codes(left, right)
    return np.asarray(COMPARISONS[operator](a, b))


def compare_exact(operator: str, left: Vector, literal: Decimal) -> Vector:
    """An integer column against a decimal literal, without passing through floating point."""
    below, whole = math.floor(literal), literal == literal.to_integral_value()
    result = Vector(Type.BOOLEAN, left.values, left.valid, None, left.failures)
    if operator in ("=", "<>") and not whole:
        result.values = np.full(left.values.shape, operator == "<>")
        return result
    if not whole:  # x < 2.5 is x <= 2; x > 2.5 is x > 2
        operator = {"<": "<=", "<=": "<=", ">": ">", ">=": ">"}[operator]
    if not BIGINT_MIN <= below <= BIGINT_MAX:
        always = (below > 0) == (operator in ("<", "<=")) if operator not in ("=", "<>") else operator == "<>"
        result.values = np.full(left.values.shape, always)
        return result
    result.values = COMPARISONS[operator](left.values, np.int64(below))
    return result


# --- logic ---


def conjunction(left: Vector, right: Vector) -> Vector:
    """AND: false if either is false, whatever the other is; NULL if it depends on a NULL.

    The right side's errors count only where the left side is not false.
    """
    a_true, b_true = left.truth(), right.truth()
    a_false, b_false = _falsehood(left), _falsehood(right)
    values = a_true & b_true
    return Vector(
        Type.BOOLEAN,
        values,
        _known(left, right, values | a_false | b_false),
        None,
        _guarded(left, right, ~a_false),
    )


def disjunction(left: Vector, right: Vector) -> Vector:
    """OR: true if either is true. The right side's errors count only where the left side is not true."""
    values = left.truth() | right.truth()
    known = values | (_falsehood(left) & _falsehood(right))
    return Vector(
        Type.BOOLEAN, values, _known(left, right, known), None, _guarded(left, right, ~left.truth())
    )


def negation(vector: Vector) -> Vector:
    """NOT."""
    return Vector(Type.BOOLEAN, ~vector.values, vector.valid, None, vector.failures)


def is_null(vector: Vector) -> Vector:
    """IS NULL; never NULL itself."""
    values = np.zeros(vector.values.shape, np.bool_) if vector.valid is None else ~vector.valid
    return Vector(Type.BOOLEAN, values, None, None, vector.failures)


def is_truth(vector: Vector, wanted: bool) -> Vector:
    """IS TRUE, IS FALSE; never NULL itself."""
    return Vector(Type.BOOLEAN, vector.truth() if wanted else _falsehood(vector), None, None, vector.failures)


def _falsehood(vector: Vector) -> Mask:
    return ~vector.values if vector.valid is None else ~vector.values & vector.valid


def _known(left: Vector, right: Vector, known: Mask) -> Mask | None:
    return None if left.valid is None and right.valid is None else known


def _guarded(left: Vector, right: Vector, reached: Mask) -> Failures | None:
    """The left side's errors, and the right side's where it is reached."""
    if right.failures is None:
        return left.failures
    late = np.where(reached, right.failures, np.int8(0))
    return late if left.failures is None else np.where(left.failures != 0, left.failures, late)


def member_of(vector: Vector, texts: frozenset[str]) -> Vector:
    """x IN ('a', 'b', …) for literals without NULL."""
    values = map_strings(vector, texts.__contains__, np.bool_, False)
    return Vector(Type.BOOLEAN, values, vector.valid, None, vector.failures)


def like(vector: Vector, pattern: str, escape: str | None) -> Vector:
    """x LIKE pattern."""
    pieces = like_pieces(pattern, escape)
    values = map_strings(vector, lambda text: matches(text, pieces), np.bool_, False)
    return Vector(Type.BOOLEAN, values, vector.valid, None, vector.failures)


def like_pieces(pattern: str, escape: str | None) -> list[list[str | None]]:
    """A pattern cut at its % signs; in a piece None stands for one character of any kind (_)."""
    pieces: list[list[str | None]] = [[]]
    index = 0
    while index < len(pattern):
        character = pattern[index]
        if escape is not None and character == escape:
            index += 1
            if index == len(pattern) or pattern[index] not in ("%", "_", escape):
                raise ValueError(
                    f"the escape character {escape} stands before something that needs no escape"
                )
            pieces[-1].append(pattern[index])
        elif character == "%":
            pieces.append([])
        else:
            pieces[-1].append(None if character == "_" else character)
        index += 1
    return pieces


def matches(text: str, pieces: list[list[str | None]]) -> bool:
    """Whether a text is the pieces with anything between them: each piece as early as it fits, never back.

    Cost: at most text times pattern; a regular expression could take the text to the power of its stars.
    """

    def fits(piece: list[str | None], at: int) -> bool:
        return all(want is None or text[at + offset] == want for offset, want in enumerate(piece))

    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return len(text) == len(first) and fits(first, 0)
    if len(text) < len(first) + len(last) or not fits(first, 0) or not fits(last, len(text) - len(last)):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in pieces[1:-1]:
        while at + len(piece) <= end and not fits(piece, at):
            at += 1
        if at + len(piece) > end:
            return False
        at += len(piece)
    return True


# --- choice ---


def choose(kind: Type, conditions: Sequence[Vector], results: Sequence[Vector], otherwise: Vector) -> Vector:
    """CASE: the first result whose condition is true. Errors count only where they are reached."""
    strings = kind in (Type.VARCHAR, Type.JSON)
    candidates = [*results, otherwise]
    dictionary: list[str] | None = None
    values_of = [vector.values for vector in candidates]
    if strings:
        values_of, dictionary = common_codes(*candidates)
    open_rows: Mask = np.ones(1, np.bool_)
    taken: list[Mask] = []
    failures: Failures | None = None
    for condition in conditions:
        if condition.failures is not None:
            failures = _more(failures, np.where(open_rows, condition.failures, np.int8(0)))
        taken.append(open_rows & condition.truth())
        open_rows = open_rows & ~condition.truth()
    taken.append(open_rows)
    values, valid = values_of[-1], _valid(candidates[-1])
    for choice, vector, one in zip(taken[:-1], candidates, values_of, strict=False):
        values, valid = np.where(choice, one, values), np.where(choice, _valid(vector), valid)
    for choice, vector in zip(taken, candidates, strict=True):
        if vector.failures is not None:
            failures = _more(failures, np.where(choice, vector.failures, np.int8(0)))
    return Vector(kind, values, valid, dictionary, failures)


def _valid(vector: Vector) -> Mask:
    return np.ones(vector.values.shape, np.bool_) if vector.valid is None else vector.valid


def _more(failures: Failures | None, others: Failures) -> Failures:
    return others if failures is None else np.where(failures != 0, failures, others)


# --- casts ---


def cast(vector: Vector, target: Type) -> Vector:
    """CAST between the types that `castable` allows; what does not fit is an error row."""
    source = vector.type
    if source is target or (source in INTEGERS and target is Type.BIGINT):
        return Vector(target, vector.values, vector.valid, vector.dictionary, vector.failures)
    if source is Type.VARCHAR:
        return _from_string(vector, target)
    if target is Type.VARCHAR:
        return _to_string(vector)
    if target is Type.DOUBLE:
        return to_double(vector)
    result = Vector(target, vector.values, vector.valid, None, vector.failures)
    low, high = (INTEGER_MIN, INTEGER_MAX) if target is Type.INTEGER else (BIGINT_MIN, BIGINT_MAX)
    if source in INTEGERS:
        return fail(result, (vector.values < low) | (vector.values > high), BAD_CAST)
    whole = np.trunc(vector.values)
    fits = (whole >= float(low)) & (whole < float(high + 1))  # a NaN does neither
    result.values = np.where(fits, whole, 0.0).astype(np.int64)
    return fail(result, ~fits, BAD_CAST)


def castable(source: Type, target: Type) -> bool:
    """Whether this engine casts so. DOUBLE to VARCHAR is not among them: the engines write doubles differently."""
    if source is target or source is Type.NULL:
        return True
    numeric = (Type.BIGINT, Type.INTEGER, Type.DOUBLE)
    return (source, target) in {
        *((a, b) for a in numeric for b in numeric),
        *((Type.VARCHAR, b) for b in (*numeric, Type.BOOLEAN, Type.TIMESTAMP)),
        *((a, Type.VARCHAR) for a in (Type.BIGINT, Type.INTEGER, Type.BOOLEAN, Type.TIMESTAMP)),
    }


def _from_string(vector: Vector, target: Type) -> Vector:
    reader = _READERS[target]
    known = [reader(text) for text in vector.dictionary or []]
    dtype = {Type.DOUBLE: np.float64, Type.BOOLEAN: np.bool_}.get(target, np.int64)
    table: Array = np.zeros(len(known) + 1, dtype=dtype)
    table[: len(known)] = [0 if value is None else value for value in known]
    bad = np.zeros(len(known) + 1, dtype=np.bool_)
    bad[: len(known)] = [value is None for value in known]
    result = Vector(target, table[vector.values], vector.valid, None, vector.failures)
    return fail(result, bad[vector.values], BAD_CAST)


def _to_string(vector: Vector) -> Vector:
    distinct, codes = np.unique(vector.values, return_inverse=True)
    writer: Callable[[Any], str] = str
    if vector.type is Type.TIMESTAMP:
        writer = format_timestamp
    elif vector.type is Type.BOOLEAN:
        writer = _boolean_text
    dictionary = [writer(value) for value in distinct.tolist()]
    values = codes.astype(np.int32)
    if vector.valid is not None:
        values = np.where(vector.valid, values, np.int32(-1))
    return Vector(Type.VARCHAR, values, vector.valid, dictionary, vector.failures)


def _boolean_text(value: bool) -> str:
    return "TRUE" if value else "FALSE"


def _read_integer(text: str, low: int, high: int) -> int | None:
    text = text.strip()
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits.isascii() or not digits.isdigit() or len(digits) > 40:
        return None
    value = int(text)
    return value if low <= value <= high else None


def _read_double(text: str) -> float | None:
    text = text.strip()
    if not text.isascii() or "_" in text or text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _read_boolean(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.strip().lower())


_READERS: dict[Type, Callable[[str], Any]] = {
    Type.BIGINT: lambda text: _read_integer(text, BIGINT_MIN, BIGINT_MAX),
    Type.INTEGER: lambda text: _read_integer(text, INTEGER_MIN, INTEGER_MAX),
    Type.DOUBLE: _read_double,
    Type.BOOLEAN: _read_boolean,
    Type.TIMESTAMP: parse_timestamp,
}
