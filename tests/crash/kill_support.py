# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What the tests that kill share: running a child until it dies, and holding a store against what it said.

A child writes a JSON list of [stream, shard, index, text] to its standard output after each commit that
returned, so a line that the parent reads names records that must survive.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from headrace.log import Log
from headrace.streams import Streams

CHILD = Path(__file__).with_name("crash_child.py")
Key = tuple[str, int, int]  # stream, shard, index


class Expected:
    """What must and may be in the store, over many lives of the child."""

    def __init__(self) -> None:
        self.acknowledged: dict[Key, str] = {}

    def take(self, output: bytes) -> int:
        """Note what a life acknowledged; returns how many lines it wrote."""
        lines = output.split(b"\n")[:-1]  # the last one may be torn
        for line in lines:
            for stream, shard, index, text in json.loads(line):
                key = (stream, shard, index)
                assert key not in self.acknowledged, f"{key} was given twice"
                self.acknowledged[key] = text
        return len(lines)

    def check(self, directory: Path, *, dropping: bool = False) -> None:
        """Open the store and read everything: all that was acknowledged is there, in order, once."""
        log = Log.open(directory, background=False)
        try:
            assert all("cut" in note or "created" in note for note in log.reports), log.reports
            found, first = everything(log)
            kept = {
                key: text
                for key, text in self.acknowledged.items()
                if not dropping or key[2] >= first[key[0], key[1]]
            }
            assert {key: found.get(key) for key in kept} == kept
            texts = list(found.values())
            assert len(texts) == len(set(texts)), "a record is there twice"
            check_order(found)
        finally:
            log.close()


def everything(log: Log) -> tuple[dict[Key, str], dict[tuple[str, int], int]]:
    """(each record's text by its place, each shard's first kept index)."""
    found: dict[Key, str] = {}
    first: dict[tuple[str, int], int] = {}
    for stream in Streams(log).list():
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
    return found, first


def check_order(found: dict[Key, str]) -> None:
    """Each producer's records stand in each shard in the order in which it put them."""
    order: dict[tuple[str, int, str], tuple[int, int]] = {}
    for (stream, shard, _), text in sorted(found.items()):
        base, number, turn, place, _ = text.split(".")
        now = (int(turn), int(place))
        assert order.get((stream, shard, f"{base}.{number}"), (-1, -1)) < now
        order[stream, shard, f"{base}.{number}"] = now


def run_child(
    directory: Path, seed: int, *, rounds: int, kill_after: float | None = None, script: Path = CHILD,
    **environment: str,
) -> tuple[bytes, int]:  # fmt: skip
    """Run the child until it ends, is killed by a failpoint, or by us; returns (output, exit code)."""
    child = subprocess.Popen(
        [sys.executable, script, directory, str(seed), str(rounds)],
        stdout=subprocess.PIPE, bufsize=0, env={**os.environ, **environment},
    )  # fmt: skip
    assert child.stdout is not None
    try:
        if kill_after is not None:
            first = child.stdout.readline()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.communicate(timeout=kill_after)  # reads meanwhile, lest the child wait for us
            child.kill()
            rest, _ = child.communicate(timeout=60)
            return first + rest, child.returncode
        output, _ = child.communicate(timeout=120)
        return output, child.returncode
    finally:
        child.kill()
        child.wait()


def kill_at(
    directory: Path, name: str, *, counts: tuple[int, ...] = (1, 3), rounds: int, script: Path = CHILD,
    **environment: str,
) -> list[bytes]:  # fmt: skip
    """A life for each of `counts`, killed when the named place is reached for that many times, then one that
    ends by itself; yields what each said. At least one life must have been killed at the place."""
    outputs, killed = [], 0
    for count in counts:
        wish = {"HEADRACE_FAILPOINT": f"{name}:{count}", **environment}
        output, code = run_child(directory, count, rounds=rounds, script=script, **wish)
        assert code in (0, -signal.SIGKILL), output[-1000:]
        killed += code == -signal.SIGKILL
        outputs.append(output)
    assert killed, f"{name} was never reached"
    return outputs


def kill_at_random(directory: Path, rounds: int, seed: int, **environment: str) -> int:
    """Many lives over one store; returns how many records were acknowledged."""
    numbers = random.Random(seed)
    expected = Expected()
    for life in range(rounds):
        output, code = run_child(
            directory, seed + life, rounds=100_000, kill_after=numbers.uniform(0.0, 0.3), **environment
        )
        assert code == -signal.SIGKILL, output[-1000:]
        expected.take(output)
        if life % 5 == 4 or life == rounds - 1:
            expected.check(directory)
    return len(expected.acknowledged)
