# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The messages between processes: what goes in comes out; what does not add up is refused, not guessed."""

from __future__ import annotations

import socket
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import errors, limits
from headrace.api import local_protocol as protocol
from headrace.core._entries import Entries
from headrace.errors import Backpressure, SerializationError, StorageError

records = st.lists(
    st.tuples(
        st.binary(max_size=50),
        st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
        st.none() | st.integers(0, 2**128 - 1),
    ),
    max_size=20,
)


@settings(max_examples=50)
@given(records)
def test_entries_survive_the_way(rows):
    entries = Entries()
    for data, key, hash_key in rows:
        entries.add(data, key, hash_key)
    body = bytearray(protocol.pack_entries(entries))
    again = protocol.unpack_entries(body, len(rows), limits.record_size_max)
    assert (again.data, again.keys, again.hash_keys) == (entries.data, entries.keys, entries.hash_keys)


@given(records.filter(len), st.data())
def test_a_body_that_was_cut_is_refused(rows, data):
    entries = Entries()
    for record in rows:
        entries.add(*record)
    body = protocol.pack_entries(entries)
    cut = data.draw(st.integers(0, max(len(body) - 1, 0)))
    with pytest.raises((SerializationError, errors.ValidationError, UnicodeDecodeError)):
        protocol.unpack_entries(bytearray(body[:cut]), len(rows), limits.record_size_max)


def test_messages_that_are_not_ours_or_too_large_are_refused():
    for head in (
        struct.pack("<4sIQ", b"XXXX", 1, 0),
        struct.pack("<4sIQ", b"HRL1", protocol.HEAD_SIZE_MAX + 1, 0),
        struct.pack("<4sIQ", b"HRL1", 1, limits.local_message_size_max + 1),
        struct.pack("<4sIQ", b"HRL1", 1, 0) + b"\xc1",
    ):
        left, right = socket.socketpair()
        with left, right:
            left.sendall(head)
            with pytest.raises(SerializationError):
                protocol.receive(right)


@pytest.mark.parametrize(
    "error",
    [
        Backpressure("full", accepted=np.array([True, False]), retry_after=0.5, hint="wait"),
        StorageError("gone", hint="look"),
        errors.NotFound("no such stream"),
        errors.Error("odd", code="SomethingElse"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_arrive_as_what_they_were(error):
    head, body = protocol.pack_error(error)
    again = protocol.unpack_error(head, bytearray(body))
    assert type(again) is type(error)
    assert (again.message, again.hint, again.code) == (error.message, error.hint, error.code)
    assert np.array_equal(getattr(again, "accepted", None), getattr(error, "accepted", None))
    assert getattr(again, "retry_after", None) == getattr(error, "retry_after", None)


def test_an_error_of_a_later_version_is_an_error():
    again = protocol.unpack_error({"kind": "NeverHeardOf", "message": "m", "code": "C"}, bytearray())
    assert (type(again), again.message, again.code) == (errors.Error, "m", "C")
