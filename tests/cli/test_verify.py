# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""verify and repair as commands: exit codes, what they print, and that a dry run changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import headrace


def run(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "headrace", *words], capture_output=True, text=True, timeout=60, check=False
    )


def test_damage_is_named_repaired_and_then_gone(tmp_path):
    directory = tmp_path / "store"
    with headrace.open(directory) as store:
        store.stream("s").put_many([b"x" * 100] * 1000, "k")
    sound = run("verify", str(directory))
    assert sound.returncode == 0
    assert "sound: 1 files" in sound.stderr
    (segment,) = directory.glob("lanes/*/*.raw")
    data = bytearray(segment.read_bytes())
    data[30_000] ^= 1
    segment.write_bytes(data)
    found = run("verify", str(directory))
    assert found.returncode == 3
    assert json.loads(found.stdout.splitlines()[0])["file"] == str(segment)
    assert run("repair", str(directory)).returncode == 2
    assert run("repair", str(directory), "--skip", "--dry-run").returncode == 0
    assert run("verify", str(directory)).returncode == 3
    done = run("repair", str(directory), "--skip")
    assert done.returncode == 0, done.stderr
    assert run("verify", str(directory)).returncode == 0
    assert run("repair", str(directory), "--cut").stderr.strip() == "nothing is damaged"
    assert run("verify", str(tmp_path / "nowhere")).returncode == 1


def test_a_directory_that_is_written_or_no_store_is_named_with_what_to_do(tmp_path):
    with headrace.open(tmp_path / "store"):
        for command in (["verify", str(tmp_path / "store")], ["repair", str(tmp_path / "store"), "--cut"]):
            held = run(*command)
            assert held.returncode == 4
            assert "this works offline: stop that process first" in held.stderr
    assert "is not a headrace store" in run("verify", str(tmp_path)).stderr
