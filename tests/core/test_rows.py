# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Arrow tables written as JSON rows, against Python's own json over the same values."""

import json
import math
import struct
from datetime import UTC, date, datetime
from itertools import pairwise

import numpy as np
import polars
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.core._batch import RecordBatch
from headrace.core._rows import double_text, float_text, json_chunks, rows_as_json
from headrace.core.table import Columns
from headrace.errors import InvalidArgument, Unsupported

texts = st.text(max_size=40)
INTEGERS = {f"{sign}int{bits}": (bits, sign) for bits in (8, 16, 32, 64) for sign in ("", "u")}
STRATEGIES = {
    pa.null(): st.none(),
    pa.bool_(): st.booleans(),
    pa.float64(): st.floats(),
    pa.float32(): st.floats(width=32),
    pa.string(): texts,
    pa.large_string(): texts,
    pa.string_view(): texts,
    pa.date32(): st.dates(),
    pa.dictionary(pa.int8(), pa.string()): st.sampled_from(["a", "b", "ü", '"\\\n']),
    pa.dictionary(pa.uint16(), pa.int64()): st.integers(0, 5),
}
for kind, (bits, sign) in INTEGERS.items():
    low, high = (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    STRATEGIES[getattr(pa, kind)()] = st.integers(low, high)
for unit, factor in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
    for zone in (None, "UTC", "Europe/Berlin"):
        bound = 2**63 - 1 if unit == "ns" else 253402300799 * factor
        STRATEGIES[pa.timestamp(unit, zone)] = st.integers(max(-bound, -62135596800 * factor), bound)


def expected(kind, value):
    """What JSON should give back for a value."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if pa.types.is_timestamp(kind):
        factor = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
        seconds, fraction = divmod(value, factor)
        text = datetime.fromtimestamp(0, UTC).replace(tzinfo=None)
        text = (np.datetime64(text, "s") + seconds).astype(str)
        text += f".{fraction:0{len(str(factor)) - 1}}" if fraction else ""
        return text + ("Z" if kind.tz else "")
    if kind == pa.float32():
        return float(str(np.float32(value)))
    return value.isoformat() if isinstance(value, date) else value


def loaded(buffer, offsets):
    """The rows of a buffer, parsed."""
    data = buffer.tobytes()
    assert offsets[0] == 0 and offsets[-1] == len(data)
    return [json.loads(data[start:end]) for start, end in pairwise(offsets)]


@st.composite
def tables(draw):
    kinds = draw(st.lists(st.sampled_from(list(STRATEGIES)), min_size=1, max_size=4))
    names = draw(
        st.lists(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9),
            min_size=len(kinds),
            max_size=len(kinds),
            unique=True,
        )
    )
    count = draw(st.integers(0, 12))
    columns = [draw(st.lists(st.none() | STRATEGIES[kind], min_size=count, max_size=count)) for kind in kinds]
    return names, kinds, columns


@settings(deadline=None, max_examples=200)
@given(tables(), st.integers(0, 4))
def test_every_type_gives_its_values_back_in_order(table, skip):
    names, kinds, columns = table
    source = pa.table(
        [pa.array(values, kind) for kind, values in zip(kinds, columns, strict=True)], names=names
    )
    rows = loaded(*rows_as_json(source.slice(skip)))
    assert rows == [
        {name: expected(kind, values[row]) for name, kind, values in zip(names, kinds, columns, strict=True)}
        for row in range(skip, source.num_rows)
    ]
    assert all(list(row) == names for row in rows)


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(5e-324)
@example(2.2250738585072014e-308)
@example(1.7976931348623157e308)
@example(9007199254740993.0)
@example(2.0**60)
def test_the_text_of_a_double_is_that_of_repr(value):
    assert double_text(value) == repr(value)


@given(st.integers(0, 2**32 - 1))
def test_the_text_of_a_float_is_the_shortest_that_reads_back(bits):
    value = struct.unpack("f", struct.pack("I", bits))[0]
    if not math.isfinite(value):
        with pytest.raises(ValueError):
            float_text(value)
        return
    text = float_text(value)
    assert np.float32(text) == np.float32(value) and float(text) == float(str(np.float32(value)))
    assert float_text(value) in (text, repr(float(text)))


def test_random_bits_of_doubles_agree_with_repr():
    rng = np.random.default_rng(7)
    values = rng.integers(0, 2**64, 50_000, dtype=np.uint64).view(np.float64)
    for value in values[np.isfinite(values)].tolist():
        assert double_text(value) == repr(value)
    with pytest.raises(ValueError):
        double_text(math.inf)


def test_polars_columns_and_struct_arrays_are_sources():
    frame = polars.DataFrame({"a": [1, None], "b": ["x", "a text that is longer than twelve bytes"]})
    rows = [{"a": 1, "b": "x"}, {"a": None, "b": "a text that is longer than twelve bytes"}]
    assert loaded(*rows_as_json(frame)) == rows
    assert loaded(*rows_as_json(frame.__arrow_c_stream__())) == rows
    assert loaded(*rows_as_json(pa.RecordBatch.from_pylist(rows))) == rows
    assert loaded(*rows_as_json(Columns.from_arrays({"a": [1, 2], "b": ["é", None]}))) == [
        {"a": 1, "b": "é"}, {"a": 2, "b": None},
    ]  # fmt: skip
    only_array = type(
        "OnlyArray", (), {"__arrow_c_array__": pa.RecordBatch.from_pylist(rows).__arrow_c_array__}
    )()
    assert loaded(*rows_as_json(only_array)) == rows


def test_a_sliced_struct_with_sliced_children_is_read_at_its_place():
    struct_array = pa.StructArray.from_arrays(
        [pa.array(range(10)).slice(2), pa.array(list("abcdefgh"))], ["n", "s"]
    )
    batch = pa.RecordBatch.from_struct_array(struct_array.slice(3, 2))
    assert loaded(*rows_as_json(batch)) == [{"n": 5, "s": "d"}, {"n": 6, "s": "e"}]


def test_no_rows_and_no_columns():
    assert loaded(*rows_as_json(pa.table({"a": pa.array([], pa.int64())}))) == []
    assert loaded(*rows_as_json(pa.RecordBatch.from_struct_array(pa.array([{}, {}], pa.struct([]))))) == [
        {},
        {},
    ]


def test_many_rows_in_many_chunks_and_long_strings():
    part = pa.table({"i": range(70_000), "s": ["\x01" * 50] * 70_000})
    rows = loaded(*rows_as_json(pa.concat_tables([part, part.slice(0, 3)])))
    assert len(rows) == 70_003 and rows[-1] == {"i": 2, "s": "\x01" * 50} and rows[69_999]["i"] == 69_999
    assert loaded(*rows_as_json(pa.table({"s": ["x" * 10**6, '"' * 10**5]}))) == [
        {"s": "x" * 10**6},
        {"s": '"' * 10**5},
    ]


def test_keys_come_along_as_text():
    host = pa.array(["a", None, "é"]).dictionary_encode()
    table = pa.table({"host": host, "n": pa.array([1, -2, None], pa.int16()), "s": ["x", "y" * 20, ""]})
    for name, keys in (("host", ["a", None, "é"]), ("n", ["1", "-2", None]), ("s", ["x", "y" * 20, ""])):
        ((_, offsets, got),) = json_chunks(table, key=name)
        assert got == keys and len(offsets) == 4
    assert next(json_chunks(table))[2] is None
    with pytest.raises(InvalidArgument, match="no column 'hosts' for the key; there are 'host', 'n', 's'"):
        next(json_chunks(table, key="hosts"))
    with pytest.raises(Unsupported, match="column 'x' cannot be the key"):
        next(json_chunks(pa.table({"x": [1.5]}), key="x"))


REFUSED = {
    "binary": pa.array([b"x"]),
    "binary_view": pa.array([b"x"], pa.binary_view()),
    "decimal": pa.array([1], pa.decimal128(5, 2)),
    "struct": pa.array([{"a": 1}]),
    "list": pa.array([[1]]),
    "float16": pa.array([np.float16(1)]),
    "date64": pa.array([date(2025, 1, 1)], pa.date64()),
    "Arrow type 'ttu'": pa.array([1], pa.time64("us")),
    "run_end_encoded": pa.RunEndEncodedArray.from_arrays([1], [5]),
}


@pytest.mark.parametrize("words", REFUSED)
def test_other_types_are_refused_by_column_and_type(words):
    with pytest.raises(Unsupported, match=f"column 'odd' has type {words}, which has no JSON form"):
        rows_as_json(pa.table({"fine": [1], "odd": REFUSED[words]}))


def test_our_own_batches_are_refused_by_column():
    with pytest.raises(Unsupported, match="column 'data' has type binary_view"):
        rows_as_json(RecordBatch.of([b"x"]))


def test_what_is_no_table_is_refused():
    for wrong in ([1, 2], {"a": 1}, object()):
        with pytest.raises(InvalidArgument, match="is no table: it has no __arrow_c_stream__"):
            rows_as_json(wrong)
    with pytest.raises(Unsupported, match="one array of values, not a table"):
        rows_as_json(pa.array([1, 2]))
    with pytest.raises(InvalidArgument, match="two columns have the name 'a'"):
        rows_as_json(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]))
    with pytest.raises(Unsupported, match="null rows as a whole"):
        rows_as_json(OneStruct(pa.array([{"a": 1}, None])))
    capsule = pa.table({"a": [1]}).__arrow_c_stream__()
    rows_as_json(capsule)
    assert loaded(*rows_as_json(pa.table({"a": [1]}))) == [{"a": 1}]


class OneStruct:
    """A struct array handed over as a single chunk."""

    def __init__(self, array):
        self.array = array

    def __arrow_c_array__(self, requested_schema=None):
        return self.array.__arrow_c_array__()


class Failing:
    """A source whose second chunk fails."""

    def __arrow_c_stream__(self, requested_schema=None):
        def chunks():
            yield pa.RecordBatch.from_pydict({"a": [1]})
            raise OSError("the disk went away")

        return pa.RecordBatchReader.from_batches(pa.schema({"a": pa.int64()}), chunks()).__arrow_c_stream__()


def test_a_source_that_fails_is_quoted():
    with pytest.raises(InvalidArgument, match=r"failed to give its rows: .*the disk went away"):
        rows_as_json(Failing())


def spoiled(kind, good, bad, data):
    """A one-row array, and how to spoil its second buffer once pyarrow has looked at it."""
    words = np.frombuffer(good, dtype=np.uint8).copy()
    array = pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(words), pa.py_buffer(data)])
    return array, lambda: words.__setitem__(slice(None), np.frombuffer(bad, dtype=np.uint8))


def unchanged(array):
    return array, lambda: None


def offsets_of(*values):
    return np.array(values, dtype=np.int32).tobytes()


def view(size, buffer, offset):
    return struct.pack("<i4sii", size, b"abcd", buffer, offset)


GOOD_VIEW, TEXT = view(20, 0, 0), b"abcd" + b"x" * 26
DAMAGED = {
    "offsets that go back": spoiled(pa.string(), offsets_of(0, 1), offsets_of(3, 1), b"abc"),
    "an offset below zero": spoiled(pa.string(), offsets_of(0, 1), offsets_of(-1, 1), b"abc"),
    "text that is not UTF-8": spoiled(pa.string(), offsets_of(0, 1), offsets_of(0, 1), b"\xff"),
    "a code beyond the dictionary": unchanged(
        pa.DictionaryArray.from_arrays(pa.array([3]), pa.array(["a"]), safe=False)
    ),
    "a code below zero": unchanged(
        pa.DictionaryArray.from_arrays(pa.array([-1]), pa.array(["a"]), safe=False)
    ),
    "a view of a buffer that is not there": spoiled(pa.string_view(), GOOD_VIEW, view(20, 1, 0), TEXT),
    "a view beyond its buffer": spoiled(pa.string_view(), GOOD_VIEW, view(20, 0, 11), TEXT),
    "a view of negative size": spoiled(pa.string_view(), GOOD_VIEW, view(-1, 0, 0), TEXT),
    "a date after the year 9999": unchanged(pa.array([2932897], pa.int32()).cast(pa.date32())),
    "a time before the year 1": unchanged(pa.array([-62135596801], pa.int64()).cast(pa.timestamp("s"))),
}


@pytest.mark.parametrize("words", DAMAGED)
def test_damaged_values_are_refused_before_they_are_used(words):
    array, spoil = DAMAGED[words]
    source = pa.RecordBatch.from_arrays([pa.array(["fine"]), array], names=["fine", "bad"])
    spoil()
    unreadable = r"column 'bad' has in row 0 of a chunk a value that cannot be read"
    with pytest.raises(InvalidArgument, match=unreadable):
        rows_as_json(source)
    if pa.types.is_temporal(array.type):
        return
    with pytest.raises(InvalidArgument, match=unreadable):
        next(json_chunks(source, key="bad"))
