# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The house rules that no linter sees: `cimport` and `#include` go down only, kernels have one owner, and
files and functions stay within a reader's reach. Method: the sources are read as text."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "headrace"
NATIVE = ROOT / "native"
FILE_LINES_MAX = 700
FUNCTION_LINES_MAX = 70

LAYERS = [
    {name.strip(" ()") for name in layer.split("|")}
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    if contract["type"] == "layers"
    for layer in contract["layers"]
]
RANK = {room: len(LAYERS) - number for number, layer in enumerate(LAYERS) for room in layer}


def modules() -> dict[str, list[str]]:
    """The table in setup.py."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "MODULES":
            return ast.literal_eval(node.value)
    raise AssertionError("setup.py has no table MODULES")


def sources(*suffixes: str) -> list[Path]:
    found = [path for folder in (SOURCE, NATIVE) for path in folder.rglob("*") if path.suffix in suffixes]
    # What Cython writes beside a module is not ours.
    return sorted(path for path in found if not (path.suffix == ".c" and path.is_relative_to(SOURCE)))


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(path.suffix)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", sources(".pyx", ".pxd"), ids=name_of)
def test_cimports_go_down_only(path):
    for target in re.findall(
        r"^\s*(?:from|cimport)\s+headrace\.(\w+)[\w.]*\s+(?:c?import)", path.read_text(), re.M
    ):
        assert RANK[target] <= RANK[room_of(path)], f"{room_of(path)} uses {target}, which stands above it"


def test_every_kernel_is_compiled_into_exactly_one_module():
    owners: dict[str, list[str]] = {}
    for module, kernels in modules().items():
        for kernel in kernels:
            owners.setdefault(kernel, []).append(module)
    assert {kernel: found for kernel, found in owners.items() if len(found) != 1} == {}
    assert sorted(owners) == sorted(path.stem for path in NATIVE.glob("*.c"))
    assert [name for name in owners if not (NATIVE / f"{name}.h").exists()] == []


def test_every_cython_module_is_in_the_table_and_has_its_faces():
    found = {".".join(path.relative_to(ROOT / "src").with_suffix("").parts) for path in SOURCE.rglob("*.pyx")}
    assert found == set(modules())
    for path in SOURCE.rglob("*.pyx"):
        assert path.with_suffix(".pyi").exists(), f"{name_of(path)} has no .pyi"


@pytest.mark.parametrize("path", sources(".c", ".h"), ids=name_of)
def test_kernels_are_plain_c_and_include_only_their_own(path):
    text = path.read_text()
    assert "Python.h" not in text
    for included in re.findall(r'^#include "([^"]+)"', text, re.M):
        assert (NATIVE / included).exists(), f"{included} is not in native/"


@pytest.mark.parametrize("path", sources(".py", ".pyx", ".pxd", ".pyi", ".c", ".h"), ids=name_of)
def test_files_carry_the_licence_and_stay_within_reach(path):
    lines = path.read_text().splitlines()
    assert any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:3])
    assert len(lines) <= FILE_LINES_MAX, f"{len(lines)} lines; split it by duty"


def python_functions(path: Path) -> list[tuple[str, int]]:
    tree = ast.parse(path.read_text())
    return [
        (node.name, (node.end_lineno or 0) - node.lineno + 1)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def indented_functions(path: Path) -> list[tuple[str, int]]:
    """(name, lines) of each def in a Cython file, by indentation."""
    lines = path.read_text().splitlines()
    found = []
    for number, line in enumerate(lines):
        match = re.match(
            r"(\s*)(?:async )?(?:c?p?def)\s+(?!class|extern|struct|enum|packed)[^=]*?(\w+)\(", line
        )
        if not match:
            continue
        depth = len(match[1])
        end = number + 1
        while end < len(lines) and (
            not lines[end].strip() or len(lines[end]) - len(lines[end].lstrip()) > depth
        ):
            end += 1
        found.append((match[2], len("\n".join(lines[number:end]).rstrip().splitlines())))
    return found


def braced_functions(path: Path) -> list[tuple[str, int]]:
    """(name, lines) of each C function: from a `{` at the margin to the next `}` there."""
    lines = path.read_text().splitlines()
    found, start = [], None
    for number, line in enumerate(lines):
        if line == "{" or (line.endswith("{") and re.match(r"\w.*\)\s*\{$", line)):
            start = number
        elif line == "}" and start is not None:
            found.append((lines[start - 1].strip(), number - start + 1))
            start = None
    return found


@pytest.mark.parametrize("path", sources(".py", ".pyx", ".c"), ids=name_of)
def test_functions_stay_within_reach(path):
    functions = {".py": python_functions, ".pyx": indented_functions, ".c": braced_functions}[path.suffix](
        path
    )
    assert [(name, lines) for name, lines in functions if lines > FUNCTION_LINES_MAX] == []


@pytest.mark.parametrize("path", sources(".py"), ids=name_of)
def test_a_module_says_its_duty_first(path):
    assert ast.get_docstring(ast.parse(path.read_text())), "no docstring"
