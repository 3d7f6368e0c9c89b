# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The table of fuzz targets is complete, each target says what it defends, and each builds and runs."""

import importlib.util
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("headrace_fuzz_run", Path(__file__).with_name("run.py"))
run = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(run)


def test_every_row_has_its_file_and_every_file_its_row():
    assert {path.stem for path in run.HERE.glob("*.c")} == set(run.TARGETS)
    for kernels in run.TARGETS.values():
        assert all((run.NATIVE / f"{kernel}.c").exists() for kernel in kernels)


EXEMPT = {
    "load": "a loop over sockets; what it parses is answer.c, which is fuzzed",
}


def test_every_kernel_is_fuzzed():
    covered = {kernel for kernels in run.TARGETS.values() for kernel in kernels} | set(EXEMPT)
    assert {path.stem for path in run.NATIVE.glob("*.c")} - covered == set()


@pytest.mark.parametrize("target", run.TARGETS)
def test_first_line_states_the_invariant(target):
    first = (run.HERE / f"{target}.c").read_text().splitlines()[0]
    assert first.startswith("/* Invariant: ")


def test_unknown_target_is_refused(capsys):
    with pytest.raises(SystemExit):
        run.main(["--runs", "1", "nothing"])
    assert "unknown target nothing" in capsys.readouterr().err


def test_no_budget_is_refused(capsys):
    with pytest.raises(SystemExit):
        run.main(["crc32c"])
    assert "give --seconds or --runs" in capsys.readouterr().err


@pytest.mark.integration
@pytest.mark.parametrize("target", run.TARGETS)
def test_target_builds_and_runs(target, capsys):
    assert run.main(["--runs", "200", "--seed", "1", target]) == 0, capsys.readouterr().out
    assert f"{target}: " in capsys.readouterr().out


@pytest.mark.integration
def test_failure_gives_status_one_and_prints_the_input(tmp_path, monkeypatch, capsys):
    (tmp_path / "broken.c").write_text(
        "/* Invariant: no input of one byte or more exists (false, to see it reported). */\n"
        '#include "fuzz.h"\n'
        "int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);\n"
        "int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)\n"
        "{\n    CHECK(size < 3 || bytes[0] != 'x');\n    return 0;\n}\n"
    )
    header = (run.HERE / "fuzz.h").read_text()
    (tmp_path / "fuzz.h").write_text(header)
    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(run, "BUILD", tmp_path / "build")
    monkeypatch.setitem(run.TARGETS, "broken", [])
    assert run.main(["--runs", "2000000", "broken"]) == 1
    out = capsys.readouterr().out
    assert "broken: FAILED" in out
    assert "broken invariant: size < 3" in out
    failing = next((tmp_path / "build" / "failures" / "broken").iterdir())
    assert f"again: python tests/fuzz/run.py --reproduce {failing} broken" in out
    assert run.main(["--reproduce", str(failing), "broken"]) == 1
