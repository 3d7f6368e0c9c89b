# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The scan of put requests against a plain model: json, base64 and the rules of the service's shapes.

Two facts are held. Whatever the bytes, what the scan understands the model understands in the same way, at
every SIMD level. And what clients send (botocore's own serializer, the layouts of the other SDKs, any member
order, whitespace and escapes) is understood, so that the fast path is the usual one.
"""

import base64
import json
import random
import re

import botocore.loaders
import botocore.model
import botocore.serialize
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core._wire import LEVELS, PutScan

MIB = 1 << 20
ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/metrics"
SCANS = {simd: PutScan(simd=simd) for simd in LEVELS}
RECORD_MEMBERS = {"Data", "PartitionKey", "ExplicitHashKey"}
KINDS = {
    "put_records": ({"StreamName", "StreamARN", "DryRun", "Records"}, RECORD_MEMBERS),
    "put_record": ({"StreamName", "StreamARN", "DryRun", "SequenceNumberForOrdering"} | RECORD_MEMBERS, None),
    "firehose_batch": ({"DeliveryStreamName", "Records"}, {"Data"}),
    "firehose_record": ({"DeliveryStreamName", "Record"}, {"Data"}),
}


class Declined(Exception):
    """The model's word for a body that has no plain meaning."""


def need(condition):
    if not condition:
        raise Declined


def once(pairs):
    need(len(dict(pairs)) == len(pairs))
    return dict(pairs)


def constant(name):
    raise Declined


def text(value, pattern):
    need(isinstance(value, str) and re.fullmatch(pattern, value))
    return value


def model_record(record, keyed):
    need("Data" in record)
    need(isinstance(record["Data"], str) and record["Data"].isascii() and len(record["Data"]) % 4 == 0)
    try:
        data = base64.b64decode(record["Data"], validate=True)
    except ValueError:
        raise Declined from None
    need(base64.b64encode(data).decode() == record["Data"])
    key, hash_key = "", None
    if keyed:
        key = record.get("PartitionKey")
        need(isinstance(key, str) and 1 <= len(key) <= 256)
        try:
            key.encode()
        except UnicodeEncodeError:
            raise Declined from None
        if "ExplicitHashKey" in record:
            hash_key = int(text(record["ExplicitHashKey"], "0|[1-9][0-9]{0,38}"))
            need(hash_key < 1 << 128)
    return data, key, hash_key


def model(kind, body, count_max=500, record_size_max=10 * MIB, total_size_max=10 * MIB):
    """What a body means: (name, arn, ordering, dry run, records), or None."""
    top, inner = KINDS[kind]
    keyed = kind.startswith("put")
    try:
        try:
            value = json.loads(body.decode("utf-8"), object_pairs_hook=once, parse_constant=constant)
        except (ValueError, RecursionError):
            raise Declined from None
        need(isinstance(value, dict) and set(value) <= top)
        name = value.get("StreamName" if keyed else "DeliveryStreamName")
        arn = value.get("StreamARN")
        need(name is not None or arn is not None)
        need("StreamName" not in value or name is not None)
        need("StreamARN" not in value or arn is not None)
        if name is not None:
            text(name, "[a-zA-Z0-9_.-]{1,128}" if keyed else "[a-zA-Z0-9_.-]{1,64}")
        if arn is not None:
            text(arn, r"arn:aws.*:kinesis:.*:\d{12}:stream/\S+")
        ordering = value.get("SequenceNumberForOrdering")
        if "SequenceNumberForOrdering" in value:
            text(ordering, "0|[1-9][0-9]{0,128}")
        dry_run = value.get("DryRun", False)
        need(isinstance(dry_run, bool))
        if kind == "put_record":
            records = [value]
        elif kind == "firehose_record":
            records = [value.get("Record")]
        else:
            records = value.get("Records")
        need(isinstance(records, list) and 1 <= len(records) <= count_max)
        for record in records:
            need(isinstance(record, dict))
            need(inner is None or set(record) <= inner)
        read = [model_record(record, keyed) for record in records]
        sizes = [len(data) + len(key.encode()) for data, key, _ in read]
        need(max(sizes) <= record_size_max and sum(sizes) <= total_size_max)
        return name, arn, ordering, dry_run, read
    except Declined:
        return None


def scan(kind, body, simd, **limits):
    """The same from the scanner."""
    scanner = SCANS[simd]
    if not getattr(scanner, f"scan_{kind}")(body, **limits):
        assert len(scanner.records()) == 0
        assert (scanner.stream_name, scanner.stream_arn, scanner.total_size) == (None, None, 0)
        return None
    records = scanner.records()
    sizes = [len(data) + len(key.encode()) for data, key, _ in records]
    assert (scanner.total_size, scanner.record_size_largest) == (sum(sizes), max(sizes))
    ordering = scanner.sequence_number_for_ordering
    return scanner.stream_name, scanner.stream_arn, ordering, scanner.dry_run, records


def check(kind, body, **limits):
    """The scanner's answer, after seeing that all levels agree and that none contradicts the model."""
    answers = [scan(kind, body, simd, **limits) for simd in LEVELS]
    assert all(answer == answers[0] for answer in answers[1:])
    if answers[0] is not None:
        assert answers[0] == model(kind, body, **limits)
    return answers[0]


# --- bodies ---

names = st.text("abcXYZ019_.-", min_size=1, max_size=64)
keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60) | st.text(
    'aé\n"\\/\x00😀', min_size=1, max_size=260
)
hash_keys = st.integers(0, (1 << 128) - 1).map(str)
data_texts = st.binary(max_size=200).map(lambda data: base64.b64encode(data).decode())


def shuffled(members):
    return st.permutations(list(members.items())).map(dict)


@st.composite
def requests(draw, kind):
    """The request as a dict whose members stand in any order."""
    keyed = kind.startswith("put")

    def record():
        members = {"Data": draw(data_texts)}
        if keyed:
            members["PartitionKey"] = draw(keys)
            if draw(st.booleans()):
                members["ExplicitHashKey"] = draw(hash_keys)
        return members

    request = {}
    which = draw(st.integers(1, 3)) if keyed else 1
    if which & 1:
        request["StreamName" if keyed else "DeliveryStreamName"] = draw(names)
    if which & 2:
        request["StreamARN"] = ARN
    if keyed and draw(st.booleans()):
        request["DryRun"] = draw(st.booleans())
    if kind == "put_record":
        request |= record()
        if draw(st.booleans()):
            request["SequenceNumberForOrdering"] = draw(st.integers(0, 1 << 188).map(str))
    elif kind == "firehose_record":
        request["Record"] = record()
    else:
        request["Records"] = [draw(shuffled(record())) for _ in range(draw(st.integers(1, 5)))]
    return draw(shuffled(request))


layouts = st.sampled_from(
    [
        {},
        {"separators": (",", ":")},
        {"indent": 2},
        {"indent": "\t", "separators": (" ,\r\n", " : ")},
        {"ensure_ascii": False},
        {"ensure_ascii": False, "separators": (",", ":")},
    ]
)


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
@settings(max_examples=150, deadline=None)
def test_what_clients_send_is_understood(kind, draw):
    request = draw.draw(requests(kind))
    body = json.dumps(request, **draw.draw(layouts)).encode()
    space = draw.draw(st.sampled_from([b"", b" ", b"\n\t\r "]))
    expected = model(kind, body)
    answer = check(kind, space + body + space)
    assert answer == expected
    # The model itself declines only keys that are longer than 256 UTF-16 units, where the scan is stricter.
    if answer is None:
        assert any(
            len(r.get("PartitionKey", "").encode("utf-16-le")) > 512
            for r in request.get("Records", [request])
        )


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_bodies_are_declined_or_mean_what_the_model_says(kind, draw):
    body = bytearray(json.dumps(draw.draw(requests(kind)), **draw.draw(layouts)).encode())
    for _ in range(draw.draw(st.integers(1, 3))):
        place = draw.draw(st.integers(0, max(len(body) - 1, 0)))
        removed = draw.draw(st.integers(0, 3))
        added = draw.draw(
            st.binary(max_size=3)
            | st.sampled_from(
                [
                    b'"',
                    b"\\",
                    b"{",
                    b"}",
                    b"[",
                    b"]",
                    b",",
                    b":",
                    b"null",
                    b"=",
                    b"\\ud800",
                    b"\xc3",
                    b'"Data":"",',
                ]
            )
        )
        body[place : place + removed] = added
    if draw.draw(st.booleans()):
        del body[draw.draw(st.integers(0, len(body))) :]
    check(kind, bytes(body))


@pytest.mark.parametrize("kind", KINDS)
def test_every_prefix_of_a_body_is_declined(kind):
    request = {
        "put_records": {"StreamName": "s", "Records": [{"Data": "QUJD" * 30, "PartitionKey": "kéy"}] * 2},
        "put_record": {"StreamName": "s", "Data": "QUJD" * 30, "PartitionKey": "kéy", "ExplicitHashKey": "1"},
        "firehose_batch": {"DeliveryStreamName": "s", "Records": [{"Data": "QUJD" * 30}]},
        "firehose_record": {"DeliveryStreamName": "s", "Record": {"Data": "QUJD" * 30}},
    }[kind]
    body = json.dumps(request).encode()
    assert check(kind, body) is not None
    for size in range(len(body)):
        assert check(kind, body[:size]) is None, size


@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_of_a_body_changed_to_every_other_is_declined_or_agrees(kind):
    request = {
        "put_records": {"StreamName": "s", "Records": [{"Data": "QUI=", "PartitionKey": "é"}]},
        "put_record": {"StreamName": "s", "Data": "QUI=", "PartitionKey": "k", "DryRun": True},
        "firehose_batch": {"DeliveryStreamName": "s", "Records": [{"Data": "QUI="}]},
        "firehose_record": {"DeliveryStreamName": "s", "Record": {"Data": "QUI="}},
    }[kind]
    body = json.dumps(request).encode()
    for place in range(len(body)):
        for byte in range(256):
            check(kind, body[:place] + bytes([byte]) + body[place + 1 :])


# --- clients ---


def botocore_body(service, operation, parameters):
    loader = botocore.loaders.Loader()
    service_model = botocore.model.ServiceModel(loader.load_service_model(service, "service-2"), service)
    serializer = botocore.serialize.create_serializer(service_model.metadata["protocol"])
    return serializer.serialize_to_request(parameters, service_model.operation_model(operation))["body"]


def test_bodies_of_botocore_are_understood():
    rows = [(b"", "k"), (b"\x00\xff" * 500, "ключ 😀"), (b"abc", 'a"b\\c\n\x01'), (b"x", "z" * 256)]
    records = [{"Data": data, "PartitionKey": key, "ExplicitHashKey": str(1 << 127)} for data, key in rows]
    body = botocore_body("kinesis", "PutRecords", {"StreamName": "metrics", "Records": records})
    expected = [(data, key, 1 << 127) for data, key in rows]
    assert check("put_records", body) == ("metrics", None, None, False, expected)
    body = botocore_body(
        "kinesis",
        "PutRecord",
        {"StreamARN": ARN, "DryRun": True, "SequenceNumberForOrdering": "49", **records[1]},
    )
    assert check("put_record", body) == (None, ARN, "49", True, expected[1:2])
    batch = {"DeliveryStreamName": "out", "Records": [{"Data": data} for data, _ in rows]}
    body = botocore_body("firehose", "PutRecordBatch", batch)
    assert check("firehose_batch", body) == ("out", None, None, False, [(data, "", None) for data, _ in rows])
    body = botocore_body("firehose", "PutRecord", {"DeliveryStreamName": "out", "Record": {"Data": b"abc"}})
    assert check("firehose_record", body) == ("out", None, None, False, [(b"abc", "", None)])


@pytest.mark.parametrize(
    "body",
    [
        # aws-sdk-go, aws-sdk-rust: compact, members in the model's order, UTF-8 as it is
        '{"Records":[{"Data":"QUJD","ExplicitHashKey":"7","PartitionKey":"clé"}],"StreamName":"s"}',
        # Java: compact, another order
        '{"StreamName":"s","Records":[{"PartitionKey":"clé","Data":"QUJD","ExplicitHashKey":"7"}]}',
        # PHP: escaped solidus and non-ASCII in keys
        '{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":"cl\\u00e9","ExplicitHashKey":"7"}]}',
        # somebody's editor
        '\n{\n  "Records" : [\n { "Data" : "QUJD" , "PartitionKey" : "cl\\u00E9",'
        '\t"ExplicitHashKey":"7" } ] , "StreamName":"s" }\n',
    ],
)
def test_layouts_of_other_clients_are_understood(body):
    assert check("put_records", body.encode()) == ("s", None, None, False, [(b"ABC", "clé", 7)])


# --- what is declined ---

MARKS = {
    "@R": '{"Data":"QUJD","PartitionKey":"k"}',
    "@A": ARN,
    "@L": "s" * 129,
    "@T": str(1 << 128),
    "@X": str(10**39),
}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"StreamName":"s"}',
        '{"StreamName":"s","Records":[]}',
        '{"StreamName":"s","Records":{}}',
        '{"StreamName":"s","Records":null}',
        '{"Records":[@R]}',
        '{"StreamName":"s","StreamName":"s","Records":[@R]}',
        '{"StreamName":"s","Records":[@R],"Records":[@R]}',
        '{"StreamName":"s","Records":[@R]}x',
        '{"StreamName":"s","Records":[@R],}',
        '{"StreamName":"s","Records":[@R,]}',
        '{"StreamName":"s","Records":[@R @R]}',
        '{"StreamName":"s" "Records":[@R]}',
        '{"StreamName":"","Records":[@R]}',
        '{"StreamName":"a b","Records":[@R]}',
        '{"StreamName":"@L","Records":[@R]}',
        '{"StreamName":null,"StreamARN":"@A","Records":[@R]}',
        '{"StreamName":"\\u0073","Records":[@R]}',
        '{"StreamId":"s","StreamName":"s","Records":[@R]}',
        '{"StreamARN":"arn:aws:kinesis:us-east-1:1:stream/s","Records":[@R]}',
        '{"StreamARN":"arn:aws:firehose:us-east-1:000000000000:stream/s","Records":[@R]}',
        '{"StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/","Records":[@R]}',
        '{"StreamName":"s","DryRun":"true","Records":[@R]}',
        '{"StreamName":"s","DryRun":1,"Records":[@R]}',
        '{"StreamName":"s","SequenceNumberForOrdering":"1","Records":[@R]}',
        '{"StreamName":"s","Records":[{}]}',
        '{"StreamName":"s","Records":[null]}',
        '{"StreamName":"s","Records":[{"Data":"QUJD"}]}',
        '{"StreamName":"s","Records":[{"PartitionKey":"k"}]}',
        '{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":""}]}',
        '{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":null}]}',
        '{"StreamName":"s","Records":[{"Data":null,"PartitionKey":"k"}]}',
        '{"StreamName":"s","Records":[{"Data":"QUJ","PartitionKey":"k"}]}',
        '{"StreamName":"s","Records":[{"Data":"Q-_=","PartitionKey":"k"}]}',
        '{"StreamName":"s","Records":[{"Data":"YR==","PartitionKey":"k"}]}',
        '{"StreamName":"s","Records":[{"Data":"QUJDQUJ=","PartitionKey":"k"}]}',
        '{"StreamName":"s","Records":[{"Data":"QUJD\\n","PartitionKey":"k"}]}',
        '{"StreamName":"s","Records":[{"Data":"QUJD","Data":"QUJD","PartitionKey":"k"}]}',
        '{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":"k","Extra":1}]}',
        '{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":"\\ud800"}]}',
        '{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":"\\udc00\\ud800"}]}',
        '{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":"\\ud800\\u0041"}]}',
        '{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":"\\x41"}]}',
        '{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":"\\u00g1"}]}',
        '{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":"a\tb"}]}',
        '{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":"k","ExplicitHashKey":""}]}',
        '{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":"k","ExplicitHashKey":"01"}]}',
        '{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":"k","ExplicitHashKey":"-1"}]}',
        '{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":"k","ExplicitHashKey":1}]}',
        '{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":"k","ExplicitHashKey":"@T"}]}',
        '{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":"k","ExplicitHashKey":"@X"}]}',
    ],
)
def test_what_is_wrong_or_unusual_is_declined(body):
    for mark, value in MARKS.items():
        body = body.replace(mark, value)
    assert check("put_records", body.encode()) is None


@pytest.mark.parametrize(
    "key",
    [
        b"\x80",
        b"\xc0\x80",
        b"\xc3",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf0\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xff",
        b"\xe2\x82",
    ],
)
def test_keys_that_are_not_utf_8_are_declined(key):
    for before in (b"", b"k" * 15, b"k" * 16, b"k" * 40):
        body = b'{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":"' + before + key + b'"}]}'
        assert check("put_records", body) is None


@pytest.mark.parametrize(
    "escapes",
    [
        "\\ud800\\ud800",
        "\\ud83d\\udbff",
        "\\ud800\\ue000",
        "\\udfff",
        "\\ud83d",
        "\\ud83d\\",
        "\\ud83dx\\ude00",
    ],
)
def test_escaped_surrogates_that_are_no_pair_are_declined(escapes):
    body = '{"StreamName":"s","Data":"QUJD","PartitionKey":"%s"}'.replace("%s", escapes)
    assert check("put_record", body.encode()) is None


@pytest.mark.parametrize(
    "point", [0, 0x1F, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF]
)
@pytest.mark.parametrize("escaped", [True, False])
def test_code_points_at_the_edges_of_utf_8_are_read_escaped_and_raw(point, escaped):
    for key in (chr(point), "k" * 15 + chr(point), chr(point) * 100):
        body = json.dumps({"StreamName": "s", "Data": "", "PartitionKey": key}, ensure_ascii=escaped)
        assert check("put_record", body.encode())[4] == [(b"", key, None)]


@pytest.mark.parametrize("hash_key", [0, 1, 9, 10, 10**38 - 1, 10**38, (1 << 128) - 1])
def test_explicit_hash_keys_are_read_to_the_last_of_128_bits(hash_key):
    record = {"Data": "", "PartitionKey": "k", "ExplicitHashKey": str(hash_key)}
    body = json.dumps({"StreamName": "s", "Records": [record]})
    assert check("put_records", body.encode())[4] == [(b"", "k", hash_key)]


def body_of(*sizes, key="k"):
    records = [{"Data": base64.b64encode(bytes(size)).decode(), "PartitionKey": key} for size in sizes]
    return json.dumps({"StreamName": "s", "Records": records}).encode()


def test_five_hundred_records_are_read_and_five_hundred_and_one_declined():
    assert len(check("put_records", body_of(*[3] * 500))[4]) == 500
    assert check("put_records", body_of(*[3] * 501)) is None
    assert check("put_records", body_of(3, 3, 3), count_max=2) is None


def test_a_record_may_be_as_large_as_the_limit_and_no_larger():
    assert check("put_records", body_of(99), record_size_max=100) is not None
    assert check("put_records", body_of(100), record_size_max=100) is None
    assert check("put_records", body_of(101), record_size_max=100) is None


def test_all_records_together_may_be_as_large_as_the_limit_and_no_larger():
    assert check("put_records", body_of(49, 49), total_size_max=100) is not None
    assert check("put_records", body_of(49, 50), total_size_max=100) is None


def test_keys_of_256_characters_are_read_and_longer_ones_declined():
    assert check("put_records", body_of(1, key="é" * 256)) is not None
    assert check("put_records", body_of(1, key="k" * 257)) is None
    assert check("put_records", body_of(1, key="é" * 257)) is None


def test_limits_beyond_what_an_entry_holds_are_refused():
    with pytest.raises(ValueError, match="count_max is 501"):
        PutScan().scan_put_records(b"", count_max=501)
    with pytest.raises(ValueError, match="record_size_max is 4294967296"):
        PutScan().scan_put_records(b"", record_size_max=1 << 32)


# --- the scanner as an object ---


def test_the_body_is_not_kept():
    scanner = PutScan()
    body = bytearray(body_of(100, 200))
    assert scanner.scan_put_records(body)
    before = scanner.records()
    body[:] = b"x" * 10  # a kept export would raise BufferError here
    assert scanner.records() == before


def test_entries_outlive_the_scanner():
    scanner = PutScan()
    assert scanner.scan_put_records(body_of(5))
    entries = scanner.entries
    del scanner
    assert entries.count == 1


def test_the_arena_grows_with_a_large_body_and_shrinks_after_many_small_ones():
    scanner = PutScan()
    small, large = body_of(100), body_of(*[60_000] * 100)
    assert scanner.scan_put_records(small)
    assert scanner.arena_size < 100_000
    assert scanner.scan_put_records(large)
    assert scanner.arena_size >= len(large)
    for _ in range(600):
        assert scanner.scan_put_records(small)
    assert scanner.arena_size < 100_000
    assert scanner.records() == [(bytes(100), "k", None)]


def test_a_declined_body_leaves_nothing_of_the_one_before():
    scanner = PutScan()
    assert scanner.scan_put_record(
        b'{"StreamName":"s","Data":"QQ==","PartitionKey":"k","SequenceNumberForOrdering":"1","DryRun":true}'
    )
    assert not scanner.scan_put_record(b"{}")
    assert (scanner.stream_name, scanner.sequence_number_for_ordering, scanner.dry_run) == (None, None, False)
    assert scanner.records() == []


def test_fill_loads_what_a_slow_reader_found():
    scanner = PutScan()
    records = [(b"abc", "ключ", None), (b"", "k", 7)]
    scanner.fill(records, stream_name="s", dry_run=True, sequence_number_for_ordering="5")
    assert scanner.records() == records
    assert (scanner.stream_name, scanner.stream_arn, scanner.dry_run) == ("s", None, True)
    assert (scanner.total_size, scanner.record_size_largest) == (3 + 8 + 1, 11)
    assert scanner.sequence_number_for_ordering == "5"


def test_something_that_is_no_buffer_is_a_type_error():
    with pytest.raises(TypeError):
        PutScan().scan_put_records("text")


def test_long_random_bodies_agree_with_the_model():
    seeded = random.Random(20)
    for _ in range(20):
        rows = [
            (seeded.randbytes(seeded.choice([0, 1, 100, 1024, 5000])), f"k{seeded.randrange(1000)}")
            for _ in range(50)
        ]
        records = [{"Data": base64.b64encode(data).decode(), "PartitionKey": key} for data, key in rows]
        body = json.dumps({"Records": records, "StreamName": "s"}).encode()
        assert check("put_records", body) == (
            "s",
            None,
            None,
            False,
            [(data, key, None) for data, key in rows],
        )
