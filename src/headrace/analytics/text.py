# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A query's text: which dialect it is in, its syntax trees, and errors that point into it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from sqlglot import exp
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import Token

from headrace import limits
from headrace.analytics.dialects import DIALECTS
from headrace.errors import SQLError

logging.getLogger("sqlglot").addHandler(logging.NullHandler())  # its warnings become our errors

OPERATORS = frozenset(
    ["(", ")", ",", ".", ";", "=", "<>", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "||", "=>"]
)
SIGNS = {
    "GT": ">", "GTE": ">=", "LT": "<", "LTE": "<=", "EQ": "=", "NEQ": "<>", "ADD": "+", "SUB": "-", "NEG": "-",
    "MUL": "*", "DIV": "/", "INTDIV": "/", "MOD": "%", "DPIPE": "||", "SAFEDIVIDE": "/", "ALIAS": "AS",
    "CONCAT": "||", "PAREN": "(", "IF": "WHEN",
}  # fmt: skip
"""What the parser's names of operators are in a text."""
_QUOTES = "'\"`"

# Comments, quoted things, words, and single characters: enough to recognise a dialect and bound nesting.
_WORDS = re.compile(r"--[^\n]*|/\*(?:[^*]|\*(?!/))*\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\w+|\S")


@dataclass(frozen=True)
class Query:
    """A text that was parsed: its dialect's name and one tree for each statement."""

    text: str
    dialect: str
    statements: tuple[exp.Expr, ...]

    def error(self, where: exp.Expr | int, message: str, hint: str = "") -> SQLError:
        """An error that points at a node of one of the trees, or at an offset in the text."""
        return error_at(self.text, position(where) if isinstance(where, exp.Expr) else where, message, hint)


def parse(text: str, dialect: str | None = None) -> Query:
    """Read a query's text.

    Args:
        text: one or more statements, separated by semicolons.
        dialect: "flink" or "kinesis"; None to recognise it from the text.

    Raises:
        SQLError: the text is too long, nests too deeply or is not of the dialect; it names line and column.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > limits.sql_text_size_max:
        raise SQLError(f"the query has {size} bytes; at most {limits.sql_text_size_max} are allowed")
    words = list(_words(text))
    _check_nesting(text, words)
    name = recognise(words) if dialect is None else dialect
    if name not in DIALECTS:
        raise SQLError(f"there is no SQL dialect {name!r}; there are {', '.join(sorted(DIALECTS))}")
    try:
        parser = DIALECTS[name]()
        _check_tokens(text, name, parser.tokenize(text))
        trees = parser.parse(text)
    except ParseError as error:
        detail = error.errors[0] if error.errors else {}
        raise error_at(text, detail.get("start", 0), _plain(detail.get("description", str(error)))) from None
    except TokenError as error:
        raise _token_error(text, name, str(error)) from None
    except RecursionError:
        raise SQLError(f"the query nests deeper than {limits.sql_depth_max} levels") from None
    statements = tuple(tree for tree in trees if tree is not None and not isinstance(tree, exp.Semicolon))
    if not statements:
        raise SQLError("the query is empty")
    return Query(text, name, statements)


def recognise(words: list[tuple[str, int]]) -> str:
    """The dialect a text is in: kinesis if something in it exists only there, else flink."""
    upper = [word.upper() for word, _ in words]
    for word, follower in pairwise([*upper, ""]):
        if word in ("PUMP", "ROWTIME", "APPROXIMATE_ARRIVAL_TIME") or word.startswith('"'):
            return "kinesis"
        if (word, follower) in (
            ("SELECT", "STREAM"),
            ("STEP", "("),
            ("CREATE", "STREAM"),
            ("REPLACE", "STREAM"),
        ):
            return "kinesis"
    return "flink"


def position(node: exp.Expr) -> int:
    """The offset in the text where a node stands: its own, or its first part's that knows."""
    if "start" in node.meta and not isinstance(node, exp.Binary):
        return int(node.meta["start"])
    starts = [part.meta["start"] for part in node.walk() if "start" in part.meta]
    return int(min(starts, default=0))


def error_at(text: str, start: int, message: str, hint: str = "") -> SQLError:
    """An error with line, column and caret for an offset in the text."""
    start = min(max(start, 0), len(text))
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", start)
    source = text[line_start : line_end if line_end >= 0 else len(text)].rstrip("\r")
    line, column = text.count("\n", 0, start) + 1, start - line_start + 1
    caret = f"{source}\n{''.join(c if c == chr(9) else ' ' for c in source[: column - 1])}^"
    return SQLError(
        f"{message} (line {line}, column {column})", line=line, column=column, caret=caret, hint=hint
    )


def _words(text: str) -> Iterator[tuple[str, int]]:
    """The text's words and their offsets, without comments."""
    for match in _WORDS.finditer(text):
        word = match.group()
        if word.startswith("/*+"):
            raise error_at(text, match.start(), "a hint is not supported")
        if not word.startswith(("--", "/*")) or word == "-":
            yield word, match.start()


def _check_nesting(text: str, words: list[tuple[str, int]]) -> None:
    """Refuse what would make the parser recurse too far, before it does."""
    depth = run = 0
    for word, start in words:
        upper = word.upper()
        run = run + 1 if upper in ("NOT", "-", "+") else 0
        if upper in ("(", "CASE"):
            depth += 1
        elif upper in (")", "END"):
            depth = max(depth - 1, 0)
        if depth + run > limits.sql_depth_max:
            raise error_at(text, start, f"the query nests deeper than {limits.sql_depth_max} levels")


def _check_tokens(text: str, dialect: str, tokens: list[Token]) -> None:
    """Refuse what sqlglot would read although neither engine does: other operators, a comma too many."""
    for index, token in enumerate(tokens):
        written = text[token.start : token.end + 1]
        operator = written[:1] not in _QUOTES and not written[:1].isalnum() and written[:1] not in "_$@#"
        if operator and written not in OPERATORS:
            raise error_at(text, token.start, f"{written} is not an operator of the {dialect} dialect")
        follower = tokens[index + 1] if index + 1 < len(tokens) else None
        if token.text.upper() == "DISTINCT" and index and tokens[index - 1].text.upper() == "GROUP BY":
            raise error_at(text, token.start, "GROUP BY DISTINCT is not supported")
        if written == "," and (follower is None or follower.text.upper() in ("FROM", ")", ";", "WHERE", ",")):
            raise error_at(text, token.start, "a comma with nothing after it")


def _token_error(text: str, dialect: str, message: str) -> SQLError:
    """Tokenizer errors name no place worth pointing at, except where a quote was never closed."""
    for quote in ("'", '"', "`"):
        if text.count(quote) % 2:
            return error_at(text, text.rfind(quote), f"a quotation that begins with {quote} does not end")
    return SQLError(f"the text is not {dialect} SQL: {_plain(message)}")


def _plain(message: str) -> str:
    """A message without sqlglot's capitals and terminal colours."""
    message = re.sub(r"\x1b\[[0-9]*m", "", message).strip().rstrip(".")
    if missing := re.match(r"required keyword: '\w+' missing for <class '.*\.(\w+)'>", message, re.I):
        name = missing.group(1).upper()
        return f"something is missing beside {SIGNS.get(name, name)}"
    if message.startswith("Invalid expression"):
        return "this is not understood here"
    return message[:1].lower() + message[1:] if message[1:2].islower() else message
