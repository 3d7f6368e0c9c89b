# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Answers against json.dumps of the same facts, and sequence numbers against Python's integers.

Every answer is also parsed by botocore's own parser with the service's model, since that is who reads them.
"""

import ctypes
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_support import model_sequence, parsed

from headrace.core._entries import Entries, Router
from headrace.core._wire import (
    LEVELS,
    firehose_batch_answer,
    firehose_record_answer,
    parse_sequence_number,
    put_record_answer,
    put_records_answer,
    sequence_number,
)

SECONDS = st.integers(0, (1 << 36) - 1)
SHARDS = st.integers(0, (1 << 32) - 1)
INDEXES = st.integers(0, (1 << 64) - 1)
PARTS = (1 << 128) // 3


class NativeEntry(ctypes.Structure):
    """hr_entry, so that a test can play the log and say where an entry was stored."""

    _fields_ = [
        ("key", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
        ("key_size", ctypes.c_uint32),
        ("data_size", ctypes.c_uint32),
        ("hash_high", ctypes.c_uint64),
        ("hash_low", ctypes.c_uint64),
        ("slot", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("index", ctypes.c_uint64),
        ("arrival_ms", ctypes.c_int64),
    ]


def stamp(entries, stored):
    """Set (index, arrival_ms) of each entry. An Entries object's first field points at the entries."""
    address = ctypes.c_void_p.from_address(
        id(entries) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)
    ).value
    native = (NativeEntry * len(stored)).from_address(address)
    for entry, (index, arrival_ms) in zip(native, stored, strict=True):
        entry.index, entry.arrival_ms = index, arrival_ms
    assert entries.indexes.tolist() == [index for index, _ in stored]
    assert entries.arrivals.tolist() == [arrival_ms for _, arrival_ms in stored]


def router(shards=(0, 1, 2), created_s=1_700_000_000):
    """A router of three equal ranges over the shards of these numbers."""
    ends = [PARTS - 1, 2 * PARTS - 1, (1 << 128) - 1]
    starts = [0, PARTS, 2 * PARTS]
    return Router(
        [(start, end, shard, 0, created_s) for start, end, shard in zip(starts, ends, shards, strict=True)]
    )


def stored_entries(routes, rows):
    """Entries of rows (which third, index, arrival_ms), routed and stamped."""
    entries = Entries()
    for third, _, _ in rows:
        entries.add(b"data", "key", third * PARTS)
    routes.route(entries)
    stamp(entries, [row[1:] for row in rows])
    return entries


# --- sequence numbers ---


@given(SECONDS, SHARDS, INDEXES, st.integers(0, (1 << 36) * 1000 - 1))
@settings(max_examples=500)
def test_sequence_numbers_are_the_47_hex_digits_in_decimal_and_parse_back(
    created_s, shard, index, arrival_ms
):
    found = sequence_number(created_s, shard, index, arrival_ms)
    assert all(sequence_number(created_s, shard, index, arrival_ms, simd=simd) == found for simd in LEVELS)
    assert found == model_sequence(created_s, shard, index, arrival_ms // 1000)
    assert len(found) == 56
    assert parse_sequence_number(found) == (created_s, shard, index, arrival_ms // 1000)


@pytest.mark.parametrize("value", [0, 1, (1 << 31) - 1, (1 << 32) - 1])
def test_sequence_numbers_at_the_edges_of_each_part(value):
    for index in (0, 1, 10**19 - 1, 10**19, (1 << 63) - 1, (1 << 64) - 1):
        for second in (0, value, (1 << 36) - 1):
            assert sequence_number(second, value, index, second * 1000) == model_sequence(
                second, value, index, second
            )


@given(SECONDS, SHARDS, st.integers(0, (1 << 64) - 2), SECONDS, SECONDS)
def test_sequence_numbers_of_a_shard_increase_with_the_index_whatever_the_arrival(
    created_s, shard, index, first, second
):
    assert sequence_number(created_s, shard, index, first * 1000) < sequence_number(
        created_s, shard, index + 1, second * 1000
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "abc",
        "4" * 56,
        "9" * 56,
        "4" * 57,
        model_sequence(1, 2, 3, 4)[:-1],
        model_sequence(1, 2, 3, 4) + " ",
        "٤" * 56,
        str(int(model_sequence(1, 2, 3, 4)) + 1),
        str(int(model_sequence(1, 2, 3, 4)) + (1 << 72)),
        str(int(model_sequence(1, 2, 3, 4)) + (1 << 144)),
        str(int(model_sequence(1, 2, 3, 4)) + (1 << 184)),
    ],
)
def test_what_is_no_sequence_number_parses_to_none(text):
    assert parse_sequence_number(text) is None


@pytest.mark.parametrize(("created_s", "arrival_ms"), [(-1, 0), (1 << 36, 0), (0, -1), (0, (1 << 36) * 1000)])
def test_times_that_a_sequence_number_cannot_hold_are_refused(created_s, arrival_ms):
    with pytest.raises(ValueError, match="a sequence number holds 0 to 68719476735 seconds"):
        sequence_number(created_s, 0, 0, arrival_ms)


# --- puts ---

rows = st.lists(
    st.tuples(st.integers(0, 2), INDEXES, st.integers(0, (1 << 36) * 1000 - 1)), min_size=1, max_size=12
)


@given(rows, st.tuples(SHARDS, SHARDS, SHARDS), SECONDS, st.sampled_from([None, "KMS"]), st.data())
@settings(deadline=None)
def test_answers_of_put_records_say_what_json_would(rows, shards, created_s, encryption, draw):
    routes = router(shards, created_s)
    entries = stored_entries(routes, rows)
    reasons = [
        ("ProvisionedThroughputExceededException", 'Rate "exceeded" für shard'),
        ("InternalFailure", ""),
    ]
    failures = draw.draw(
        st.none() | st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows)).map(bytes)
    )
    bodies = {
        put_records_answer(
            entries, routes, failures=failures, reasons=reasons, encryption=encryption, simd=simd
        )
        for simd in LEVELS
    }
    assert len(bodies) == 1
    body = bodies.pop()
    expected = {"FailedRecordCount": sum(map(bool, failures or b"")), "Records": []}
    for i, (third, index, arrival_ms) in enumerate(rows):
        if failures and failures[i]:
            code, message = reasons[failures[i] - 1]
            expected["Records"].append({"ErrorCode": code, "ErrorMessage": message})
            continue
        number = model_sequence(created_s, shards[third], index, arrival_ms // 1000)
        expected["Records"].append({"SequenceNumber": number, "ShardId": f"shardId-{shards[third]:012}"})
    if encryption:
        expected["EncryptionType"] = encryption
    assert body == json.dumps(expected, separators=(",", ":"), ensure_ascii=False).encode()
    assert parsed("kinesis", "PutRecords", body) == expected


@given(rows, SECONDS, st.booleans(), st.data())
@settings(deadline=None)
def test_answers_of_firehose_batches_say_what_json_would(rows, created_s, encrypted, draw):
    routes = router(created_s=created_s)
    entries = stored_entries(routes, rows)
    failures = draw.draw(
        st.none() | st.lists(st.integers(0, 1), min_size=len(rows), max_size=len(rows)).map(bytes)
    )
    reasons = [("ServiceUnavailableException", "Slow down.")]
    body = firehose_batch_answer(entries, routes, failures=failures, reasons=reasons, encrypted=encrypted)
    expected = {"FailedPutCount": sum(failures or b""), "Encrypted": encrypted, "RequestResponses": []}
    for i, (third, index, arrival_ms) in enumerate(rows):
        if failures and failures[i]:
            expected["RequestResponses"].append({"ErrorCode": reasons[0][0], "ErrorMessage": reasons[0][1]})
        else:
            expected["RequestResponses"].append(
                {"RecordId": model_sequence(created_s, third, index, arrival_ms // 1000)}
            )
    assert body == json.dumps(expected, separators=(",", ":")).encode()
    assert parsed("firehose", "PutRecordBatch", body) == expected


def test_the_answer_of_one_record_says_where_it_is():
    routes = router((5, 6, 4_294_967_295))
    entries = stored_entries(routes, [(2, 77, 1_700_000_001_999)])
    number = model_sequence(1_700_000_000, 4_294_967_295, 77, 1_700_000_001)
    plain = {"SequenceNumber": number, "ShardId": "shardId-004294967295"}
    assert json.loads(put_record_answer(entries, routes)) == plain
    body = put_record_answer(entries, routes, encryption="KMS")
    assert parsed("kinesis", "PutRecord", body) == {**plain, "EncryptionType": "KMS"}
    body = firehose_record_answer(entries, routes)
    assert parsed("firehose", "PutRecord", body) == {"RecordId": number, "Encrypted": False}
    assert json.loads(firehose_record_answer(entries, routes, encrypted=True))["Encrypted"] is True


def test_one_record_s_answer_refuses_several():
    routes = router()
    entries = stored_entries(routes, [(0, 1, 0), (1, 1, 0)])
    with pytest.raises(ValueError, match="2 entries"):
        put_record_answer(entries, routes)


def test_numpy_masks_serve_as_failures():
    routes = router()
    entries = stored_entries(routes, [(0, 1, 0), (1, 1, 0)])
    body = put_records_answer(
        entries, routes, failures=np.array([False, True]), reasons=[("InternalFailure", "x")]
    )
    assert json.loads(body)["FailedRecordCount"] == 1


def test_failures_of_another_length_or_without_a_reason_are_refused():
    routes = router()
    entries = stored_entries(routes, [(0, 1, 0), (1, 1, 0)])
    with pytest.raises(ValueError, match="failures has 1 bytes for 2 entries"):
        put_records_answer(entries, routes, failures=b"\1", reasons=[("a", "b")])
    with pytest.raises(ValueError, match="no reason"):
        put_records_answer(entries, routes, failures=b"\0\2", reasons=[("a", "b")])
    with pytest.raises(ValueError, match="256 reasons"):
        put_records_answer(entries, routes, reasons=[("a", "b")] * 256)


def test_entries_that_were_not_routed_are_refused():
    entries = Entries()
    entries.add(b"data", "key", None)
    with pytest.raises(ValueError, match="not routed"):
        put_records_answer(entries, router())
    with pytest.raises(ValueError, match="not routed"):
        put_record_answer(entries, router())


def test_entries_with_impossible_arrivals_are_refused():
    routes = router()
    entries = stored_entries(routes, [(0, 1, -1)])
    with pytest.raises(ValueError, match="time is not within"):
        put_records_answer(entries, routes)
    with pytest.raises(ValueError, match="time is not within"):
        put_record_answer(entries, routes)


def test_five_hundred_entries_over_many_shards_each_keep_their_own_number():
    ends = [(i + 1) * (1 << 121) - 1 for i in range(128)]
    routes = Router([(end + 1 - (1 << 121), end, 1000 + i, 0, 7 + i) for i, end in enumerate(ends)])
    entries = Entries()
    for i in range(500):
        entries.add(b"", f"k{i}", (i * 37 % 128) << 121)
    routes.route(entries)
    stamp(entries, [(i, i * 700) for i in range(500)])
    records = json.loads(put_records_answer(entries, routes))["Records"]
    for i, record in enumerate(records):
        slot = i * 37 % 128
        assert record["ShardId"] == f"shardId-{1000 + slot:012}"
        assert record["SequenceNumber"] == model_sequence(7 + slot, 1000 + slot, i, i * 700 // 1000)
