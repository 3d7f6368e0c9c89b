# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: IncreaseStreamRetentionPeriod and DecreaseStreamRetentionPeriod, every refusal included."""

import pytest

ACCOUNT = "000000000000"
INCREASE = "IncreaseStreamRetentionPeriod"
DECREASE = "DecreaseStreamRetentionPeriod"


def hours(kinesis):
    return kinesis("DescribeStreamSummary", StreamName="a")["StreamDescriptionSummary"][
        "RetentionPeriodHours"
    ]


@pytest.fixture
def stream(kinesis):
    kinesis("CreateStream", StreamName="a", ShardCount=1)
    return kinesis


def test_hours_go_up_and_down_and_survive_a_restart(stream):
    assert stream(INCREASE, StreamName="a", RetentionPeriodHours=8_760) is None
    assert hours(stream) == 8_760
    stream.reopen()
    assert hours(stream) == 8_760
    assert stream(DECREASE, StreamName="a", RetentionPeriodHours=48) is None
    assert hours(stream) == 48
    stream(INCREASE, StreamName="a", RetentionPeriodHours=48)
    stream(DECREASE, StreamName="a", RetentionPeriodHours=48)
    assert hours(stream) == 48


@pytest.mark.parametrize("operation", [INCREASE, DECREASE])
def test_hours_lie_between_a_day_and_a_year(stream, operation):
    assert stream.refused(operation, StreamName="a", RetentionPeriodHours=23) == (
        "InvalidArgumentException",
        "Minimum allowed retention period is 24 hours. Requested retention period (23 hours) is too short.",
    )
    assert stream.refused(operation, StreamName="a", RetentionPeriodHours=8_761) == (
        "InvalidArgumentException",
        "Maximum allowed retention period is 8760 hours. Requested retention period (8761 hours) is too long.",
    )
    assert stream.refused(operation, StreamName="b", RetentionPeriodHours=24) == (
        "ResourceNotFoundException",
        f"Stream b under account {ACCOUNT} not found.",
    )
    assert stream.refused(operation, StreamName="a")[0] == "ValidationException"
    assert stream.refused(operation, StreamName="a", RetentionPeriodHours="24")[0] == "SerializationException"


def test_the_wrong_direction_is_refused(stream):
    stream(INCREASE, StreamName="a", RetentionPeriodHours=48)
    assert stream.refused(INCREASE, StreamName="a", RetentionPeriodHours=24) == (
        "InvalidArgumentException",
        "Requested retention period (24 hours) for stream a can not be shorter than existing retention period "
        "(48 hours). Use DecreaseRetentionPeriod API.",
    )
    assert stream.refused(DECREASE, StreamName="a", RetentionPeriodHours=72) == (
        "InvalidArgumentException",
        "Requested retention period (72 hours) for stream a can not be longer than existing retention period "
        "(48 hours). Use IncreaseRetentionPeriod API.",
    )
    assert hours(stream) == 48


def test_longer_retention_keeps_records_that_would_have_gone(stream):
    stream.put("a", "old")
    stream.reopen()  # ends the segment
    stream(INCREASE, StreamName="a", RetentionPeriodHours=48)
    stream.clock.advance(25 * 3_600_000)
    stream.streams.apply_retention()
    assert stream.read("a") == ["old"]
    stream(DECREASE, StreamName="a", RetentionPeriodHours=24)
    stream.streams.apply_retention()
    assert stream.read("a") == []
