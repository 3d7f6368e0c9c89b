# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: the windows workload compares every group with a plain count. Method: a short run; then a count that is
made wrong in each way, which has to be found."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from headrace.bench import command, windows
from headrace.bench.workloads import Options

OPTIONS = Options(records=3000, settle_seconds=20.0)


def test_windows_are_measured_raw_and_compressed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    words = ("windows", "--repeat", "1", "--records", "3000", "--directory", str(tmp_path), "--allow-noise")
    assert command.run(parser.parse_args([*words, "-o", "json"])) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["runs"][0]["details"]["groups"] == len(windows.expected(windows.material(OPTIONS)))
    assert set(printed["median"]) == {"events_per_cpu_s", "cold_events_per_cpu_s"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda group: (group[0] + 1, *group[1:]), "1 groups have other values"),
        (lambda group: (group[0], group[1] * 1.0000001, group[2]), "1 groups have other values"),
        (lambda group: None, "were expected"),
    ],
    ids=["count", "mean", "missing"],
)
def test_a_group_that_is_not_as_counted_fails_the_run(change, words, tmp_path, monkeypatch):
    groups = windows.expected(windows.material(OPTIONS))
    name = next(iter(groups))
    changed = change(groups.pop(name))
    if changed is not None:
        groups[name] = changed
    monkeypatch.setattr(windows, "expected", lambda plan: groups)
    run = windows.windows(tmp_path, OPTIONS)
    assert run.verdict == "FAIL"
    assert words in run.failures[0]
