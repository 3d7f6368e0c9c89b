# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a batch owns its bytes. Nothing that happens to the log changes it, nor a view of it, nor what was made of it.

Method: a stream that holds four files drops its oldest one a thousand times. What was read before, by the store that
writes and by one opened beside it with mode="read", which reads the files by itself, is compared with what was put: the
batch, slices, its arrays, a filtered part, an Arrow table over its bytes, and columns. A hundred turnovers run every day
in tests/api/test_stream.py:

    pytest tests/long/test_turnovers.py -m long -s        HEADRACE_TURNOVERS=1000
"""

from __future__ import annotations

import os
import time

import pyarrow as pa
import pytest

import headrace

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

TURNOVERS = int(os.environ.get("HEADRACE_TURNOVERS", "1000"))
RECORDS = [b'{"n":%d,"host":"first %d"}' % (n, n) for n in range(100)]
FILLING = b"z" * 262_000  # a file holds one


class Taken:
    """A batch and every kind of view of it, taken before the turnovers."""

    def __init__(self, stream: headrace.Stream) -> None:
        self.batch = stream.read()
        self.part = self.batch[10:20]
        self.lengths = self.batch.lengths
        self.buffer = self.batch.buffer
        self.bytes_before = bytes(self.buffer)
        self.even = self.batch.filter(self.batch.ordinals % 2 == 0)
        self.table = pa.table(self.batch)
        self.columns = self.batch.columns("n", "host")

    def check(self) -> None:
        assert self.batch.data == RECORDS and self.batch.keys == ["k"] * len(RECORDS)
        assert self.batch.ordinals.tolist() == list(range(len(RECORDS)))
        assert self.part.data == RECORDS[10:20]
        assert self.lengths.tolist() == [len(data) for data in RECORDS]
        assert bytes(self.buffer) == self.bytes_before
        assert self.even.data == RECORDS[::2]
        assert self.table["data"].to_pylist() == RECORDS
        assert self.columns["n"].tolist() == list(range(len(RECORDS)))
        assert self.columns["host"].tolist() == [f"first {n}" for n in range(len(RECORDS))]


@pytest.mark.parametrize("durability", ["process", "disk"])
def test_what_was_read_outlives_a_thousand_turnovers(tmp_path, tell, durability):
    began = time.perf_counter()
    with headrace.open(tmp_path / "store") as store:
        stream = store.stream("s", max_bytes="1MiB", on_full="drop_oldest", durability=durability)
        stream.put_many(RECORDS, "k")
        lane = store.inner.stream("s").lanes[0]
        with headrace.open(tmp_path / "store", mode="read") as beside:
            taken = [Taken(stream), Taken(beside.stream("s", create=False))]
            bases: set[str] = set()
            turnovers = 0
            while turnovers < TURNOVERS:
                stream.put(FILLING, "k")
                bases.update(path.name[:20] for path in lane.directory.glob("0*"))
                turnovers = len(bases) - len({path.name[:20] for path in lane.directory.glob("0*")})
            for one in taken:
                one.check()
            for one in (stream, beside.stream("s")):
                assert one.read(limit=1)[0].ordinal > len(RECORDS), "what was read is long gone from the log"
    tell(f"{turnovers} files dropped in {time.perf_counter() - began:.1f} s, and nothing read has changed")
