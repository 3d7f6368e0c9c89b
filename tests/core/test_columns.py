# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The projecting scanner against json.loads: the same values, nulls, mismatches and errors at every level.

The model keeps objects as lists of pairs (so that it sees duplicates), numbers as their text, and bytes that
are no UTF-8 as lone surrogates; the rest is the documented meaning of each type, in exact arithmetic.
"""

import json
import math
import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headrace import limits
from headrace.core._batch import RecordBatch
from headrace.core._columns import Field, parse_path, scan, simd_levels
from headrace.errors import InvalidArgument, LimitExceeded

LEVELS = simd_levels()
TYPES = [
    "i8",
    "f8",
    "bool",
    "str",
    "text",
    "json",
    "timestamp[s]",
    "timestamp[ms]",
    "timestamp[us]",
    "timestamp",
]
PATHS = ["a", "b", "a.b", "a.b.a", "b[0]", "b[1].a", "é\n", "host"]
FIELDS = [Field(f"{path} {type}", path, type) for path in PATHS for type in TYPES]


# --- the model ---


class Number(str):
    """A number as it stands in the text."""


class Pairs(list):
    """The members of an object, duplicates included."""


class Bad(Exception):
    """The row is an error."""


def constant(name):
    raise Bad(name)


def depth(value):
    if isinstance(value, Pairs):
        return 1 + max((depth(item) for _, item in value), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def occurrences(value, steps):
    """All values that stand at a path, counting overwritten ones too."""
    if not steps:
        yield value
    elif isinstance(steps[0], str) and isinstance(value, Pairs):
        for name, item in value:
            if name == steps[0]:
                yield from occurrences(item, steps[1:])
    elif isinstance(steps[0], int) and isinstance(value, list) and not isinstance(value, Pairs):
        for item in value[steps[0] : steps[0] + 1]:
            yield from occurrences(item, steps[1:])


def final(value, steps):
    """The value at a path, where the last of duplicates counts; None if there is none."""
    for step in steps:
        if isinstance(step, str) and isinstance(value, Pairs):
            value = dict(value).get(step)
        elif (
            isinstance(step, int)
            and isinstance(value, list)
            and not isinstance(value, Pairs)
            and step < len(value)
        ):
            value = value[step]
        else:
            return None
    return value


def is_text(text):
    return not any(0xD800 <= ord(c) < 0xE000 for c in text)


def parsed(record, fields):
    """The record's tree, or Bad."""
    try:
        tree = json.loads(
            record.decode("utf-8", "surrogateescape"),
            parse_float=Number,
            parse_int=Number,
            parse_constant=constant,
            object_pairs_hook=Pairs,
        )
    except (ValueError, RecursionError) as error:
        raise Bad from error
    if not isinstance(tree, Pairs) or depth(tree) > limits.json_depth_max:
        raise Bad
    for field in fields:
        if field.type in ("str", "text", "timestamp"):
            for value in occurrences(tree, field.steps):
                if isinstance(value, str) and not is_text(value):
                    raise Bad
    return tree


def value_of(value, kind):
    """What a value becomes in a column of a type; ValueError for a mismatch."""
    number = isinstance(value, Number)
    text = isinstance(value, str) and not number
    if kind == "i8" and number:
        exact = Fraction(value)
        if exact.denominator == 1 and -(2**63) <= exact < 2**63:
            return int(exact)
    elif kind == "f8" and number:
        if math.isfinite(float(value)):
            return float(value)
    elif (kind == "bool" and isinstance(value, bool)) or (kind == "str" and text):
        return value
    elif kind == "text" and not isinstance(value, list):
        return str(value) if isinstance(value, str) else json.dumps(value)
    elif kind.startswith("timestamp[") and number:
        micros = math.floor(Fraction(value) * {"s": 10**6, "ms": 1000, "us": 1}[kind[10:-1]])
        if -(2**63) < micros < 2**63:
            return micros
    elif kind == "timestamp" and text:
        return micros_of(value)
    raise ValueError


TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(?::(\d\d)(\.\d+)?)?([Zz]|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII
)  # fmt: skip


def micros_of(text):
    found = TIME.fullmatch(text)
    if found is None:
        raise ValueError(text)
    day, minute, second, fraction, zone = found.groups()
    moment = datetime.fromisoformat(f"{day}T{minute or '00:00'}:00").replace(tzinfo=UTC)
    if int(second or 0) > 60:
        raise ValueError(text)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    micros = since // timedelta(microseconds=1) + int(second or 0) * 10**6
    micros += int(((fraction or ".") + "000000")[1:7])
    if zone and zone not in "Zz":
        hours, minutes = int(zone[1:3]), int(zone[3:].strip(":") or 0)
        if hours > 23 or minutes > 59:
            raise ValueError(text)
        micros -= (hours * 60 + minutes) * 60 * 10**6 * (-1 if zone[0] == "-" else 1)
    return micros


EMPTY = {"i8": 0, "bool": False, "timestamp": np.iinfo(np.int64).min}


def check(records, fields, level):
    """The scan of some records equals the model's, row by row and column by column."""
    columns = scan(RecordBatch.of(records), fields, simd=level)
    errors, mismatches, order = [], {field.name: [] for field in fields}, {field.name: {} for field in fields}
    arrays = {field.name: plain(columns, field.name) for field in fields}
    for row, record in enumerate(records):
        try:
            tree = parsed(record, fields)
        except Bad:
            tree = None
        if tree is None or not raw_is_text(tree, record, fields):
            errors.append(row)
            tree = Pairs()
        for field in fields:
            got, value = arrays[field.name][row], final(tree, field.steps)
            expected, valid = None, value is not None
            if valid and field.type == "json":
                assert json.loads(got, parse_float=Number, parse_int=Number, object_pairs_hook=Pairs) == value
                assert got.strip(" \t\r\n") == got and got.encode() in record
                expected = got
            elif valid:
                try:
                    expected = value_of(value, field.type)
                except ValueError:
                    valid = False
                    mismatches[field.name].append(row)
            assert columns.valid[field.name][row] == valid, (record, field)
            if valid:
                assert got == expected, (record, field)
                assert not isinstance(got, float) or math.copysign(1, got) == math.copysign(1, expected)
                order[field.name].setdefault(expected)
            elif columns.types[field.name] == "f8":
                assert math.isnan(got)
            else:
                assert got == EMPTY.get(columns.types[field.name])
    assert columns.errors.tolist() == errors
    for field in fields:
        assert columns.mismatches(field.name).tolist() == mismatches[field.name]
        if columns.types[field.name] == "str":
            assert columns.dictionary(field.name) == list(order[field.name])
    return columns


def plain(columns, name):
    values = columns[name]
    return (values.view(np.int64) if columns.types[name] == "timestamp" else values).tolist()


def raw_is_text(tree, record, fields):
    """No field of type json meets bytes that are not UTF-8 (escapes stand as they are there)."""
    try:
        record.decode()
        return True
    except UnicodeDecodeError:
        text = re.sub(rb"\\u[dD][89a-fA-F]", rb"\\u00", record).decode("utf-8", "surrogateescape")
        loose = json.loads(text, object_pairs_hook=Pairs)
        return not any(
            spoiled(value)
            for field in fields
            if field.type == "json"
            for value in occurrences(loose, field.steps)
        )


def spoiled(value):
    if isinstance(value, Pairs):
        return any(spoiled(name) or spoiled(item) for name, item in value)
    return (
        any(map(spoiled, value)) if isinstance(value, list) else isinstance(value, str) and not is_text(value)
    )


# --- what is generated ---

space = st.sampled_from(["", "", "", " ", "\n\t", "\r "])
digits = st.text("0123456789", min_size=1, max_size=25)


@st.composite
def numbers(draw):
    whole = draw(st.one_of(st.just("0"), st.integers(1, 10**25).map(str), st.integers(1, 999).map(str)))
    text = draw(st.sampled_from(["", "-"])) + whole
    if draw(st.booleans()):
        text += "." + draw(digits)
    if draw(st.integers(0, 3)) == 0:
        text += draw(st.sampled_from(["e", "E", "e+", "e-", "E-"])) + str(draw(st.integers(0, 330)))
    return text


times = st.one_of(
    st.datetimes(timezones=st.sampled_from([None, UTC])).map(str),
    st.datetimes().map(lambda t: t.isoformat() + "Z"),
    st.datetimes().map(lambda t: t.isoformat(timespec="milliseconds") + "-0330"),
    st.from_regex(TIME, fullmatch=True),
)  # fmt: skip


@st.composite
def strings(draw, text=None):
    text = draw(st.one_of(st.text(max_size=12), st.text(max_size=90), times)) if text is None else text
    out = json.dumps(text, ensure_ascii=draw(st.booleans()))
    return out.replace("/", "\\/") if draw(st.booleans()) else out


def containers(inner):
    names = st.one_of(st.sampled_from(["a", "b", "é\n", "host", "long-" * 15]), st.text(max_size=3))
    members = st.tuples(space, names.flatmap(lambda n: strings(text=n)), space, space, inner, space)
    objects = st.lists(members, max_size=5).map(
        lambda ms: "{" + ",".join(f"{a}{n}{b}:{c}{v}{d}" for a, n, b, c, v, d in ms) + "}"
    )
    arrays = st.lists(st.tuples(space, inner, space), max_size=3).map(
        lambda vs: "[" + ",".join(map("".join, vs)) + "]"
    )
    return st.one_of(objects, arrays)


scalars = st.one_of(numbers(), strings(), st.sampled_from(["true", "false", "null"]))
values = st.recursive(scalars, containers, max_leaves=12)
objects = containers(values).filter(lambda text: text[0] == "{")
edits = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.integers(0, 2),
        st.sampled_from(b'{}[]",:\\u0dD8-.eE+tn \x00\x1f\x80\xc3\xff9'),
    ),
    max_size=2,
)


def edited(text, changes):
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    for position, cut, byte in changes:
        data[position % (len(data) + 1) : position % (len(data) + 1) + cut] = bytes([byte])
    return bytes(data)


records = st.one_of(
    objects.map(str.encode),
    st.builds(edited, objects, edits),
    values.map(str.encode),
    st.builds(lambda s, text, t: (s + text + t).encode(), space, objects, space),
)
ODD_NUMBERS = [
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "1e999",
    "2.0",
    "1e3",
    "1.5",
    "-0",
    "-0.0",
    "0e99",
    "20e-1",
    "123456789012345",
    "1234567890123456",
    "100000000000000.0",
    "1.0000000000000000000000",
    "9.3e-320",
    "17976931348623157e292",
    "5e-324",
    "2.4703282292062327e-324",
    "2.4703282292062328e-324",
    "9007199254740993",
    "9007199254740992.5",
    "0.1",
    "1e18",
    "1e19",
    "123456789.123456789",
    "1.7976931348623158e308",
    "1.7976931348623159e308",
    "0.30000000000000004",
    "-1e-7",
    "1e22",
    "1e23",
]
ODD_TIMES = [
    "2025-02-29",
    "2024-02-29",
    "1900-02-29",
    "1969-12-31T23:59:59.999999Z",
    "0001-01-01",
    "0000-01-01",
    "2025-06-30T23:59:60Z",
    "2025-01-01T24:00",
    "2025-01-01 00:00:00.1234567",
    "2025-01-01T00:00:00+23:59",
    "2025-01-01T00:00+05",
    "2025-01-01T00:00:00.",
    "2025-13-01",
    "2025-01-32",
    "2025-01-01T00:60",
    "2025-01-01T00:00:61",
    "2025-01-01T00:00:00+24:00",
    "",
]
slow = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@slow
@given(st.lists(records, max_size=8))
@example([b'{"a":1}{"b":2}', b"", b" ", b"[1]", b'{"a":01}', b'{"a":1,}', b'{"a" 1}', b"{,}", b'{"a":1]'])
@example(
    [
        b'{"a":{"b":1},"a":5}',
        b'{"a":5,"a":{"b":1}}',
        b'{"a":{"b":1},"a":{}}',
        b'{"a":{"b":{"a":1}},"a":{"b":2}}',
    ]
)
@example(
    [
        b'{"a":"\\ud83d\\ude00","b":"\\ud83d"}',
        b'{"a":"\xff"}',
        b'{"c":"\xff"}',
        b'{"a":"\\udc00"}',
        b'{"\\u0061":1}',
    ]
)
@example([b'{"a":"' + b"x" * n + b'"}' for n in range(0, 140, 3)])
@example([b'{"a":' + text.encode() + b"}" for text in ODD_NUMBERS])
@example(
    [b'{"b":' + b"[" * n + b"]" * n + b"}" for n in (62, 63, 64)]
    + [b'{"c":' + b'{"a":' * 63 + b"1" + b"}" * 64]
)
def test_scan_agrees_with_the_model_at_every_level(records):
    for level in LEVELS:
        check(records, FIELDS, level)


@slow
@given(st.lists(numbers(), min_size=1, max_size=30))
@example(ODD_NUMBERS)
def test_numbers_are_exact_or_correctly_rounded(texts):
    fields = [
        Field(type, "v", type)
        for type in ("i8", "f8", "text", "timestamp[s]", "timestamp[ms]", "timestamp[us]")
    ]
    for level in LEVELS:
        check([f'{{"v":{text}}}'.encode() for text in texts], fields, level)


@slow
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_every_double_comes_back_from_its_shortest_text(floats):
    for level in LEVELS:
        columns = scan(
            RecordBatch.of([json.dumps({"v": x}).encode() for x in floats]),
            [Field("v", type="f8")],
            simd=level,
        )
        assert columns["v"].view(np.uint64).tolist() == np.array(floats).view(np.uint64).tolist()


@slow
@given(st.lists(st.one_of(times, st.text("0123456789-:TZ .+", max_size=30)), min_size=1, max_size=20))
@example(ODD_TIMES)
def test_times_agree_with_datetime(texts):
    check([json.dumps({"t": text}).encode() for text in texts], [Field("t", type="timestamp")], LEVELS[-1])


# --- order, growth, limits ---


def test_members_in_changing_order_and_number_are_found():
    rng = np.random.default_rng(1)
    members = [(f"m{i}", i) for i in range(90)]  # more than can be predicted
    rows = []
    for _ in range(300):
        chosen = [members[i] for i in rng.permutation(90)[: rng.integers(1, 90)]]
        rows.append(
            json.dumps(dict(chosen), separators=((", ", ": ") if rng.random() < 0.5 else (",", ":"))).encode()
        )
    fields = [Field(f"m{i}", type="i8") for i in range(0, 90, 7)]
    for level in LEVELS:
        check(rows, fields, level)


def test_many_distinct_strings_grow_the_table():
    texts = [f"string number {i % 7001}" for i in range(20000)] + ["x" * 100_000, ""]
    columns = scan(RecordBatch.of([json.dumps({"s": text}).encode() for text in texts]), [Field("s")])
    assert columns["s"].tolist() == texts
    assert columns.dictionary("s") == list(dict.fromkeys(texts))


def test_a_scan_longer_than_one_native_call_is_whole():
    rows = [b'{"a":%d}' % i for i in range(150_000)]
    columns = scan(RecordBatch.of(rows), [Field("a", type="i8")])
    assert np.array_equal(columns["a"], np.arange(150_000)) and columns.valid["a"].all()


def test_an_empty_batch_and_no_fields():
    columns = scan(RecordBatch.empty(), [Field("a"), Field("b", type="f8")])
    assert columns.rows == 0 and len(columns) == 2 and columns["a"].tolist() == []
    columns = scan(RecordBatch.of([b"{}", b"x"]), [])
    assert columns.rows == 2 and columns.errors.tolist() == [1]


def test_records_anywhere_in_the_buffer_are_read_within_their_bounds():
    buffer = b'{"a":1}{"a":2}9{"a":"x"}'
    batch = RecordBatch(buffer, [7, 0, 7, 15], [7, 7, 8, 9], [0] * 4, [0] * 4, range(4), [0] * 4, [0] * 4)
    for level in LEVELS:
        columns = scan(batch, [Field("a", type="text")], simd=level)
        assert columns["a"].tolist() == ["2", "1", None, "x"] and columns.errors.tolist() == [2]


def test_a_path_names_members_and_elements():
    assert parse_path("$") == ()
    assert parse_path("$.a.b[0]") == parse_path("a.b[0]") == ("a", "b", 0)
    assert parse_path("$['a.b'][\"c d\"][12]") == ("a.b", "c d", 12)
    assert Field("cpu.user").steps == ("cpu.user",)
    assert Field("$.cpu.user").steps == ("cpu", "user")
    for wrong in ("a..b", "a[", "a[-1]", "$a", "a.", "a]b", "['x"):
        with pytest.raises(InvalidArgument, match="not understood"):
            parse_path(wrong)
    with pytest.raises(InvalidArgument, match="at most 63"):
        parse_path(".a" * 64)


def test_the_whole_record_is_a_path():
    columns = scan(RecordBatch.of([b' {"a": 1} ', b"1"]), [Field("all", "$", "json"), Field("a", type="i8")])
    assert columns["all"].tolist() == ['{"a": 1}', None] and columns["a"].tolist() == [1, 0]


def test_wrong_fields_are_refused_by_name():
    batch = RecordBatch.of([b"{}"])
    with pytest.raises(InvalidArgument, match="has type 'int64'"):
        Field("a", type="int64")
    with pytest.raises(InvalidArgument, match="did you mean 'timestamp'"):
        Field("a", type="timestam")
    with pytest.raises(InvalidArgument, match="two fields have the name 'a'"):
        scan(batch, [Field("a"), Field("a", "b")])
    with pytest.raises(LimitExceeded, match="at most 1024"):
        scan(batch, [Field(f"f{i}") for i in range(1025)])
    with pytest.raises(InvalidArgument, match="simd level 7"):
        scan(batch, [], simd=7)
