# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Real SIGKILLs, at every named place and at random moments.

Method: a child (crash_child.py, reshard_child.py, delivery_child.py) puts into a stream of each promise and
names what was acknowledged; it is killed; the parent opens the store and reads everything. What was
acknowledged must be there, in order, once, at the index it was given; what was not acknowledged may be there,
whole, or not; nothing else may be. The places of SQL have their child in tests/analytics.
"""

from __future__ import annotations

import importlib.util
import itertools
import random
from pathlib import Path

import pytest
from kill_support import Expected, kill_at, kill_at_random, run_child

from headrace.log import Log, failpoints
from headrace.streams import StreamDefaults, Streams

HERE = Path(__file__).parent
ROUNDS_SHORT = 10


def of(*rooms: str) -> list[str]:
    """The places whose name begins with one of these words."""
    return [name for name in failpoints.NAMES if name.partition(".")[0] in rooms]


PLAIN = of("write", "sync", "publish", "roll", "seal", "manifest", "cold", "close", "drop")
FAILING = of("fail")
TOPOLOGY = of("topology")
DELIVERY = of("firehose")
DROPPING = {"drop.after_unlink", "manifest.before_replace", "manifest.after_replace"}


def test_every_named_place_has_a_test_that_kills_there():
    spec = importlib.util.spec_from_file_location(
        "exactly_once", HERE.parent / "analytics/test_exactly_once.py"
    )
    sql = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sql)
    covered = [*PLAIN, *FAILING, *TOPOLOGY, *DELIVERY, *sql.POINTS]
    assert sorted(covered) == sorted(failpoints.NAMES)


@pytest.mark.parametrize("name", PLAIN)
def test_a_kill_at_a_named_place_loses_nothing_acknowledged(tmp_path, name):
    expected = Expected()
    options = {"CRASH_LIMIT": "1"} if name in DROPPING else {}
    for output in kill_at(tmp_path / "store", name, rounds=250, **options):
        expected.take(output)
    expected.check(tmp_path / "store", dropping=name in DROPPING)
    output, code = run_child(tmp_path / "store", 9, rounds=20, **options)
    assert code == 0
    expected.take(output)
    expected.check(tmp_path / "store", dropping=name in DROPPING)


@pytest.mark.parametrize("name", FAILING)
def test_a_kill_while_a_failure_is_dealt_with_loses_nothing_acknowledged(tmp_path, name):
    expected = Expected()
    for output in kill_at(tmp_path / "store", name, counts=(1, 3, 6), rounds=250, CRASH_DISK="1"):
        expected.take(output)
    expected.check(tmp_path / "store")
    output, code = run_child(tmp_path / "store", 9, rounds=40, CRASH_DISK="1")
    assert code == 0
    expected.take(output)
    expected.check(tmp_path / "store")


def check_topology(directory: Path) -> None:
    """Every reshard is absent or whole: in the table, in the lanes and in the catalogue."""
    log = Log.open(directory, background=False)
    try:
        for stream in Streams(log, defaults=StreamDefaults(cores=4)).list():
            shards = sorted((shard for shard in stream.shards if shard.open), key=lambda shard: shard.start)
            assert shards[0].start == 0 and shards[-1].end == (1 << 128) - 1
            assert all(left.end + 1 == right.start for left, right in itertools.pairwise(shards))
            for shard in stream.shards:
                assert stream.lane_of(shard.number).shard_closed(shard.number) is not shard.open
        assert log.catalogue.items("intent") == []
    finally:
        log.close()


@pytest.mark.parametrize("name", TOPOLOGY)
def test_a_kill_in_a_reshard_leaves_it_absent_or_whole(tmp_path, name):
    expected, script = Expected(), HERE / "reshard_child.py"
    for output in kill_at(tmp_path / "store", name, counts=(2, 5, 9), rounds=30, script=script):
        expected.take(output)
    check_topology(tmp_path / "store")
    expected.check(tmp_path / "store")
    output, code = run_child(tmp_path / "store", 77, rounds=10, script=script)
    assert code == 0
    expected.take(output)
    check_topology(tmp_path / "store")
    expected.check(tmp_path / "store")


@pytest.mark.parametrize("name", DELIVERY)
def test_a_kill_in_a_delivery_leaves_each_record_in_one_object(tmp_path, name):
    expected, script = Expected(), HERE / "delivery_child.py"
    outputs = kill_at(tmp_path / "store", name, counts=(1, 2), rounds=40, script=script)
    last, code = run_child(tmp_path / "store", 77, rounds=10, script=script)
    assert code == 0
    for output in [*outputs, last]:
        expected.take(output)
    expected.check(tmp_path / "store")
    bucket = tmp_path / "store" / "buckets" / "logs"
    lines = [
        line
        for path in bucket.rglob("*")
        if path.is_file()
        for line in path.read_text().splitlines(keepends=True)
    ]
    assert not list(bucket.rglob("*.part"))
    assert len(lines) == len(set(lines)), "a record was delivered twice"
    missing = set(expected.acknowledged.values()) - set(lines)
    assert not missing, f"{len(missing)} records were not delivered"


def test_kills_at_random_moments_lose_nothing_acknowledged(tmp_path):
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    assert kill_at_random(tmp_path / "store", ROUNDS_SHORT, seed) > 0
