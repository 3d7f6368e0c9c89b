# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Checks that the headrace which this Python finds was built with the switches that are named, all of it.

python .ci/switches.py plain         # neither of them
python .ci/switches.py checked       # HEADRACE_DEBUG=1
python .ci/switches.py sanitized     # HEADRACE_SANITIZE=1

The modules are found and read, not imported, so no sanitizer need be preloaded.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from stubs import modules

ASSERTS = b"\0__assert_fail\0"  # called by Cython's own asserts, too, so by every module that has them
BOUNDS = b"Out of bounds on buffer access (axis %d)\0"  # said by each module that indexes a memoryview, if it checks
SANITIZER = b"\0__asan_init\0"
UNDEFINED = b"\0__ubsan_"

# kind: what every module has, what some module has, what none has
KINDS = {
    "plain": ((), (), (ASSERTS, BOUNDS, SANITIZER, UNDEFINED)),
    "checked": ((ASSERTS,), (BOUNDS,), (SANITIZER, UNDEFINED)),
    "sanitized": ((ASSERTS, SANITIZER), (UNDEFINED,), (BOUNDS,)),
}


def main() -> int:
    """0 if every module of setup.py's table is there and was built so."""
    if sys.argv[1:] not in [[kind] for kind in KINDS]:
        raise SystemExit(__doc__)
    every, some, none = KINDS[sys.argv[1]]
    spec = find_spec("headrace")
    if spec is None or spec.origin is None:
        raise SystemExit("there is no headrace for this Python")
    root = Path(spec.origin).parent
    built = {path: path.read_bytes() for path in root.rglob("*.so")}
    wrong = []
    if len(built) != len(modules()):
        wrong.append(f"{root} has {len(built)} modules, the table in setup.py {len(modules())}")
    for path, data in built.items():
        wrong += [f"{path} lacks {mark!r}" for mark in every if mark not in data]
        wrong += [f"{path} has {mark!r}" for mark in none if mark in data]
    wrong += [f"no module has {mark!r}" for mark in some if not any(mark in data for data in built.values())]
    print("\n".join(wrong) or f"{len(built)} modules in {root}: {sys.argv[1]}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
