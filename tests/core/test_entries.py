# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Entries and Router against hashlib and a bisect over the range ends.

The model keeps plain lists: MD5 by hashlib as a big-endian number, the shard by bisect, the order by
Python's stable sort on (lane, slot).
"""

import array
import bisect
import dataclasses
import hashlib
import mmap
from collections import deque
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core._entries import LEVELS, Entries, Router, hash_entries, hash_key
from headrace.errors import InvalidArgument, ValidationError

ALL = 1 << 128


def md5_number(key: str) -> int:
    return int.from_bytes(hashlib.md5(key.encode()).digest(), "big")


def even_router(count: int, lanes: int = 1) -> Router:
    edges = [ALL * i // count for i in range(count + 1)]
    return Router([(edges[i], edges[i + 1] - 1, 100 + i, i % lanes, 0) for i in range(count)])


def entries_of(data, keys=None, **options) -> Entries:
    entries = Entries()
    entries.extend(data, keys, **options)
    return entries


characters = st.characters(exclude_categories=["Cs"])
short_key = st.text(characters, min_size=1, max_size=12)
any_key = st.one_of(short_key, st.text(characters, min_size=40, max_size=256))


# --- hashing ---


@given(st.lists(any_key, min_size=1, max_size=80))
def test_every_level_hashes_as_hashlib(keys):
    for simd in LEVELS:
        entries = entries_of([b""] * len(keys), keys)
        hash_entries(entries, simd)
        assert entries.hash_keys == [md5_number(key) for key in keys]


@pytest.mark.parametrize("simd", LEVELS)
def test_every_key_size_hashes_as_hashlib(simd):
    keys = ["é" * 100 + "k" * size for size in range(157)] + ["k" * size for size in range(1, 257)]
    entries = entries_of([b""] * len(keys), keys)
    hash_entries(entries, simd)
    assert entries.hash_keys == [md5_number(key) for key in keys]


@given(any_key)
def test_hash_key_is_md5_as_a_big_endian_number(key):
    assert hash_key(key) == md5_number(key)


def test_hash_key_refuses_what_is_no_key():
    with pytest.raises(TypeError, match="of type 'bytes'; expected str"):
        hash_key(b"key")
    with pytest.raises(ValidationError, match="has 0 characters"):
        hash_key("")


def test_unknown_level_is_refused():
    with pytest.raises(ValueError, match="simd is 'neon'"):
        hash_entries(Entries(), "neon")


# --- routing ---


@st.composite
def routers(draw):
    """Rows of a router with even or arbitrary ranges."""
    count = draw(st.integers(1, 40))
    lanes = draw(st.integers(1, min(count, 8)))
    if draw(st.booleans()):
        ends = [ALL * (i + 1) // count - 1 for i in range(count)]
    else:
        inner = draw(st.sets(st.integers(0, ALL - 2), min_size=count - 1, max_size=count - 1))
        ends = [*sorted(inner), ALL - 1]
    starts = [0, *(end + 1 for end in ends[:-1])]
    lane = [i % lanes if i < lanes else draw(st.integers(0, lanes - 1)) for i in range(count)]
    return [(starts[i], ends[i], 7 * i + 3, lane[i], 1000 + i) for i in range(count)]


@given(routers(), st.lists(st.one_of(any_key, st.integers(0, ALL - 1)), max_size=100))
def test_route_finds_the_shard_and_the_order_of_the_model(rows, keys):
    router, entries = Router(rows), Entries()
    ends = [row[1] for row in rows]
    slots = []
    for i, key in enumerate(keys):
        explicit = key if isinstance(key, int) else None
        entries.add(b"%d" % i, "k" if explicit is not None else key, explicit)
        slots.append(bisect.bisect_left(ends, explicit if explicit is not None else md5_number(key)))
    router.route(entries)
    assert entries.slots.tolist() == (slots if len(rows) > 1 else [0] * len(keys))
    assert entries.shards(router).tolist() == [rows[slot][2] for slot in slots]
    order = sorted(range(len(keys)), key=lambda i: (rows[slots[i]][3], slots[i]))
    assert [at for lane in entries.lanes for at in lane.tolist()] == order
    assert len(entries.lanes) == router.lane_count
    for number, lane in enumerate(entries.lanes):
        assert all(rows[slots[at]][3] == number for at in lane)


@given(routers(), st.data())
def test_locate_agrees_with_the_ranges_at_their_edges(rows, data):
    router = Router(rows)
    row = data.draw(st.sampled_from(rows))
    assert {router.locate(row[0]), router.locate(row[1])} == {row[2]}


def test_ten_thousand_shards_and_a_large_batch_agree_with_the_model():
    for shards, count, lanes in ((10_000, 500, 8), (64, 20_000, 3), (300, 5_000, 1)):
        router = even_router(shards, lanes)
        keys = [f"host-{i % 4999}" for i in range(count)]
        entries = entries_of([b"x"] * count, keys)
        router.route(entries)
        slots = [md5_number(key) * shards >> 128 for key in keys]
        assert entries.slots.tolist() == slots
        order = sorted(range(count), key=lambda i: (slots[i] % lanes, slots[i]))
        assert np.concatenate(entries.lanes).tolist() == order


@pytest.mark.parametrize(("shards", "count"), [(4, 500), (4, 7), (3, 2), (10_000, 500), (64, 64), (1, 9)])
def test_entries_without_key_spread_evenly_in_blocks(shards, count):
    router = even_router(shards)
    total = np.zeros(shards, int)
    for _ in range(60):
        entries = entries_of([b"x"] * count)
        router.route(entries)
        slots = entries.slots
        here = np.bincount(slots, minlength=shards)
        used = min(shards, count, 64)
        assert np.count_nonzero(here) == used
        assert here[here > 0].max() - here[here > 0].min() <= 1
        assert np.count_nonzero(np.diff(slots)) == used - 1
        total += here
    assert total.max() - total.min() <= -(-count // min(shards, count, 64)) * 2


def test_single_entries_without_key_take_turns():
    router = even_router(4)
    seen = []
    for _ in range(8):
        entries = Entries()
        entries.add(b"x")
        router.route(entries)
        seen += entries.shards(router).tolist()
    assert seen == [100, 101, 102, 103] * 2


def test_explicit_hash_key_overrides_the_key():
    router, entries = even_router(2), Entries()
    entries.add(b"low", "any", 0)
    entries.add(b"high", None, ALL - 1)
    router.route(entries)
    assert entries.hash_keys == [0, ALL - 1]
    assert entries.shards(router).tolist() == [100, 101]


@pytest.mark.parametrize("wrong", [-1, ALL])
def test_explicit_hash_key_outside_128_bits_is_refused(wrong):
    entries = Entries()
    with pytest.raises(InvalidArgument, match="hash_key is"):
        entries.add(b"x", "k", wrong)
    with pytest.raises(InvalidArgument, match="hash_key is"):
        even_router(2).locate(wrong)
    assert entries.count == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has 0 shards"),
        ([(1, ALL - 1, 0, 0, 0)], "expected one from 0"),
        ([(0, 5, 0, 0, 0)], "the ranges end at 5"),
        ([(0, 5, 0, 0, 0), (7, ALL - 1, 1, 0, 0)], "expected one from 6"),
        ([(0, ALL, 0, 0, 0)], "shard 0 has the range"),
        ([(0, ALL - 1, 0, 8, 0)], "has lane 8; allowed are 0 to 7"),
        ([(0, ALL - 1, 0, -1, 0)], "has lane -1"),
    ],
)
def test_router_refuses_ranges_that_do_not_cover_everything(rows, message):
    with pytest.raises(InvalidArgument, match=message):
        Router(rows)


def test_route_again_after_more_entries_and_after_clear():
    router, entries = even_router(3), Entries()
    for count in (3, 1000, 0, 7):
        entries.clear()
        entries.extend([b"d"] * count, [f"k{i}" for i in range(count)])
        entries.add(b"last", "k")
        router.route(entries)
        assert sorted(np.concatenate(entries.lanes).tolist()) == list(range(count + 1))
    even_router(5).route(entries)
    with pytest.raises(ValueError, match="routed by another router"):
        entries.shards(even_router(1))


# --- what put and put_many take ---


def endless() -> list:
    inside: list = []
    inside.append(inside)
    return inside


class Point(msgspec.Struct):
    x: int


@dataclasses.dataclass
class Reading:
    host: str
    cpu: float


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (b"raw", b"raw"),
        (bytearray(b"raw"), b"raw"),
        (memoryview(b"raw"), b"raw"),
        (memoryview(b"-raw-")[1:4], b"raw"),
        (array.array("B", b"raw"), b"raw"),
        (np.frombuffer(b"raw", np.uint8), b"raw"),
        (np.bytes_(b"raw"), b"raw"),
        ("täxt", "täxt".encode()),
        (np.str_("text"), b"text"),
        (b"", b""),
        ("", b""),
        ({"a": 1}, b'{"a":1}'),
        (Reading("web", 1.5), b'{"host":"web","cpu":1.5}'),
        (Point(3), b'{"x":3}'),
        ([1, None], b"[1,null]"),
        (7, b"7"),
        (None, b"null"),
        (np.int64(-7), b"-7"),
        (np.float64(2.5), b"2.5"),
        (np.float32(0.5), b"0.5"),
        (np.bool_(True), b"true"),
        ({"n": np.uint8(9), "a": np.array([1.5, 2.0])}, b'{"n":9,"a":[1.5,2.0]}'),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), b'"2026-01-02T03:04:05Z"'),
        (np.datetime64("2026-01-02T03:04:05.000000006"), b'"2026-01-02T03:04:05Z"'),
        (np.array(["2026-01-02", "NaT"], "datetime64[D]"), b'["2026-01-02T00:00:00Z",null]'),
    ],
)
def test_one_record_of_any_kind(value, data):
    if isinstance(value, np.ndarray) and value.dtype.kind == "M":
        value = {"t": value}
        data = b'{"t":' + data + b"}"
    entries = Entries()
    entries.add(value, "k")
    entries.extend([value, b"between", value], "k")
    assert entries.data == [data, data, b"between", data]
    assert entries.keys == ["k"] * 4


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (object(), TypeError, "of type 'object', neither bytes-like nor str"),
        ({"a": {1, 2, object()}}, TypeError, "builtins.object cannot be encoded"),
        (array.array("d", [1.0]), TypeError, "'array' of format 'd'"),
        (np.zeros(3), TypeError, "'ndarray' of format 'd'"),
        (memoryview(b"abcd")[::2], TypeError, "expected contiguous bytes"),
        ("\ud800", InvalidArgument, "text of .* is not valid Unicode"),
        (endless(), InvalidArgument, "has no JSON"),
        (b"x" * 101, InvalidArgument, "has 101 bytes of data and key; the stream takes at most 100"),
        ("x" * 100, InvalidArgument, "has 101 bytes of data and key"),
        (bytearray(101), InvalidArgument, "has 101 bytes"),
        ({"a": "x" * 100}, InvalidArgument, "has 108 bytes"),
    ],
)
def test_a_record_that_cannot_be_taken_is_refused_whole(value, error, message):
    entries = entries_of([b"kept"], "k")
    with pytest.raises(error, match="the record .*" + message if "text" not in message else message):
        entries.add(value, "k", record_size_max=100)
    with pytest.raises(error, match="record 2.*" + message if "text" not in message else message):
        entries.extend([bytearray(b"fine"), b"fine", value], "k", record_size_max=100)
    assert entries.data == [b"kept"]
    assert entries.count == 1


@given(st.lists(st.tuples(st.one_of(st.none(), any_key), st.binary(max_size=30)), max_size=30))
def test_pairs_and_separate_keys_say_the_same(pairs):
    keys, data = [key for key, _ in pairs], [item for _, item in pairs]
    for entries in (entries_of(pairs), entries_of(data, keys), entries_of(tuple(data), deque(keys))):
        assert entries.data == data
        assert entries.keys == keys
        assert entries.nbytes == sum(map(len, data)) + sum(len(key.encode()) for key in keys if key)


@pytest.mark.parametrize(
    ("data", "keys", "error", "message"),
    [
        ([("k", b"d")], ["k"], InvalidArgument, "record 0 is a tuple, a .*; keys= was given too"),
        ([b"", ("k", b"d", 1)], None, InvalidArgument, "record 1 is a tuple of 3"),
        ([(b"k", b"d")], None, TypeError, "key of record 0 is of type 'bytes'"),
        ([b"a", b"b"], ["k"], InvalidArgument, "1 keys for 2 records"),
        ([b"a", b"b"], np.array([b"k"]), InvalidArgument, "1 keys for 2 records"),
        ([b"a", b"b"], ["k", 7], TypeError, "key of record 1 is of type 'int'"),
        ([b"a"], 7, TypeError, "keys is of type 'int'"),
        ([b"a"], [""], ValidationError, "key of record 0 has 0 characters; allowed are 1 to 256"),
        ([b"a"], ["k" * 257], ValidationError, "has 257 characters"),
        ([b"a"], "k" * 257, ValidationError, "has 257 characters"),
        ([b"a"], np.array([b"k" * 257]), ValidationError, "has 257 characters"),
        ([b"a"], np.array([b"k" * 2000]), ValidationError, "has 2000 characters"),
        ([b"a"], np.array([b""], "S3"), ValidationError, "has 0 characters"),
        ([b"a"], np.array([b"\xff"]), InvalidArgument, "key of record 0 is not valid Unicode"),
        ([b"a"], ["\udfff"], InvalidArgument, "key of record 0 is not valid Unicode"),
        (b"abc", None, TypeError, "data is of type 'bytes'; expected a list"),
        ("abc", None, TypeError, "data is of type 'str'"),
        ({"a": 1}, None, TypeError, "data is of type 'dict'"),
        (7, None, TypeError, "data is of type 'int'"),
        (np.zeros(3), None, TypeError, r"shape \(3,\) and dtype float64"),
        (np.zeros((2, 2, 2), np.uint8), None, TypeError, r"shape \(2, 2, 2\)"),
        ([b"a", b"b" * 99], ["kk", "kk"], InvalidArgument, "record 1 has 101 bytes of data and key"),
        ([b"a", b"b" * 99], np.array([b"kk", b"kk"]), InvalidArgument, "record 1 has 101 bytes"),
        ([("k", b"b" * 100)], None, InvalidArgument, "record 0 has 101 bytes"),
        (np.array([b"b" * 101]), None, InvalidArgument, "record 0 has 101 bytes"),
    ],
)
def test_a_call_that_cannot_be_taken_adds_nothing(data, keys, error, message):
    entries = entries_of([b"kept"])
    with pytest.raises(error, match=message):
        entries.extend(data, keys, record_size_max=100)
    assert entries.data == [b"kept"]


@pytest.mark.parametrize("limit", [0, -1, 10 * 1024 * 1024 + 1])
def test_record_size_limit_itself_is_bounded(limit):
    with pytest.raises(InvalidArgument, match="record_size_max is"):
        Entries().add(b"", record_size_max=limit)


def test_key_length_counts_characters_not_bytes():
    entries = entries_of([b"a", b"b"], ["€" * 256, "😀" * 256])
    assert entries.keys == ["€" * 256, "😀" * 256]
    assert entries_of([b"a"], np.array(["é" * 256]).view(np.ndarray)).keys == ["é" * 256]
    assert entries_of([b"a"], np.array(["é" * 256 for _ in range(1)]).astype("U")).keys == ["é" * 256]
    assert entries_of([b"a"], np.array([("é" * 256).encode()])).keys == ["é" * 256]


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=20))
def test_numpy_bytes_come_without_trailing_nulls_and_void_with_them(values):
    text = np.array(values, "S9")
    assert entries_of(text).data == [bytes(value) for value in text]
    void = text.view("V9")
    assert entries_of(void).data == [bytes(value).ljust(9, b"\0") for value in values]
    rows = text.view(np.uint8).reshape(-1, 9)
    assert entries_of(rows).data == [row.tobytes() for row in rows]
    assert entries_of(rows[:, ::2]).data == [row[::2].tobytes() for row in rows]
    assert entries_of(rows[::-1, 2:5]).data == [row[2:5].tobytes() for row in rows[::-1]]


def test_numpy_arrays_may_be_strided_backwards():
    text = np.array([b"one", b"three", b"two", b"none"])
    entries = entries_of(text[::-2], text[::2])
    assert entries.data == [b"none", b"three"]
    assert entries.keys == ["one", "two"]


def test_numpy_text_objects_and_generators():
    assert entries_of(np.array(["a", "é"])).data == [b"a", "é".encode()]
    assert entries_of(np.array([b"a", {"b": 1}], object)).data == [b"a", b'{"b":1}']
    assert entries_of((b"%d" % i for i in range(3)), (str(i) for i in range(3))).keys == ["0", "1", "2"]
    assert entries_of([b"a", b"b"], np.array(["x", "yé"])).keys == ["x", "yé"]
    assert entries_of([b"a", b"b"], np.array(["x", None], object)).keys == ["x", None]
    assert entries_of([b"a", b"b"], np.array([b"x", "yé".encode()])).keys == ["x", "yé"]


def test_entries_keep_the_bytes_alive_whatever_happens_to_the_list():
    data = [bytes([65 + i]) * 1000 for i in range(20)]
    keys = [f"key-{i}" * 10 for i in range(20)]
    entries = entries_of(data, keys)
    expected = [list(data), list(keys)]
    data.clear()
    keys[:] = [None] * 20
    assert [entries.data, entries.keys] == expected


def test_a_bytearray_cannot_shrink_while_it_is_held():
    grown = bytearray(b"abc")
    entries = entries_of([grown])
    with pytest.raises(BufferError):
        grown.clear()
    entries.clear()
    grown.clear()


def test_a_mapped_file_is_bytes_like(tmp_path):
    path = tmp_path / "mapped"
    path.write_bytes(b"mapped")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        entries = entries_of([mapped])
        assert entries.data == [b"mapped"]
        entries.clear()


def test_results_have_the_types_the_contract_names():
    entries = entries_of([b"a", b"b"], "k")
    assert entries.indexes.dtype == np.uint64
    assert entries.arrivals.dtype == np.int64
    assert len(entries.indexes) == len(entries.arrivals) == len(entries) == 2
    assert entries.lanes == []
