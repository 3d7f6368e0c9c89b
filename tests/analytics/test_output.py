# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: rows become the JSON that is documented. Method: each type and its edges, read back by json."""

from __future__ import annotations

import json
import math

import numpy as np

from headrace.analytics.columns import columns_of
from headrace.analytics.keys import column_of
from headrace.analytics.output import records
from headrace.analytics.types import Schema, Type
from headrace.analytics.vectors import Vector
from headrace.core.table import Columns


def test_every_type_as_json():
    values = {
        "i": (Type.BIGINT, [2**63 - 1, None]),
        "d": (Type.DOUBLE, [0.1, None]),
        "s": (Type.VARCHAR, ['é"\\\n\U0001f600', None]),
        "b": (Type.BOOLEAN, [True, None]),
        "t": (Type.TIMESTAMP, [-1, None]),
        "j": (Type.JSON, ['{"a" : [1, 2.50]}', None]),
    }
    columns = columns_of({name: column_of(kind, some) for name, (kind, some) in values.items()}, 2)
    first, second = records(columns, Schema({name: kind for name, (kind, _) in values.items()}))
    assert json.loads(first) == {
        "i": 2**63 - 1, "d": 0.1, "s": 'é"\\\n\U0001f600', "b": True, "t": "1969-12-31 23:59:59.999999", "j": {"a": [1, 2.5]},
    }  # fmt: skip
    assert first.endswith(b'"j":{"a" : [1, 2.50]}}')  # as it was read
    assert json.loads(second) == dict.fromkeys(values)


def test_numbers_that_json_lacks_are_texts():
    vector = Vector(Type.DOUBLE, np.array([math.nan, math.inf, -math.inf, 1.0]))
    rows = records(columns_of({"d": vector}, 4), Schema({"d": Type.DOUBLE}))
    assert rows == [b'{"d":"NaN"}', b'{"d":"Infinity"}', b'{"d":"-Infinity"}', b'{"d":1.0}']


def test_no_rows_are_no_records():
    assert records(Columns({}, 0), Schema({})) == []
