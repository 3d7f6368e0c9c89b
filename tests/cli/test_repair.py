# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""`headrace repair`: what was damaged is set aside, what is whole is kept, and the gap is visible.

Method: a byte of a store with two shards is flipped; what is left after --skip and --cut is read back.
"""

from __future__ import annotations

import shutil

import pytest

import headrace

LINES = [b"%05d" % i + b"x" * 95 for i in range(20_000)]


@pytest.fixture
def damaged(tmp_path):
    directory = tmp_path / "store"
    with headrace.open(directory, compression=None) as store:
        stream = store.stream("s")
        for i in range(0, len(LINES), 500):
            stream.put_many(LINES[i : i + 500], "k")
    segment = sorted(directory.glob("lanes/*/*.raw"))[0]
    data = bytearray(segment.read_bytes())
    data[300_000] ^= 1
    segment.write_bytes(data)
    return directory


def left(directory) -> list[bytes]:
    with headrace.open(directory) as store:
        return store.stream("s").read().data


@pytest.mark.parametrize("how", ["--skip", "--cut"])
def test_what_is_whole_is_kept(cli, damaged, how):
    cli.run("verify", str(damaged), code=3)
    before = sorted(path.name for path in damaged.rglob("*"))
    planned = cli.rows(cli.run("repair", str(damaged), how, "--dry-run"))
    assert planned
    assert sorted(path.name for path in damaged.rglob("*")) == before
    done = cli.run("repair", str(damaged), how)
    assert cli.rows(done)
    assert b"1 places were damaged, 0 are now" in done.stderr
    cli.run("verify", str(damaged))
    found = left(damaged)
    assert 1000 < len(found) < len(LINES)
    assert set(found) <= set(LINES)
    assert found == sorted(found)
    assert found[0] == LINES[0]
    assert (found[-1] == LINES[-1]) == (how == "--skip")


def test_how_must_be_said(cli, damaged, tmp_path):
    assert "--skip --cut is required" in cli.fails("repair", str(damaged), code=2)
    sound = tmp_path / "sound"
    with headrace.open(sound) as store:
        store.stream("s").put(b"x")
    assert cli.run("repair", str(sound), "--cut").stderr == b"nothing is damaged\n"
    shutil.rmtree(sound)
    assert "is not a headrace store" in cli.fails("repair", str(sound), "--cut")
