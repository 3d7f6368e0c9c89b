# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""`headrace tail`: the last records, from where one asks, and on until Ctrl-C."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import headrace


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
