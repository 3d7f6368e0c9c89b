# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Checks that each Cython module's .pyi says what the module really has, by mypy's stubtest."""

from __future__ import annotations

import ast
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent

# What Cython adds to every module and type, and no stub would name.
ALLOWED = r"""
.*\.__test__
.*\.__pyx_capi__
.*\.__reduce_cython__
.*\.__setstate_cython__
.*\.__pyx_unpickle_.*
.*\.__reduce__
.*\.__setstate__
.*\.__init__
.*\.__new__
.*\.__hash__
.*\.__(eq|ne|lt|le|gt|ge)__
.*\.__buffer__
"""


def modules() -> list[str]:
    """The modules of the table in setup.py."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "MODULES":
            return sorted(ast.literal_eval(node.value))
    raise SystemExit("setup.py has no table MODULES")


def main() -> int:
    """Run stubtest over all of them."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as allowed:
        allowed.write(ALLOWED)
        allowed.flush()
        command = [
            sys.executable, "-m", "mypy.stubtest", "--ignore-missing-stub", "--ignore-disjoint-bases",
            "--allowlist", allowed.name, "--ignore-unused-allowlist", *modules(),
        ]  # fmt: skip
        return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
