# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: the corpus is telemetry that compresses as telemetry does, and the same bytes for the same seed."""

from __future__ import annotations

import base64
import json

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from headrace.bench._load import NUMBERS_MAX, Plan, corpus, corpus_keys

BLOCK = 64 * 1024


@pytest.mark.parametrize("size", [100, 200, 1024])
def test_zstd_level_1_shrinks_blocks_of_the_corpus_about_four_to_five_times(size: int) -> None:
    joined = corpus(1, 0, 8 * 1024 * 1024 // size, size)
    compressor = zstandard.ZstdCompressor(level=1)
    shrunk = sum(len(compressor.compress(joined[at : at + BLOCK])) for at in range(0, len(joined), BLOCK))
    assert 3.5 < len(joined) / shrunk < 5.5


@given(st.integers(0, 2**64 - 1), st.integers(0, NUMBERS_MAX - 4), st.integers(100, 1500))
def test_every_record_is_a_json_object_of_the_size_asked_for_with_its_number_and_host(
    seed: int, first: int, size: int
) -> None:
    joined = corpus(seed, first, 3, size)
    keys = corpus_keys(seed, first, 3)
    for position in range(3):
        record = json.loads(joined[position * size : (position + 1) * size])
        assert record["seqno"] == 10**11 + first + position
        assert record["host"] == keys[position]


@given(st.integers(0, 2**64 - 1), st.integers(0, 10**9), st.integers(1, 50), st.integers(0, 49))
def test_a_record_is_the_same_wherever_the_making_begins(seed: int, first: int, count: int, at: int) -> None:
    at %= count
    assert corpus(seed, first, count, 100)[at * 100 : (at + 1) * 100] == corpus(seed, first + at, 1, 100)


def test_the_bytes_of_a_seed_never_change() -> None:
    assert corpus(7, 0, 1, 100) == (
        b'{"seqno":100000000000,"ts":1767225600341,"host":"gpu-0119","name":"tcp.open","v":39.868320,"m":"up"}'
    )
    assert corpus(7, 0, 10, 1024) != corpus(8, 0, 10, 1024)


def test_records_of_a_pool_differ_in_more_than_their_number() -> None:
    joined = corpus(1, 0, 5000, 100)
    assert len({joined[at + 21 : at + 100] for at in range(0, len(joined), 100)}) == 5000


def test_sizes_and_numbers_out_of_bounds_are_refused() -> None:
    for size in (99, 65537, -1):
        with pytest.raises(ValueError, match="bytes"):
            corpus(1, 0, 1, size)
    with pytest.raises(ValueError, match="last number"):
        corpus(1, NUMBERS_MAX, 1, 100)
    with pytest.raises(ValueError, match="last number"):
        corpus(1, 0, -1, 100)


@given(st.integers(0, NUMBERS_MAX - 1))
def test_the_number_is_whole_groups_of_base64(number: int) -> None:
    plan = Plan(corpus(3, 0, 1, 100), 100, 1)
    before = base64.b64encode(plan.payloads(0).tobytes())
    plan.stamp(0, number)
    after = base64.b64encode(plan.payloads(0).tobytes())
    assert before[:12] == after[:12]
    assert before[28:] == after[28:]
    assert json.loads(plan.payloads(0).tobytes())["seqno"] == 10**11 + number
