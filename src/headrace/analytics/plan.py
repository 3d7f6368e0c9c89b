# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What a query does, decided: the plan that the runner carries out and `explain` prints."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.analytics.expressions import Expression
from headrace.analytics.types import Field, Schema, Type


@dataclass(frozen=True)
class Aggregate:
    """One aggregate function over the rows of a group.

    Attributes:
        kind: COUNT, SUM, MIN, MAX or AVG.
        argument: what it is over; None for COUNT(*).
        type: the type of its result.
    """

    kind: str
    argument: Expression | None
    type: Type
    text: str


@dataclass(frozen=True)
class Output:
    """One column of the result; `length` and `not_null` are what its target declared."""

    name: str
    expression: Expression
    length: int | None = None
    not_null: bool = False


@dataclass(frozen=True)
class Window:
    """Tumbling windows.

    Attributes:
        size, offset: microseconds; a window begins at each offset + n * size.
        time: the event-time column, or None for arrival time.
        delay: the watermark stays this many microseconds behind the latest time.
        declared: whether the text says WATERMARK; if not, a bounded query is late for nothing.
    """

    size: int
    offset: int
    time: str | None
    delay: int
    declared: bool


@dataclass(frozen=True)
class Plan:
    """A query that can be run."""

    dialect: str
    source: str  # the table as the text names it
    stream: str  # the stream behind it
    fields: tuple[Field, ...]
    not_null: frozenset[str]
    where: Expression | None
    window: Window | None
    keys: tuple[Expression, ...]
    aggregates: tuple[Aggregate, ...]
    having: Expression | None
    outputs: tuple[Output, ...]
    target: str | None
    text: str  # the explanation

    @property
    def schema(self) -> Schema:
        """The result's columns."""
        return Schema({output.name: output.expression.type for output in self.outputs})
