# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The lane against a dictionary (tests/model), with many more examples and longer ones."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

MODEL = Path(__file__).parent.parent / "model" / "test_log_machine.py"
EXAMPLES, STEPS = 600, 50


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_lane_agrees_with_a_dictionary(tell):
    spec = importlib.util.spec_from_file_location("log_machine", MODEL)
    model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model)
    chosen = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(model.LogMachine, settings=chosen)
    tell(f"{EXAMPLES} examples of up to {STEPS} steps, no difference")
