# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The source distribution and the wheel: both are made, and what they hold installs and imports elsewhere.

Method: build from a copy of the tracked sources, install the wheel into a new virtual environment with what it
requires and nothing else, and use it there in a process that sees nothing else of ours; install it once more
without its dependencies into a directory, and import every module from there.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]  # it compiles everything


def modules() -> list[str]:
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "MODULES":
            return sorted(ast.literal_eval(node.value))
    raise AssertionError("setup.py has no table MODULES")


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> tuple[Path, Path]:
    copy = tmp_path_factory.mktemp("sources") / "headrace"
    skip = shutil.ignore_patterns(
        "*.so", "__pycache__", "build", ".git", ".venv", "*.egg-info", ".hypothesis"
    )
    shutil.copytree(ROOT, copy, ignore=skip)
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", out, copy],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=900,
    )
    (source,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return source, wheel


def test_the_source_distribution_holds_what_a_build_needs(distributions):
    with tarfile.open(distributions[0]) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for wanted in (
        "setup.py",
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "native/crc32c.h",
        "src/headrace/core/_frames.pyx",
    ):
        assert wanted in names
    assert not [name for name in names if name.endswith(".so")]


def test_the_wheel_holds_every_module_with_its_faces(distributions):
    with zipfile.ZipFile(distributions[1]) as archive:
        names = set(archive.namelist())
    for module in modules():
        path = module.replace(".", "/")
        assert any(name.startswith(f"{path}.cpython") and name.endswith(".so") for name in names), module
        assert f"{path}.pyi" in names
    assert "headrace/py.typed" in names
    assert not [name for name in names if name.endswith((".c", ".pyx"))]


def test_the_wheel_works_elsewhere(distributions, tmp_path):
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target, distributions[1]],
        check=True,
        timeout=300,
    )
    code = (
        "import headrace, importlib, sys\n"
        "assert headrace.__file__.startswith(sys.argv[1]), headrace.__file__\n"
        "for name in sys.argv[2:]: importlib.import_module(name)\n"
        "with headrace.open() as store:\n"
        "    store.stream('s').put(b'x')\n"
        "    assert store.stream('s').read().data == [b'x']\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.fspath(target)}
    subprocess.run(
        [sys.executable, "-c", code, target, *modules()],
        check=True,
        cwd=tmp_path,
        env=environment,
        timeout=120,
    )


PROGRAM = """
import sys, headrace
assert headrace.__file__.startswith(sys.prefix), headrace.__file__
with headrace.open() as store:
    stream = store.stream("s", shards=2)
    stream.put_many([{"host": "a", "n": i} for i in range(100)])
    assert int(stream.read().columns("host", "n")["n"].sum()) == 4950
    rows = [columns.rows for columns in store.sql("SELECT n FROM s WHERE n > 97", until="latest")]
    with store.serve() as server:
        print(server.url, sum(rows))
"""


def test_the_wheel_installs_and_works_in_an_empty_environment(distributions, tmp_path):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HEADRACE"))}
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=120, env=clean)
    programs = tmp_path / "venv" / "bin"
    subprocess.run(
        [programs / "pip", "install", "-q", "--disable-pip-version-check", distributions[1]],
        check=True, timeout=600, env=clean,
    )  # fmt: skip
    done = subprocess.run(
        [programs / "python", "-W", "error", "-c", PROGRAM],
        check=True, cwd=tmp_path, env=clean, timeout=120, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.split()[1] == "2"
    for words in (
        ["--version"],
        ["doctor", "."],
        ["put", "s", "--create", "1", "--store", "d"],
        ["streams", "--store", "d"],
    ):
        subprocess.run(
            [programs / "headrace", *words],
            check=words[0] != "doctor", cwd=tmp_path, env=clean, timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    demo = subprocess.run(
        [programs / "headrace", "demo", "--seconds", "5"],
        check=False, cwd=tmp_path, env={**clean, "TMPDIR": os.fspath(tmp_path)}, timeout=120,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (demo.returncode, demo.stderr) == (0, ""), demo.stdout
    assert demo.stdout.count("\nok      ") == 4 and "FAILED" not in demo.stdout, demo.stdout
    listed = subprocess.run(
        [programs / "pip", "check"], capture_output=True, text=True, check=False, env=clean
    )
    assert listed.returncode == 0, listed.stdout
