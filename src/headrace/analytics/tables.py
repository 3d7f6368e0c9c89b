# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The tables a query's text declares: Flink's CREATE TABLE, Kinesis' CREATE STREAM, and where rows go."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlglot import exp

from headrace import limits
from headrace.analytics.dialects import Computed, Watermark
from headrace.analytics.expressions import interval_micros, type_of
from headrace.analytics.text import Query
from headrace.analytics.types import Field, Schema, Type

SCANS = {
    Type.BIGINT: "i8",
    Type.INTEGER: "i8",
    Type.DOUBLE: "f8",
    Type.VARCHAR: "str",
    Type.BOOLEAN: "bool",
    Type.TIMESTAMP: "timestamp",
    Type.JSON: "json",
}
"""The scanner's type for each SQL type."""

OPTIONS = ("connector", "format", "stream")


@dataclass(frozen=True)
class Target:
    """Where rows go: the table of INSERT INTO, with its columns if the text declares them."""

    name: str
    columns: tuple[TargetColumn, ...] | None
    insert: tuple[str, ...] | None  # the columns named in INSERT INTO t (a, b)


@dataclass(frozen=True)
class TargetColumn:
    """A declared column of a target: what is written there must fit."""

    name: str
    type: Type
    length: int | None
    not_null: bool


@dataclass(frozen=True)
class Table:
    """A declared table.

    Attributes:
        fields: columns by name, as they are read from records.
        not_null: names of columns declared NOT NULL.
        watermark: the event-time column and the delay in microseconds.
        stream: the name of the stream behind it.
    """

    name: str
    fields: Mapping[str, Field]
    not_null: frozenset[str] = frozenset()
    watermark: tuple[str, int] | None = None
    stream: str = ""
    notes: tuple[str, ...] = ()


def identifier(query: Query, node: exp.Expr) -> str:
    """A name as the dialect reads it: kinesis folds what is not quoted to upper case."""
    if not isinstance(node, exp.Identifier):
        raise query.error(node, "expected a name")
    name = str(node.this)
    return name if query.dialect == "flink" or node.args.get("quoted") else name.upper()


def table_name(query: Query, node: exp.Expr) -> str:
    """The name of a table that is just a name."""
    if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
        raise query.error(node, "expected the name of a table")
    if node.args.get("db") or node.args.get("catalog"):
        raise query.error(node, "a table is named by one name; databases and catalogues are not supported")
    for name, part in node.args.items():
        if part and name not in ("this", "alias"):
            raise query.error(node, f"{name.replace('_', ' ').upper()} of a table is not supported")
    return identifier(query, node.this)


def near(name: str, names: Iterable[str]) -> str:
    """A hint that names what may have been meant."""
    names = list(names)
    for candidate in names:
        if candidate.lower() == name.lower():
            return f'did you mean "{candidate}"? names are exact; unquoted ones become upper case in the kinesis dialect'
    found = difflib.get_close_matches(name, names, 1)
    return f"did you mean {found[0]}?" if found else f"there are {', '.join(names[:20])}" if names else ""


def declare_table(query: Query, node: exp.Create) -> Table:
    """Flink's CREATE TABLE."""
    schema = node.this
    name = table_name(query, schema.this)
    stream = _options(query, node).get("stream", name)
    fields: dict[str, Field] = {}
    not_null: set[str] = set()
    watermark: tuple[str, int] | None = None
    for member in schema.expressions:
        if isinstance(member, Watermark):
            if watermark is not None:
                raise query.error(member, "a table has one watermark")
            watermark = _watermark(query, member)
            continue
        if isinstance(member, Computed):
            column = _computed(query, member, fields)
        else:
            kind, length = type_of(query, member.args["kind"])
            column_name = identifier(query, member.this)
            column = Field(column_name, column_name, kind, SCANS[kind], length)
            if member.args.get("constraints"):
                not_null.add(column_name)
        if column.name in fields:
            raise query.error(member, f"two columns are called {column.name}")
        fields[column.name] = column
    if len(fields) > limits.sql_columns_max:
        raise query.error(node, f"a table has at most {limits.sql_columns_max} columns")
    if watermark is not None:
        known = fields.get(watermark[0])
        if known is None:
            raise query.error(
                node, f"the watermark's column {watermark[0]} is not declared", near(watermark[0], fields)
            )
        if known.type is not Type.TIMESTAMP:
            raise query.error(
                node, f"the watermark's column {known.name} is {known.type}; it has to be a TIMESTAMP"
            )
    return Table(name, fields, frozenset(not_null), watermark, stream)


def _options(query: Query, node: exp.Create) -> dict[str, str]:
    """WITH (…): which stream is behind the table."""
    options: dict[str, str] = {}
    properties = node.args.get("properties")
    for option in properties.expressions if properties else ():
        key, value = str(option.this.this), str(option.args["value"].this)
        if key not in OPTIONS:
            raise query.error(option, f"the option '{key}' is not supported", near(key, OPTIONS))
        if key == "connector" and value not in ("headrace", "kinesis"):
            raise query.error(option, f"the connector '{value}' is not supported; headrace and kinesis are")
        if key == "format" and value != "json":
            raise query.error(option, f"the format '{value}' is not supported; json is")
        if key in options:
            raise query.error(option, f"the option '{key}' is given twice")
        options[key] = value
    return options


def _watermark(query: Query, node: Watermark) -> tuple[str, int]:
    """WATERMARK FOR ts AS ts [- INTERVAL …]: the column and the delay."""
    name = identifier(query, node.this)
    expression, delay = node.args["expression"], 0
    if isinstance(expression, exp.Sub) and isinstance(expression.expression, exp.Interval):
        delay = interval_micros(query, expression.expression)
        expression = expression.this
    if not isinstance(expression, exp.Column) or identifier(query, expression.this) != name or delay < 0:
        raise query.error(
            node, f"a watermark is written WATERMARK FOR {name} AS {name} - INTERVAL '5' SECOND"
        )
    return name, delay


def _computed(query: Query, node: Computed, fields: Mapping[str, Field]) -> Field:
    """ts AS TO_TIMESTAMP_LTZ(column, 0 | 3): a time that stands in the records as a number."""
    name, call = identifier(query, node.this), node.args["expression"]
    scale = None
    if (
        isinstance(call, exp.Anonymous)
        and str(call.this).upper() == "TO_TIMESTAMP_LTZ"
        and len(call.expressions) == 2
    ):
        source, digits = call.expressions
        scale = {"0": "timestamp[s]", "3": "timestamp[ms]"}.get(str(digits.this))
        if scale is not None and isinstance(source, exp.Column) and not source.args.get("table"):
            column_name = identifier(query, source.this)
            column = fields.get(column_name)
            if column is None or column.type not in (Type.BIGINT, Type.INTEGER, Type.DOUBLE):
                raise query.error(
                    source, f"{column_name} is not a number declared before", near(column_name, fields)
                )
            return Field(name, column.path, Type.TIMESTAMP, scale)
    raise query.error(
        node, f"a computed column is written {name} AS TO_TIMESTAMP_LTZ(column, 3), or with 0 for seconds"
    )


def declare_stream(query: Query, node: exp.Create) -> tuple[str, tuple[TargetColumn, ...]]:
    """Kinesis' CREATE STREAM: an in-application stream that a pump fills."""
    schema = node.this
    columns = []
    for member in schema.expressions:
        kind, length = type_of(query, member.args["kind"])
        columns.append(
            TargetColumn(identifier(query, member.this), kind, length, bool(member.args.get("constraints")))
        )
    names = [column.name for column in columns]
    if len(set(names)) < len(names):
        raise query.error(node, "two columns of the stream have one name")
    return table_name(query, schema.this), tuple(columns)


def undeclared(name: str, schema: Schema) -> Table:
    """A table of a stream whose columns were discovered."""
    fields = {column: Field(column, column, kind, SCANS[kind]) for column, kind in schema.types.items()}
    return Table(name, fields, stream=name, notes=schema.notes)
