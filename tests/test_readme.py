# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The README tells the truth: its program runs as it stands, its query too, and its files exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()


def block(heading: str, language: str) -> str:
    """The first code block of a language below a heading."""
    section = TEXT.split(f"## {heading}\n", 1)[1]
    found = re.search(rf"```{language}\n(.*?)```", section, re.S)
    assert found, heading
    return found[1]


def test_the_embedded_program_and_then_the_query_run(tmp_path):
    program = block("Quick start: embedded", "python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("101001 99.9 True\n")
    assert sum(int(n) for n in re.findall(r"RecordBatch\((\d+) records", done.stdout)) == 101_001
    query = re.search(r'"(.*?)"\n', block("Quick start: SQL", "sh"), re.S)
    assert query
    command = [sys.executable, "-m", "headrace", "sql", "--store", "telemetry", "--until", "latest", query[1]]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert shown.returncode == 0, shown.stderr
    counts = [int(n) for n in re.findall(r'"n":(\d+)', shown.stdout)]
    assert sum(counts) == 101_001


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"[`(]((?:native|src|docs|bench|tests)/[\w./]+)[`)]", TEXT)))
)
def test_every_file_that_the_readme_names_is_there(path):
    assert (ROOT / path).exists()
