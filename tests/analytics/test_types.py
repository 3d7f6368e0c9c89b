# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: times are read and written as both dialects do, to the microsecond. Method: datetime as the judge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.analytics.types import (
    TIMESTAMP_MAX,
    TIMESTAMP_MIN,
    Schema,
    Type,
    format_timestamp,
    parse_timestamp,
    utc,
)


@given(st.integers(TIMESTAMP_MIN, TIMESTAMP_MAX))
def test_a_time_that_was_written_is_read_again(micros):
    assert parse_timestamp(format_timestamp(micros)) == micros
    assert utc(micros) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


@pytest.mark.parametrize(
    ("text", "micros"),
    [("1970-01-01", 0), ("1970-01-01T00:00Z", 0), ("1970-01-01 01:00:00+01:00", 0), ("1969-12-31 23:59:59.9999999", -1),
     ("2024-02-29 00:00:00.1234567", 1_709_164_800_123_456), (" 1970-01-01 00:00:00.5 ", 500_000)],
)  # fmt: skip
def test_forms_of_a_time(text, micros):
    assert parse_timestamp(text) == micros


@pytest.mark.parametrize(
    "text",
    ["", "2023-02-29", "1970-1-1", "24:00:00", "1970-01-01 24:00:00", "1970-01-01 00:00:00+19:00", "0001-01-01 00:00:00+01:00",
     "9999-12-31 23:59:59-01:00", "١٩٧٠-01-01", "1970-01-01 00:00:00 x"],
)  # fmt: skip
def test_what_is_no_time(text):
    assert parse_timestamp(text) is None


def test_a_schema_is_a_mapping_in_order():
    schema = Schema({"b": Type.BIGINT, "a": Type.VARCHAR}, ("note",))
    assert (list(schema.items()), schema.notes) == ([("b", "BIGINT"), ("a", "VARCHAR")], ("note",))
    assert repr(schema) == "Schema(b BIGINT, a VARCHAR)"
