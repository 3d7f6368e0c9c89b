# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""README and docs tell the truth: programs and commands run as they stand, files and functions are where they say.

Method: code blocks are taken out of the text and run in an empty directory, each in a process of its own.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from headrace import cli

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "bench" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TOUR = re.findall(r"^\| ([^|`]+) \| `([\w./]+)` \| (.*) \|$", TEXT, re.M)


def blocks(heading: str, language: str) -> list[str]:
    """The code blocks of a language below a heading."""
    section = re.split(r"^## ", TEXT.split(f"## {heading}\n", 1)[1], maxsplit=1, flags=re.M)[0]
    found = re.findall(rf"```{language}\n(.*?)```", section, re.S)
    assert found, heading
    return found


def run(command: list[str], directory: Path, **environ: str) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        command, cwd=directory, env={**os.environ, **environ}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def counted_by(query: str, directory: Path) -> int:
    """The records in all windows of a query, by their column n."""
    command = [sys.executable, "-m", "headrace", "sql", "--store", "telemetry", "--until", "latest", query]
    return sum(int(n) for n in re.findall(r'"n":(\d+)', run(command, directory)))


def test_the_embedded_program_its_second_part_and_the_query_run(tmp_path):
    first, second = blocks("Quick start: embedded", "python")
    shown = run([sys.executable, "-W", "error", "-c", first], tmp_path)
    number, counted, columns = shown.splitlines()[:3]
    assert re.fullmatch(r"\d{56}", number)
    records = int(counted.split()[0])
    assert records > 100_001
    assert columns.endswith(" True")
    assert "Schema(host VARCHAR, cpu DOUBLE, ts DOUBLE)" in shown
    assert re.search(r"RecordBatch\(3 records", shown)
    query = re.search(r'query = """.*?"""', first, re.S)
    assert query
    both = f"import headrace\n{query[0]}\n{second}"
    assert "web-2" in run([sys.executable, "-c", both], tmp_path)
    (text,) = blocks("Quick start: SQL", "sh")
    asked = re.search(r'"(.*?)"\n', text, re.S)
    assert asked
    assert counted_by(asked[1], tmp_path) == records  # what was put after them has no time
    (kinesis,) = blocks("Quick start: SQL", "sql")
    assert counted_by(kinesis, tmp_path) == records + 2  # but it has arrived


@pytest.mark.integration
def test_the_quick_start_for_clients_runs(tmp_path):
    """Method: as it stands, but for the port, which the configuration's variable gives to every command."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (shell,), (python,) = (blocks("Quick start: any Kinesis client", kind) for kind in ("sh", "python"))
    (tmp_path / "put.py").write_text(python.replace("4567", str(port)))
    bin_directory = tmp_path / "bin"
    bin_directory.mkdir()
    (bin_directory / "headrace").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m headrace "$@"\n')
    (bin_directory / "headrace").chmod(0o755)
    script = (
        f'{shell}\n"{sys.executable}" put.py && headrace tail metrics --endpoint http://127.0.0.1:{port}\n'
    )
    end = "kill $!; wait $! 2>/dev/null; true\n"
    process = subprocess.Popen(
        ["bash", "-ec", f"trap '{end.strip()}' EXIT\n{script}"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "PATH": f"{bin_directory}:{os.environ['PATH']}", "AWS_PAGER": "", "HOME": str(tmp_path),
            "HEADRACE__SERVER__BIND": f"127.0.0.1:{port}",
        },
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, err
    assert r"{\"host\": \"web-1\", \"cpu\": 12.5}" in out


def paths_of(page: Path) -> list[str]:
    """The files that a page names: in its text and commands from the root, in links from its own directory."""
    text = page.read_text()
    named = re.findall(r"(?<![\w./-])((?:native|src|docs|bench|tests|\.ci)/[\w./]*\w)", text)
    linked = [
        str((page.parent / link).resolve().relative_to(ROOT))
        for link in re.findall(r"\]\(([\w./-]+)\)", text)
    ]
    return sorted({*named, *linked})


@pytest.mark.parametrize(
    ("page", "path"), [(page.relative_to(ROOT), path) for page in PAGES for path in paths_of(page)], ids=str
)
def test_every_file_that_a_page_names_is_there(page, path):
    assert (ROOT / path).exists()


def definition(name: str, path: str) -> str:
    """What begins the function or class of a name: in C its head up to the brace, else def, cdef, cpdef or class."""
    if path.endswith((".c", ".h")):
        return rf"^\w[^;{{}}]*\b{name}\([^;{{}}]*\)\s*\{{"
    return rf"^\s*(async |cdef )?(def|cdef|cpdef|class) [^=(\n]*?\b{name}\b\s*[(:]"


@pytest.mark.parametrize(("what", "path", "there"), TOUR, ids=lambda value: str(value)[:30])
def test_the_tour_names_what_is_in_its_files(what, path, there):
    """Goal: each name is defined there, so that the reader is at the place in one step; a call of it is not enough."""
    if (ROOT / path).is_dir():
        return
    text = (ROOT / path).read_text()
    for name in re.findall(r"`(\w+)`", there):
        assert re.search(definition(name, path), text, re.M), (what, path, name)


def test_the_tour_holds_the_five_places_that_a_newcomer_asks_for():
    places = {what: path for what, path, _ in TOUR}
    assert places["a key becomes a shard"] == "native/route.c"
    assert places["a record becomes durable"] == "src/headrace/log/lane_segments.py"
    assert places["what recovery does, and why that is right"] == "src/headrace/log/recovery.py"
    assert places["a window closes"] == "src/headrace/analytics/windows.py"
    assert places["an object's name is made"] == "src/headrace/firehose/object_name.py"


def test_every_command_that_a_page_shows_exists():
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.S):
            for command in re.findall(r"headrace (\w+)", block):
                assert command in cli.COMMANDS, (page, command)
