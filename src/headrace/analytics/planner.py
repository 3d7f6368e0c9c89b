# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""From the trees of a text to a plan: what each name means, what may stand where, and what is refused.

Two steps, because the columns of a stream may have to be looked up in between:
`outline` finds the one SELECT, its source and its target; `plan` compiles it against the source's columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sqlglot import exp

from headrace import limits
from headrace.analytics import operators
from headrace.analytics.dialects import DIALECTS, Step, WindowTable
from headrace.analytics.expressions import (
    Compiler,
    Expression,
    column,
    compiled,
    describe,
    floor_unit,
    interval_micros,
    known_function,
    positive_interval,
)
from headrace.analytics.plan import Aggregate, Output, Plan, Window
from headrace.analytics.tables import (
    Table,
    Target,
    TargetColumn,
    declare_stream,
    declare_table,
    identifier,
    near,
    table_name,
)
from headrace.analytics.text import Query
from headrace.analytics.types import INTEGERS, NUMBERS, Type
from headrace.errors import SQLError

ARRIVAL = "\0arrival"
"""The frame's column of arrival times; no column of a record can have this name."""

WINDOW_COLUMNS = ("window_start", "window_end", "window_time")
AGGREGATES: dict[type, str] = {
    exp.Count: "COUNT",
    exp.Sum: "SUM",
    exp.Min: "MIN",
    exp.Max: "MAX",
    exp.Avg: "AVG",
}
SYSTEM_COLUMNS = ("ROWTIME", "APPROXIMATE_ARRIVAL_TIME")


@dataclass(frozen=True)
class Outline:
    """A query's one SELECT, and the names around it."""

    query: Query
    select: exp.Select
    source: str
    stream: str
    qualifiers: frozenset[str]
    window_table: WindowTable | None
    table: Table | None  # declared in the text
    target: Target | None


def outline(query: Query) -> Outline:
    """Find the SELECT of a text, its source and its target.

    Raises:
        SQLError: there is none, or more than one, or a clause that is not supported.
    """
    tables: dict[str, Table] = {}
    streams: dict[str, tuple[TargetColumn, ...]] = {}
    found: tuple[exp.Select, Target | None] | None = None
    for statement in query.statements:
        if isinstance(statement, exp.Create) and statement.args["kind"] == "TABLE":
            table = declare_table(query, statement)
            if table.name in tables:
                raise query.error(statement, f"the table {table.name} is declared twice")
            tables[table.name] = table
            continue
        if isinstance(statement, exp.Create) and statement.args["kind"] == "STREAM":
            name, columns = declare_stream(query, statement)
            if name in streams and not statement.args.get("replace"):
                raise query.error(statement, f"the stream {name} is declared twice")
            streams[name] = columns
            continue
        if found is not None:
            raise query.error(statement, "a query has one SELECT; this is the second")
        found = _select_of(query, statement, streams, tables)
    if found is None:
        raise query.error(query.statements[-1], "there is no SELECT")
    return _outline(query, *found, tables, streams)


def _select_of(
    query: Query, statement: exp.Expr, streams: dict[str, tuple[TargetColumn, ...]], tables: dict[str, Table]
) -> tuple[exp.Select, Target | None]:
    """The SELECT in a statement, and where its rows go."""
    if isinstance(statement, exp.Create):  # a pump
        statement = statement.args["expression"]
    target = None
    if isinstance(statement, exp.Insert):
        for name, part in statement.args.items():
            if part and name not in ("this", "expression"):
                raise query.error(statement, f"{name.replace('_', ' ').upper()} of INSERT is not supported")
        into, names = statement.this, None
        if isinstance(into, exp.Schema):
            names = tuple(identifier(query, part) for part in into.expressions)
            into = into.this
        name = table_name(query, into)
        if query.dialect == "kinesis" and name not in streams:
            raise query.error(into, f'the stream "{name}" is not declared', near(name, streams))
        columns = streams.get(name)
        if name in tables:
            declared = tables[name]
            columns = tuple(
                TargetColumn(part.name, part.type, part.length, part.name in declared.not_null)
                for part in declared.fields.values()
            )
        target = Target(tables[name].stream if name in tables else name, columns, names)
        if statement.args.get("expression") is None:
            raise query.error(statement, "INSERT INTO without a SELECT")
        statement = statement.args["expression"]
    if not isinstance(statement, exp.Select):
        raise query.error(statement, f"{describe(statement)} is not supported here; SELECT is")
    return statement, target


def _outline(
    query: Query,
    select: exp.Select,
    target: Target | None,
    tables: dict[str, Table],
    streams: dict[str, tuple[TargetColumn, ...]],
) -> Outline:
    _check_clauses(query, select)
    origin = select.args["from_"].this
    window_table = origin if isinstance(origin, WindowTable) else None
    table_node = origin.this if window_table is not None else origin
    if not isinstance(table_node, exp.Table):
        raise query.error(origin, f"{describe(origin)} in FROM is not supported; a stream's name is")
    source = table_name(query, table_node)
    if source in streams:
        raise query.error(
            origin, f'reading the in-application stream "{source}" (a cascade) is not supported'
        )
    qualifiers = {source}
    alias = origin.args.get("alias")
    if alias is not None:
        if alias.args.get("columns"):
            raise query.error(origin, "column names in a table's alias are not supported")
        qualifiers = {identifier(query, alias.this)}
    table = tables.get(source)
    stream = table.stream if table is not None else source
    return Outline(query, select, source, stream, frozenset(qualifiers), window_table, table, target)


def _check_clauses(query: Query, select: exp.Select) -> None:
    """Refuse every clause that nobody here reads."""
    modifiers = select.args.get("operation_modifiers") or []
    if len(modifiers) > 1:
        raise query.error(select, "SELECT STREAM is said once")
    if query.dialect == "kinesis" and not modifiers:
        raise query.error(select, "a query of a stream begins with SELECT STREAM in the kinesis dialect")
    allowed = ("expressions", "from_", "where", "group", "having", "operation_modifiers", "kind")
    names = {
        "with_": "WITH",
        "joins": "JOIN",
        "distinct": "DISTINCT",
        "windows": "WINDOW",
        "laterals": "LATERAL",
    }
    names |= {
        "order": "ORDER BY",
        "limit": "LIMIT",
        "hint": "a hint",
        "into": "SELECT INTO",
        "qualify": "QUALIFY",
    }
    for name, part in select.args.items():
        if part and name not in allowed:
            first = part[0] if isinstance(part, list) else part
            raise query.error(
                first if isinstance(first, exp.Expr) else select,
                f"{names.get(name, name.upper())} is not supported",
            )
    if select.args.get("kind"):
        raise query.error(select, f"SELECT AS {select.args['kind']} is not supported")
    if not select.expressions:
        raise query.error(select, "SELECT of nothing")
    if select.args.get("from_") is None:
        raise query.error(select, "a query without FROM is not supported")
    group = select.args.get("group")
    if group is not None:
        for name, part in group.args.items():
            if part and name != "expressions":
                raise query.error(group, f"GROUP BY {name.replace('_', ' ').upper()} is not supported")


def plan(sketch: Outline, discovered: Table | None = None) -> Plan:
    """Compile an outline against its source's columns.

    Args:
        sketch: what `outline` gave.
        discovered: the stream's columns where the text declares none (see discovery.py).

    Raises:
        SQLError: a name, a type or a construct that does not fit; it says where.
    """
    table = sketch.table
    if table is None:
        if discovered is None:
            raise SQLError(
                f"the columns of {sketch.source} are not known: nothing is declared and there are no records to look at",
                hint="declare them: CREATE TABLE name (column type, …)",
            )
        table = discovered
    try:
        return _Planner(sketch, table).plan()
    except RecursionError:
        raise SQLError("the query nests too deeply") from None


def check_functions(sketch: Outline) -> None:
    """Refuse functions that do not exist here: all that can be said of a query whose columns are not known."""
    for node in sketch.select.walk():
        part = isinstance(node, exp.If) and isinstance(node.parent, exp.Case)  # WHEN … THEN …
        known = part or type(node) in AGGREGATES or known_function(type(node))
        if isinstance(node, exp.Func) and not isinstance(node, WindowTable) and not known:
            raise sketch.query.error(node, f"{describe(node)} is not supported")


def time_column(sketch: Outline) -> str | None:
    """The column that windows take for the time, so that its type can be guessed with that in mind."""
    if sketch.window_table is not None:
        return identifier(sketch.query, sketch.window_table.args["time"])
    group = sketch.select.args.get("group")
    for node in group.expressions if group is not None else ():
        if isinstance(node, Step | exp.Floor) and isinstance(node.this, exp.Column):
            name = identifier(sketch.query, node.this.this)
            if name not in SYSTEM_COLUMNS:
                return name
    return None


class _Planner:
    """Compiles one outline."""

    def __init__(self, sketch: Outline, table: Table) -> None:
        self.sketch = sketch
        self.query = sketch.query
        self.table = table
        self.read: dict[str, Any] = {}  # the columns that are read, in order of first use
        self.rows = Compiler(self.query, self._row_column)
        self.groups = Compiler(self.query, self._group_part)
        self.key_nodes: list[exp.Expr] = []
        self.keys: list[Expression] = []
        self.window_nodes: list[exp.Expr] = []
        self.aggregates: list[Aggregate] = []
        self.aggregate_nodes: list[exp.Expr] = []
        self.window: Window | None = None

    def plan(self) -> Plan:
        select = self.sketch.select
        where = self._condition(select.args.get("where"), self.rows, "WHERE")
        self._group(select)
        scope = self.rows if self.window is None else self.groups
        outputs = self._outputs(select, scope)
        having = self._condition(select.args.get("having"), scope, "HAVING")
        if having is not None and self.window is None:
            raise self.query.error(select.args["having"], "HAVING needs GROUP BY")
        target = self.sketch.target
        fields = tuple(self.table.fields[name] for name in self.read if name != ARRIVAL)
        result = Plan(
            dialect=self.query.dialect,
            source=self.sketch.source,
            stream=self.sketch.stream,
            fields=fields,
            not_null=self.table.not_null & {field.name for field in fields},
            where=where,
            window=self.window,
            keys=tuple(self.keys),
            aggregates=tuple(self.aggregates),
            having=having,
            outputs=tuple(outputs),
            target=target.name if target is not None else None,
            text="",
        )
        return replace(result, text=self._explain(result))

    # --- names ---

    def _row_column(self, node: exp.Expr) -> Expression | None:
        """A column of a row."""
        if type(node) in AGGREGATES:
            raise self.query.error(node, f"{describe(node)} does not stand in WHERE, in GROUP BY or inside another aggregate"
                                   if self.window is not None or self.sketch.select.args.get("group")
                                   else f"{describe(node)} without a window is not supported: GROUP BY a window")  # fmt: skip
        if not isinstance(node, exp.Column):
            return None
        name = self._column_name(node)
        if self.query.dialect == "kinesis" and name in SYSTEM_COLUMNS and name not in self.table.fields:
            return self._use(ARRIVAL, Type.TIMESTAMP)
        if name in WINDOW_COLUMNS and self.sketch.window_table is not None and name not in self.table.fields:
            raise self.query.error(
                node, f"{name} stands only in GROUP BY and in SELECT, not inside WHERE or an aggregate"
            )
        field = self.table.fields.get(name)
        if field is None:
            raise self.query.error(
                node, f"there is no column {name} in {self.sketch.source}", near(name, self.table.fields)
            )
        return self._use(name, field.type)

    def _use(self, name: str, kind: Type) -> Expression:
        self.read.setdefault(name, kind)
        return column(name, kind)

    def _column_name(self, node: exp.Column) -> str:
        """A column's own name, after its qualifier was checked."""
        if node.args.get("db") or node.args.get("catalog") or not isinstance(node.this, exp.Identifier):
            raise self.query.error(node, "this is not understood as a column")
        qualifier = node.args.get("table")
        if qualifier is not None and identifier(self.query, qualifier) not in self.sketch.qualifiers:
            name = identifier(self.query, qualifier)
            raise self.query.error(
                node, f"there is no table {name} in FROM", near(name, self.sketch.qualifiers)
            )
        return identifier(self.query, node.this)

    def _canonical(self, node: exp.Expr) -> exp.Expr:
        """A copy with names as the dialect reads them and without qualifiers, so that equal things are equal."""

        def bare(part: exp.Expr) -> exp.Expr:
            if isinstance(part, exp.Column) and isinstance(part.this, exp.Identifier):
                return exp.Column(this=exp.Identifier(this=identifier(self.query, part.this), quoted=True))
            return part

        stripped = node
        while isinstance(stripped, exp.Paren):
            stripped = stripped.this
        return stripped.copy().transform(bare)

    # --- grouping ---

    def _group(self, select: exp.Select) -> None:
        """The window and the keys."""
        group = select.args.get("group")
        if self.sketch.window_table is not None:
            if group is None:
                raise self.query.error(
                    self.sketch.window_table, "a window table function without GROUP BY is not supported"
                )
            self._flink_window(self.sketch.window_table, group)
        elif group is not None:
            self._kinesis_window(group)
        if group is None:
            return
        for node in group.expressions:
            canonical = self._canonical(node)
            if canonical in self.window_nodes or canonical in self.key_nodes:
                continue
            if isinstance(canonical, exp.Literal):
                raise self.query.error(
                    node, "GROUP BY a position or a constant is not supported; name the column"
                )
            key = self.rows.value(node)
            if key.type in (Type.JSON, Type.NULL):
                raise self.query.error(node, f"GROUP BY of {key.type} is not supported")
            self.key_nodes.append(canonical)
            self.keys.append(key)

    def _flink_window(self, table: WindowTable, group: exp.Group) -> None:
        kind = table.args["kind"]
        if kind != "TUMBLE":
            raise self.query.error(table, f"{kind} windows are not supported; TUMBLE is")
        given = {str(part.this.this): part.args["expression"] for part in table.args.get("arguments") or ()}
        if "SIZE" not in given:
            raise self.query.error(table, "TUMBLE lacks its size")
        size = positive_interval(self.query, given["SIZE"], "TUMBLE")
        offset = interval_micros(self.query, given["OFFSET"]) if "OFFSET" in given else 0
        node = table.args["time"]
        name = identifier(self.query, node)
        field = self.table.fields.get(name)
        if field is None:
            raise self.query.error(
                node, f"there is no column {name} in {self.sketch.source}", near(name, self.table.fields)
            )
        self._set_window(node, name, field.type, size, offset % size)
        names = {
            part.name for part in map(self._canonical, group.expressions) if isinstance(part, exp.Column)
        }
        missing = [name for name in WINDOW_COLUMNS[:2] if name not in names]
        if missing:
            raise self.query.error(
                group, "a window aggregation groups by window_start and window_end",
                f"add {' and '.join(missing)} to GROUP BY",
            )  # fmt: skip
        self.window_nodes = [self._canonical(exp.column(name)) for name in WINDOW_COLUMNS]

    def _kinesis_window(self, group: exp.Group) -> None:
        """The one STEP or FLOOR that moves with time: the one of ROWTIME, or else the only one there is."""
        candidates = [
            node
            for node in group.expressions
            if isinstance(node, Step) or (isinstance(node, exp.Floor) and node.args.get("to"))
        ]
        if self.query.dialect != "kinesis":
            hint = "FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) … GROUP BY window_start, window_end"
            raise self.query.error(group, "GROUP BY without a window is not supported", hint)
        if not candidates:
            raise self.query.error(group, "GROUP BY needs STEP(… BY INTERVAL …) or FLOOR(… TO …) of a time")
        system = [
            node for node in candidates
            if isinstance(node.this, exp.Column) and identifier(self.query, node.this.this) in SYSTEM_COLUMNS
        ]  # fmt: skip
        distinct = {self._canonical(node) for node in (system or candidates)}
        if len(distinct) > 1:
            raise self.query.error(
                candidates[1], "two windows over the same kind of time in one GROUP BY are not supported"
            )
        node = (system or candidates)[0]
        if isinstance(node, Step):
            if not isinstance(node.args["expression"], exp.Interval):
                raise self.query.error(node, "STEP is supported by an INTERVAL")
            size = positive_interval(self.query, node.args["expression"], "STEP")
        else:
            size = floor_unit(self.query, node)
        if not isinstance(node.this, exp.Column):
            raise self.query.error(
                node, "the window is over a column: ROWTIME, or one with the time of the event"
            )
        part = self._row_column(node.this)
        assert part is not None
        self._set_window(node, ARRIVAL if system else self._column_name(node.this), part.type, size, 0)
        self.window_nodes = [self._canonical(node)]

    def _set_window(self, node: exp.Expr, name: str, kind: Type, size: int, offset: int) -> None:
        if kind is not Type.TIMESTAMP:
            raise self.query.error(node, f"the window's time column {name} is {kind}; it has to be a TIMESTAMP",
                                   time_hint(name, kind))  # fmt: skip
        self._use(name, kind)
        watermark = self.table.watermark
        if watermark is not None and watermark[0] != name:
            raise self.query.error(
                node, f"the watermark is declared for {watermark[0]}, the window is over {name}"
            )
        self.window = Window(
            size=size,
            offset=offset,
            time=None if name == ARRIVAL else name,
            delay=watermark[1] if watermark is not None else 0,
            declared=watermark is not None,
        )

    def _group_part(self, node: exp.Expr) -> Expression | None:
        """A grouping key, a column of the window or an aggregate, in the scope after grouping."""
        if type(node) in AGGREGATES:
            return self._aggregate(node)
        canonical = self._canonical(node)
        if canonical in self.key_nodes:
            index = self.key_nodes.index(canonical)
            return column(f"key{index}", self.keys[index].type)
        if canonical in self.window_nodes:
            return column(WINDOW_COLUMNS[self.window_nodes.index(canonical)], Type.TIMESTAMP)
        if isinstance(node, exp.Column):
            name = self._column_name(node)
            if name in SYSTEM_COLUMNS and self.query.dialect == "kinesis":
                raise self.query.error(
                    node,
                    f"{name} of an aggregated row is not supported",
                    "select the STEP or FLOOR expression, AS a name",
                )
            self._row_column(node)  # an unknown name is the better message
            raise self.query.error(node, f"the column {name} is neither in GROUP BY nor inside an aggregate")
        return None

    def _aggregate(self, node: exp.Expr) -> Expression:
        canonical = self._canonical(node)
        if canonical in self.aggregate_nodes:
            index = self.aggregate_nodes.index(canonical)
        else:
            self.groups.only(node, "this", "big_int")
            made = self._new_aggregate(node)
            index = len(self.aggregates)
            self.aggregate_nodes.append(canonical)
            self.aggregates.append(made)
        return column(f"aggregate{index}", self.aggregates[index].type)

    def _new_aggregate(self, node: exp.Expr) -> Aggregate:
        name, argument = AGGREGATES[type(node)], node.this
        text = self._sql(node)
        if isinstance(argument, exp.Star):
            if name != "COUNT":
                raise self.query.error(node, f"{name}(*) means nothing")
            self.groups.only(argument)
            return Aggregate("COUNT", None, Type.BIGINT, text)
        if argument is None or isinstance(argument, exp.Distinct):
            raise self.query.error(
                node, f"{name} of {'nothing' if argument is None else 'DISTINCT values'} is not supported"
            )
        value = self.rows.value(argument)
        if name == "COUNT":
            return Aggregate(name, value, Type.BIGINT, text)
        if value.type is Type.NULL:
            raise self.query.error(node, f"{name} of NULL has no type")
        kind = Type.BIGINT if value.type in INTEGERS else value.type
        allowed = (
            (Type.BIGINT, Type.DOUBLE)
            if name in ("SUM", "AVG")
            else (Type.BIGINT, Type.DOUBLE, Type.VARCHAR, Type.TIMESTAMP)
        )
        if kind not in allowed:
            raise self.query.error(node, f"{name} of {value.type} is not supported")
        return Aggregate(name, value, value.type if name in ("MIN", "MAX") else kind, text)

    # --- conditions and results ---

    def _condition(self, node: exp.Expr | None, scope: Compiler, what: str) -> Expression | None:
        return None if node is None else scope.boolean(node.this, what)

    def _outputs(self, select: exp.Select, scope: Compiler) -> list[Output]:
        outputs: list[Output] = []
        for index, node in enumerate(select.expressions):
            if isinstance(node, exp.Star):
                scope.only(node)
                if self.window is not None:
                    raise self.query.error(node, "SELECT * with GROUP BY is not supported; name the columns")
                outputs.extend(
                    Output(name, self._use(name, field.type)) for name, field in self.table.fields.items()
                )
                continue
            if isinstance(node, exp.Column) and isinstance(node.this, exp.Star):
                raise self.query.error(node, "table.* is not supported; write *")
            name, inner = self._output_name(node, index), node.this if isinstance(node, exp.Alias) else node
            if name == "ROWTIME" and self.query.dialect == "kinesis" and isinstance(node, exp.Alias):
                raise self.query.error(node, "AS ROWTIME, which sets a row's time, is not supported")
            expression = scope.value(inner)
            outputs.append(Output(name, expression))
        if len(outputs) > limits.sql_columns_max:
            raise self.query.error(select, f"a result has at most {limits.sql_columns_max} columns")
        if self.sketch.target is not None:
            outputs = self._fit_target(select, self.sketch.target, outputs)
        names: set[str] = set()
        for output in outputs:
            if output.name in names:
                raise self.query.error(
                    select, f"two columns of the result are called {output.name}", "give one an alias with AS"
                )
            names.add(output.name)
        return outputs

    def _output_name(self, node: exp.Expr, index: int) -> str:
        if isinstance(node, exp.Alias):
            return identifier(self.query, node.args["alias"])
        if isinstance(node, exp.Column):
            return self._column_name(node)
        return f"EXPR${index}"

    def _fit_target(self, select: exp.Select, target: Target, outputs: list[Output]) -> list[Output]:
        """Columns go to the target's by position, and have to be of its types."""
        if target.columns is None:
            if target.insert is None:
                return outputs
            if len(target.insert) != len(outputs):
                raise self.query.error(
                    select, f"INSERT INTO names {len(target.insert)} columns, SELECT gives {len(outputs)}"
                )
            return [replace(output, name=name) for name, output in zip(target.insert, outputs, strict=True)]
        columns = {part.name: part for part in target.columns}
        names = target.insert or tuple(columns)
        for name in names:
            if name not in columns:
                raise self.query.error(select, f"{target.name} has no column {name}", near(name, columns))
        if len(names) != len(outputs):
            raise self.query.error(
                select, f"{target.name} takes {len(names)} columns here, SELECT gives {len(outputs)}"
            )
        fitted = [
            self._fit(select, columns[name], output) for name, output in zip(names, outputs, strict=True)
        ]
        for name in columns.keys() - set(names):
            if columns[name].not_null:
                raise self.query.error(
                    select, f"the column {name} of {target.name} is NOT NULL and is not given"
                )
        return fitted

    def _fit(self, select: exp.Select, column: TargetColumn, output: Output) -> Output:
        expression, kind = output.expression, output.expression.type
        if kind is not column.type:
            widening = {
                (Type.INTEGER, Type.BIGINT),
                (Type.BIGINT, Type.INTEGER),
                (Type.INTEGER, Type.DOUBLE),
                (Type.BIGINT, Type.DOUBLE),
            }
            if kind is not Type.NULL and (kind, column.type) not in widening:
                raise self.query.error(
                    select,
                    f"{output.name} is {kind}, the column {column.name} it goes to is {column.type}",
                    "CAST it",
                )
            wanted = column.type
            expression = compiled(wanted, _cast_to(wanted), expression)
        return Output(column.name, expression, column.length, column.not_null)

    # --- explanation ---

    def _sql(self, node: exp.Expr) -> str:
        return DIALECTS[self.query.dialect]().generate(node)

    def _explain(self, result: Plan) -> str:
        """The plan, one step a line, from the source to the result."""
        select = self.sketch.select
        reads = (
            ", ".join(f"{part.name} {part.type}{scan_note(part.scan)}" for part in result.fields)
            or "no column"
        )
        lines = [f"scan {result.stream}: {reads}", *(f"  note: {note}" for note in self.table.notes)]
        if where := select.args.get("where"):
            lines.append(f"filter {self._sql(where.this)}")
        if result.window is not None:
            window = result.window
            time = f"event time {window.time}" if window.time else "arrival time"
            offset = f", offset {_seconds(window.offset)}" if window.offset else ""
            lines.append(
                f"window tumbling {_seconds(window.size)}{offset} over {time}, watermark {_seconds(window.delay)} behind"
            )
            keys = ", ".join(self._sql(node) for node in self.key_nodes) or "nothing else"
            lines.append(
                f"group by {keys}: {', '.join(part.text for part in result.aggregates) or 'no aggregate'}"
            )
        if having := select.args.get("having"):
            lines.append(f"having {self._sql(having.this)}")
        lines.append(
            "give " + ", ".join(f"{output.name} {output.expression.type}" for output in result.outputs)
        )
        if result.target is not None:
            lines.append(f"into {result.target}")
        return "\n".join(lines)


def time_hint(name: str, kind: Type) -> str:
    """How to make a time of a column that is none."""
    text = f"CREATE TABLE … ({name} TIMESTAMP(3), …)"
    number = (
        f"CREATE TABLE … ({name} BIGINT, event_time AS TO_TIMESTAMP_LTZ({name}, 3), …), and the window over "
        "event_time"
    )
    if kind is Type.JSON:
        return (
            f"declare what most records have, the others become error rows: numbers: {number}; texts: {text}"
        )
    return f"declare it: {number if kind in NUMBERS else text}"


def _cast_to(kind: Type) -> Callable[[Any], Any]:
    return lambda vector: operators.cast(vector, kind)


def scan_note(scan: str) -> str:
    """How a time is read, where it is not a text."""
    return f" (a number: {scan})" if scan.startswith("timestamp[") else ""


def _seconds(micros: int) -> str:
    return f"{micros / 1_000_000:g} s"
