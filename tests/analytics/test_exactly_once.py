# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A named query into a stream: no row lost or doubled by SIGKILL, at each named place and at random moments.

Method: one store is filled, and copied; over one copy the query runs undisturbed, over the other it is
killed again and again in a process of its own. The records of the target are the same, shard by shard.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from headrace.core._entries import Entries
from headrace.log import Log
from headrace.streams import StreamDefaults, Streams

CHILD = Path(__file__).with_name("exactly_once_child.py")
TABLE = (
    "CREATE TABLE source (ts BIGINT, at AS TO_TIMESTAMP_LTZ(ts, 3), k VARCHAR, x BIGINT, y DOUBLE,"
    " WATERMARK FOR at AS at - INTERVAL '0.2' SECOND);"
)
WINDOWS = TABLE + (
    "SELECT k, window_start, COUNT(*) AS n, SUM(x) AS s, AVG(y) AS m FROM TABLE(TUMBLE(TABLE source,"
    " DESCRIPTOR(at), INTERVAL '1' SECOND)) GROUP BY k, window_start, window_end"
)
FILTER = TABLE + "SELECT k, x * 2 AS x2, y FROM source WHERE x > 3"
QUERIES = {"windows": WINDOWS, "filter": FILTER}
POINTS = ["sql.plan.before", "sql.plan.after", "sql.lane.before", "sql.home.before", "sql.home.after"]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose stream `source` holds 1,500 records in four shards."""
    directory = tmp_path_factory.mktemp("filled") / "store"
    log = Log.open(directory)
    streams = Streams(log, defaults=StreamDefaults(cores=4))
    source = streams.create("source", 4)
    streams.create("target", 4)
    random = Random(7)
    for start in range(0, 1500, 100):
        rows = [
            {
                "ts": number * 10 + random.randint(-300, 300),
                "k": f"k{number % 7}",
                "x": number % 9,
                "y": random.random(),
            }
            for number in range(start, start + 100)
        ]
        entries = Entries()
        entries.extend(
            [json.dumps(row).encode() for row in rows], [f"key-{random.randint(0, 50)}" for _ in rows]
        )
        source.append(entries)
        source.commit()
    log.close()
    return directory


def start(directory: Path, text: str, inline: int, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(directory), text, str(inline)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
    )


def finish(child: subprocess.Popen[bytes]) -> int:
    child.communicate(timeout=60)
    return child.returncode


def target_of(directory: Path) -> dict[int, list[bytes]]:
    """The records of the target by shard."""
    log = Log.open(directory)
    try:
        stream = Streams(log).stream("target")
        records: dict[int, list[bytes]] = {}
        for shard in stream.shards:
            lane, position = stream.lane_of(shard.number), 0
            records[shard.number] = []
            while len(batch := lane.read(shard.number, position)):
                records[shard.number] += batch.data
                position = int(batch.ordinals[-1]) + 1
        return records
    finally:
        log.close()


@pytest.fixture(scope="module")
def undisturbed(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, list[bytes]]]:
    """What each query gives when nobody kills it."""
    results = {}
    for name, text in QUERIES.items():
        directory = tmp_path_factory.mktemp(name) / "store"
        shutil.copytree(filled, directory)
        assert finish(start(directory, text, 65536)) == 0
        results[name] = target_of(directory)
        assert sum(map(len, results[name].values())) > 50
        assert len([records for records in results[name].values() if records]) > 1
    return results


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", QUERIES)
def test_a_kill_at_a_named_place_loses_and_doubles_nothing(name, point, filled, undisturbed, tmp_path):
    directory, inline = tmp_path / "store", 0 if POINTS.index(point) % 2 else 65536
    shutil.copytree(filled, directory)
    killed = 0
    for count in (1, 3):
        killed += (
            finish(start(directory, QUERIES[name], inline, HEADRACE_FAILPOINT=f"{point}:{count}"))
            == -signal.SIGKILL
        )
    assert killed
    assert finish(start(directory, QUERIES[name], inline)) == 0
    assert target_of(directory) == undisturbed[name]


@pytest.mark.parametrize("name", QUERIES)
def test_kills_at_random_moments_lose_and_double_nothing(name, filled, undisturbed, tmp_path):
    directory, random = tmp_path / "store", Random(11)
    shutil.copytree(filled, directory)
    for round_ in range(5):
        child = start(directory, QUERIES[name], random.choice([0, 65536]))
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(random.uniform(0, 0.04) * (round_ + 1))
        child.kill()
        child.communicate()
    assert finish(start(directory, QUERIES[name], 0)) == 0
    assert target_of(directory) == undisturbed[name]
