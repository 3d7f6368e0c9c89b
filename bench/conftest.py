# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Every saved pytest-benchmark result says on what machine it was taken, in the words of `headrace bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headrace.bench.machine import facts


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    machine_info["headrace"] = facts(Path.cwd())
