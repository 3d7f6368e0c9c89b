# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The frame of the command line: help, version, unknown words, and one line with a code for each failure."""

import signal
import subprocess
import sys
import types

import pytest

from headrace import __version__, cli
from headrace.errors import (
    AddressInUse,
    ConfigurationError,
    Corrupt,
    Error,
    LockedByOther,
    NotFound,
    Unreachable,
)


def test_every_command_of_the_table_that_is_offered_has_help_with_an_example(capsys):
    for name in cli.available():
        assert cli.main([name, "--help"]) == 0
        out = capsys.readouterr().out
        assert f"headrace {name}" in out and "\nexample" in out


def test_the_overview_lists_commands_and_exit_codes(capsys):
    assert cli.main(["--help"]) == 0 == cli.main(["help"])
    out = capsys.readouterr().out
    assert "serve" in out and "exit codes" in out
    assert cli.main([]) == 2
    assert "serve" in capsys.readouterr().err
    assert cli.main(["help", "env"]) == 0


def test_a_command_without_its_module_is_not_offered(monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "levitate", ("levitate", "not built"))
    assert "levitate" not in cli.available()


def test_the_version_is_printed(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"headrace {__version__}\n"


def test_an_unknown_command_or_option_is_a_usage_error(capsys):
    assert cli.main(["serv"]) == 2
    assert "did you mean 'serve'?" in capsys.readouterr().err
    assert cli.main(["env", "--shall", "sh"]) == 2
    assert "unrecognized arguments" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (ConfigurationError("a"), 2),
        (LockedByOther("a"), 4),
        (AddressInUse("a"), 4),
        (Unreachable("a"), 4),
        (ConnectionRefusedError("a"), 4),
        (Corrupt("a"), 3),
        (NotFound("a"), 1),
        (Error("a\nb", hint="c"), 1),
        (OSError("a"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_failure_has_its_code_and_one_line(monkeypatch, capsys, failure, code):
    def run(_arguments):
        raise failure

    module = types.SimpleNamespace(__doc__="Fail.", add_arguments=lambda parser: None, run=run)
    monkeypatch.setitem(sys.modules, "headrace.cli.fail", module)
    monkeypatch.setitem(cli.COMMANDS, "fail", ("fail", "fail"))
    assert cli.run("fail", []) == code
    err = capsys.readouterr().err
    assert err.count("\n") <= 1 and "Traceback" not in err


def test_a_reader_that_leaves_early_ends_the_command_quietly(headrace):
    process = headrace.start("doctor", "-o", "json")
    process.stdout.close()
    _, err = process.communicate(timeout=20)
    assert err == "" and process.returncode in (0, 141)


def test_the_module_runs_as_a_program(headrace):
    assert headrace.run("--version") == (0, f"headrace {__version__}\n", "")


def test_starting_costs_no_heavy_import(headrace):
    program = "import sys; from headrace.cli import main; main(['env']); print(sorted(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", program], env=headrace.environ, capture_output=True, text=True, check=True
    ).stdout
    for heavy in ("numpy", "sqlglot", "obstore", "rich", "asyncio", "prometheus_client"):
        assert f"'{heavy}'" not in out


def test_ctrl_c_before_anything_runs_ends_with_130(headrace):
    process = headrace.start("status", "--wait", "30", "--endpoint", "http://127.0.0.1:1")
    try:
        process.wait(0.7)
    except subprocess.TimeoutExpired:
        pass
    assert headrace.stop(process, signal.SIGINT)[0] == 130
