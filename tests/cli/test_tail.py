# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""`headrace tail`: the last records, from where one asks, and on until Ctrl-C."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import headrace
from headrace.cli.tail import last_records, last_remotely
from headrace.log.control import DIRTY, ControlFile


def test_following_ends_with_ctrl_c_and_code_0(cli, tmp_path):
    where = ["--store", str(tmp_path / "store")]
    cli.run("streams", "create", "s", *where)
    child = subprocess.Popen(
        [*cli.COMMAND, "tail", "s", "-f", "--from", "earliest", "-o", "raw", *where],
        stdout=subprocess.PIPE, env=cli.environ,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        cli.run("put", "s", *where, data=b"first\nsecond\n")
        assert child.stdout.readline() == b"first\n"
        assert child.stdout.readline() == b"second\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 0
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_reader_that_goes_away_is_no_error(cli, tmp_path):
    where = f"--store {tmp_path / 'store'}"
    cli.run("put", "s", "--create", "1", *where.split(), data=b"x\n" * 5000)
    done = subprocess.run(
        f"{sys.executable} -m headrace tail s --from earliest {where} | head -1",
        shell=True, capture_output=True, timeout=60, check=True, env=cli.environ,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == b""


@pytest.mark.parametrize("text", ["-10m", "2026-01-01T00:00:00Z", "earliest"])
def test_starts_are_times_ages_and_words(cli, tmp_path, text):
    with headrace.open(tmp_path / "store") as store:
        store.stream("s").put(b"x", "k")
    found = cli.rows(cli.run("tail", "s", f"--from={text}", "--store", str(tmp_path / "store")))
    assert [row["data"] for row in found] == ["x"]
    assert Path(tmp_path / "store" / "catalogue.sqlite").exists()


def test_a_start_that_is_none_says_what_is_allowed(cli, tmp_path):
    with headrace.open(tmp_path / "store") as store:
        store.stream("s")
    done = cli.run("tail", "s", "--from", "tomorrow", "--store", str(tmp_path / "store"), code=2)
    assert b"allowed are earliest, latest" in done.stderr


def test_an_age_may_stand_apart_from_its_option(cli, tmp_path):
    with headrace.open(tmp_path / "store") as store:
        store.stream("s").put(b"x", "k")
    assert [row["data"] for row in cli.rows(cli.run("tail", "s", "--from", "-10m", *cli.store))] == ["x"]
    assert cli.rows(cli.run("tail", "s", "--from", "latest", *cli.store)) == []


def test_what_is_missing_is_named(cli):
    assert "there is no store in" in cli.fails("tail", "s", *cli.store)
    cli.run("streams", "create", "s", "--shards", "2", *cli.store)
    assert "there is no stream t" in cli.fails("tail", "t", *cli.store)
    for shard in ("7", "shardId-000000000007", "first"):
        said = cli.fails("tail", "s", "--shard", shard, *cli.store)
        assert "has no shard" in said
        assert "shardId-000000000000 to shardId-000000000001" in said


def test_a_shard_has_its_id_however_it_was_named(cli, where):
    cli.run("put", "s", "--create", "2", *where, data=b"x\n" * 50)
    for name in ("1", "shardId-1", "shardId-000000000001"):
        for more in ([], ["--from", "earliest"]):
            found = cli.rows(cli.run("tail", "s", "--shard", name, *more, *where))
            assert {row["shard"] for row in found} == {"shardId-000000000001"}
    assert "has no shard '7'" in cli.fails("tail", "s", "--shard", "7", *where)


class Remote:
    """Shards of an endpoint: (arrival, data) of each record; counts what is read."""

    def __init__(self, shards, created):
        self.data, self.created, self.read = shards, created, 0

    def call(self, _operation, StreamName):
        return {
            "StreamDescriptionSummary": {"StreamCreationTimestamp": self.created, "RetentionPeriodHours": 24}
        }

    def iterator(self, _stream, shard, *, ShardIteratorType, Timestamp=0.0):
        if ShardIteratorType == "LATEST":
            return f"{shard}:{len(self.data[shard])}"
        return f"{shard}:{sum(arrival < Timestamp for arrival, _ in self.data[shard])}"

    def records(self, iterator):
        shard, _, index = iterator.partition(":")
        found = self.data[shard][int(index) : int(index) + 100]
        self.read += len(found)
        upcoming = int(index) + len(found)
        records = [
            {"ApproximateArrivalTimestamp": arrival, "PartitionKey": "k", "Data": data}
            for arrival, data in found
        ]
        return records, f"{shard}:{upcoming}", 0 if upcoming == len(self.data[shard]) else 1


def test_the_last_records_of_an_endpoint_are_found_from_its_end():
    now = time.time()
    many = [(now - 20_000 + 0.5 * number, b"%d" % number) for number in range(40_000)]
    remote = Remote({"shardId-000000000000": many[::2], "shardId-000000000001": many[1::2]}, now - 20_001)
    rows, iterators = last_remotely(remote, "s", list(remote.data), 10)
    assert [row["data"] for row in rows] == [str(number) for number in range(39_990, 40_000)]
    assert remote.read < 100
    assert list(iterators.values()) == ["shardId-000000000000:20000", "shardId-000000000001:20000"]
    rows, _ = last_remotely(remote, "s", list(remote.data), 50_000)
    assert [row["data"] for row in rows] == [str(number) for number in range(40_000)]
    rows, iterators = last_remotely(remote, "s", list(remote.data), 0)
    assert rows == []
    assert set(iterators.values()) == {"shardId-000000000000:20000", "shardId-000000000001:20000"}
    old = Remote({"shardId-000000000000": [(now - 70_000, b"old")] * 3}, now - 80_000)
    assert len(last_remotely(old, "s", list(old.data), 2)[0]) == 2
    assert last_remotely(Remote({"shardId-000000000000": []}, now), "s", ["shardId-000000000000"], 3)[0] == []


def test_at_a_terminal_a_table_fits_and_colours_follow_no_color(cli):
    cli.run("put", "s", "--create", "2", *cli.store, data=b'{"host":"web-1","cpu":12.5}\n' * 3)
    code, shown = cli.at_a_terminal("tail", "s", "-n", "2", *cli.store)
    assert code == 0
    assert shown.count('{"host":"web-1","cpu":12.5}') == 2
    assert max(len(re.sub(r"\x1b\[[\d;]*m", "", line)) for line in shown.splitlines()) <= 80
    assert "\x1b[" not in cli.at_a_terminal("tail", "s", *cli.store, NO_COLOR="1")[1]


def test_csv_has_a_header(cli):
    cli.run("put", "s", "--create", "1", *cli.store, data=b"x\n")
    lines = cli.run("tail", "s", "-o", "csv", *cli.store).stdout.splitlines()
    assert lines[0] == b"time,shard,key,data"
    assert lines[1].endswith(b",shardId-000000000000,,x")


def put_after_a_step(directory, first, count, shards=2):
    """Put numbers after a loss of power that took nothing, so that the indexes have moved ahead."""
    if (directory / "control").exists():
        control = ControlFile(directory / "control", writer=True, boot_id=bytes(16))
        control.mark(DIRTY, pid=0)
        control.close()
    with headrace.open(directory) as store:
        stream = store.stream("s", shards=shards)
        for number in range(first, first + count):
            stream.put(b"%d" % number, f"key {number}")


@pytest.mark.parametrize("counts", [(8, 0), (0, 8), (5, 3), (1, 7), (7, 1), (3, 2, 3), (4, 0, 4), (3, 5, 0)])
@pytest.mark.parametrize("shards", [1, 3])
def test_the_last_records_are_shown_wherever_the_indexes_moved_ahead(tmp_path, counts, shards):
    for turn, count in enumerate(counts):
        put_after_a_step(tmp_path / "store", sum(counts[:turn]), count, shards)
    with headrace.open(tmp_path / "store", mode="read") as store:
        stream = store.stream("s")
        held = sorted(stream.read(), key=lambda record: (record.arrival_ms, record.shard, record.ordinal))
        expected = [int(record.data) for record in held]
        assert sorted(expected) == list(range(8))
        for number in range(11):
            rows, tail = last_records(stream, number, None)
            assert [int(row["data"]) for row in rows] == expected[8 - min(number, 8) :]
            assert tail.positions == stream._ends()
        for shard in range(shards):
            held = [row.data for row in stream.read(shard=shard)]
            rows, _ = last_records(stream, 2, shard)
            assert [row["data"].encode() for row in rows] == held[-2:]


def test_the_last_records_of_many_are_the_last(cli):
    cli.run("put", "s", "--create", "2", *cli.store, data=b"".join(b"%d\n" % n for n in range(25_000)))
    found = cli.rows(cli.run("tail", "s", "-n", "12000", *cli.store))
    assert len(found) == 12_000
    assert cli.rows(cli.run("tail", "s", "-n", "0", *cli.store)) == []
