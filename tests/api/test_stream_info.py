# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: what is known of a stream at a glance is what reading it all would tell.

Method: streams over one lane and over several, sealed and compressed or not, whose indexes moved ahead in some of
their shards; each figure is compared with a plain read, by who writes the store and by who only reads it.
"""

from __future__ import annotations

import pytest

import headrace
from headrace.log.control import DIRTY, ControlFile


def lose_power(directory):
    """As if the last writer had ended with the power and everything had been on the device."""
    control = ControlFile(directory / "control", writer=True, boot_id=bytes(16))
    control.mark(DIRTY, pid=0)
    control.close()


def compare(directory, expected, **options):
    with headrace.open(directory, **options) as store:
        stream = store.stream("s")
        info, read = stream.info, stream.read()
        assert info.records == len(read) == expected
        assert (info.oldest is None) == (expected == 0)
        if expected:
            assert info.oldest.timestamp() * 1000 == read.arrival.astype("int64").min()


@pytest.mark.parametrize("durability", ["process", "disk"])
@pytest.mark.parametrize("compression", ["zstd", None])
@pytest.mark.parametrize("shards", [1, 5])
def test_records_are_counted_across_steps_in_the_index(tmp_path, durability, compression, shards):
    directory, put = tmp_path / "store", 0
    for turn, count in enumerate([0, 300, 1, 0, 40]):
        if turn:
            lose_power(directory)
        with headrace.open(directory, durability=durability, compression=compression) as store:
            stream = store.stream("s", shards=shards)
            for number in range(count):
                stream.put(
                    b"x" * 1000, f"key {number % (2 if turn == 4 else 50)}"
                )  # then in some shards only
            put += count
            assert stream.info.records == put
            store.inner.log.maintenance.run_once()
            assert stream.info.records == put
        compare(directory, put, mode="read")
        compare(directory, put, compression=compression)
        compare(directory, put, mode="read")
