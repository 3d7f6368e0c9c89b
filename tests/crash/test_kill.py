# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Real SIGKILLs, at every named place of the log and at random moments.

Method: a child (crash_child.py) puts into a stream of each promise and names what was acknowledged; it is
killed; the parent opens the store and reads everything. What was acknowledged must be there, in order, once,
at the index it was given; what was not acknowledged may be there, whole, or not; nothing else may be.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace.log import Log, failpoints
from headrace.streams import Streams

CHILD = Path(__file__).with_name("crash_child.py")
ROUNDS_SHORT, ROUNDS_LONG = 10, 300

# Places that the child's work passes; the others need a failing disk or a reshard and have tests of their own.
REACHED = [
    name
    for name in failpoints.NAMES
    if name.partition(".")[0] in ("write", "sync", "publish", "roll", "manifest", "cold", "close")
]
DROPPING = {"drop.after_unlink", "manifest.before_replace", "manifest.after_replace"}


class Expected:
    """What must and may be in the store, over many lives of the child."""

    def __init__(self) -> None:
        self.acknowledged: dict[tuple[str, int, int], str] = {}

    def take(self, output: bytes) -> int:
        lines = output.split(b"\n")[:-1]  # the last one may be torn
        for line in lines:
            for stream, shard, index, text in json.loads(line):
                key = (stream, shard, index)
                assert key not in self.acknowledged, f"{key} was given twice"
                self.acknowledged[key] = text
        return len(lines)

    def check(self, directory: Path, *, dropping: bool = False) -> None:
        with_log = Log.open(directory, background=False)
        try:
            assert with_log.reports == [] or all(
                "cut" in note or "created" in note for note in with_log.reports
            )
            found: dict[tuple[str, int, int], str] = {}
            first: dict[tuple[str, int], int] = {}
            for stream in Streams(with_log).list():
                for shard in stream.shards:
                    lane = stream.lane_of(shard.number)
                    first[stream.name, shard.number], end = lane.bounds(shard.number)
                    index = 0
                    while index < end:
                        batch = lane.read(shard.number, index)
                        assert len(batch), f"{stream.name} {shard} ends at {index}, not {end}"
                        for record in batch:
                            assert record.ordinal >= index
                            found[stream.name, shard.number, record.ordinal] = record.data.decode()
                            index = record.ordinal + 1
            kept = {
                key: text
                for key, text in self.acknowledged.items()
                if not dropping or key[2] >= first[key[0], key[1]]
            }
            assert {key: found.get(key) for key in kept} == kept
            texts = list(found.values())
            assert len(texts) == len(set(texts)), "a record is there twice"
            order: dict[tuple[str, str, str], tuple[int, int]] = {}
            for (stream, shard, _), text in sorted(found.items()):
                base, number, turn, place, _ = text.split(".")
                place_now = (int(turn), int(place))
                assert order.get((stream, str(shard), f"{base}.{number}"), (-1, -1)) < place_now
                order[stream, str(shard), f"{base}.{number}"] = place_now
        finally:
            with_log.close()


def run_child(
    directory: Path, seed: int, *, rounds: int, kill_after: float | None = None, **environment: str
) -> tuple[bytes, int]:
    """Run the child until it ends, is killed by a failpoint, or by us; returns (output, exit code)."""
    child = subprocess.Popen(
        [sys.executable, CHILD, directory, str(seed), str(rounds)],
        stdout=subprocess.PIPE, bufsize=0, env={**os.environ, **environment},
    )  # fmt: skip
    assert child.stdout is not None
    try:
        if kill_after is not None:
            first = child.stdout.readline()
            time.sleep(kill_after)
            child.kill()
            rest, _ = child.communicate(timeout=60)
            return first + rest, child.returncode
        output, _ = child.communicate(timeout=120)
        return output, child.returncode
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("name", [*REACHED, "drop.after_unlink"])
def test_a_kill_at_a_named_place_loses_nothing_acknowledged(tmp_path, name):
    expected = Expected()
    dropping = name in DROPPING
    options = {"CRASH_LIMIT": "1"} if dropping else {}
    killed = 0
    for count in (1, 3):
        wish = {"HEADRACE_FAILPOINT": f"{name}:{count}", **options}
        output, code = run_child(tmp_path / "store", count, rounds=250, **wish)
        killed += code == -signal.SIGKILL
        expected.take(output)
        expected.check(tmp_path / "store", dropping=dropping)
    assert killed, f"{name} was never reached"
    output, code = run_child(tmp_path / "store", 9, rounds=20, **options)
    assert code == 0
    expected.take(output)
    expected.check(tmp_path / "store", dropping=dropping)


def kill_at_random(directory: Path, rounds: int, seed: int) -> int:
    """Many lives over one store; returns how many records were acknowledged."""
    random_numbers = random.Random(seed)
    expected = Expected()
    for life in range(rounds):
        output, code = run_child(
            directory, seed + life, rounds=100_000, kill_after=random_numbers.uniform(0.0, 0.4)
        )
        assert code == -signal.SIGKILL, output[-1000:]
        expected.take(output)
        if life % 10 == 9 or rounds < 20:
            expected.check(directory)
    return len(expected.acknowledged)


def test_kills_at_random_moments_lose_nothing_acknowledged(tmp_path):
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    assert kill_at_random(tmp_path / "store", ROUNDS_SHORT, seed) > 0


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_three_hundred_kills_lose_nothing_acknowledged(tmp_path):
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    print(kill_at_random(tmp_path / "store", ROUNDS_LONG, seed), "records acknowledged")
