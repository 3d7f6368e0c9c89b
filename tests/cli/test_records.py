# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""put, tail and streams as processes: on a directory, beside a running server, and on its endpoint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import headrace

COMMAND = [sys.executable, "-m", "headrace"]


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE", "AWS_"))}


def run(*words: str, data: bytes = b"", code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [*COMMAND, *words], input=data, capture_output=True, timeout=60, check=False, env=clean_environment()
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


def rows(done: subprocess.CompletedProcess) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def server(tmp_path):
    ready = tmp_path / "ready.json"
    child = subprocess.Popen(
        [*COMMAND, "serve", tmp_path / "store", "--port", "0", "--ready-file", ready],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean_environment(),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        yield json.loads(ready.read_text())["url"], tmp_path / "store"
    finally:
        child.terminate()
        child.wait(20)


@pytest.fixture(params=["directory", "beside a server", "endpoint"])
def where(request, tmp_path):
    if request.param == "directory":
        return ["--store", str(tmp_path / "store")]
    url, directory = request.getfixturevalue("server")
    return ["--store", str(directory)] if request.param == "beside a server" else ["--endpoint", url]


def test_lines_go_in_and_come_out(where):
    lines = "".join(f"line {i} ü\n" for i in range(1200)).encode()
    assert b"1,200 records put into s" in run("put", "s", "--create", "3", *where, data=lines).stderr
    found = run("tail", "s", "--from", "earliest", "-o", "raw", *where).stdout.splitlines()
    assert sorted(found) == sorted(lines.splitlines())
    last = rows(run("tail", "s", "-n", "3", *where))
    assert len(last) == 3
    assert last[-1]["data"] in {f"line {i} ü" for i in range(1200)}
    assert rows(run("streams", *where))[0]["shards"] == 3


def test_keys_come_from_members_or_a_pattern(where):
    data = b'{"host":{"name":"a"},"n":1}\n{"host":{"name":"b"}}\n{"n":3}\n'
    run("put", "s", "--create", "1", "--format", "ndjson", "--key", "host.name", *where, data=data)
    run("put", "s", "--key-regex", r"user=(\w+)", *where, data=b"x user=carol y\n")
    keys = [row["key"] for row in rows(run("tail", "s", "--from", "earliest", *where))]
    assert sorted(keys)[-3:] == ["a", "b", "carol"]


def test_files_are_named_with_the_line_that_is_wrong(tmp_path):
    file = tmp_path / "bad.ndjson"
    file.write_text('{"a":1}\nnot json\n')
    where = ["--store", str(tmp_path / "store")]
    done = run("put", "s", str(file), "--format", "ndjson", "--create", "1", *where, code=1)
    assert b"bad.ndjson:2 is not JSON" in done.stderr
    assert b"exclude each other" not in done.stderr
    assert run("put", "s", str(tmp_path / "missing"), *where, code=1).stderr
    assert b"not found" in run("put", "nowhere", *where, data=b"x\n", code=1).stderr


def test_records_that_fail_are_counted_and_the_code_says_partly(tmp_path):
    where = ["--store", str(tmp_path / "store")]
    run("streams", "create", "s", "--record-size-max", "100", *where)
    done = run("put", "s", *where, data=b"x" * 200 + b"\n", code=5)
    assert b"1 records failed" in done.stderr


def test_following_ends_with_ctrl_c_and_code_0(tmp_path):
    where = ["--store", str(tmp_path / "store")]
    run("streams", "create", "s", *where)
    child = subprocess.Popen(
        [*COMMAND, "tail", "s", "-f", "--from", "earliest", "-o", "raw", *where],
        stdout=subprocess.PIPE, env=clean_environment(),
    )  # fmt: skip
    assert child.stdout is not None
    try:
        run("put", "s", *where, data=b"first\nsecond\n")
        assert child.stdout.readline() == b"first\n"
        assert child.stdout.readline() == b"second\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 0
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    where = f"--store {tmp_path / 'store'}"
    run("put", "s", "--create", "1", *where.split(), data=b"x\n" * 5000)
    done = subprocess.run(
        f"{sys.executable} -m headrace tail s --from earliest {where} | head -1",
        shell=True, capture_output=True, timeout=60, check=True, env=clean_environment(),
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == b""


def test_streams_are_made_described_scaled_and_deleted(tmp_path):
    where = ["--store", str(tmp_path / "store")]
    options = [
        "--shards",
        "2",
        "--durability",
        "disk",
        "--max-bytes",
        "64MiB",
        "--on-full",
        "drop_oldest",
        "--retention",
        "48h",
    ]
    run("streams", "create", "s", *options, *where)
    row = rows(run("streams", *where))[0]
    assert (row["durability"], row["max_bytes"], row["on_full"], row["retention_hours"]) == (
        "disk",
        64 << 20,
        "drop_oldest",
        48,
    )
    run("streams", "scale", "s", "4", *where)
    run("streams", "split", "s", str(rows(run("streams", "s", *where))[-1]["shard"]), *where)
    assert rows(run("streams", *where))[0]["shards"] == 5
    assert rows(run("streams", "delete", "s", "--dry-run", *where))[0]["would_delete"] == "s"
    assert b"add --yes" in run("streams", "delete", "s", *where, code=2).stderr
    run("streams", "delete", "s", "--yes", *where)
    assert rows(run("streams", *where)) == []


def test_what_the_api_cannot_say_is_refused_by_name(server):
    done = run("streams", "create", "s", "--durability", "disk", "--endpoint", server[0], code=1)
    assert b"the API cannot say --durability" in done.stderr


@pytest.mark.parametrize("text", ["-10m", "2026-01-01T00:00:00Z", "earliest"])
def test_starts_are_times_ages_and_words(tmp_path, text):
    with headrace.open(tmp_path / "store") as store:
        store.stream("s").put(b"x", "k")
    found = rows(run("tail", "s", f"--from={text}", "--store", str(tmp_path / "store")))
    assert [row["data"] for row in found] == ["x"]
    assert Path(tmp_path / "store" / "catalogue.sqlite").exists()


def test_a_start_that_is_none_says_what_is_allowed(tmp_path):
    with headrace.open(tmp_path / "store") as store:
        store.stream("s")
    done = run("tail", "s", "--from", "tomorrow", "--store", str(tmp_path / "store"), code=2)
    assert b"allowed are earliest, latest" in done.stderr
