# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: the service's face: answers, pendings and errors as the server takes them. Every operation's own
behaviour is in tests/streams/operations."""

import json

import botocore.session
import pytest

from headrace import limits
from headrace.streams import OPERATIONS, Answer, KinesisService, Pending

MODEL = botocore.session.get_session().get_service_model("kinesis")


def test_a_put_waits_for_its_lanes_and_everything_else_is_answered_at_once(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=1)
    for operation, members in (
        ("PutRecord", {"Data": "", "PartitionKey": "k"}),
        ("PutRecords", {"Records": [{"Data": "", "PartitionKey": "k"}]}),
    ):
        answer = kinesis.service.call(operation, json.dumps({"StreamName": "a", **members}).encode())
        assert type(answer) is Pending
        ((lane, ticket),) = answer.offsets
        assert lane.durable < ticket
        lane.commit(ticket)
        assert lane.durable >= ticket
    answer = kinesis.service.call("DescribeStream", memoryview(b'{"StreamName":"a"}'))
    assert (type(answer), answer.status, answer.code) == (Answer, 200, "")


def test_errors_are_answers(kinesis):
    answer = kinesis.service.call("DescribeStream", b'{"StreamName":"a"}')
    assert (answer.status, answer.code) == (400, "ResourceNotFoundException")
    assert json.loads(answer.body) == {
        "__type": "ResourceNotFoundException",
        "message": "Stream a under account 000000000000 not found.",
    }


@pytest.mark.parametrize("name", [*sorted(set(MODEL.operation_names) - set(OPERATIONS)), "Nonsense", ""])
def test_an_operation_that_is_not_built_is_refused_by_name(kinesis, name):
    answer = kinesis.service.call(name, b"{}")
    assert (answer.status, answer.code) == (400, "UnknownOperationException")
    assert json.loads(answer.body)["message"] == f"{name} is not an operation of this version of headrace."


def test_a_body_beyond_its_bound_is_refused(kinesis):
    answer = kinesis.service.call("ListStreams", b" " * (limits.control_body_size_max + 1))
    assert json.loads(answer.body) == {
        "__type": "SerializationException",
        "message": "The body has 2097153 bytes; ListStreams takes at most 2097152",
    }


def test_every_operation_refuses_a_body_that_is_not_json(kinesis):
    for name in OPERATIONS:
        for body in (b"", b"null", b"[", b"\x00\xff", b'{"StreamName":{}}' if name != "GetRecords" else b"1"):
            answer = kinesis.service.call(name, body)
            if body.startswith(b"{") and "StreamName" not in OPERATIONS[name].input.members:
                continue
            assert (answer.status, answer.code) == (400, "SerializationException"), (name, body)


def test_what_waits_for_the_world_is_named(kinesis):
    assert KinesisService.blocking <= set(OPERATIONS)
    assert not KinesisService.blocking & {"PutRecord", "PutRecords", "GetRecords", "GetShardIterator"}


def test_another_account_and_region_show_in_arns_and_texts(kinesis):
    from headrace.streams import Streams

    streams = Streams(kinesis.log, clock=kinesis.clock, account="123456789012", region="eu-central-1")
    service = KinesisService(streams)
    service.call("CreateStream", b'{"StreamName":"a","ShardCount":1}')
    found = json.loads(service.call("DescribeStreamSummary", b'{"StreamName":"a"}').body)
    arn = "arn:aws:kinesis:eu-central-1:123456789012:stream/a"
    assert found["StreamDescriptionSummary"]["StreamARN"] == arn
    assert service.call("DescribeStream", json.dumps({"StreamARN": arn}).encode()).status == 200
    assert (
        b"under account 123456789012 not found" in service.call("DescribeStream", b'{"StreamName":"b"}').body
    )
