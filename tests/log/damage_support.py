# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A small store of every kind of file, and the judgement of what it gives after one byte was changed.

The lanes hold about 32 KiB: a raw, a cold zstd and a cold lz4 segment of each promise. Beside them stand
manifests, the control file and the catalogue. One byte is changed; then the store is opened as a reader and as
a writer would, and everything is read. Allowed are: all that was written; a prefix of a shard, if something was
reported (or, to a reader, where the control file was changed); an error that is Corrupt. Nothing else: no other
data, no silence about what is missing, no other error.
"""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import shutil
from pathlib import Path

import pytest
from log_support import read_shard

from headrace import limits
from headrace.clock import FrozenClock
from headrace.core._entries import Entries
from headrace.errors import Corrupt
from headrace.log import Log, control
from headrace.streams import StreamDefaults, Streams

SHARDS = 2
Rows = dict[tuple[str, int], list[tuple[int, str, bytes]]]


def make_small(directory: Path) -> Rows:
    """The store, closed in order, the same each time; returns what it holds by stream and shard."""
    numbers, clock = random.Random(1), FrozenClock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "segment_size_first", 2 << 10)
        patch.setattr(limits, "segment_size_max", 2 << 10)
        patch.setattr(limits, "segment_size_least", 2 << 10)
        patch.setattr(control, "SLOTS_STEP", 4)
        patch.setattr(secrets, "randbits", numbers.getrandbits)
        patch.setattr(os, "urandom", numbers.randbytes)
        for turn, codec in enumerate(("zstd", "lz4", None)):
            log = Log.open(directory, clock=clock, background=False, max_bytes=1 << 30, codec=codec)
            streams = Streams(log, clock=clock, defaults=StreamDefaults(cores=1))
            for name in ("process", "disk"):
                stream = streams.get(name) or streams.create(name, SHARDS, durability=name)
                for group in range(2):
                    entries = Entries()
                    for number in range(3):
                        text = b"%d.%d.%d." % (turn, group, number) + numbers.randbytes(250)
                        entries.add(text, f"k{number}")
                    stream.append(entries)
                    stream.commit()
            if codec is not None:
                for lane in log.loaded_lanes():
                    lane.seal_idle(0)
                    lane.seal_idle(0)
                log.maintenance.run_once()
            rows = read_everything(log)
            log.close()
    for path in [*directory.rglob("*.tmp"), directory / "ballast"]:
        path.unlink()
    return rows


def files_of(directory: Path) -> list[Path]:
    """Every file that may be damaged; the lock file carries nothing."""
    return sorted(path for path in directory.rglob("*") if path.is_file() and path.name != "lock")


def digest_of(directory: Path) -> str:
    """Tells one store from another."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in files_of(directory))).hexdigest()[:16]


def read_everything(log: Log) -> Rows:
    return {
        (stream.name, shard.number): read_shard(stream.lane_of(shard.number), shard.number)
        for stream in Streams(log).list()
        for shard in stream.shards
    }


def look(log: Log, expected: Rows, what: str, *, silent: bool) -> None:
    """Read everything from an open store and judge it. silent: a prefix need not be reported."""
    try:
        streams = {stream.name: stream for stream in Streams(log).list()}
        named = bool(log.reports)
        for (name, number), rows in expected.items():
            assert name in streams or named, f"{what}: stream {name} is gone without a word"
            if name not in streams:
                continue
            lane = streams[name].lane_of(number)
            found = read_shard(lane, number)
            assert found == rows[: len(found)], f"{what}: other data of {name} shard {number}"
            missing = len(found) < len(rows)
            assert not missing or log.reports or silent, (
                f"{what}: a part of {name} shard {number} is gone without a word"
            )
    except Corrupt as problem:
        assert problem.message
    finally:
        log.close()


def judge(original: Path, work: Path, expected: Rows, path: Path, at: int, value: int) -> bool:
    """Change one byte of a copy of the store and look at it; False if the byte had that value."""
    data = bytearray((original / path).read_bytes())
    if data[at] == value:
        return False
    what = f"{path} byte {at} is {value} instead of {data[at]}"
    data[at] = value
    for opening in (Log.open_reader, lambda copy: Log.open(copy, background=False)):
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(original, work)
        (work / path).write_bytes(data)
        try:
            log = opening(work)
        except Corrupt as problem:
            assert problem.message
            continue
        except BaseException as problem:
            raise AssertionError(what) from problem
        try:
            # How far a reader may read stands in the control file only; the writer compares it with the files.
            look(log, expected, what, silent=path.name == "control" and not log.writer)
        except AssertionError:
            raise
        except BaseException as problem:
            raise AssertionError(what) from problem
    return True
