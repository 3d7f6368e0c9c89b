# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The two SQL dialects, `flink` and `kinesis`, as sqlglot dialects: from text to a syntax tree.

Stock sqlglot reads neither: it has no `TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), …))`, no `WATERMARK FOR`, no
`STEP(x BY INTERVAL …)`, no pumps, and reads `SELECT STREAM x` as a column named STREAM with the alias x.
What these dialects add is little; what they refuse is most of this file, because sqlglot accepts much
that neither engine would. Meaning (names, types, what is supported) is the planner's: here only syntax.

Trees made here differ from sqlglot's in four places:
    WindowTable   a window table function in FROM: kind, table, time column, arguments
    Step          STEP(x BY y)
    Watermark     WATERMARK FOR column AS expression, in CREATE TABLE
    Computed      name AS expression, in CREATE TABLE
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError
from sqlglot.generator import Generator
from sqlglot.parser import Parser
from sqlglot.tokenizer_core import Token, TokenType
from sqlglot.tokens import Tokenizer

Node = TypeVar("Node", bound=exp.Expr)

UNITS = {"SECOND": 1_000_000, "MINUTE": 60_000_000, "HOUR": 3_600_000_000, "DAY": 86_400_000_000}
"""Microseconds of each unit of constant length."""

WINDOW_ARGUMENTS = {
    "TUMBLE": ("DATA", "TIMECOL", "SIZE", "OFFSET"),
    "HOP": ("DATA", "TIMECOL", "SLIDE", "SIZE", "OFFSET"),
    "CUMULATE": ("DATA", "TIMECOL", "STEP", "SIZE", "OFFSET"),
    "SESSION": ("DATA", "TIMECOL", "GAP"),
}
"""The window table functions' arguments by name, in order."""


class WindowTable(exp.Expression):
    """`TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), size [, offset]))`; `kind` is the function's name."""

    arg_types: ClassVar[dict[str, bool]] = {
        "kind": True,
        "this": True,
        "time": True,
        "arguments": False,
        "alias": False,
    }


class Step(exp.Expression, exp.Func):
    """`STEP(x BY INTERVAL '10' SECOND)`."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "expression": True}


class Watermark(exp.Expression):
    """`WATERMARK FOR column AS expression`."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "expression": True}


class Computed(exp.Expression):
    """`column AS expression` in CREATE TABLE."""

    arg_types: ClassVar[dict[str, bool]] = {"this": True, "expression": True}


class StreamingParser(Parser):
    """What both dialects share: positions on every node, strict intervals, a closed list of statements."""

    STATEMENTS = frozenset({"SELECT", "INSERT", "CREATE", "WITH", "("})
    STRICT_CAST = True

    def raise_error(self, message: str, token: Token | None = None) -> None:
        """Refuse, always at once, and say where (`start`: offset of the offending token in the text)."""
        token = token or self._curr
        previous = self._prev
        start = token.start if token else (previous.end + 1 if previous else 0)
        if message.startswith("Invalid expression") and token:
            message = f"{token.text.upper()} is not understood here"
        elif message.startswith("Expecting ") and token:
            message = f"expected {message.removeprefix('Expecting ')} before {token.text.upper()}"
        error = ParseError.new(message, description=message)
        error.errors[0]["start"] = start
        raise error

    def expression(
        self, instance: Node, token: Token | None = None, comments: list[str] | None = None
    ) -> Node:
        """Build a node and note where it stands, so that a refusal can point at it."""
        node = super().expression(instance, token, comments)
        if "start" not in node.meta and not token:
            starts = [child.meta["start"] for child in node.iter_expressions() if "start" in child.meta]
            previous = self._prev
            node.meta["start"] = min(starts) if starts else (previous.start if previous else 0)
        return node

    def _parse_statement(self) -> Any:
        if self._curr and self._curr.token_type == TokenType.SEMICOLON:  # one with a comment behind it
            return super()._parse_statement()
        if self._curr and self._curr.text.upper() not in self.STATEMENTS:
            self.raise_error(
                f"{self._curr.text.upper()} is not a statement of this dialect that headrace runs"
            )
        return super()._parse_statement()

    def _parse_as_command(self, start: Token) -> Any:
        """sqlglot keeps what it does not know as opaque text; here that is an error."""
        self.raise_error(f"{start.text.upper()} of this kind is not supported", self._curr or start)

    def _parse_interval(self, *arguments: Any, **options: Any) -> Any:
        """INTERVAL 'text' UNIT [(p)] [TO UNIT [(p)]]; none of sqlglot's shorter forms."""
        if not self._match(TokenType.INTERVAL):
            return None
        start = self._prev
        if not self._match(TokenType.STRING):
            self.raise_error("INTERVAL is followed by its amount in quotes, as in INTERVAL '10' SECOND")
        text = self._prev.text
        first = self._interval_unit()
        unit: Any = exp.Var(this=first)
        if self._match_text_seq("TO"):
            unit = exp.IntervalSpan(this=unit, expression=exp.Var(this=self._interval_unit()))
        node = exp.Interval(this=exp.Literal.string(text), unit=unit)
        node.meta["start"] = start.start
        return node

    def _interval_unit(self) -> str:
        token = self._curr
        if not token or token.token_type == TokenType.STRING or not token.text.isalpha():
            self.raise_error("INTERVAL needs a unit after its amount, as in INTERVAL '10' SECOND")
        self._advance()
        if self._match(TokenType.L_PAREN):  # a precision says how the text is written, not what it means
            self._match(TokenType.NUMBER)
            self._match_r_paren()
        return str(token.text.upper())

    def _name(self, what: str) -> exp.Identifier:
        """One identifier, or an error that says what should stand here."""
        name = self._parse_id_var()
        if not isinstance(name, exp.Identifier):
            self.raise_error(f"expected the name of {what}")
        assert isinstance(name, exp.Identifier)
        return name

    def _column_definition(self) -> exp.Expr:
        """`name type [NOT NULL]`."""
        name = self._name("a column")
        type_token = self._curr
        kind = self._parse_types(schema=True)
        if not isinstance(kind, exp.DataType):
            self.raise_error(f"expected the type of column {name.name}")
        assert isinstance(kind, exp.DataType)
        kind.meta["start"] = type_token.start if type_token else 0
        constraints = []
        if self._match_text_seq("NOT", "NULL"):
            constraints.append(exp.ColumnConstraint(kind=exp.NotNullColumnConstraint()))
        if self._curr and self._curr.text.upper() == "METADATA":
            self.raise_error("METADATA columns are not supported")
        if self._curr and self._curr.token_type not in (TokenType.COMMA, TokenType.R_PAREN):
            self.raise_error(f"{self._curr.text.upper()} of a column is not supported")
        return self.expression(exp.ColumnDef(this=name, kind=kind, constraints=constraints))

    def _description(self) -> None:
        """`DESCRIPTION 'text'`: words for a reader; nothing depends on them."""
        if self._match_text_seq("DESCRIPTION") and not self._match(TokenType.STRING):
            self.raise_error("DESCRIPTION is followed by a text in quotes")


class FlinkParser(StreamingParser):
    """Apache Flink's form: window table functions, watermarks in CREATE TABLE."""

    OPERATION_MODIFIERS: ClassVar[set[str]] = set()

    def _parse_table(self, *arguments: Any, **options: Any) -> Any:
        if self._match_pair(TokenType.TABLE, TokenType.L_PAREN):
            return self._window_table()
        return super()._parse_table(*arguments, **options)

    def _window_table(self) -> exp.Expr:
        """What follows `TABLE (`: a window table function with positional or named arguments."""
        token = self._curr
        kind = token.text.upper() if token else ""
        if kind not in WINDOW_ARGUMENTS:
            self.raise_error(f"{kind or 'nothing'} is not a window table function; TUMBLE is")
        self._advance()
        if not self._match(TokenType.L_PAREN):
            self.raise_error(f"expected ( after {kind}")
        given: dict[str, Any] = {}
        names = WINDOW_ARGUMENTS[kind]
        while True:
            self._window_argument(kind, names, given)
            if not self._match(TokenType.COMMA):
                break
        self._match_r_paren()
        self._match_r_paren()
        for required in ("DATA", "TIMECOL"):
            if required not in given:
                self.raise_error(f"{kind} lacks its argument {required}", token)
        arguments = [
            exp.PropertyEQ(this=exp.Var(this=name), expression=value)
            for name, value in given.items()
            if name not in ("DATA", "TIMECOL")
        ]
        node = WindowTable(kind=kind, this=given["DATA"], time=given["TIMECOL"], arguments=arguments)
        node.meta["start"] = token.start
        alias = self._parse_table_alias()
        if alias:
            node.set("alias", alias)
        return node

    def _window_argument(self, kind: str, names: tuple[str, ...], given: dict[str, Any]) -> None:
        """One argument into `given`, under its name."""
        token = self._curr
        if token and self._next and self._next.token_type == TokenType.FARROW:
            name = token.text.upper()
            if name not in names:
                self.raise_error(f"{kind} has no argument {name}; it has {', '.join(names)}", token)
            self._advance(2)
        elif len(given) < len(names):
            name = names[len(given)]
        else:
            self.raise_error(f"{kind} has at most {len(names)} arguments", token)
        if name in given:
            self.raise_error(f"{kind} was given {name} twice", token)
        given[name] = self._window_value(kind, name)

    def _window_value(self, kind: str, name: str) -> Any:
        token = self._curr
        if name == "DATA":
            if not self._match(TokenType.TABLE):
                self.raise_error(f"the first argument of {kind} is TABLE and a table's name")
            table = self._parse_table_parts()
            if self._match(TokenType.PARTITION_BY):
                self.raise_error(
                    "PARTITION BY belongs to SESSION windows, which are not supported", self._prev
                )
            return table
        if name == "TIMECOL":
            if not self._match_text_seq("DESCRIPTOR") or not self._match(TokenType.L_PAREN):
                self.raise_error(f"the time column of {kind} is written DESCRIPTOR(column)", token)
            column = self._name("the time column")
            self._match_r_paren()
            return column
        value = self._parse_interval()
        if value is None:
            self.raise_error(f"{name} of {kind} is an interval, as in INTERVAL '10' SECOND", token)
        return value

    def _parse_create(self) -> Any:
        start = self._prev
        if not self._match(TokenType.TABLE):
            what = self._curr.text.upper() if self._curr else "nothing"
            self.raise_error(f"CREATE {what} is not supported in the flink dialect; CREATE TABLE is")
        exists = self._parse_exists(not_=True)
        table = self._parse_table_parts(schema=True)
        if not self._match(TokenType.L_PAREN):
            self.raise_error("CREATE TABLE needs its columns in parentheses")
        members = [self._table_member()]
        while self._match(TokenType.COMMA):
            members.append(self._table_member())
        self._match_r_paren()
        options = self._with_options() if self._match_text_seq("WITH") else []
        if self._curr and self._curr.token_type != TokenType.SEMICOLON:
            self.raise_error(f"{self._curr.text.upper()} in CREATE TABLE is not supported")
        schema = exp.Schema(this=table, expressions=members)
        node = exp.Create(
            this=schema, kind="TABLE", exists=exists, properties=exp.Properties(expressions=options)
        )
        node.meta["start"] = start.start
        return node

    def _table_member(self) -> exp.Expr:
        """A column, a computed column or a watermark."""
        start = self._curr
        if self._match_text_seq("WATERMARK", "FOR"):
            column = self._name("the watermark's column")
            if not self._match(TokenType.ALIAS):
                self.raise_error("a watermark is written WATERMARK FOR column AS expression")
            node = Watermark(this=column, expression=self._parse_disjunction())
            node.meta["start"] = start.start if start else 0
            return node
        if start and start.token_type in (TokenType.PRIMARY_KEY, TokenType.CONSTRAINT):
            self.raise_error(f"{start.text.upper()} in CREATE TABLE is not supported")
        if self._next and self._next.token_type == TokenType.ALIAS:
            name = self._name("a column")
            self._advance()
            return self.expression(Computed(this=name, expression=self._parse_disjunction()))
        return self._column_definition()

    def _with_options(self) -> list[exp.Expr]:
        """`('key' = 'value', …)`."""
        if not self._match(TokenType.L_PAREN):
            self.raise_error("WITH is followed by ('key' = 'value', …)")
        options: list[exp.Expr] = []
        while True:
            key = self._curr
            if not self._match(TokenType.STRING) or not self._match(TokenType.EQ):
                self.raise_error("an option is written 'key' = 'value'")
            if not self._match(TokenType.STRING):
                self.raise_error("an option's value stands in quotes")
            option = exp.Property(
                this=exp.Literal.string(key.text), value=exp.Literal.string(self._prev.text)
            )
            option.meta["start"] = key.start
            options.append(option)
            if not self._match(TokenType.COMMA):
                break
        self._match_r_paren()
        return options


class KinesisParser(StreamingParser):
    """Kinesis Data Analytics' form: SELECT STREAM, STEP, streams and pumps."""

    OPERATION_MODIFIERS: ClassVar[set[str]] = {"STREAM"}
    FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
        **Parser.FUNCTION_PARSERS,
        "STEP": lambda self: self._step(),
    }

    def _match_texts(self, texts: Any, advance: bool = True) -> Any:
        # A quoted "STREAM" is a column's name, never the modifier.
        if texts is self.OPERATION_MODIFIERS and self._curr and self._curr.token_type == TokenType.IDENTIFIER:
            return False
        return super()._match_texts(texts, advance)

    def _step(self) -> exp.Expr:
        """What stands inside STEP( )."""
        this = self._parse_bitwise()
        if not self._match_text_seq("BY"):
            self.raise_error("STEP is written STEP(time BY INTERVAL '10' SECOND)")
        step = self._parse_interval() or self._parse_bitwise()
        return self.expression(Step(this=this, expression=step))

    def _parse_create(self) -> Any:
        start = self._prev
        replace = self._match_pair(TokenType.OR, TokenType.REPLACE)
        if self._match_text_seq("STREAM"):
            node = self._create_stream(replace)
        elif self._match_text_seq("PUMP"):
            node = self._create_pump(replace)
        else:
            what = self._curr.text.upper() if self._curr else "nothing"
            self.raise_error(f"CREATE {what} is not supported in the kinesis dialect; STREAM and PUMP are")
        node.meta["start"] = start.start
        return node

    def _create_stream(self, replace: bool) -> exp.Expr:
        table = self._parse_table_parts(schema=True)
        if not self._match(TokenType.L_PAREN):
            self.raise_error("CREATE STREAM needs its columns in parentheses")
        columns = [self._column_definition()]
        while self._match(TokenType.COMMA):
            columns.append(self._column_definition())
        self._match_r_paren()
        self._description()
        return exp.Create(this=exp.Schema(this=table, expressions=columns), kind="STREAM", replace=replace)

    def _create_pump(self, replace: bool) -> exp.Expr:
        name = self._parse_table_parts(schema=True)
        if self._match_text_seq("STOPPED"):
            self.raise_error(
                "a pump created STOPPED would never run: ALTER PUMP is not supported", self._prev
            )
        self._match_text_seq("STARTED")
        self._description()
        if not self._match(TokenType.ALIAS):
            self.raise_error("CREATE PUMP needs AS INSERT INTO … SELECT STREAM …")
        if not self._match(TokenType.INSERT):
            self.raise_error("a pump is AS INSERT INTO … SELECT STREAM …")
        return exp.Create(this=name, kind="PUMP", replace=replace, expression=self._parse_insert())


class StreamingGenerator(Generator):
    """Prints our nodes; used where a plan shows an expression."""

    TRANSFORMS: ClassVar[dict[Any, Any]] = {
        **Generator.TRANSFORMS,
        Step: lambda self, node: f"STEP({self.sql(node, 'this')} BY {self.sql(node, 'expression')})",
        exp.Floor: lambda self, node: (
            f"FLOOR({self.sql(node, 'this')} TO {self.sql(node, 'to')})"
            if node.args.get("to")
            else f"FLOOR({self.sql(node, 'this')})"
        ),
    }


class Flink(Dialect):
    """Apache Flink SQL, as far as headrace runs it."""

    class Tokenizer(Tokenizer):
        IDENTIFIERS: ClassVar[list[Any]] = ["`"]
        QUOTES: ClassVar[list[Any]] = ["'"]
        STRING_ESCAPES: ClassVar[list[Any]] = ["'"]

    Parser = FlinkParser
    Generator = StreamingGenerator


class Kinesis(Dialect):
    """The SQL of Kinesis Data Analytics (SQL-1_0), as far as headrace runs it."""

    class Tokenizer(Tokenizer):
        IDENTIFIERS: ClassVar[list[Any]] = ['"']
        QUOTES: ClassVar[list[Any]] = ["'"]
        STRING_ESCAPES: ClassVar[list[Any]] = ["'"]

    Parser = KinesisParser
    Generator = StreamingGenerator


DIALECTS: dict[str, type[Dialect]] = {"flink": Flink, "kinesis": Kinesis}
