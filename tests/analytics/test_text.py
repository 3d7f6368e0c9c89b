# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: the dialect is recognised, comments and semicolons mean nothing, errors point at their place."""

from __future__ import annotations

import pytest

from headrace.analytics.text import error_at, parse
from headrace.errors import SQLError


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("SELECT a FROM t", "flink"),
        ("SELECT STREAM a FROM t", "kinesis"),
        ('SELECT "a" FROM t', "kinesis"),
        ("SELECT `a` FROM t", "flink"),
        ("SELECT 'STEP(' AS x FROM t", "flink"),
        ("SELECT a FROM t -- SELECT STREAM", "flink"),
        ('/* "x" */ SELECT a FROM t', "flink"),
        ("CREATE OR REPLACE STREAM s (a INT)", "kinesis"),
        ("SELECT STREAM a FROM s GROUP BY STEP(s.ROWTIME BY INTERVAL '1' SECOND)", "kinesis"),
    ],
)
def test_the_dialect_is_recognised(text, dialect):
    assert parse(text).dialect == dialect


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a FROM t;",
        "SELECT a FROM t;;",
        "SELECT a FROM t; -- end",
        "-- x\nSELECT a FROM t /* y */",
        "; SELECT a FROM t",
    ],
)
def test_semicolons_and_comments_mean_nothing(text):
    assert len(parse(text).statements) == 1


@pytest.mark.parametrize(
    ("text", "words", "at"),
    [
        ("SELECT a FROM t /*+ OPTIONS('x'='y') */", "a hint is not supported", "/*+"),
        ("SELECT a FROM t GROUP BY DISTINCT a", "GROUP BY DISTINCT", "DISTINCT"),
        ("SELECT a b c FROM t", "C is not understood here", "c FROM"),
        ("CREATE TABLE t (a INT DEFAULT 3); SELECT a FROM t", "DEFAULT of a column", "DEFAULT"),
        ("SELECT a FROM t WHERE a = 'x", "does not end", "'x"),
    ],
)
def test_refusals_name_the_word_and_its_place(text, words, at):
    with pytest.raises(SQLError, match=words.replace("+", "\\+")) as caught:
        parse(text)
    assert text[caught.value.column - 1 :].startswith(at)


def test_a_caret_stands_below_its_place_also_behind_tabs_and_wide_characters():
    error = error_at("a\n\té = x\r\nb", 6, "message", "hint")
    assert (error.line, error.column, error.caret) == (2, 5, "\té = x\n\t   ^")
    assert (str(error).startswith("message (line 2, column 5)"), error.hint) == (True, "hint")
    assert error_at("abc", 99, "end").column == 4
