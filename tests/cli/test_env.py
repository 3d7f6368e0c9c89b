# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""`headrace env`: lines that each shell understands and real clients follow."""

from __future__ import annotations

import subprocess

import pytest


@pytest.mark.integration
def test_the_aws_command_line_works_with_the_lines_of_env(headrace):
    process, ready = headrace.serve("--ephemeral", "--init", "s:2")
    code, out, _ = headrace.run("env", "--endpoint", ready["url"], "--shell", "sh")
    assert code == 0
    script = f"{out}\naws kinesis list-streams --output text --query StreamNames"
    environ = {**headrace.environ, "AWS_PAGER": ""}
    done = subprocess.run(
        ["sh", "-c", script],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "s", done.stderr
    headrace.stop(process)


def test_env_writes_for_each_shell(headrace):
    for shell, line in (
        ("sh", "export AWS_ENDPOINT_URL_KINESIS=http://127.0.0.1:4567"),
        ("fish", "set -gx AWS_ENDPOINT_URL_KINESIS http://127.0.0.1:4567;"),
        ("powershell", "$Env:AWS_ENDPOINT_URL_KINESIS = 'http://127.0.0.1:4567'"),
        ("dotenv", "AWS_ENDPOINT_URL_KINESIS=http://127.0.0.1:4567"),
    ):
        code, out, _ = headrace.run("env", "--shell", shell)
        assert code == 0 and line in out.splitlines()
        assert "AWS_ENDPOINT_URL=" not in out and "AWS_ACCESS_KEY_ID" in out
    assert "set -gx" in headrace.run("env", SHELL="/usr/bin/fish")[1]
    assert "AWS_ACCESS_KEY_ID" not in headrace.run("env", AWS_PROFILE="mine")[1]
    assert "AWS_REGION=eu-west-1" in headrace.run("env", AWS_REGION="eu-west-1")[1]
    assert "http://x:1" in headrace.run("env", HEADRACE_ENDPOINT="http://x:1/")[1]
    assert headrace.run("env", "--endpoint", "x")[0] == 2
