# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""From a syntax tree to an expression that numpy evaluates: types are checked here, once, before any row.

Only the nodes in the table at the end of this file are understood, and of each node only the parts that
its function names. Everything else is refused with its place in the text, so that nothing can be silently
ignored. DECIMAL exists for literals only: compared with integers exactly, as DOUBLE beside a DOUBLE or
where a double holds it exactly; everywhere else it is refused, because the engines compute it in decimal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from sqlglot import exp

from headrace import limits
from headrace.analytics import operators
from headrace.analytics.dialects import UNITS, Step
from headrace.analytics.text import Query
from headrace.analytics.types import BIGINT_MAX, INTEGERS, NUMBERS, TIMESTAMP_MAX, Type, parse_timestamp
from headrace.analytics.vectors import Vector, constant

NO_LITERAL = object()


class Frame(Protocol):
    """Where an expression finds its columns: one batch of rows."""

    rows: int

    def column(self, name: str) -> Vector:
        """The column of that name, spread over the rows."""
        ...


@dataclass(frozen=True)
class Expression:
    """An expression with its type; `literal` is its value if it is written out in the text."""

    type: Type
    evaluate: Callable[[Frame], Vector]
    literal: Any = NO_LITERAL

    @property
    def is_literal(self) -> bool:
        """Whether its value stands in the text."""
        return self.literal is not NO_LITERAL


def literal(kind: Type, value: Any) -> Expression:
    """An expression that is always one value."""
    vector = constant(kind, value)
    return Expression(kind, lambda frame: vector, value)


def column(name: str, kind: Type) -> Expression:
    """A column of the frame."""
    return Expression(kind, lambda frame: frame.column(name))


def compiled(kind: Type, function: Callable[..., Vector], *parts: Expression) -> Expression:
    """A function of other expressions."""
    if len(parts) == 1:
        (only,) = parts
        return Expression(kind, lambda frame: function(only.evaluate(frame)))
    if len(parts) == 2:
        left, right = parts
        return Expression(kind, lambda frame: function(left.evaluate(frame), right.evaluate(frame)))
    return Expression(kind, lambda frame: function(*(part.evaluate(frame) for part in parts)))


class Compiler:
    """Compiles the expressions of one scope of a query.

    `resolve` is asked about each node first: it knows the columns of the scope, its grouping keys and
    aggregates, and answers with an expression, or None where the node is nothing of its own.
    """

    def __init__(self, query: Query, resolve: Callable[[exp.Expr], Expression | None]) -> None:
        self.query = query
        self.resolve = resolve
        self.strict_division = query.dialect == "kinesis"

    def compile(self, node: exp.Expr) -> Expression:
        """The expression of a node.

        Raises:
            SQLError: something in it is not supported or does not fit together; it says where.
        """
        known = self.resolve(node)
        if known is not None:
            return known
        function = _NODES.get(type(node))
        if function is None:
            raise self.refuse(node)
        return function(self, node)

    def value(self, node: exp.Expr) -> Expression:
        """Like compile(), for a place where a value is kept: DECIMAL becomes DOUBLE if that loses nothing."""
        result = self.compile(node)
        if result.type is Type.DECIMAL:
            return self._as_double(node, result)
        if result.type is Type.INTERVAL:
            raise self.error(node, "an INTERVAL stands only beside + or - and a TIMESTAMP")
        return result

    def boolean(self, node: exp.Expr, what: str) -> Expression:
        """A condition."""
        result = self.compile(node)
        if result.type is Type.NULL:
            return literal(Type.BOOLEAN, None)
        if result.type is not Type.BOOLEAN:
            raise self.error(node, f"{what} is a BOOLEAN; this is {result.type}")
        return result

    def error(self, node: exp.Expr, message: str, hint: str = "") -> Exception:
        """An error at a node."""
        return self.query.error(node, message, hint)

    def refuse(self, node: exp.Expr) -> Exception:
        """The refusal of a node by its name."""
        return self.error(node, f"{describe(node)} is not supported")

    def only(self, node: exp.Expr, *names: str) -> None:
        """Refuse a node that has other parts than these."""
        for name, part in node.args.items():
            if part and name not in names:
                raise self.error(
                    node, f"{name.strip('_').replace('_', ' ').upper()} of {describe(node)} is not supported"
                )

    # --- leaves ---

    def _literal(self, node: exp.Literal) -> Expression:
        text = node.this
        if node.is_string:
            return literal(Type.VARCHAR, text)
        text = str(text)
        if text.isdigit():
            value = int(text)
            if value > BIGINT_MAX + 1:
                raise self.error(node, f"{text} is beyond BIGINT")
            return literal(
                Type.BIGINT if value <= BIGINT_MAX else Type.DECIMAL,
                value if value <= BIGINT_MAX else Decimal(value),
            )
        try:
            if "e" in text.lower():
                if not math.isfinite(float(text)):
                    raise self.error(node, f"{text} is beyond DOUBLE")
                return literal(Type.DOUBLE, float(text))
            return literal(Type.DECIMAL, Decimal(text))
        except (ValueError, ArithmeticError):
            raise self.error(node, f"{text} is not a number") from None

    def _interval(self, node: exp.Interval) -> Expression:
        return literal(Type.INTERVAL, interval_micros(self.query, node))

    def _paren(self, node: exp.Paren) -> Expression:
        return self.compile(node.this)

    def _negate(self, node: exp.Neg) -> Expression:
        part = self.compile(node.this)
        if part.type is Type.DECIMAL:
            if part.literal == BIGINT_MAX + 1:
                return literal(Type.BIGINT, -int(part.literal))
            return literal(Type.DECIMAL, -part.literal)
        if part.is_literal and part.type in (Type.BIGINT, Type.DOUBLE):
            return literal(part.type, -part.literal)
        if part.type not in NUMBERS:
            raise self.error(node, f"- before a {part.type}")
        return compiled(Type.DOUBLE if part.type is Type.DOUBLE else Type.BIGINT, operators.negate, part)

    # --- arithmetic ---

    def _arithmetic(self, node: exp.Expr) -> Expression:
        """A row of operators, such as a + b - c, without recursing down its left side."""
        chain: list[exp.Expr] = []
        first: Any = node
        while type(first) in _ARITHMETIC and self.resolve(first) is None:
            self.only(first, "this", "expression", "typed", "safe")
            chain.append(first)
            first = first.this
            if len(chain) > limits.sql_terms_max:
                raise self.error(node, f"more than {limits.sql_terms_max} operators in a row")
        result = self.compile(first)
        for link in reversed(chain):
            result = self._binary(
                link, _ARITHMETIC[type(link)], result, self.compile(link.args["expression"])
            )
        return result

    def _binary(self, node: exp.Expr, operator: str, left: Expression, right: Expression) -> Expression:
        if Type.INTERVAL in (left.type, right.type) or Type.TIMESTAMP in (left.type, right.type):
            return self._time_arithmetic(node, operator, left, right)
        for part in (left, right):
            if part.type not in NUMBERS and part.type is not Type.NULL:
                raise self.error(
                    node, f"{left.type} {operator} {right.type} is not arithmetic", "CAST one of them"
                )
        if Type.NULL in (left.type, right.type):
            other = right.type if left.type is Type.NULL else left.type
            return literal(Type.BIGINT if other in (*INTEGERS, Type.NULL) else Type.DOUBLE, None)
        if Type.DECIMAL in (left.type, right.type) and Type.DOUBLE not in (left.type, right.type):
            return self._decimal(node, operator, left, right)
        kind = Type.DOUBLE if Type.DOUBLE in (left.type, right.type) else Type.BIGINT
        strict = self.strict_division
        return compiled(
            kind, lambda a, b: operators.arithmetic(operator, a, b, strict_division=strict), left, right
        )

    def _decimal(self, node: exp.Expr, operator: str, left: Expression, right: Expression) -> Expression:
        """Both are literals: compute now, exactly. Else refuse."""
        if left.is_literal and right.is_literal and operator in "+-*":
            a, b = Decimal(left.literal), Decimal(right.literal)
            return literal(Type.DECIMAL, {"+": a + b, "-": a - b, "*": a * b}[operator])
        raise self.error(
            node,
            "DECIMAL arithmetic is not supported: a number with a point beside an integer is a DECIMAL",
            "write the number as a DOUBLE, such as 1.5e0, or CAST the integer AS DOUBLE",
        )

    def _time_arithmetic(
        self, node: exp.Expr, operator: str, left: Expression, right: Expression
    ) -> Expression:
        if operator == "+" and (left.type, right.type) == (Type.INTERVAL, Type.TIMESTAMP):
            left, right = right, left
        if operator not in "+-" or (left.type, right.type) != (Type.TIMESTAMP, Type.INTERVAL):
            raise self.error(node, f"{left.type} {operator} {right.type} is not supported")
        sign = 1 if operator == "+" else -1
        return compiled(
            Type.TIMESTAMP, lambda time, interval: operators.shift_time(time, interval, sign), left, right
        )

    def _step(self, node: Step) -> Expression:
        """STEP(time BY INTERVAL …) as a value."""
        interval = node.args["expression"]
        time = self.compile(node.this)
        if not isinstance(interval, exp.Interval) or time.type is not Type.TIMESTAMP:
            raise self.error(node, "STEP is supported for a TIMESTAMP by an INTERVAL")
        size = positive_interval(self.query, interval, "STEP")
        return compiled(Type.TIMESTAMP, lambda vector: operators.floor_time(vector, size), time)

    def _floor(self, node: exp.Floor) -> Expression:
        """FLOOR(time TO unit) as a value."""
        self.only(node, "this", "to")
        if not node.args.get("to"):
            raise self.error(node, "FLOOR of a number is not supported; FLOOR(time TO unit) is")
        size = floor_unit(self.query, node)
        time = self.compile(node.this)
        if time.type is not Type.TIMESTAMP:
            raise self.error(node, f"FLOOR TO needs a TIMESTAMP; this is {time.type}")
        return compiled(Type.TIMESTAMP, lambda vector: operators.floor_time(vector, size), time)

    # --- conditions ---

    def _logic(self, node: exp.Expr) -> Expression:
        """A row of ANDs or of ORs."""
        kind, terms, first = type(node), [], node
        while type(first) is kind:
            self.only(first, "this", "expression")
            terms.append(first.args["expression"])
            first = first.this
        word = "AND" if kind is exp.And else "OR"
        parts = [self.boolean(term, f"what stands beside {word}") for term in (first, *reversed(terms))]
        combine = operators.conjunction if kind is exp.And else operators.disjunction

        def evaluate(frame: Frame) -> Vector:
            result = parts[0].evaluate(frame)
            for part in parts[1:]:
                result = combine(result, part.evaluate(frame))
            return result

        return Expression(Type.BOOLEAN, evaluate)

    def _not(self, node: exp.Not) -> Expression:
        return compiled(Type.BOOLEAN, operators.negation, self.boolean(node.this, "what stands after NOT"))

    def _comparison(self, node: exp.Expr) -> Expression:
        self.only(node, "this", "expression")
        for part in (node.args["this"], node.args["expression"]):
            # SQL reads (a = b) IS NULL, the parser a = (b IS NULL), in parentheses that stand nowhere.
            if isinstance(part, exp.Paren) and "start" not in part.meta:
                raise self.error(part.this, "IS beside a comparison is not supported without parentheses")
        left, right = self.compile(node.args["this"]), self.compile(node.args["expression"])
        return self._compare(node, _COMPARISONS[type(node)], left, right)

    def _compare(self, node: exp.Expr, operator: str, left: Expression, right: Expression) -> Expression:
        if Type.NULL in (left.type, right.type):
            return literal(Type.BOOLEAN, None)
        left, right = self._time_literal(node, left, right), self._time_literal(node, right, left)
        if left.type is Type.DECIMAL and right.type in INTEGERS:
            left, right, operator = right, left, _MIRRORED[operator]
        if left.type in INTEGERS and right.type is Type.DECIMAL:
            number = right.literal
            return compiled(
                Type.BOOLEAN, lambda vector: operators.compare_exact(operator, vector, number), left
            )
        if left.type is Type.DECIMAL and right.type is Type.DECIMAL:
            return literal(Type.BOOLEAN, bool(operators.STRING_TESTS[operator](left.literal, right.literal)))
        comparable = (left.type in NUMBERS and right.type in NUMBERS) or (
            left.type is right.type and left.type in (Type.VARCHAR, Type.BOOLEAN, Type.TIMESTAMP)
        )
        if not comparable:
            raise self.error(
                node, f"{left.type} {operator} {right.type}: these do not compare", "CAST one of them"
            )
        return compiled(Type.BOOLEAN, lambda a, b: operators.compare(operator, a, b), left, right)

    def _time_literal(self, node: exp.Expr, part: Expression, other: Expression) -> Expression:
        """A text beside a TIMESTAMP is one."""
        if other.type is not Type.TIMESTAMP or part.type is not Type.VARCHAR or not part.is_literal:
            return part
        micros = parse_timestamp(part.literal)
        if micros is None:
            raise self.error(node, f"'{part.literal}' is not a TIMESTAMP", "write 'yyyy-MM-dd HH:mm:ss.SSS'")
        return literal(Type.TIMESTAMP, micros)

    def _between(self, node: exp.Between) -> Expression:
        self.only(node, "this", "low", "high")
        this, low, high = (self.compile(node.args[name]) for name in ("this", "low", "high"))
        above = self._compare(node, ">=", this, low)
        below = self._compare(node, "<=", this, high)
        return compiled(Type.BOOLEAN, operators.conjunction, above, below)

    def _in(self, node: exp.In) -> Expression:
        self.only(node, "this", "expressions")
        this = self.compile(node.this)
        items = [self.compile(item) for item in node.expressions]
        if not items:
            raise self.error(node, "IN of nothing, or of a query, is not supported")
        if this.type is Type.VARCHAR and all(item.is_literal and item.type is Type.VARCHAR for item in items):
            texts = frozenset(item.literal for item in items)
            return compiled(Type.BOOLEAN, lambda vector: operators.member_of(vector, texts), this)
        result = self._compare(node, "=", this, items[0])
        for item in items[1:]:
            result = compiled(
                Type.BOOLEAN, operators.disjunction, result, self._compare(node, "=", this, item)
            )
        return result

    def _is(self, node: exp.Is) -> Expression:
        self.only(node, "this", "expression")
        what = node.expression
        if isinstance(what, exp.Null):
            return compiled(Type.BOOLEAN, operators.is_null, self.compile(node.this))
        if isinstance(what, exp.Boolean):
            wanted = bool(what.this)
            part = self.boolean(node.this, "what stands before IS TRUE or IS FALSE")
            return compiled(Type.BOOLEAN, lambda vector: operators.is_truth(vector, wanted), part)
        raise self.refuse(node)

    def _like(self, node: exp.Expr) -> Expression:
        escape = None
        if isinstance(node, exp.Escape):
            mark = node.expression
            if (
                not isinstance(node.this, exp.Like)
                or not isinstance(mark, exp.Literal)
                or len(mark.this) != 1
            ):
                raise self.error(node, "ESCAPE belongs after LIKE and is one character in quotes")
            escape, node = str(mark.this), node.this
        self.only(node, "this", "expression")
        this, pattern = self.compile(node.args["this"]), self.compile(node.args["expression"])
        if this.type is not Type.VARCHAR:
            raise self.error(node, f"LIKE needs a VARCHAR; this is {this.type}")
        if pattern.type is not Type.VARCHAR or not pattern.is_literal:
            raise self.error(node, "LIKE is supported with a pattern that is written out")
        text = pattern.literal
        try:
            operators.like_pieces(text, escape)
        except ValueError as error:
            raise self.error(node, str(error)) from None
        return compiled(Type.BOOLEAN, lambda vector: operators.like(vector, text, escape), this)

    # --- choice and casts ---

    def _case(self, node: exp.Case) -> Expression:
        self.only(node, "this", "ifs", "default")
        subject = self.compile(node.this) if node.this else None
        conditions, branches = [], []
        for branch in node.args["ifs"]:
            if subject is None:
                conditions.append(self.boolean(branch.this, "the condition of WHEN"))
            else:
                conditions.append(self._compare(branch, "=", subject, self.compile(branch.this)))
            branches.append(branch.args["true"])
        if default := node.args.get("default"):
            branches.append(default)
        return self._choice(node, conditions, branches)

    def _coalesce(self, node: exp.Coalesce) -> Expression:
        self.only(node, "this", "expressions")
        branches = [node.this, *node.expressions]
        present = [
            compiled(
                Type.BOOLEAN, lambda vector: operators.negation(operators.is_null(vector)), self.value(branch)
            )
            for branch in branches[:-1]
        ]
        return self._choice(node, present, branches)

    def _nullif(self, node: exp.Nullif) -> Expression:
        self.only(node, "this", "expression")
        equal = self._compare(node, "=", self.compile(node.this), self.compile(node.expression))
        return self._choice(node, [equal], [exp.Null(), node.this])

    def _choice(self, node: exp.Expr, conditions: list[Expression], branches: list[exp.Expr]) -> Expression:
        """The branch of the first condition that is true; NULL if there is no branch left."""
        results = [self.compile(branch) for branch in branches]
        kind = self._common_type(node, results)
        values = [
            self._converted(branch, result, kind) for branch, result in zip(branches, results, strict=True)
        ]
        otherwise = values.pop() if len(values) > len(conditions) else literal(kind, None)

        def evaluate(frame: Frame) -> Vector:
            tests = [condition.evaluate(frame) for condition in conditions]
            return operators.choose(
                kind, tests, [value.evaluate(frame) for value in values], otherwise.evaluate(frame)
            )

        return Expression(kind, evaluate)

    def _common_type(self, node: exp.Expr, parts: Sequence[Expression]) -> Type:
        kinds = {part.type for part in parts} - {Type.NULL}
        if not kinds:
            return Type.NULL
        if len(kinds) == 1:
            (kind,) = kinds
            return Type.DOUBLE if kind is Type.DECIMAL else kind
        if kinds <= INTEGERS:
            return Type.BIGINT
        if kinds <= NUMBERS and Type.DOUBLE in kinds:
            return Type.DOUBLE
        if kinds <= NUMBERS:
            raise self.error(
                node, "its values mix integers and DECIMAL", "write the decimals as DOUBLE, such as 1.5e0"
            )
        names = ", ".join(sorted(str(kind) for kind in kinds))
        raise self.error(node, f"its values have different types: {names}", "CAST them to one")

    def _converted(self, node: exp.Expr, part: Expression, kind: Type) -> Expression:
        if part.type is kind:
            return part
        if part.type is Type.NULL:
            return literal(kind, None)
        if part.type is Type.DECIMAL:
            return self._as_double(node, part)
        return compiled(kind, lambda vector: operators.cast(vector, kind), part)

    def _as_double(self, node: exp.Expr, part: Expression) -> Expression:
        """A decimal literal as DOUBLE where that is the same number."""
        if Decimal(float(part.literal)) != part.literal:
            raise self.error(
                node,
                f"{part.literal} is a DECIMAL, which is not supported here",
                f"write it as a DOUBLE: {part.literal}e0",
            )
        return literal(Type.DOUBLE, float(part.literal))

    def _cast(self, node: exp.Cast) -> Expression:
        self.only(node, "this", "to")
        target, _ = type_of(self.query, node.args["to"])
        part = self.compile(node.this)
        if part.type is Type.DECIMAL and target in (Type.DOUBLE, Type.BIGINT):
            return literal(target, float(part.literal) if target is Type.DOUBLE else int(part.literal))
        if part.type is Type.NULL:
            return literal(target, None)
        if not operators.castable(part.type, target):
            raise self.error(node, f"CAST of {part.type} AS {target} is not supported")
        if part.type is Type.DOUBLE and target in INTEGERS and self.query.dialect == "kinesis":
            raise self.error(
                node,
                "CAST of DOUBLE AS an integer is not supported in the kinesis dialect",
                "it does not say how it rounds",
            )
        if part.is_literal and part.type is Type.VARCHAR and target is Type.TIMESTAMP:
            micros = parse_timestamp(part.literal)
            if micros is None:
                raise self.error(
                    node, f"'{part.literal}' is not a TIMESTAMP", "write 'yyyy-MM-dd HH:mm:ss.SSS'"
                )
            return literal(Type.TIMESTAMP, micros)
        return compiled(target, lambda vector: operators.cast(vector, target), part)


# --- helpers of the planner too ---


def describe(node: exp.Expr) -> str:
    """A node's name as its author would know it."""
    if isinstance(node, exp.Anonymous):
        return f"the function {str(node.this).upper()}"
    if isinstance(node, exp.Window):
        return "OVER"
    if isinstance(node, exp.Func) and node.sql_names():
        return f"the function {node.sql_names()[0]}"
    return _NAMES.get(type(node), type(node).__name__.upper())


def known_function(kind: type) -> bool:
    """Whether expressions of this kind are understood at all."""
    return kind in _NODES


def interval_micros(query: Query, node: exp.Interval) -> int:
    """An interval's microseconds, at most those of all the years that a TIMESTAMP knows."""
    micros = _interval_micros(query, node)
    if abs(micros) > TIMESTAMP_MAX:
        raise query.error(node, f"the interval '{node.this.this}' is longer than 8,000 years")
    return micros


def _interval_micros(query: Query, node: exp.Interval) -> int:
    unit, text = node.args.get("unit"), str(node.this.this).strip()
    if isinstance(unit, exp.IntervalSpan):
        return _span_micros(query, node, unit, text)
    name = str(unit.this).upper().removesuffix("S") if unit is not None else ""
    if name not in UNITS:
        raise query.error(node, f"intervals in {name} are not supported; {', '.join(UNITS)} are")
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    whole, point, fraction = digits.partition(".")
    if (
        not whole.isdigit()
        or not whole.isascii()
        or len(whole) > 12
        or (point and (name != "SECOND" or not fraction.isdigit()))
    ):
        raise query.error(node, f"'{text}' is not an amount of {name}")
    return sign * (int(whole) * UNITS[name] + int(fraction[:6].ljust(6, "0") if fraction else 0))


def _span_micros(query: Query, node: exp.Interval, span: exp.IntervalSpan, text: str) -> int:
    """INTERVAL '1 02:03' DAY TO MINUTE and its kind."""
    names = list(reversed(UNITS))  # DAY, HOUR, MINUTE, SECOND
    first, last = str(span.this.this), str(span.expression.this)
    if first not in names or last not in names or names.index(first) >= names.index(last):
        raise query.error(node, f"intervals of {first} TO {last} are not supported")
    units = names[names.index(first) : names.index(last) + 1]
    sign = -1 if text.startswith("-") else 1
    parts = text.lstrip("+-").replace(" ", ":").split(":")
    fraction = ""
    if units[-1] == "SECOND" and "." in parts[-1]:
        parts[-1], _, fraction = parts[-1].partition(".")
    digits = [*parts, fraction] if fraction else parts
    if len(parts) != len(units) or not all(
        part.isdigit() and part.isascii() and len(part) < 10 for part in digits
    ):
        raise query.error(node, f"'{text}' is not an interval of {first} TO {last}")
    total = sum(int(part) * UNITS[unit] for part, unit in zip(parts, units, strict=True))
    return sign * (total + int(fraction[:6].ljust(6, "0") if fraction else 0))


def positive_interval(query: Query, node: exp.Interval, what: str) -> int:
    """An interval that is a length."""
    micros = interval_micros(query, node)
    if micros <= 0:
        raise query.error(node, f"the interval of {what} is longer than nothing")
    return micros


def floor_unit(query: Query, node: exp.Floor) -> int:
    """The microseconds of the unit in FLOOR(x TO unit)."""
    unit = str(node.args["to"].this).upper()
    if unit not in UNITS:
        raise query.error(node, f"FLOOR TO {unit} is not supported; {', '.join(UNITS)} are")
    return UNITS[unit]


def type_of(query: Query, node: exp.DataType) -> tuple[Type, int | None]:
    """The SQL type of a declaration, and the length of a VARCHAR(n)."""
    name = node.this.value if isinstance(node.this, exp.DType) else str(node.this)
    kind = _TYPES.get(name)
    if kind is None:
        known = ", ".join(sorted({str(kind) for kind in _TYPES.values()}))
        hint = "use DOUBLE" if name in ("FLOAT", "REAL", "DECIMAL") else ""
        raise query.error(node, f"the type {name} is not supported; {known} are", hint)
    parameters = [
        int(str(parameter.this.this)) for parameter in node.expressions if str(parameter.this.this).isdigit()
    ]
    if len(parameters) != len(node.expressions) or len(parameters) > 1 or (parameters and kind not in _SIZED):
        raise query.error(node, f"these parameters of {kind} are not supported")
    if kind is Type.VARCHAR and parameters and not parameters[0]:
        raise query.error(node, "a VARCHAR has at least one character")
    if kind is Type.TIMESTAMP and parameters and parameters[0] > 6:
        raise query.error(node, "a TIMESTAMP has at most six digits of a second")
    return kind, parameters[0] if parameters and kind is Type.VARCHAR else None


_SIZED = (Type.VARCHAR, Type.TIMESTAMP)
_TYPES = {
    "BIGINT": Type.BIGINT,
    "INT": Type.INTEGER,
    "DOUBLE": Type.DOUBLE,
    "VARCHAR": Type.VARCHAR,
    "TEXT": Type.VARCHAR,  # Flink's STRING
    "BOOLEAN": Type.BOOLEAN,
    "TIMESTAMP": Type.TIMESTAMP,
    "TIMESTAMPLTZ": Type.TIMESTAMP,
}

_ARITHMETIC: dict[type, str] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.Mod: "%"}
_COMPARISONS: dict[type, str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_MIRRORED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_NAMES: dict[type, str] = {
    exp.Subquery: "a query within the query",
    exp.Select: "a query within the query",
    exp.DPipe: "||",
    exp.Star: "*",
    exp.Exists: "EXISTS",
    exp.NullSafeEQ: "IS NOT DISTINCT FROM",
    exp.NullSafeNEQ: "IS DISTINCT FROM",
    exp.SimilarTo: "SIMILAR TO",
    exp.TryCast: "TRY_CAST",
}

_NODES: dict[type, Callable[[Compiler, Any], Expression]] = {
    exp.Literal: Compiler._literal,
    exp.Null: lambda compiler, node: literal(Type.NULL, None),
    exp.Boolean: lambda compiler, node: literal(Type.BOOLEAN, bool(node.this)),
    exp.Interval: Compiler._interval,
    exp.Paren: Compiler._paren,
    exp.Neg: Compiler._negate,
    **dict.fromkeys(_ARITHMETIC, Compiler._arithmetic),
    **dict.fromkeys(_COMPARISONS, Compiler._comparison),
    exp.And: Compiler._logic,
    exp.Or: Compiler._logic,
    exp.Not: Compiler._not,
    exp.Between: Compiler._between,
    exp.In: Compiler._in,
    exp.Is: Compiler._is,
    exp.Like: Compiler._like,
    exp.Escape: Compiler._like,
    exp.Case: Compiler._case,
    exp.Coalesce: Compiler._coalesce,
    exp.Nullif: Compiler._nullif,
    exp.Cast: Compiler._cast,
    Step: Compiler._step,
    exp.Floor: Compiler._floor,
}
