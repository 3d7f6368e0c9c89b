# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a token opens as what was sealed and no other byte sequence opens at all. Method: generated payloads,
every single-bit change, other keys and purposes."""

import os
import stat
from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.streams.iterators import moment
from headrace.streams.tokens import LIST_SHARDS, SHARD_ITERATOR, Sealer, load_key

SEALER = Sealer(bytes(range(32)))


@given(st.integers(1, 3), st.integers(0, 1 << 60), st.binary(max_size=200))
def test_what_was_sealed_opens(purpose, made_ms, payload):
    token = SEALER.seal(purpose, made_ms, payload)
    assert SEALER.open(purpose, token) == (made_ms, payload)
    assert SEALER.open(purpose % 3 + 1, token) is None
    assert Sealer(bytes(32)).open(purpose, token) is None


def test_no_changed_bit_opens():
    raw = b64decode(SEALER.seal(SHARD_ITERATOR, 1_700_000_000_000, b"payload"))
    for bit in range(8 * len(raw)):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        assert SEALER.open(SHARD_ITERATOR, b64encode(changed).decode()) is None
    for size in range(len(raw)):
        assert SEALER.open(SHARD_ITERATOR, b64encode(raw[:size]).decode()) is None


@given(st.text() | st.binary().map(lambda data: b64encode(data).decode()))
def test_invented_tokens_do_not_open(token):
    assert SEALER.open(LIST_SHARDS, token) is None


def test_the_longest_iterator_fits_what_clients_allow():
    assert len(SEALER.seal(SHARD_ITERATOR, 1 << 62, bytes(20) + b"n" * 128)) <= 512


def test_the_key_is_made_once_and_is_private(tmp_path):
    key = load_key(tmp_path)
    path = tmp_path / "keys" / "iterator.key"
    assert len(key) == 32
    assert load_key(tmp_path) == key == path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_key_that_another_process_made_meanwhile_is_taken(tmp_path, monkeypatch):
    theirs = bytes(range(32))

    def link(source, target):
        target.write_bytes(theirs)
        raise FileExistsError(target)

    monkeypatch.setattr(os, "link", link)
    assert load_key(tmp_path) == theirs


def test_a_damaged_key_is_named(tmp_path):
    load_key(tmp_path)
    path = tmp_path / "keys" / "iterator.key"
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match=r"iterator\.key holds 5 bytes, not 32"):
        load_key(tmp_path)


def test_times_read_as_the_service_writes_them():
    assert moment(1_421_889_722_000) == "Thu Jan 22 01:22:02 UTC 2015"
    assert moment(1_700_000_000_999) == "Tue Nov 14 22:13:20 UTC 2023"
    assert moment(0) == "Thu Jan 01 00:00:00 UTC 1970"
