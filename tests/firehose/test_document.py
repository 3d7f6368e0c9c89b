# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: what the catalogue holds of deliveries is read back as it was written, by every later version too, and
damage is named. Method: documents as bytes, written out here as version 1 writes them."""

import pytest

from headrace.errors import Corrupt
from headrace.firehose import document
from headrace.firehose.document import Delivery, Destination, Plan, Position, Source

DELIVERY = Delivery(
    id="0123456789abcdef",
    created_ms=1_700_000_000_000,
    type=document.STREAM_SOURCE,
    source=Source(
        "s", 42, "arn:aws:kinesis:us-east-1:000000000000:stream/s", "arn:aws:iam::000000000000:role/r"
    ),
    destination=Destination("logs", "p/", 3, 60, document.GZIP, ".z", "Asia/Tokyo", given={"BucketARN": "b"}),
    status=document.ACTIVE,
    updated_ms=1_700_000_000_001,
    tags={"team": "blue"},
)
# Do not change these: stores that were written hold them. A new format gets a new number and texts beside these.
DELIVERY_1 = (
    b'{"id":"0123456789abcdef","created_ms":1700000000000,"type":"KinesisStreamAsSource","source":{"name":"s",'
    b'"stream_id":42,"arn":"arn:aws:kinesis:us-east-1:000000000000:stream/s","role":"arn:aws:iam::000000000000:'
    b'role/r"},"destination":{"bucket":"logs","prefix":"p/","size_mb":3,"interval_s":60,"codec":"GZIP",'
    b'"extension":".z","zone":"Asia/Tokyo","given":{"BucketARN":"b"}},"status":"ACTIVE","updated_ms":'
    b'1700000000001,"tags":{"team":"blue"}}'
)
LEAST_1 = (
    b'{"id":"0","created_ms":1,"type":"DirectPut","source":{"name":"$firehose:d","stream_id":7},'
    b'"destination":{"bucket":"logs"}}'
)
POSITION_1 = b'{"shards":{"0":17,"3":4294967296},"format":1}'
PLAN_1 = (
    b'{"key":"2023/11/14/22/d-1-x","ranges":[[0,5,17],[3,0,4294967296]],"codec":"GZIP","count":12,"size":3400,'
    b'"oldest_ms":1700000000000,"after":{"0":17,"3":4294967296}}'
)


def test_a_delivery_of_version_1_is_read():
    assert document.decode_delivery("d", DELIVERY_1) == DELIVERY
    least = document.decode_delivery("d", LEAST_1)
    assert (least.status, least.version, least.force, least.tags) == (document.CREATING, 1, False, {})
    assert least.destination == Destination("logs", "", 5, 300, document.UNCOMPRESSED, None, "", True, {})


def test_a_position_and_a_plan_of_version_1_are_read():
    assert document.decode_position("d", POSITION_1) == Position({0: 17, 3: 1 << 32})
    plan = document.decode_plan("d", PLAN_1)
    assert plan == Plan(
        "2023/11/14/22/d-1-x", [(0, 5, 17), (3, 0, 1 << 32)], "GZIP", 12, 3400, 1_700_000_000_000,
        {0: 17, 3: 1 << 32},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("decode", "text"),
    [
        (document.decode_delivery, DELIVERY_1),
        (document.decode_position, POSITION_1),
        (document.decode_plan, PLAN_1),
    ],
)
def test_what_is_read_is_written_the_same_again(decode, text):
    assert document.encode(decode("d", text)) == text


@pytest.mark.parametrize("decode", [document.decode_delivery, document.decode_position, document.decode_plan])
@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"id":7}', b'{"shards":{"a":1}}', b"\0\0\0\0"])
def test_damage_is_named_with_the_delivery(decode, text):
    with pytest.raises(Corrupt, match="facts of delivery d do not parse"):
        decode("d", text)


def test_what_a_later_version_wrote_is_refused_by_its_number():
    with pytest.raises(Corrupt, match="facts of delivery d have format 2; known is 1"):
        document.decode_position("d", POSITION_1.replace(b'"format":1', b'"format":2'))
