# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""`headrace put`: lines of files or standard input, into a directory, beside a server, and to an endpoint."""

from __future__ import annotations

import array
import fcntl
import http.server
import json
import signal
import socket
import subprocess
import termios
import threading
import time
from argparse import Namespace

import pytest

from headrace.cli import put
from headrace.cli.put_lines import LINE_SIZE_MAX, Interruption, Source
from headrace.cli.put_senders import Sender


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
    file.write_text('{"a":1}\nnot json\n\n{"a":2}\nneither\n')
    where = ["--store", str(tmp_path / "store")]
    done = cli.run("put", "s", str(file), "--format", "ndjson", "--create", "1", *where, code=5)
    first, second = done.stderr.decode().splitlines()
    assert first == "2 records put into s, 1 blank lines left out"
    assert second.startswith("headrace: 2 lines were not put; the first: ")
    assert "bad.ndjson:2 is not JSON" in second
    assert [row["data"] for row in cli.rows(cli.run("tail", "s", *where))] == ['{"a":1}', '{"a":2}']
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
    said = cli.fails("put", code=2)
    assert "see headrace put --help" in said
    assert "STREAM" in said
    assert "FILE" not in said


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


def start(cli, *words):
    return subprocess.Popen(
        [*cli.COMMAND, "put", "s", *words],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=cli.environ,
    )  # fmt: skip


def shown(cli, where):
    return cli.run("tail", "s", "--from", "earliest", "-o", "raw", *where).stdout.splitlines()


def unread(pipe):
    """Bytes in a pipe that nobody has read yet."""
    found = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, found)
    return found[0]


def test_a_line_of_a_pipe_that_stays_open_is_put_without_another_one(cli, where):
    cli.run("put", "s", "--create", "1", *where)
    child = start(cli, *where)
    try:
        for count, line in enumerate((b"first\n", b"second\nthird"), 1):
            child.stdin.write(line)
            child.stdin.flush()
            end = time.monotonic() + 20
            while len(shown(cli, where)) < count:
                assert time.monotonic() < end
                assert child.poll() is None
        _, said = child.communicate(timeout=20)
    finally:
        child.kill()
        child.wait()
    assert (child.returncode, said) == (0, b"3 records put into s\n")
    assert shown(cli, where) == [b"first", b"second", b"third"]


def test_ctrl_c_puts_what_was_read(cli, where):
    cli.run("put", "s", "--create", "1", *where)
    child = start(cli, *where)
    try:
        for number in range(8):
            child.stdin.write(b"line %d\n" % number)
        child.stdin.write(b"half a li")
        child.stdin.flush()
        end = time.monotonic() + 20
        while unread(child.stdin):
            assert time.monotonic() < end
        child.send_signal(signal.SIGINT)  # while the batch is held for more lines
        _, said = child.communicate(timeout=20)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130
    assert said.decode().splitlines() == [
        "ended early: 8 records put into s", "a last line of 9 bytes had no end yet and was not put",
    ]  # fmt: skip
    assert shown(cli, where) == [b"line %d" % number for number in range(8)]


def test_one_wrong_record_costs_no_other(cli, where):
    cli.run("put", "s", "--create", "1", *where)
    lines = [b"line %d" % number for number in range(19)]
    lines.insert(7, b"x" * 1_100_000)
    done = cli.run("put", "s", *where, data=b"\n".join(lines) + b"\n", code=5)
    first, second = done.stderr.decode().splitlines()
    assert first == "19 records put into s"
    assert second.startswith("headrace: 1 records failed: ")
    assert "1048576" in second
    assert shown(cli, where) == lines[:7] + lines[8:]


def test_a_line_too_long_for_any_stream_is_passed_over_without_being_kept(cli, tmp_path):
    file = tmp_path / "long"
    file.write_bytes(b"a\n" + b"x" * (2 * LINE_SIZE_MAX) + b"\nb\n")
    done = cli.run("put", "s", str(file), "--create", "1", *cli.store, code=5)
    assert b"long:2 has more than 10485760 bytes" in done.stderr
    assert shown(cli, cli.store) == [b"a", b"b"]


class Throttling(http.server.BaseHTTPRequestHandler):
    """Takes the even records of a first request, all of the others; `refuse`: never takes what says so."""

    protocol_version = "HTTP/1.1"
    taken: list[str]
    asked: list[int]

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {}
        if self.headers["X-Amz-Target"].endswith("PutRecords"):
            answer = {"Records": [self.result(*pair) for pair in enumerate(request["Records"])]}
            self.asked.append(len(request["Records"]))
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def result(self, number, record):
        if record["PartitionKey"] == "odd":
            return {"ErrorCode": "KMSAccessDeniedException", "ErrorMessage": "the key is gone"}
        if not self.asked and number % 2:
            return {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"}
        self.taken.append(record["Data"])
        return {"SequenceNumber": "1", "ShardId": "shardId-000000000000"}

    def log_message(self, *_):
        pass


@pytest.fixture
def throttling():
    kind = type("Fresh", (Throttling,), {"taken": [], "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", kind
    server.shutdown()
    thread.join()
    server.server_close()


def test_records_that_an_endpoint_throttles_are_put_again_and_others_named(cli, throttling):
    url, seen = throttling
    done = cli.run("put", "s", "--endpoint", url, data=b"a\nb\nc\nd\ne\n")
    assert done.stderr == b"5 records put into s\n"
    assert len(set(seen.taken)) == 5
    assert seen.asked == [5, 2]
    words = ("put", "s", "--key-regex", "key=(.*)", "--endpoint", url)
    said = cli.run(*words, data=b"key=a\nkey=odd\n", code=5).stderr.decode()
    assert "1 records put into s" in said
    assert "1 records failed: KMSAccessDeniedException: the key is gone" in said


def test_a_connection_that_the_server_closed_meanwhile_is_opened_again(cli):
    listener = socket.create_server(("127.0.0.1", 0))

    def answer_twice():
        for _ in range(2):  # one request a connection, which is closed without a word
            peer, _ = listener.accept()
            with peer, peer.makefile("rwb") as file:
                size = 0
                while (line := file.readline().strip()) != b"":
                    if line.lower().startswith(b"content-length:"):
                        size = int(line.split()[1])
                body = b'{"Records":[{}]}' if b"Records" in file.read(size) else b"{}"
                file.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    thread = threading.Thread(target=answer_twice)
    thread.start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert cli.run("put", "s", "--endpoint", url, data=b"a\n").stderr == b"1 records put into s\n"
    finally:
        thread.join(20)
        listener.close()


class Counting(Sender):
    """Counts the records of each batch."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def send(self, batch):
        self.sizes.append(len(batch))
        self.put += len(batch)

    def close(self):
        pass


@pytest.mark.parametrize(("rate", "most"), [(None, 500), (1e6, 500), (50, 5), (3, 1)])
def test_a_rate_is_kept_within_a_tenth_of_a_second_too(tmp_path, monkeypatch, rate, most):
    file = tmp_path / "lines"
    file.write_bytes(b"line\n" * 1200)
    slept = []
    monkeypatch.setattr(Interruption, "wait", lambda _self, _descriptor, seconds: slept.append(seconds))
    sender, interruption = Counting(), Interruption()
    source = Source([str(file)], interruption, lambda _size: None)
    arguments = Namespace(stream="s", rate=rate, key=None, key_regex=None)
    put.put_all(source, lambda _line: None, sender, put.Tally(), arguments, interruption)
    assert sum(sender.sizes) == 1200
    assert max(sender.sizes) == most
    assert bool(slept) == (rate is not None)
