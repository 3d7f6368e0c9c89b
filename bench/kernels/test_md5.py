# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Hash keys of 500 partition keys at each level, beside hashlib.

A round of ours includes giving the entries their keys again, since a hash is computed once only; the
group's `extend` says what that costs.
"""

import hashlib

import pytest

from headrace.core._entries import LEVELS, Entries, hash_entries

COUNT = 500
DATA = [b""] * COUNT


@pytest.fixture(params=[16, 100], ids="{} B".format)
def keys(request):
    return [f"{i:0{request.param}d}" for i in range(COUNT)]


@pytest.mark.parametrize("simd", LEVELS)
def test_hash(benchmark, keys, simd):
    benchmark.group = f"md5 {COUNT} x {len(keys[0])} B"
    entries = Entries()

    def extend_and_hash():
        entries.clear()
        entries.extend(DATA, keys)
        hash_entries(entries, simd)

    benchmark(extend_and_hash)


def test_extend(benchmark, keys):
    benchmark.group = f"md5 {COUNT} x {len(keys[0])} B"
    entries = Entries()

    def extend():
        entries.clear()
        entries.extend(DATA, keys)

    benchmark(extend)


def test_hash_hashlib(benchmark, keys):
    benchmark.group = f"md5 {COUNT} x {len(keys[0])} B"
    encoded = [key.encode() for key in keys]
    benchmark(lambda: [hashlib.md5(key).digest() for key in encoded])
