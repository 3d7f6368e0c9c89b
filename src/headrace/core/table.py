# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Columns: named, typed numpy arrays of one length, with masks and dictionaries; what scans and queries give.

Cost: nothing here looks at single rows in Python except where a str for each row is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, KeysView, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import InvalidArgument, NotFound

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
NO_ROWS: Rows = np.empty(0, dtype=np.int64)
REPR_ROWS = 10

# what a row without a value holds
NOTHING: dict[str, Any] = {
    "i8": np.int64(0),
    "f8": np.float64("nan"),
    "bool": np.False_,
    "timestamp": np.datetime64("NaT", "us"),
    "str": np.int32(-1),
}


class Strings:
    """Distinct strings, one behind the other in UTF-8: string i is data[ends[i]:ends[i + 1]]."""

    __slots__ = ("_list", "data", "ends")

    def __init__(self, data: npt.NDArray[np.uint8], ends: Rows) -> None:
        self.data = data
        self.ends = ends
        self._list: list[str] | None = None

    @classmethod
    def of(cls, strings: Sequence[str]) -> Strings:
        """The table of some strings. Half a surrogate pair is no text: InvalidArgument."""
        try:
            encoded = [text.encode() for text in strings]
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"{error.object!r} is not text that UTF-8 can carry") from error
        ends = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(item) for item in encoded], out=ends[1:])
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)

    def list(self) -> list[str]:
        """The strings; made once."""
        if self._list is None:
            data, ends = self.data.tobytes(), self.ends.tolist()
            self._list = [data[start:end].decode() for start, end in pairwise(ends)]
        return self._list

    def __len__(self) -> int:
        return len(self.ends) - 1


class Column:
    """One column: values (codes for strings), a mask of the valid rows, and the rows of another type."""

    __slots__ = ("_objects", "mismatches", "strings", "type", "valid", "values")

    def __init__(
        self,
        type: str,
        values: npt.NDArray[Any],
        valid: Mask,
        mismatches: Rows,
        strings: Strings | None = None,
    ) -> None:
        self.type = type
        self.values = values
        self.valid = valid
        self.mismatches = mismatches
        self.strings = strings
        self._objects: npt.NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def array(self) -> npt.NDArray[Any]:
        """The values as users see them: strings as an object array of str and None, made once."""
        if self.strings is None:
            return self.values
        if self._objects is None:
            known = np.empty(len(self.strings) + 1, dtype=object)  # the last stays None: code -1
            known[: len(self.strings)] = self.strings.list()
            self._objects = known[self.values]
            self._objects.flags.writeable = False
        return self._objects

    def take(self, rows: Any) -> Column:
        """The rows of a mask, an index array or a slice; strings share the dictionary."""
        marks = np.zeros(len(self), dtype=np.bool_)
        marks[self.mismatches] = True
        mismatches = (
            np.flatnonzero(marks[rows]).astype(np.int64, copy=False) if len(self.mismatches) else NO_ROWS
        )
        return Column(self.type, self.values[rows], self.valid[rows], mismatches, self.strings)

    def __reduce__(self) -> tuple[Any, ...]:
        texts = None if self.strings is None else (self.strings.data, self.strings.ends)
        return (_column_again, (self.type, self.values, self.valid, self.mismatches, texts))


def _column_again(
    type: str, values: Any, valid: Any, mismatches: Any, texts: tuple[Any, Any] | None
) -> Column:
    """Make a column again from its pickled parts."""
    return Column(type, values, valid, mismatches, None if texts is None else Strings(*texts))


def _coded(values: Sequence[Any], name: str) -> tuple[npt.NDArray[np.int32], Strings]:
    """Codes and dictionary of str and None values, numbered by first appearance."""
    numbers: dict[str, int] = {}
    codes = np.empty(len(values), dtype=np.int32)
    for row, text in enumerate(values):
        if text is None:
            codes[row] = -1
        elif isinstance(text, str):
            codes[row] = numbers.setdefault(str(text), len(numbers))
        else:
            raise InvalidArgument(
                f"column {name!r} has a {type(text).__name__} in row {row} among its strings"
            )
    return codes, Strings.of(list(numbers))


def _typed(name: str, values: Any, array: npt.NDArray[Any]) -> tuple[str, npt.NDArray[Any], Strings | None]:
    """Type, values and strings of a plain array."""
    kind = array.dtype.kind
    if kind in "OUTS":
        if kind == "S" and array is values:
            raise InvalidArgument(f"column {name!r} has bytes; decode them to str first")
        codes, strings = _coded(array.tolist() if array is values else list(values), name)
        return "str", codes, strings
    if kind == "b":
        return "bool", array, None
    if kind in "iu":
        if array.dtype == np.uint64 and len(array) and array.max() > np.iinfo(np.int64).max:
            raise InvalidArgument(f"column {name!r} has integers beyond 64 bits with a sign")
        return "i8", array.astype(np.int64, copy=False), None
    if kind == "f":
        return "f8", array.astype(np.float64, copy=False), None
    if kind == "M":
        return "timestamp", array.astype("datetime64[us]", copy=False), None
    raise InvalidArgument(
        f"column {name!r} has dtype {array.dtype}; known are integers, floats, bool, datetime64 and str"
    )


def _column_of(name: str, values: Any, valid: Any, dictionary: Sequence[str] | None) -> Column:
    """A column from a plain array, list, or codes with a dictionary; null rows hold their type's nothing."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise InvalidArgument(f"column {name!r} has {array.ndim} dimensions; expected one")
    mask = np.ones(len(array), dtype=np.bool_) if valid is None else np.array(valid, dtype=np.bool_)
    if mask.shape != array.shape:
        raise InvalidArgument(f"column {name!r} has {len(array)} rows and a mask of {len(mask)}")
    if dictionary is None:
        kind, array, strings = _typed(name, values, array)
    else:
        kind, array, strings = "str", array.astype(np.int32, copy=False), Strings.of(dictionary)
        if len(array) and (array.min() < -1 or array.max() >= len(dictionary)):
            raise InvalidArgument(f"column {name!r} has codes outside its dictionary of {len(dictionary)}")
    if kind == "str":
        mask &= array >= 0
    elif kind == "timestamp":
        mask &= ~np.isnat(array)
    if not mask.all():
        array = np.where(mask, array, NOTHING[kind])
    return Column(kind, array, mask, NO_ROWS, strings)


class Columns:
    """Named columns of one length.

    `columns["cpu"]` is a numpy array: int64, float64, bool, datetime64[us] (UTC), or an object array of
    str made on demand. Where a row is null it holds 0, NaN, False, NaT or None; `valid["cpu"]` is the
    mask of the rows that have a value. `codes("host")` and `dictionary("host")` give a string column as
    int32 codes (-1: null) into a list of distinct strings in order of first appearance.

    It behaves like a mapping (`len(columns)` and iteration: names; `columns.rows` is the number of rows)
    without being registered as one: polars takes a Mapping apart before it looks for the Arrow protocol,
    by which it, DuckDB, pyarrow and pandas read these columns with their nulls.
    """

    __slots__ = ("_columns", "_valid", "errors", "rows")

    def __init__(self, columns: dict[str, Column], rows: int, errors: Rows = NO_ROWS) -> None:
        self._columns = columns
        self.rows = rows
        self.errors = errors
        self._valid: dict[str, Mask] | None = None

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, Any],
        *,
        valid: Mapping[str, Any] | None = None,
        dictionaries: Mapping[str, Sequence[str]] | None = None,
    ) -> Columns:
        """Columns from arrays or lists of one length.

        valid: masks by name (default: all rows; NaT, None and code -1 are null anyway). dictionaries:
        for the names in it the array holds codes. Raises InvalidArgument naming the column that does not fit.
        """
        columns = {
            name: _column_of(name, values, (valid or {}).get(name), (dictionaries or {}).get(name))
            for name, values in arrays.items()
        }
        rows = {name: len(column) for name, column in columns.items()}
        if len(set(rows.values())) > 1:
            raise InvalidArgument(f"columns of different lengths: {rows}")
        return cls(columns, next(iter(rows.values()), 0))

    # --- the mapping ---

    def column(self, name: str) -> Column:
        """The column itself. NotFound names those that exist."""
        try:
            return self._columns[name]
        except KeyError:
            raise NotFound(
                f"no column {name!r}; there are {', '.join(map(repr, self._columns)) or 'none'}"
            ) from None

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        try:
            return self._columns[name].array()
        except KeyError:
            raise KeyError(f"{name!r}; there are {', '.join(map(repr, self._columns)) or 'none'}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._columns.keys()

    def values(self) -> list[npt.NDArray[Any]]:
        """The arrays, in the order of the names."""
        return [column.array() for column in self._columns.values()]

    def items(self) -> list[tuple[str, npt.NDArray[Any]]]:
        """Names with their arrays."""
        return [(name, column.array()) for name, column in self._columns.items()]

    def get(self, name: str, default: Any = None) -> Any:
        """The array of a name, or `default`."""
        return self[name] if name in self._columns else default

    @property
    def valid(self) -> Mapping[str, Mask]:
        """For each name the mask of rows that have a value."""
        if self._valid is None:
            self._valid = {name: column.valid for name, column in self._columns.items()}
        return self._valid

    @property
    def types(self) -> dict[str, str]:
        """For each name its type: i8, f8, bool, str or timestamp."""
        return {name: column.type for name, column in self._columns.items()}

    def _strings_of(self, name: str) -> tuple[Column, Strings]:
        column = self.column(name)
        if column.strings is None:
            raise InvalidArgument(f"column {name!r} has type {column.type}; only str columns have codes")
        return column, column.strings

    def codes(self, name: str) -> npt.NDArray[np.int32]:
        """A string column as positions in `dictionary(name)`; -1 is null."""
        return self._strings_of(name)[0].values

    def dictionary(self, name: str) -> list[str]:
        """The distinct strings of a column in order of first appearance."""
        return self._strings_of(name)[1].list()

    def mismatches(self, name: str) -> Rows:
        """The rows in which a value was there but had another type."""
        return self.column(name).mismatches

    # --- parts and wholes ---

    def take(self, rows: Any) -> Columns:
        """The rows of a bool mask, of an index array or of a slice, in that order."""
        which = np.arange(self.rows)[rows]
        marks = np.zeros(self.rows, dtype=np.bool_)
        marks[self.errors] = True
        errors = np.flatnonzero(marks[which]).astype(np.int64, copy=False)
        return Columns(
            {name: column.take(rows) for name, column in self._columns.items()}, len(which), errors
        )

    def head(self, count: int = 10) -> Columns:
        """The first rows."""
        return self.take(slice(0, count))

    def select(self, *names: str) -> Columns:
        """Some columns, in the order given."""
        return Columns({name: self.column(name) for name in names}, self.rows, self.errors)

    @staticmethod
    def concat(parts: Sequence[Columns]) -> Columns:
        """One below the other. All parts have the same names and types; dictionaries are merged."""
        parts = list(parts)
        if not parts:
            return Columns({}, 0)
        first = parts[0]
        for part in parts[1:]:
            if part.types != first.types:
                raise InvalidArgument(f"columns {part.types} cannot follow columns {first.types}")
        starts = np.cumsum([0] + [part.rows for part in parts[:-1]]).tolist()
        columns = {name: _joined([part._columns[name] for part in parts], starts) for name in first}
        errors = np.concatenate([part.errors + start for part, start in zip(parts, starts, strict=True)])
        return Columns(columns, sum(part.rows for part in parts), errors)

    def equals(self, other: Columns) -> bool:
        """The same names, types and rows; nulls equal nulls, NaN equals NaN."""
        if self.types != other.types or list(self) != list(other) or self.rows != other.rows:
            return False
        return all(_same(column, other._columns[name]) for name, column in self._columns.items())

    def __reduce__(self) -> tuple[Any, ...]:
        return (Columns, (self._columns, self.rows, self.errors))

    # --- other libraries ---

    def __arrow_c_schema__(self) -> object:
        from headrace.core import _arrow

        return _arrow.columns_schema(self)

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        from headrace.core import _arrow

        return _arrow.columns_array(self, requested_schema)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        from headrace.core import _arrow

        return _arrow.columns_stream(self, requested_schema)

    def to_numpy(self) -> dict[str, npt.NDArray[Any]]:
        """A dict of the arrays."""
        return dict(self)

    def to_arrow(self) -> Any:
        """A pyarrow.Table; strings are dictionary-coded, times are UTC."""
        from headrace.core import handover

        return handover.to_arrow(self)

    def to_polars(self) -> Any:
        """A polars.DataFrame."""
        from headrace.core import handover

        return handover.to_polars(self)

    def to_pandas(self) -> Any:
        """A pandas.DataFrame: nullable Int64 and boolean where rows are null, strings as strings."""
        from headrace.core import handover

        return handover.columns_to_pandas(self)

    # --- for people ---

    def _cells(self, count: int) -> list[list[str]]:
        """The first rows as text, the names and types above them."""
        head = self.head(count)
        columns = []
        for name, column in head._columns.items():
            values = column.array().tolist()
            cells = [str(value) if good else "null" for value, good in zip(values, column.valid, strict=True)]
            columns.append(
                [name, column.type, *(cell if len(cell) <= 40 else cell[:39] + "…" for cell in cells)]
            )
        return [list(row) for row in zip(*columns, strict=True)]

    def __repr__(self) -> str:
        cells = self._cells(REPR_ROWS)
        if not cells:
            return f"Columns({self.rows} rows, no columns)"
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in cells
        ]
        more = [f"… {self.rows - REPR_ROWS} more"] if self.rows > REPR_ROWS else []
        faults = f", {len(self.errors)} not readable" if len(self.errors) else ""
        return "\n".join([f"Columns({self.rows} rows{faults})", *lines, *more])

    def _repr_html_(self) -> str:
        from html import escape

        cells = self._cells(REPR_ROWS)
        if not cells:
            return f"<p>{self.rows} rows, no columns</p>"
        names, types, *rows = [[escape(cell) for cell in row] for row in cells]
        head = "".join(
            f"<th>{name}<br><small>{type}</small></th>" for name, type in zip(names, types, strict=True)
        )
        body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
        faults = f", {len(self.errors)} not readable" if len(self.errors) else ""
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<p>{self.rows} rows{faults}</p>"
        )  # fmt: skip


def _joined(parts: list[Column], starts: list[int]) -> Column:
    """The same column of several tables, one below the other."""
    values = [part.values for part in parts]
    strings: Strings | None = None
    if parts[0].strings is not None:
        numbers: dict[str, int] = {}
        for i, part in enumerate(parts):
            assert part.strings is not None
            known = [numbers.setdefault(text, len(numbers)) for text in part.strings.list()]
            values[i] = np.array([*known, -1], dtype=np.int32)[part.values]  # code -1 takes the last
        strings = Strings.of(list(numbers))
    return Column(
        parts[0].type,
        np.concatenate(values),
        np.concatenate([part.valid for part in parts]),
        np.concatenate([part.mismatches + start for part, start in zip(parts, starts, strict=True)]),
        strings,
    )


def _same(left: Column, right: Column) -> bool:
    if not np.array_equal(left.valid, right.valid):
        return False
    a, b = left.array()[left.valid], right.array()[right.valid]
    return bool(np.array_equal(a, b, equal_nan=left.type == "f8"))
