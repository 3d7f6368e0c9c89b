# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Columns: what goes in comes out of every part, join, pickle and picture, against plain lists."""

import builtins
import importlib
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core._batch import RecordBatch
from headrace.core._columns import Field, scan
from headrace.core.table import Columns, Strings
from headrace.errors import InvalidArgument, NotFound, Unsupported

VALUES = {
    "n": st.none() | st.integers(-(2**63), 2**63 - 1),
    "x": st.none() | st.floats(allow_nan=False),
    "ok": st.none() | st.booleans(),
    "host": st.none()
    | st.sampled_from(["", "a", "é", "web-1", "a long name of a host"])
    | st.text("abc", max_size=2),
    "ts": st.none() | st.integers(-(10**15), 10**15),
}
ARRAYS = {"n": np.int64, "x": np.float64, "ok": np.bool_, "ts": "datetime64[us]"}
tables = st.lists(st.fixed_dictionaries(VALUES), max_size=12)


def table_of(rows):
    """Columns made of a list of dicts."""
    arrays, valid = {}, {}
    for name in VALUES:
        values = [row[name] for row in rows]
        valid[name] = np.array([value is not None for value in values], dtype=bool)
        if name == "host":
            arrays[name] = np.array(values, dtype=object)
        else:
            arrays[name] = np.array([0 if value is None else value for value in values], dtype=ARRAYS[name])
    return Columns.from_arrays(arrays, valid=valid)


def rows_of(columns):
    """The list of dicts again."""
    arrays = {
        name: (values.astype(np.int64) if columns.types[name] == "timestamp" else values).tolist()
        for name, values in columns.items()
    }
    return [
        {name: arrays[name][row] if columns.valid[name][row] else None for name in columns}
        for row in range(columns.rows)
    ]


def some_columns():
    """Columns of a scan, with an error in row 2 and a mismatch in row 1."""
    records = [b'{"host":"a","x":1}', b'{"host":"b","x":"no"}', b"oops", b'{"host":"a","x":2.5}']
    return scan(RecordBatch.of(records), [Field("host"), Field("x", type="f8")])


@given(tables)
def test_arrays_give_back_what_went_in(rows):
    columns = table_of(rows)
    assert rows_of(columns) == rows
    assert columns.rows == len(rows) and list(columns) == list(VALUES) and len(columns) == 5
    assert columns.types == {"n": "i8", "x": "f8", "ok": "bool", "host": "str", "ts": "timestamp"}
    texts = [row["host"] for row in rows if row["host"] is not None]
    assert columns.dictionary("host") == list(dict.fromkeys(texts))


@given(tables, tables, st.data())
def test_parts_and_joins_agree_with_lists(left, right, data):
    both = Columns.concat([table_of(left), table_of([]), table_of(right)])
    assert both.equals(table_of(left + right)) and rows_of(both) == left + right
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=both.rows, max_size=both.rows)), dtype=bool)
    assert rows_of(both.take(mask)) == [row for row, keep in zip(left + right, mask, strict=True) if keep]
    order = np.array(data.draw(st.permutations(range(both.rows))), dtype=np.int64)
    assert rows_of(both.take(order)) == [(left + right)[i] for i in order]
    assert rows_of(both.head(3)) == (left + right)[:3]
    again = pickle.loads(pickle.dumps(both))
    assert again.equals(both) and again.codes("host").tolist() == both.codes("host").tolist()


def test_errors_and_mismatches_move_with_their_rows():
    columns = some_columns()
    part = columns.take(np.array([3, 2, 1]))
    assert part.errors.tolist() == [1] and part.mismatches("x").tolist() == [2]
    both = Columns.concat([columns, part])
    assert both.errors.tolist() == [2, 5] and both.mismatches("x").tolist() == [1, 6]
    assert both["host"].tolist() == ["a", "b", None, "a", "a", None, "b"]
    assert pickle.loads(pickle.dumps(both)).mismatches("x").tolist() == [1, 6]


def test_it_reads_like_a_mapping():
    columns = some_columns()
    assert list(columns) == list(columns.keys()) == ["host", "x"] and "x" in columns and "y" not in columns
    assert [name for name, _ in columns.items()] == ["host", "x"] and len(columns.values()) == 2
    assert (
        dict(columns)["x"].tolist()[0] == 1.0
        and columns.get("y") is None
        and columns.get("x") is columns["x"]
    )
    assert list(columns.select("x")) == ["x"] and columns.to_numpy().keys() == columns.keys()
    assert columns == columns and columns != some_columns() and columns.equals(some_columns())
    with pytest.raises(KeyError, match="'y'; there are 'host', 'x'"):
        columns["y"]
    with pytest.raises(NotFound, match="no column 'y'; there are 'host', 'x'"):
        columns.mismatches("y")
    with pytest.raises(InvalidArgument, match="has type f8; only str columns have codes"):
        columns.codes("x")
    with pytest.raises(ValueError, match="read-only"):
        columns["host"][0] = "z"


def test_other_arrays_become_the_nearest_type():
    columns = Columns.from_arrays(
        {
            "u": np.array([1, 2], dtype=np.uint8),
            "f": np.array([1.5, 2], dtype=np.float32),
            "s": np.array(["b", "a"]),
            "d": np.array(["2025-01-01", "NaT"], dtype="datetime64[D]"),
            "c": np.array([1, -1]),
        },
        dictionaries={"c": ["x", "y"]},
    )
    assert columns.types == {"u": "i8", "f": "f8", "s": "str", "d": "timestamp", "c": "str"}
    assert columns["c"].tolist() == ["y", None] and columns.valid["d"].tolist() == [True, False]
    assert columns.dictionary("s") == ["b", "a"] and columns.dictionary("c") == ["x", "y"]


def test_what_does_not_fit_is_refused_by_name():
    refused = {
        "3 dimensions": np.zeros((1, 1, 1)),
        "dtype complex128": np.zeros(2, dtype=complex),
        "beyond 64 bits": np.array([2**64 - 1, 0], dtype=np.uint64),
        "a bytes in row 1 among its strings": ["a", b"b"],
        "decode them to str": np.array([b"a", b"b"]),
        "a int in row 1 among its strings": ["a", 1],
        "not text that UTF-8 can carry": ["\ud800", "b"],
    }
    for words, values in refused.items():
        with pytest.raises(InvalidArgument, match=words):
            Columns.from_arrays({"a": values})
    with pytest.raises(InvalidArgument, match="2 rows and a mask of 1"):
        Columns.from_arrays({"a": [1, 2]}, valid={"a": [True]})
    with pytest.raises(InvalidArgument, match="outside its dictionary of 1"):
        Columns.from_arrays({"a": [1]}, dictionaries={"a": ["x"]})
    with pytest.raises(InvalidArgument, match=r"different lengths: \{'a': 1, 'b': 2\}"):
        Columns.from_arrays({"a": [1], "b": [1, 2]})
    with pytest.raises(InvalidArgument, match="cannot follow"):
        Columns.concat([Columns.from_arrays({"a": [1]}), Columns.from_arrays({"a": [1.5]})])


def test_pictures_show_the_first_rows_and_escape_text():
    columns = some_columns()
    assert repr(columns) == (
        "Columns(4 rows, 1 not readable)\nhost  x\nstr   f8\na     1.0\nb     null\nnull  null\na     2.5"
    )
    html = Columns.from_arrays({"<b>": ["<script>"] * 20})._repr_html_()
    assert (
        "<script>" not in html and "&lt;script&gt;" in html and "20 rows" in html and html.count("<tr>") == 11
    )
    assert "1 not readable" in columns._repr_html_()
    assert "… 10 more" in repr(Columns.from_arrays({"a": range(20)}))
    assert (
        repr(Columns.concat([])) == "Columns(0 rows, no columns)"
        and "no columns" in Columns({}, 3)._repr_html_()
    )


def test_strings_are_decoded_once():
    strings = Strings.of(["é", "", "b"])
    assert strings.list() == ["é", "", "b"] and strings.list() is strings.list() and len(strings) == 3


def test_pandas_gets_nulls_times_and_strings():
    columns = table_of([
        {"n": 1, "x": 1.5, "ok": True, "host": "a", "ts": 0},
        {"n": None, "x": None, "ok": None, "host": None, "ts": None},
    ])  # fmt: skip
    frame = columns.to_pandas()
    assert [str(kind) for kind in frame.dtypes[["n", "x", "ok", "ts"]]] == [
        "Int64", "float64", "boolean", "datetime64[us, UTC]",
    ]  # fmt: skip
    assert (
        frame["n"].isna().tolist()
        == frame["host"].isna().tolist()
        == frame["ts"].isna().tolist()
        == [False, True]
    )
    assert str(columns.head(1).to_pandas()["n"].dtype) == "int64"
    batch = RecordBatch.of([b"one"], ["k"], arrival_ms=5)
    frame = batch.to_pandas()
    assert frame["data"].tolist() == [b"one"] and frame["partition_key"].tolist() == ["k"]
    assert frame["arrival"].astype("int64").tolist() == [5]


@pytest.mark.parametrize(
    ("method", "library"), [("to_pandas", "pandas"), ("to_polars", "polars"), ("to_arrow", "pyarrow")]
)
def test_a_missing_library_is_named_with_what_to_type(monkeypatch, method, library):
    real = importlib.import_module

    def without(name, *rest):
        if name == library:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    monkeypatch.setattr(builtins, "__import__", builtins.__import__)
    for source in (some_columns(), RecordBatch.empty()):
        with pytest.raises(Unsupported, match=rf"{method} needs {library}.*pip install {library}"):
            getattr(source, method)()
