# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""From the arguments of put_many to the batch ordered by lane and shard, beside plain Python."""

import bisect
import hashlib

import numpy as np
import pytest

from headrace.core._entries import Entries, Router

ALL = 1 << 128


def edges(shards):
    return [ALL * i // shards for i in range(shards + 1)]


@pytest.fixture(params=[(500, 1), (500, 4), (500, 1000), (100_000, 64)], ids="{0[0]} over {0[1]}".format)
def case(request):
    count, shards = request.param
    ends = edges(shards)
    router = Router([(ends[i], ends[i + 1] - 1, i, i % 8 if shards >= 8 else 0, 0) for i in range(shards)])
    return count, shards, router


def values(count, kind):
    data = [b"%098d" % i for i in range(count)]
    keys = [f"host-{i}" for i in range(count)]
    if kind == "pairs":
        return list(zip(keys, data, strict=True)), None
    if kind == "arrow":
        arrow = pytest.importorskip("pyarrow")
        return arrow.array(data), arrow.array(keys)
    return {
        "keys": (data, keys),
        "one key": (data, "host"),
        "no keys": (data, None),
        "numpy": (np.array(data), None),
    }[kind]


@pytest.mark.parametrize("kind", ["keys", "pairs", "one key", "no keys", "numpy", "arrow"])
def test_extend_and_route(benchmark, case, kind):
    count, shards, router = case
    benchmark.group = f"entries {count} over {shards} shards"
    data, keys = values(count, kind)
    entries = Entries()

    def extend_and_route():
        entries.clear()
        entries.extend(data, keys)
        router.route(entries)

    benchmark(extend_and_route)


def test_extend_and_route_plain_python(benchmark, case):
    count, shards, _ = case
    benchmark.group = f"entries {count} over {shards} shards"
    data, keys = values(count, "keys")
    ends = [end - 1 for end in edges(shards)[1:]]

    def plain():
        hashes = [int.from_bytes(hashlib.md5(key.encode()).digest(), "big") for key in keys]
        slots = [bisect.bisect_left(ends, number) for number in hashes]
        return data, sorted(range(count), key=slots.__getitem__)

    benchmark(plain)
