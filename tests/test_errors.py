# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The tree of errors is as it is drawn, and each error arrives elsewhere as what it was."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest

from headrace import errors

CLASSES = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.Error)
]


def drawn() -> dict[str, str]:
    """name -> parent, as the module's docstring draws them."""
    parents: dict[str, str] = {}
    above = {0: "Error"}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│ ]*)[├└]── (\w+)", line)
        if match:
            depth = len(match[1]) // 4 + 1
            parents[match[2]] = above[depth - 1]
            above[depth] = match[2]
    return parents


def test_the_tree_is_as_drawn():
    nearest = {kind.__name__: kind.__mro__[1].__name__ for kind in CLASSES if kind is not errors.Error}
    for name, parent in drawn().items():
        # An error may stand below a more special one than is drawn: AlreadyExists is a ResourceInUse.
        assert issubclass(getattr(errors, name), getattr(errors, parent)), name
    assert set(drawn()) == set(nearest)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling_and_copying(kind):
    error = kind("what happened", hint="what to do")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is kind
        assert (again.message, again.hint, again.code, again.status) == (
            "what happened", "what to do", error.code, error.status,
        )  # fmt: skip
        assert str(again) == "what happened (what to do)"
    assert error.code
    assert 400 <= error.status < 600


def test_what_else_an_error_says_survives_too():
    full = errors.Backpressure("full", accepted=np.array([True, False]), retry_after=2.0)
    again = pickle.loads(pickle.dumps(full))
    assert again.accepted.tolist() == [True, False]
    assert again.retry_after == 2.0
    mistake = pickle.loads(pickle.dumps(errors.SQLError("no", line=2, column=3, caret="x\n^")))
    assert (mistake.line, mistake.column, mistake.caret) == (2, 3, "x\n^")
