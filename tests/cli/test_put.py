# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""`headrace put`: lines of files or standard input, into a directory, beside a server, and to an endpoint."""

from __future__ import annotations

import signal
import subprocess
import time


def test_lines_go_in_and_come_out(cli, where):
    lines = "".join(f"line {i} ü\n" for i in range(1200)).encode()
    assert b"1,200 records put into s" in cli.run("put", "s", "--create", "3", *where, data=lines).stderr
    found = cli.run("tail", "s", "--from", "earliest", "-o", "raw", *where).stdout.splitlines()
    assert sorted(found) == sorted(lines.splitlines())
    last = cli.rows(cli.run("tail", "s", "-n", "3", *where))
    assert len(last) == 3
    assert last[-1]["data"] in {f"line {i} ü" for i in range(1200)}
    assert cli.rows(cli.run("streams", *where))[0]["shards"] == 3


def test_keys_come_from_members_or_a_pattern(cli, where):
    data = b'{"host":{"name":"a"},"n":1}\n{"host":{"name":"b"}}\n{"n":3}\n'
    cli.run("put", "s", "--create", "1", "--format", "ndjson", "--key", "host.name", *where, data=data)
    cli.run("put", "s", "--key-regex", r"user=(\w+)", *where, data=b"x user=carol y\n")
    keys = [row["key"] for row in cli.rows(cli.run("tail", "s", "--from", "earliest", *where))]
    assert sorted(keys)[-3:] == ["a", "b", "carol"]


def test_files_are_named_with_the_line_that_is_wrong(cli, tmp_path):
    file = tmp_path / "bad.ndjson"
    file.write_text('{"a":1}\nnot json\n')
    where = ["--store", str(tmp_path / "store")]
    done = cli.run("put", "s", str(file), "--format", "ndjson", "--create", "1", *where, code=1)
    assert b"bad.ndjson:2 is not JSON" in done.stderr
    assert b"exclude each other" not in done.stderr
    assert cli.run("put", "s", str(tmp_path / "missing"), *where, code=1).stderr
    assert b"there is no stream nowhere" in cli.run("put", "nowhere", *where, data=b"x\n", code=1).stderr


def test_records_that_fail_are_counted_and_the_code_says_partly(cli, tmp_path):
    where = ["--store", str(tmp_path / "store")]
    cli.run("streams", "create", "s", "--record-size-max", "100", *where)
    done = cli.run("put", "s", *where, data=b"x" * 200 + b"\n", code=5)
    assert b"1 records failed" in done.stderr


def test_files_stand_anywhere_and_lines_without_a_key_are_counted(cli, tmp_path):
    file = tmp_path / "a.ndjson"
    file.write_text('{"host":"a"}\n{"other":1}\n')
    done = cli.run("put", "s", "--key", "host", "--create", "1", str(file), "--format", "ndjson", *cli.store)
    assert b"2 records put into s" in done.stderr
    assert b"1 of them had no host for a key and were spread evenly" in done.stderr
    assert done.stdout == b""


def test_what_is_missing_is_named_with_what_to_do_and_nothing_is_made(cli, tmp_path):
    said = cli.fails("put", "s", *cli.store, data=b"x\n")
    assert "there is no store in" in said
    assert "headrace put STREAM --create 1" in said
    assert not (tmp_path / "store").exists()
    cli.run("streams", "create", "metrics", *cli.store)
    said = cli.fails("put", "metrisc", *cli.store, data=b"x\n")
    assert "there is no stream metrisc" in said
    assert "did you mean metrics" in said
    assert "headrace streams create metrisc" in said
    assert "nowhere.log: No such file or directory" in cli.fails("put", "metrics", "nowhere.log", *cli.store)


def test_options_that_make_no_sense_are_usage_errors(cli):
    assert "--create 0 is not 1 to" in cli.fails("put", "s", "--create", "0", *cli.store, code=2)
    assert "--rate -1 is not above 0" in cli.fails("put", "s", "--rate", "-1", *cli.store, code=2)
    assert "--key-regex" in cli.fails("put", "s", "--key-regex", "(", *cli.store, code=2)
    assert "see headrace put --help" in cli.fails("put", code=2)


def test_empty_input_and_bytes_that_are_no_text_are_fine(cli):
    assert b"0 records put" in cli.run("put", "s", "--create", "1", *cli.store, data=b"").stderr
    cli.run("put", "s", *cli.store, data=b"\xff\xfe\x00\n")
    assert cli.run("tail", "s", "-o", "raw", *cli.store).stdout == b"\xff\xfe\x00\n"
    assert cli.rows(cli.run("tail", "s", *cli.store))[0]["data_base64"] == "//4A"


def test_a_file_has_a_bar_on_standard_error_at_a_terminal(cli, tmp_path):
    file = tmp_path / "big.log"
    file.write_bytes(b"a line of a log\n" * 200_000)
    code, shown = cli.at_a_terminal("put", "s", str(file), "--create", "1", *cli.store)
    assert code == 0
    assert "MiB" in shown
    assert "200,000 records put into s" in shown


def test_ctrl_c_says_how_far_it_came(cli):
    cli.run("streams", "create", "s", *cli.store)
    child = subprocess.Popen(
        [*cli.COMMAND, "put", "s", "--rate", "100", *cli.store],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=cli.environ,
    )  # fmt: skip
    assert child.stdin is not None
    try:
        child.stdin.write(b"line\n" * 5000)
        child.stdin.flush()
        end = time.monotonic() + 20
        while not cli.run("tail", "s", "-n", "1", *cli.store).stdout:
            assert time.monotonic() < end
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=20)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130
    (line,) = said.decode().splitlines()
    records = len(cli.run("tail", "s", "--from", "earliest", "-o", "raw", *cli.store).stdout.splitlines())
    assert line == f"ended early: {records:,} records put into s"
