# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The public face: every name is there, documented, and takes what its signature says and nothing else."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import headrace
from headrace import errors

CLASSES = [
    headrace.Store,
    headrace.Stream,
    headrace.Tail,
    headrace.Query,
    headrace.Positions,
    headrace.Position,
]
BY_NAME = {"sql"}  # tables by the names that the query gives them


def methods() -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = [("open", headrace.open), ("sql", headrace.sql)]
    for kind in CLASSES:
        found += [
            (f"{kind.__name__}.{name}", function)
            for name, function in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        ]
    return found


def test_every_name_is_there_and_explained():
    for name in headrace.__all__:
        value = getattr(headrace, name)
        assert name.startswith("__") or inspect.getdoc(value), name
    assert set(headrace.__all__) <= set(dir(headrace))
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        headrace.opne  # noqa: B018


def test_the_errors_at_the_top_are_those_of_the_tree():
    for name in headrace._ERRORS:
        assert getattr(headrace, name) is getattr(errors, name)
        assert name in headrace.__all__


@pytest.mark.parametrize(
    ("name", "function"), methods(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_nothing_is_taken_and_ignored(name, function):
    """No **kwargs, and at most two arguments by place."""
    parameters = [p for n, p in inspect.signature(function).parameters.items() if n != "self"]
    assert name in BY_NAME or not [p for p in parameters if p.kind is p.VAR_KEYWORD], name
    assert len([p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]) <= 2, name
    assert inspect.getdoc(function), name


def test_importing_loads_nothing_but_itself():
    code = "import sys; before = set(sys.modules); import headrace; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "headrace" in loaded
    assert not loaded & {"numpy", "msgspec", "sqlite3", "sqlglot", "uvloop", "asyncio", "polars", "pyarrow"}
