# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""`headrace repair`: what was damaged is set aside, what is whole is kept, and the gap is visible.

Method: a byte of a store with two shards is flipped; what is left after --skip and --cut is read back, also by
commands that only read.
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
def test_what_only_reads_shows_what_was_kept_before_anybody_writes(cli, tmp_path, how):
    where = ["--store", str(tmp_path / "store")]
    with headrace.open(tmp_path / "store", compression=None) as store:
        for turn in range(5):
            store.stream("s").put_many([b'{"n":%d}' % n for n in range(500 * turn, 500 * turn + 500)], "k")
    (segment,) = tmp_path.glob("store/lanes/*/*.raw")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    kept = int(cli.run("repair", *where[1:], how).stderr.split(b"; ")[1].split()[0].replace(b",", b""))
    assert kept in (1000, 2000)
    for _ in range(2):
        assert len(cli.rows(cli.run("tail", "s", "--from", "earliest", *where))) == kept
        assert len(cli.rows(cli.run("tail", "s", "-n", "700", *where))) == 700
        assert cli.rows(cli.run("streams", *where))[0]["records"] == kept
        assert cli.rows(cli.run("streams", "describe", "s", *where))[0]["records"] == kept
        deleted = cli.rows(cli.run("streams", "delete", "s", "--dry-run", *where))[0]
        assert deleted["records"] == kept
        rows = cli.rows(cli.run("sql", "--until", "latest", "SELECT n FROM s", *where))
        assert len(rows) == kept
        headrace.open(tmp_path / "store").close()


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
    verified = cli.run("verify", str(damaged))
    gaps = cli.rows(verified)
    assert b"sound, with %d gaps" % len(gaps) in verified.stderr
    found = left(damaged)
    lost = sum(gap["records"] for gap in gaps if gap["records"] is not None)
    assert (len(LINES) - len(found) == lost > 0) == (how == "--skip")
    assert gaps[-1]["to"] >= 1 << 32 and gaps[-1]["records"] is None  # what comes next
    assert {gap["shard"] for gap in gaps} == {"shardId-000000000000"}
    assert 1000 < len(found) < len(LINES)
    assert set(found) <= set(LINES)
    assert found == sorted(found)
    assert found[0] == LINES[0]
    assert (found[-1] == LINES[-1]) == (how == "--skip")


@pytest.mark.parametrize("how", ["--skip", "--cut"])
def test_a_file_that_the_system_does_not_read_is_named(cli, damaged, how):
    segment = sorted(damaged.glob("lanes/*/*.raw"))[0]
    segment.unlink()
    segment.mkdir()
    said = cli.fails("repair", str(damaged), how)
    assert f"lane 1 could not be read: {segment}: Is a directory (EISDIR)" in said
    assert "nothing was changed" in said
    assert not list(damaged.rglob("damaged"))


def test_how_must_be_said(cli, damaged, tmp_path):
    assert "--skip --cut is required" in cli.fails("repair", str(damaged), code=2)
    sound = tmp_path / "sound"
    with headrace.open(sound) as store:
        store.stream("s").put(b"x")
    assert cli.run("repair", str(sound), "--cut").stderr == b"nothing is damaged\n"
    shutil.rmtree(sound)
    assert "is not a headrace store" in cli.fails("repair", str(sound), "--cut")
