# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Every level that this processor has gives the same bytes along the whole path, chosen as users choose it.

Method: one process for each value of HEADRACE_SIMD scans request bodies, hashes, routes, frames, reads back, writes
answers and projects columns, and prints a digest of all that came out. (What each kernel does at each level, with the
level passed in, stands in its own test.)
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from headrace.core._frames import LEVELS

PROGRAM = """
import base64, hashlib, json, os, random
from headrace.core import _frames, _wire
from headrace.core._entries import Router
from headrace.core._frame_source import FrameSource
from headrace.core._records_answer import RecordsAnswer

numbers, digest = random.Random(5), hashlib.sha256()
def note(data):
    digest.update(data if isinstance(data, bytes) else repr(data).encode())

note(_frames.crc32c(numbers.randbytes(100_001)))
edges = [(1 << 128) * i // 4 for i in range(5)]
router = Router([(edges[i], edges[i + 1] - 1, i, 0, 1_700_000_000) for i in range(4)])
scan, file = _wire.PutScan(), os.memfd_create("segment")
tail = _frames.Tail()
tail.start(file, 0, 1 << 30, 99, 7)
tail.grow(1 << 21)
for turn in range(12):
    values = [{"ts": numbers.randrange(1 << 40), "x": numbers.random(), "k": f"k{numbers.randrange(9)}\\u00e9"}
              for _ in range(120)]
    records = [{"Data": base64.b64encode(json.dumps(v).encode() + b" " * numbers.randrange(90)).decode(),
                "PartitionKey": "k" * numbers.randrange(1, 70) + str(n)} for n, v in enumerate(values)]
    body = json.dumps({"StreamName": "s", "Records": records}).encode()
    assert scan.scan_put_records(body)
    router.route(scan.entries)
    note(scan.entries.hash_keys)
    assert tail.append(scan.entries, router, 0, 1_700_000_000_000 + turn) > 0
    note(_wire.put_records_answer(scan.entries, router))
    note(_wire.base64_encode(body))
    assert _wire.base64_decode(_wire.base64_encode(body)) == body
end = tail.write()
data = os.pread(file, end, 4096)
note(data)
assert _frames.check_frames(data, 0, 99, 7)[0] == end == len(data)
for shard in range(4):
    batch = FrameSource(shard, 0, 9999, 1 << 24, 99, None).in_segment(tail.table, end, file).batch()
    note(batch.joined())
    answer = RecordsAnswer(shard, 1_700_000_000)
    answer.take(FrameSource(shard, 0, 9999, 1 << 24, 99, None).in_segment(tail.table, end, file))
    note(bytes(answer.finish(0, "n")))
    columns = batch.columns("ts", "k", x="f8")
    note([columns["ts"].tolist(), columns["x"].tolist(), columns.codes("k").tolist(), columns.dictionary("k")])
print(digest.hexdigest())
"""


def run(level: str) -> str:
    environment = {**os.environ, "HEADRACE_SIMD": level}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(len(LEVELS) == 1, reason="this processor has the scalar level only")
def test_the_whole_path_gives_the_same_bytes_at_every_level():
    found = {level: run(level) for level in LEVELS}
    assert len(set(found.values())) == 1, found
