# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: operators do what SQL says, with NULLs and errors. Method: one row at a time in plain Python as the judge."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.analytics import operators
from headrace.analytics.keys import column_of
from headrace.analytics.types import BIGINT_MAX, BIGINT_MIN, TIMESTAMP_MAX, Type, parse_timestamp
from headrace.analytics.vectors import BAD_CAST, BAD_TIME, BIGINT_OVERFLOW, DIVISION_BY_ZERO, Vector, constant

edges = st.sampled_from(
    [BIGINT_MIN, BIGINT_MIN + 1, BIGINT_MAX, 2**53 + 1, 2**32, -1, 0, 1, 3]
) | st.integers(-20, 20)
ERROR = "error"


def plain(vector: Vector, rows: int) -> list[Any]:
    """Values, None for NULL, "error" for an error."""
    vector = vector.spread(rows)
    values = vector.values.tolist()
    if vector.dictionary is not None:
        values = [vector.dictionary[code] if code >= 0 else None for code in values]
    for row in range(rows):
        if vector.valid is not None and not vector.valid[row]:
            values[row] = None
        if vector.failures is not None and vector.failures[row]:
            values[row] = ERROR
    return values


def judged(operator: str, a: int | None, b: int | None) -> Any:
    if a is None or b is None:
        return None
    if operator in "/%" and b == 0:
        return ERROR
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) if operator in "/%" else 0
    value = {"+": a + b, "-": a - b, "*": a * b, "/": quotient, "%": a - quotient * b}[operator]
    return value if BIGINT_MIN <= value <= BIGINT_MAX else ERROR


@pytest.mark.parametrize("operator", "+-*/%")
@settings(max_examples=80, deadline=None)
@given(pairs=st.lists(st.tuples(st.none() | edges, st.none() | edges), min_size=1, max_size=8))
def test_integers_never_wrap(operator, pairs):
    left, right = (column_of(Type.BIGINT, [pair[i] for pair in pairs]) for i in (0, 1))
    result = operators.arithmetic(operator, left, right, strict_division=False)
    assert plain(result, len(pairs)) == [judged(operator, a, b) for a, b in pairs]
    first, (a, _) = constant(Type.BIGINT, pairs[0][0]), pairs[0]
    constant_left = operators.arithmetic(operator, first, right, strict_division=False)
    assert plain(constant_left, len(pairs)) == [judged(operator, a, b) for _, b in pairs]


def test_why_a_value_is_an_error():
    big, zero = constant(Type.BIGINT, BIGINT_MAX), constant(Type.BIGINT, 0)
    reasons = [
        (operators.arithmetic("+", big, big, strict_division=False), BIGINT_OVERFLOW),
        (operators.arithmetic("%", big, zero, strict_division=False), DIVISION_BY_ZERO),
        (operators.negate(constant(Type.BIGINT, BIGINT_MIN)), BIGINT_OVERFLOW),
        (operators.cast(constant(Type.VARCHAR, "1.5"), Type.BIGINT), BAD_CAST),
        (
            operators.shift_time(constant(Type.TIMESTAMP, TIMESTAMP_MAX), constant(Type.INTERVAL, 1), 1),
            BAD_TIME,
        ),
    ]
    for vector, reason in reasons:
        assert vector.failures is not None
        assert vector.failures.tolist() == [reason]


TRUTHS = [True, False, None, ERROR]


def logic(values: list[Any]) -> Vector:
    vector = column_of(Type.BOOLEAN, [False if value == ERROR else value for value in values])
    failed = np.array([value == ERROR for value in values])
    return Vector(
        Type.BOOLEAN, vector.values, vector.valid, None, np.where(failed, BAD_CAST, 0).astype(np.int8)
    )


def test_three_valued_logic_and_errors_that_are_not_reached():
    pairs = [(a, b) for a in TRUTHS for b in TRUTHS]
    left, right = (logic([pair[i] for pair in pairs]) for i in (0, 1))

    def conjunction(a: Any, b: Any) -> Any:
        if a == ERROR:
            return ERROR
        if a is False:
            return False
        return b if b in (ERROR, False) or a is True else None

    def negated(value: Any) -> Any:
        return value if value in (None, ERROR) else not value

    assert plain(operators.conjunction(left, right), 16) == [conjunction(a, b) for a, b in pairs]
    wanted = [negated(conjunction(negated(a), negated(b))) for a, b in pairs]
    assert plain(operators.disjunction(left, right), 16) == wanted
    assert plain(operators.negation(left), 16) == [negated(a) for a, _ in pairs]
    assert plain(operators.is_null(left), 16) == [ERROR if a == ERROR else a is None for a, _ in pairs]
    assert plain(operators.is_truth(left, False), 16) == [
        ERROR if a == ERROR else a is False for a, _ in pairs
    ]


@settings(max_examples=150, deadline=None)
@given(edges, st.decimals(allow_nan=False, allow_infinity=False, places=1, min_value=-(2**65), max_value=2**65),
       st.sampled_from(list(operators.STRING_TESTS)))  # fmt: skip
def test_an_integer_compares_with_a_decimal_exactly(number, literal, operator):
    result = operators.compare_exact(operator, constant(Type.BIGINT, number), literal)
    assert plain(result, 1) == [operators.STRING_TESTS[operator](Decimal(number), literal)]


@settings(max_examples=200, deadline=None)
@given(st.text("ab%_é", max_size=8), st.text("ab%_é\\", max_size=6))
def test_like_is_what_a_regular_expression_says(text, pattern):
    import re

    pieces = operators.like_pieces(pattern, None)
    expression = "".join(".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern)
    assert operators.matches(text, pieces) == bool(re.fullmatch(expression, text, re.S))


def test_like_with_an_escape_and_in_linear_time():
    assert operators.matches("a%b", operators.like_pieces("a!%_", "!"))
    assert not operators.matches("axb", operators.like_pieces("a!%_", "!"))
    with pytest.raises(ValueError, match="escape"):
        operators.like_pieces("a!b", "!")
    assert not operators.matches("a" * 3000, operators.like_pieces("%a" * 30 + "b", None))


@pytest.mark.parametrize(
    ("text", "target", "value"),
    [(" 12 ", Type.BIGINT, 12), ("9223372036854775808", Type.BIGINT, ERROR), ("1_0", Type.BIGINT, ERROR),
     ("2147483648", Type.INTEGER, ERROR), ("1e3", Type.DOUBLE, 1000.0), ("nan", Type.DOUBLE, ERROR), ("TRUE", Type.BOOLEAN, True),
     ("yes", Type.BOOLEAN, ERROR), ("1970-01-01 00:00:01", Type.TIMESTAMP, 1_000_000), ("1970-13-01", Type.TIMESTAMP, ERROR)],
)  # fmt: skip
def test_casts_of_texts(text, target, value):
    assert plain(operators.cast(constant(Type.VARCHAR, text), target), 1) == [value]


def test_casts_between_numbers_and_to_texts():
    doubles = column_of(Type.DOUBLE, [1.9, -1.9, 9.3e18, None])
    assert plain(operators.cast(doubles, Type.BIGINT), 4) == [1, -1, ERROR, None]
    assert plain(operators.cast(column_of(Type.BIGINT, [5, None, 5]), Type.VARCHAR), 3) == ["5", None, "5"]
    assert plain(operators.cast(column_of(Type.BOOLEAN, [True, False]), Type.VARCHAR), 2) == ["TRUE", "FALSE"]
    moment = parse_timestamp("2024-02-29 12:00:00.123456")
    assert plain(operators.cast(column_of(Type.TIMESTAMP, [moment]), Type.VARCHAR), 1) == [
        "2024-02-29 12:00:00.123456"
    ]


def test_a_time_before_1970_is_floored_towards_the_past():
    assert operators.floor_time(constant(Type.TIMESTAMP, -1), 1_000_000).values.tolist() == [-1_000_000]
