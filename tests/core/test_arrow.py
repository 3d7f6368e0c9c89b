# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The Arrow C interface as pyarrow, polars and DuckDB read it, and who holds the memory for how long."""

import ctypes
import gc
import sys
import threading

import duckdb
import numpy as np
import polars
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core._batch import RecordBatch
from headrace.core.table import Columns
from headrace.errors import Corrupt, Unsupported

NAMES = ("n", "x", "ok", "host", "ts")
value_rows = st.lists(
    st.tuples(
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False),
        st.none() | st.booleans(),
        st.none() | st.text(max_size=6),
        st.none() | st.integers(-(10**15), 10**15),
    ),
    max_size=20,
)
dtypes = {"n": np.int64, "x": np.float64, "ok": np.bool_, "ts": "datetime64[us]"}


def table_of(rows):
    arrays, valid = {}, {}
    for i, name in enumerate(NAMES):
        values = [row[i] for row in rows]
        valid[name] = np.array([value is not None for value in values], dtype=bool)
        if name == "host":
            arrays[name] = np.array(values, dtype=object)
        else:
            arrays[name] = np.array([0 if value is None else value for value in values], dtype=dtypes[name])
    return Columns.from_arrays(arrays, valid=valid)


def plain(table):
    """The rows of a pyarrow table."""
    columns = [table[name].cast(pyarrow.int64()) if name == "ts" else table[name] for name in NAMES]
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


@settings(deadline=None)
@given(value_rows)
def test_pyarrow_reads_columns(rows):
    columns = table_of(rows)
    table = columns.to_arrow()
    table.validate(full=True)
    assert plain(table) == rows
    coded = "dictionary<values=string, indices=int32, ordered=0>"
    types = [str(field.type) for field in table.schema]
    assert types == ["int64", "double", "bool", coded, "timestamp[us, tz=UTC]"]
    array = pyarrow.array(columns)
    array.validate(full=True)
    assert len(array) == len(rows) and pyarrow.schema(columns) == table.schema


@settings(deadline=None)
@given(value_rows)
def test_a_consumer_gets_plain_strings_if_it_asks(rows):
    columns = table_of(rows)
    for kind in (pyarrow.string(), pyarrow.large_string()):
        wanted = columns.to_arrow().schema.set(3, pyarrow.field("host", kind))
        reader = pyarrow.RecordBatchReader.from_stream(columns, wanted)
        table = reader.read_all()
        table.validate(full=True)
        assert table.schema == wanted and plain(table) == rows


@settings(deadline=None)
@given(value_rows)
def test_polars_and_duckdb_read_columns(rows):
    columns = table_of(rows)
    frame = polars.DataFrame(columns)
    times = frame["ts"].to_physical().to_list()
    assert [(*row[:4], time) for row, time in zip(frame.rows(), times, strict=True)] == rows
    assert frame.equals(columns.to_polars())
    found = duckdb.sql("select n, x, ok, host, epoch_us(ts) from columns").fetchall()
    assert found == rows


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=30), st.text(max_size=30)), max_size=20), st.integers(0, 5))
def test_all_three_read_batches(pairs, skip):
    data, keys = [d for d, _ in pairs], [k for _, k in pairs]
    batch = RecordBatch.of(data, keys, shard=3, first_ordinal=2**63, arrival_ms=1763950000123)[skip:]
    table = batch.to_arrow()
    table.validate(full=True)
    assert table["data"].to_pylist() == batch.data and table["partition_key"].to_pylist() == batch.keys
    assert table["ordinal"].to_pylist() == batch.ordinals.tolist()
    assert table["shard"].to_pylist() == batch.shards.tolist()
    assert table["arrival"].cast(pyarrow.int64()).to_pylist() == [1763950000123] * len(batch)
    frame = batch.to_polars()
    assert frame["data"].to_list() == batch.data and frame["partition_key"].to_list() == batch.keys
    found = duckdb.sql("select data, partition_key, shard, ordinal, epoch_ms(arrival) from batch").fetchall()
    assert found == list(
        zip(
            *(column.to_list() for column in frame.drop("arrival")), [1763950000123] * len(batch), strict=True
        )
    )
    assert pyarrow.array(batch).type == pyarrow.struct(table.schema) and pyarrow.schema(batch) == table.schema
    assert batch.to_numpy()["data"].tolist() == batch.data


def test_payloads_are_not_copied():
    batch = RecordBatch.of([b"x" * 1000] * 3)
    first = np.frombuffer(batch.buffer, dtype=np.uint8).ctypes.data
    array = pyarrow.array(batch).field("data")
    assert array.buffers()[2].address == first and array.buffers()[2].size == len(batch.buffer)


def test_a_buffer_beyond_two_gigabytes_is_shown_in_windows():
    size = 5 * 2**30
    buffer = np.zeros(size, dtype=np.uint8)  # pages that nobody touches cost nothing
    offsets = [0, 2**30 - 5, 2**30, 2**31 - 7, 2**31, 3 * 2**30 + 1, size - 20]
    for i, offset in enumerate(offsets):
        buffer[offset : offset + 20] = 65 + i
    count = len(offsets)
    batch = RecordBatch(
        buffer, offsets, [20] * count, offsets, [13] * count, range(count), [0] * count, [0] * count
    )  # fmt: skip
    array = pyarrow.array(batch)
    expected = [bytes([65 + i]) * 20 for i in range(count)]
    expected[1] = b"B" * 5 + b"C" * 15  # what was written last
    expected[3] = b"D" * 7 + b"E" * 13
    assert array.field("data").to_pylist() == expected
    assert array.field("partition_key").to_pylist() == [text[:13].decode() for text in expected]


def test_what_a_view_cannot_show_is_refused():
    with pytest.raises(Corrupt, match="the partition_key of record 1 is not UTF-8"):
        RecordBatch(b"ab\xff", [0, 0], [1, 1], [0, 2], [1, 1], [0, 1], [0, 0], [0, 0]).to_arrow()
    huge = np.zeros(2**30 + 1, dtype=np.uint8)
    batch = RecordBatch(huge, [0], [2**30 + 1], [0], [0], [0], [0], [0])
    with pytest.raises(Unsupported, match="data of 1073741825 bytes"):
        batch.to_arrow()


# --- memory ---


def references(columns):
    gc.collect()
    return [sys.getrefcount(columns.column(name).values) for name in columns]


def test_every_way_of_use_gives_all_references_back():
    columns = table_of([(i, i / 3, i % 2 == 0, f"host {i % 3}", i) for i in range(100)])
    before = references(columns)
    for _ in range(3):
        columns.__arrow_c_schema__()
        columns.__arrow_c_array__()
        columns.__arrow_c_stream__()
        columns.to_arrow()
        columns.to_polars()
        reader = pyarrow.RecordBatchReader.from_stream(columns)
        reader.read_next_batch()
        del reader
        pyarrow.array(columns)
    assert references(columns) == before
    batch = RecordBatch.of([b"x" * 100] * 10)
    count = sys.getrefcount(batch)
    for _ in range(3):
        batch.to_arrow(), batch.to_polars(), batch.__arrow_c_stream__(), batch.__arrow_c_array__()
    gc.collect()
    assert sys.getrefcount(batch) == count


def test_what_was_handed_over_outlives_its_source():
    columns = table_of([(i, i / 3, i % 2 == 0, f"host {i % 3}", i) for i in range(1000)])
    array = pyarrow.array(columns)
    host, frame = array.field("host"), columns.to_polars()
    del columns, array
    gc.collect()
    np.ones(100_000)  # reuse the memory, if it was given back
    assert host.to_pylist() == [f"host {i % 3}" for i in range(1000)]
    assert frame["n"].to_list() == list(range(1000))


class ArrowArray(ctypes.Structure):
    pass


ArrowArray._fields_ = [
    *((name, ctypes.c_int64) for name in ("length", "null_count", "offset", "n_buffers", "n_children")),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(ArrowArray))),
    ("dictionary", ctypes.POINTER(ArrowArray)),
    ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(ArrowArray))),
    ("private_data", ctypes.c_void_p),
]
pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def test_a_child_that_was_taken_away_lives_on_and_is_released_alone_by_any_thread():
    columns = Columns.from_arrays({"n": np.arange(50), "x": np.arange(50) / 7})
    before = references(columns)
    schema, capsule = columns.__arrow_c_array__()
    parent = ArrowArray.from_address(pointer_of(capsule, b"arrow_array"))
    child = ArrowArray()
    ctypes.memmove(ctypes.byref(child), parent.children[1], ctypes.sizeof(ArrowArray))
    parent.children[1].contents.release = type(child.release)()
    del schema, capsule
    assert references(columns) == [before[0], before[1] + 1]
    values = ctypes.cast(child.buffers[1], ctypes.POINTER(ctypes.c_double))
    assert values[49] == 49 / 7
    thread = threading.Thread(target=lambda: child.release(ctypes.byref(child)))
    thread.start()
    thread.join()
    assert not child.release and references(columns) == before
