# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A named query into a stream: no row lost or doubled by SIGKILL, at each named place and at random moments.

Method: one store is filled, its source split and merged on the way, and copied; over one copy the query runs
undisturbed, over the other it is killed again and again in a process of its own. The records of the target
are the same, key by key, read parents before children; those of windows also shard by shard. So they are
where the target is resharded between two kills, or while the query is at work.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from headrace.core._entries import Entries
from headrace.log import Log
from headrace.streams import StreamDefaults, Streams
from headrace.streams.reader import StreamReader
from headrace.streams.stream import Stream

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
        if start in (400, 900):
            reshard(source)
    log.close()
    return directory


def reshard(stream: Stream) -> None:
    """A split, and a merge of neighbours from two lanes if there are such."""
    shard = stream.table.open()[0]
    stream.split(shard.number, (shard.start + shard.end) // 2)
    opened = stream.table.open()
    for first, second in pairwise(opened):
        if first.lane != second.lane:
            stream.merge(first.number, second.number)
            return


def start(
    directory: Path, text: str, inline: int, reshards: str = "", **environment: str
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(CHILD), str(directory), text, str(inline), reshards],
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


def keys_of(directory: Path) -> dict[str, list[bytes]]:
    """The records of the target by partition key, parents before their children."""
    log = Log.open(directory)
    try:
        reader, records = StreamReader(Streams(log).stream("target")), {}
        while batches := reader.poll():
            for batch in batches:
                for key, data in zip(batch.keys, batch.data, strict=True):
                    records.setdefault(key, []).append(data)
        return records
    finally:
        log.close()


def reshard_target(directory: Path) -> None:
    log = Log.open(directory)
    try:
        reshard(Streams(log).stream("target"))
    finally:
        log.close()


@pytest.fixture(scope="module")
def by_key() -> dict[str, dict[str, list[bytes]]]:
    """The same by partition key; `undisturbed` fills it."""
    return {}


@pytest.fixture(scope="module")
def undisturbed(
    filled: Path, tmp_path_factory: pytest.TempPathFactory, by_key: dict[str, dict[str, list[bytes]]]
) -> dict[str, dict[int, list[bytes]]]:
    """What each query gives when nobody kills it."""
    results = {}
    for name, text in QUERIES.items():
        directory = tmp_path_factory.mktemp(name) / "store"
        shutil.copytree(filled, directory)
        assert finish(start(directory, text, 65536)) == 0
        results[name] = target_of(directory)
        by_key[name] = keys_of(directory)
        assert sum(map(len, results[name].values())) > 50
        assert len([records for records in results[name].values() if records]) > 1
    return results


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", QUERIES)
def test_a_kill_at_a_named_place_loses_and_doubles_nothing(
    name, point, filled, undisturbed, by_key, tmp_path
):
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
    assert keys_of(directory) == by_key[name]
    if name == "windows":
        assert target_of(directory) == undisturbed[name]


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize(
    "rounds", [5, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_kills_at_random_moments_lose_and_double_nothing(name, rounds, filled, undisturbed, by_key, tmp_path):
    """Each five rounds bring one copy of the store to its end, with a reshard of the target in every second."""
    random = Random(11)
    for copy in range(rounds // 5):
        directory = tmp_path / f"store-{copy}"
        shutil.copytree(filled, directory)
        for round_ in range(5):
            child = start(directory, QUERIES[name], random.choice([0, 65536]))
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(random.uniform(0, 0.04) * (round_ + 1))
            child.kill()
            child.communicate()
            if copy % 2:
                reshard_target(directory)
        assert finish(start(directory, QUERIES[name], 0)) == 0
        assert keys_of(directory) == by_key[name]
        shutil.rmtree(directory)


@pytest.mark.parametrize("point", ["sql.plan.after", "sql.lane.before", "sql.home.before"])
def test_a_reshard_of_the_target_between_two_kills_loses_and_doubles_nothing(
    point, filled, undisturbed, by_key, tmp_path
):
    directory = tmp_path / "store"
    shutil.copytree(filled, directory)
    killed = 0
    for count in (2, 3):
        child = start(directory, WINDOWS, 65536, HEADRACE_FAILPOINT=f"{point}:{count}")
        killed += finish(child) == -signal.SIGKILL
        reshard_target(directory)
    assert killed
    assert finish(start(directory, WINDOWS, 0)) == 0
    assert keys_of(directory) == by_key["windows"]


def test_a_reshard_of_the_target_while_the_query_works_and_is_killed(filled, undisturbed, by_key, tmp_path):
    directory, random = tmp_path / "store", Random(13)
    shutil.copytree(filled, directory)
    for _ in range(4):
        child = start(directory, FILTER, 65536, "reshard")
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(random.uniform(0, 0.12))
        child.kill()
        child.communicate()
    assert finish(start(directory, FILTER, 0)) == 0
    assert keys_of(directory) == by_key["filter"]
