# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Arrow arrays of every layout that holds bytes or text, from pyarrow and polars, against their own lists.

Inconsistent arrays are made with pyarrow's `from_buffers`, which does not check; the fuzz target
`arrow_values` does the same with any content.
"""

import ctypes

import numpy as np
import polars
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core._arrow_input import ArrowValues
from headrace.core._entries import Entries
from headrace.errors import InvalidArgument, ValidationError

LAYOUTS = [pa.binary(), pa.large_binary(), pa.binary_view(), pa.string(), pa.large_string(), pa.string_view()]
texts = st.lists(st.one_of(st.none(), st.text(max_size=20)), max_size=20)


def entries_of(data, keys=None, **options) -> Entries:
    entries = Entries()
    entries.extend(data, keys, **options)
    return entries


class Once:
    """An object that hands out what it was given, as another library's object would."""

    def __init__(self, array=None, stream=None):
        if array is not None:
            self.__arrow_c_array__ = lambda requested_schema=None: array
        if stream is not None:
            self.__arrow_c_stream__ = lambda requested_schema=None: stream


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@given(values=texts, start=st.integers(0, 5), cut=st.integers(0, 5))
def test_every_layout_gives_its_values_sliced_or_not(layout, values, start, cut):
    array = pa.array(values, pa.string()).cast(layout)
    part = array.slice(start, max(0, len(array) - start - cut))
    expected = [None if value is None else value.encode() for value in values][start : start + len(part)]
    assert ArrowValues(part, "data").to_list() == expected
    chunked = pa.chunked_array([part, array, array.slice(0, 0)], type=layout)
    assert ArrowValues(chunked, "data").to_list() == expected + ArrowValues(array, "data").to_list()


@given(st.lists(st.one_of(st.none(), st.binary(min_size=5, max_size=5)), max_size=12), st.integers(0, 3))
def test_fixed_size_binary(values, start):
    array = pa.array(values, pa.binary(5)).slice(start)
    assert ArrowValues(array, "data").to_list() == values[start:]


@given(texts)
def test_polars_series(values):
    series = polars.Series(values, dtype=polars.String)
    assert ArrowValues(series, "data").to_list() == [None if v is None else v.encode() for v in values]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_records_and_keys_come_from_arrow_arrays(layout):
    data = pa.array(["one", "", "a text longer than twelve bytes"], pa.string()).cast(layout)
    keys = pa.array(["k", None, "käy"], pa.string()).cast(layout)
    entries = entries_of(data, keys)
    assert entries.data == [b"one", b"", b"a text longer than twelve bytes"]
    assert entries.keys == ["k", None, "käy"]
    assert entries_of(polars.Series([b"x", b"y"]), "k").data == [b"x", b"y"]


def test_the_bytes_outlive_the_array():
    array = pa.array([b"x" * 100, b"y" * 100])
    entries = entries_of(array)
    del array
    assert entries.data == [b"x" * 100, b"y" * 100]


@pytest.mark.parametrize(
    ("data", "keys", "error", "message"),
    [
        (pa.array([b"a", None]), None, InvalidArgument, "record 1 is null in the Arrow array"),
        (pa.array([1, 2]), None, TypeError, "data is an Arrow array of format 'l'; expected binary or text"),
        (pa.table({"a": [1]}), None, TypeError, r"Arrow table or struct; .* \(put_table takes tables\)"),
        (pa.array(["a"]).dictionary_encode(), None, TypeError, "of format 'dictionary of i'"),
        (pa.array([b"a"]), pa.array([3]), TypeError, "keys is an Arrow array of format 'l'"),
        (pa.array([b"a"]), pa.array(["k", "l"]), InvalidArgument, "2 keys for 1 records"),
        (pa.array([b"a"]), pa.array([""]), ValidationError, "has 0 characters"),
        (pa.array([b"a"]), pa.array([b"\xff\xfe"]), InvalidArgument, "is not valid Unicode"),
        (pa.array([b"a", b"b" * 101]), None, InvalidArgument, "record 1 has 101 bytes"),
        (pa.array([b"b" * 100]), pa.array(["k"]), InvalidArgument, "record 0 has 101 bytes"),
    ],
    ids=str,
)
def test_what_cannot_be_taken_is_refused_whole(data, keys, error, message):
    entries = entries_of([b"kept"])
    with pytest.raises(error, match=message):
        entries.extend(data, keys, record_size_max=100)
    assert entries.data == [b"kept"]


def offsets_array(offsets, kind):
    """An array whose offsets were changed after pyarrow had looked at them."""
    shared = np.zeros(len(offsets), kind)
    layout = pa.binary() if kind is np.int32 else pa.large_binary()
    buffers = [None, pa.py_buffer(shared), pa.py_buffer(b"abcdef")]
    array = pa.Array.from_buffers(layout, len(offsets) - 1, buffers)
    shared[:] = offsets
    return array


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize(
    ("offsets", "value"),
    [
        ([0, 3, 2], 1),
        ([-1, 3, 4], 0),
    ],
)
def test_inconsistent_offsets_are_refused(kind, offsets, value):
    with pytest.raises(InvalidArgument, match=f"offsets that fall or are negative, seen at value {value}"):
        entries_of(offsets_array(offsets, kind))


@pytest.mark.parametrize(
    ("view", "sizes"),
    [
        ([20, 0, 0, 0], []),
        ([20, 0, 1, 0], [64]),
        ([20, 0, -1, 0], [64]),
        ([20, 0, 0, -1], [64]),
        ([20, 0, 0, 45], [64]),
        ([-1, 0, 0, 0], [64]),
        ([2**31 - 1, 0, 0, 2**31 - 1], [64]),
    ],
)
def test_a_view_outside_its_buffer_is_refused(view, sizes):
    views = pa.py_buffer(np.array([1, 97, 0, 0, *view], np.int32))
    array = pa.Array.from_buffers(
        pa.binary_view(), 2, [None, views, *(pa.py_buffer(bytes(n)) for n in sizes)]
    )
    with pytest.raises(InvalidArgument, match="a view that points outside its buffer, seen at value 1"):
        entries_of(array)


def test_an_array_without_offsets_is_refused():
    schema, _ = pa.array([b"a"]).__arrow_c_array__()
    _, integers = pa.array([7]).__arrow_c_array__()
    with pytest.raises(InvalidArgument, match="counts that no such array has"):
        entries_of(Once((schema, integers)))


def test_an_array_or_stream_handed_over_before_is_refused():
    array = pa.array([b"a"]).__arrow_c_array__()
    assert entries_of(Once(array)).data == [b"a"]
    with pytest.raises(InvalidArgument, match="data is an Arrow array that was handed over before"):
        entries_of(Once(array))
    stream = pa.chunked_array([[b"a"]]).__arrow_c_stream__()
    assert entries_of(Once(stream=stream)).data == [b"a"]
    assert entries_of(Once(stream=stream)).data == []


class FailingStream(ctypes.Structure):
    """An ArrowArrayStream whose callbacks fail."""

    CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    ERROR = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
    RELEASE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    _fields_ = (
        ("get_schema", CALLBACK),
        ("get_next", CALLBACK),
        ("get_last_error", ERROR),
        ("release", RELEASE),
        ("private_data", ctypes.c_void_p),
    )


@pytest.mark.parametrize(
    ("said", "message"), [(b"disk is gone", "error 5: disk is gone$"), (None, "error 5$")]
)
def test_a_stream_that_fails_says_why(said, message):
    fail = FailingStream.CALLBACK(lambda stream, out: 5)
    text = ctypes.create_string_buffer(said or b"")
    last = FailingStream.ERROR(lambda stream: ctypes.addressof(text) if said else None)
    stream = FailingStream(fail, fail, last, FailingStream.RELEASE(lambda stream: None), None)
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    capsule = new(ctypes.addressof(stream), b"arrow_array_stream", None)
    with pytest.raises(InvalidArgument, match=f"data is an Arrow stream that failed with {message}"):
        entries_of(Once(stream=capsule))


def test_a_capsule_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="PyCapsule_GetPointer"):
        entries_of(Once(stream=pa.array([b"a"]).__arrow_c_array__()[0]))


def test_an_object_without_the_interface_is_refused():
    with pytest.raises(TypeError, match="data is of type 'int', which has no Arrow C data interface"):
        ArrowValues(7, "data")
