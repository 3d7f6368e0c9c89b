# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""`headrace serve`, as a process with real clients."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import boto3
import pytest

import headrace as headrace_library
from headrace.cli import serve
from headrace.errors import ConfigurationError


def kinesis(url: str):
    return boto3.client(
        "kinesis", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )


def test_a_directory_is_served_found_again_and_left_clean(headrace):
    process, ready = headrace.serve("data", "--init", "metrics:2,logs")
    assert ready["pid"] == process.pid and ready["url"] == f"http://127.0.0.1:{ready['port']}"
    client = kinesis(ready["url"])
    assert client.list_streams()["StreamNames"] == ["logs", "metrics"]
    client.put_record(StreamName="logs", Data=b"kept", PartitionKey="a")
    code, out, err = headrace.stop(process)
    assert (code, err) == (0, "")
    assert f"headrace serves {ready['url']}" in out and "auth        off (loopback only)" in out
    assert f"export AWS_ENDPOINT_URL_KINESIS={ready['url']}" in out and "survives kill -9" in out
    assert f"buckets     {headrace.directory / 'data' / 'buckets' / 'NAME'}" in out
    assert not list(headrace.directory.glob("ready-*"))
    process, ready = headrace.serve("data", "--init", "metrics:2,logs")
    client = kinesis(ready["url"])
    shard = client.list_shards(StreamName="logs")["Shards"][0]["ShardId"]
    iterator = client.get_shard_iterator(StreamName="logs", ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    assert client.get_records(ShardIterator=iterator["ShardIterator"])["Records"][0]["Data"] == b"kept"
    assert headrace.stop(process, signal.SIGINT)[0] == 0


def test_its_start_costs_less_than_half_a_second(headrace):
    """Processor time, because the wall clock of a busy machine says nothing (0.16 s idle, when written)."""
    headrace.run("--version")  # compiled and in the page cache

    def start() -> tuple[subprocess.Popen, str]:
        process, ready = headrace.serve("data")
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        assert ticks / os.sysconf("SC_CLK_TCK") < 0.5, how
        return process, ready["url"]

    how = "in a new directory"
    process, url = start()
    client = kinesis(url)
    client.create_stream(StreamName="s", ShardCount=4)
    put_some(client)
    headrace.stop(process)
    how = "after a clean stop"
    process, url = start()
    put_some(kinesis(url))
    process.kill()
    process.communicate()
    how = "after kill -9"
    process, url = start()
    put_some(kinesis(url))
    headrace.stop(process)


def put_some(client) -> None:
    """Twenty mebibytes over all shards of the stream."""
    for _ in range(20):
        entries = [{"Data": os.urandom(10_000), "PartitionKey": str(i)} for i in range(105)]
        assert client.put_records(StreamName="s", Records=entries)["FailedRecordCount"] == 0


def test_a_second_ctrl_c_ends_at_once_and_leaves_no_ready_file(headrace):
    """A request under way holds the stop up until then."""
    process, ready = headrace.serve("data")
    with socket.create_connection(("127.0.0.1", ready["port"]), timeout=10) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        metrics = urllib.request.urlopen(ready["url"] + "/-/metrics").read().decode()
        assert "headrace_http_connections 2.0" in metrics
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None and "Ctrl-C again" in process.stderr.readline()
        assert list(headrace.directory.glob("ready-*"))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert not list(headrace.directory.glob("ready-*"))


def test_other_processes_open_the_directory_that_is_served(headrace):
    process, ready = headrace.serve("data", "--init", "s:2")
    with headrace_library.open(ready["directory"]) as store:
        assert not store.writer
        store.stream("s").put_many([b"one", b"two", b"three"], keys="k")
        made = store.stream("made")
        made.put(b"four", key="k")
    client = kinesis(ready["url"])
    assert client.list_streams()["StreamNames"] == ["made", "s"]
    found = []
    for shard in client.list_shards(StreamName="s")["Shards"]:
        iterator = client.get_shard_iterator(
            StreamName="s", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )
        found += [r["Data"] for r in client.get_records(ShardIterator=iterator["ShardIterator"])["Records"]]
    assert found == [b"one", b"two", b"three"]
    headrace.stop(process)


def test_after_kill_9_what_was_answered_is_there(headrace):
    process, ready = headrace.serve("data", "--init", "s")
    kinesis(ready["url"]).put_record(StreamName="s", Data=b"kept", PartitionKey="a")
    process.kill()
    process.communicate()
    process, ready = headrace.serve("data")
    client = kinesis(ready["url"])
    iterator = client.get_shard_iterator(
        StreamName="s", ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON"
    )
    assert client.get_records(ShardIterator=iterator["ShardIterator"])["Records"][0]["Data"] == b"kept"
    headrace.stop(process)


def test_disk_durability_accounts_and_regions_reach_new_streams(headrace):
    process, ready = headrace.serve(
        "--ephemeral",
        "--durability",
        "disk",
        "--account",
        "123456789012",
        "--region",
        "eu-west-1",
        "--init",
        "s",
    )
    client = kinesis(ready["url"])
    arn = client.describe_stream_summary(StreamName="s")["StreamDescriptionSummary"]["StreamARN"]
    assert arn == "arn:aws:kinesis:eu-west-1:123456789012:stream/s"
    assert client.put_record(StreamName="s", Data=b"x", PartitionKey="a")["ShardId"]
    metrics = urllib.request.urlopen(ready["url"] + "/-/metrics").read().decode()
    assert "headrace_http_commit_syncs_total 1.0" in metrics
    assert Path(ready["directory"]).exists()
    assert "survives power loss" in headrace.stop(process)[1]
    assert not Path(ready["directory"]).exists()


def test_a_ready_file_that_cannot_be_written_is_refused_before_anything_is_opened(headrace):
    for path, reason in (("none/ready", "there is no directory none"), (".", ". is a directory")):
        code, _, err = headrace.run("serve", "data", "--port", "0", "--ready-file", path)
        assert code == 2 and f"--ready-file: {reason}" in err and "name a file" in err, err
        assert not (headrace.directory / "data").exists()


def test_the_ready_file_of_a_killed_server_is_removed_and_that_of_a_running_one_is_not(headrace):
    process, _ = headrace.serve("data")
    left = headrace.directory / "ready-0.json"
    again = ("serve", "data", "--port", "0", "--ready-file", str(left))
    code, _, err = headrace.run(*again)
    assert code == 4 and "stop that process" in err, err
    assert json.loads(left.read_text())["pid"] == process.pid
    process.kill()
    process.communicate()
    assert left.exists()
    code, _, err = headrace.run(*again, "--init", "not/a/name")
    assert code != 0, err
    assert not left.exists()


def test_metrics_count_operations_by_outcome(headrace):
    process, ready = headrace.serve("--ephemeral", "--init", "s")
    client = kinesis(ready["url"])
    client.put_record(StreamName="s", Data=b"x", PartitionKey="a")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.put_record(StreamName="none", Data=b"x", PartitionKey="a")
    text = urllib.request.urlopen(ready["url"] + "/-/metrics").read().decode()
    labels = 'operation="PutRecord",service="Kinesis_20131202"'
    assert f'headrace_operation_answers_total{{{labels},status="2xx"}} 1.0' in text
    assert f'headrace_operation_answers_total{{{labels},status="4xx"}} 1.0' in text
    assert f"headrace_operation_seconds_count{{{labels}}} 2.0" in text
    headrace.stop(process)


def test_an_idle_server_is_small(headrace):
    process, _ = headrace.serve("--ephemeral", "--init", "s:4")
    status = Path(f"/proc/{process.pid}/status").read_text()
    resident = int(status.partition("VmRSS:")[2].split()[0])
    assert resident < 80 * 1024, f"{resident} KiB"
    headrace.stop(process)


def test_a_request_under_way_is_answered_at_the_stop(headrace):
    process, ready = headrace.serve("--ephemeral", "--init", "s")
    body = json.dumps({"StreamName": "s", "Data": "eA==", "PartitionKey": "a"}).encode()
    head = (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: Kinesis_20131202.PutRecord\r\n"
        b"Content-Type: application/x-amz-json-1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    with socket.create_connection(("127.0.0.1", ready["port"]), timeout=10) as client:
        client.sendall(head + body[:-5])
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        client.sendall(body[-5:])
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")
        assert client.recv(1) == b""
    assert process.wait(10) == 0


def test_a_second_ctrl_c_ends_at_once(headrace):
    process, ready = headrace.serve("--ephemeral")
    with socket.create_connection(("127.0.0.1", ready["port"]), timeout=10) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        code, _, err = headrace.stop(process, signal.SIGINT)
    assert code == 130 and "Ctrl-C again ends at once" in err


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0"])
def test_it_refuses_to_be_reached_by_others_without_being_told(headrace, bind):
    code, out, err = headrace.run("serve", "--ephemeral", "--bind", bind)
    assert (
        (code, out) == (2, "") and "--insecure" in err and "HEADRACE_INSECURE=1" in err and "127.0.0.1" in err
    )
    assert err.count("\n") == 1


def test_told_so_it_listens_and_says_so(headrace):
    ready = headrace.directory / "r.json"
    process = headrace.start(
        "serve", "--ephemeral", "--bind", "0.0.0.0:0", "--ready-file", str(ready), HEADRACE_INSECURE="1"
    )
    while not ready.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    port = json.loads(ready.read_text())["port"]
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/-/health", headers={"Host": "container"})
    assert json.loads(urllib.request.urlopen(asked).read())["status"] == "ok"
    assert "OFF, and other machines can reach this" in headrace.stop(process)[1]


def test_a_port_in_use_is_one_line_and_code_4(headrace):
    process, ready = headrace.serve("--ephemeral")
    code, _, err = headrace.run("serve", "--ephemeral", "--bind", f"127.0.0.1:{ready['port']}")
    assert code == 4 and "Address already in use" in err and "--port 0" in err and err.count("\n") == 1
    headrace.stop(process)


def test_a_directory_that_is_held_is_one_line_and_code_4(headrace):
    process, _ = headrace.serve("data")
    code, _, err = headrace.run("serve", "data", "--port", "0")
    assert code == 4 and str(process.pid) in err and err.count("\n") == 1
    headrace.stop(process)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--init", "a:0"], "is not NAME or NAME:SHARDS"),
        (["--init", "a:00"], "is not NAME or NAME:SHARDS"),
        (["--init", "a:x"], "is not NAME or NAME:SHARDS"),
        (["--durability", "Disk"], "invalid choice: 'Disk'"),
        (["--max-bytes", "10"], "store.max_bytes is 10 bytes; the least is 65536"),
        (["--account", "12"], "is not 12 digits"),
        (["--region", "BAD REGION"], "region 'BAD REGION' is not letters, digits and hyphens"),
        (["--region", "a:b"], "see --region"),
        (["--max-bytes", "lots"], "is not a size"),
        (["--bind", "x:y"], "is not host:port"),
        (["--bind", "no.such.host.invalid:1", "--insecure"], "is not known"),
        (["--bind", "127.0.0.1:1", "--port", "2"], "exclude each other"),
        (["--ephemeral", "data"], "exclude each other"),
        (["--config", "none.toml"], "does not exist"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_made(headrace, words, message):
    code, _, err = headrace.run("serve", *words)
    assert code == 2 and message in err and err.count("\n") == 1
    assert not list(headrace.directory.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[store]\ndurability = "Disk"',
            "store.durability: Invalid enum value 'Disk'; it is one of 'process', 'disk'",
        ),
        ('[streams]\non_full = "drop-oldest"', "it is one of 'throttle', 'drop_oldest'"),
        ("[store]\nmax_bytes = 0", "headrace.toml: store.max_bytes is 0 bytes"),
        (
            "[streams]\nmax_bytes = 1000",
            "headrace.toml: streams.max_bytes is 1000 bytes; the least is 1048576",
        ),
    ],
)
def test_values_of_the_configuration_file_that_are_not_allowed_are_refused_with_their_place(
    headrace, text, message
):
    (headrace.directory / "headrace.toml").write_text(text)
    code, _, err = headrace.run("serve", "--port", "0")
    assert code == 2 and message in err and err.count("\n") == 1
    assert [path.name for path in headrace.directory.iterdir()] == ["headrace.toml"]


def test_the_configuration_file_and_variables_apply(headrace):
    (headrace.directory / "headrace.toml").write_text(
        '[store]\ndirectory = "here"\nmax_bytes = "3GiB"\n[server]\nallowed_hosts = ["kinesis.test"]\n'
    )
    process, ready = headrace.serve(HEADRACE__STREAMS__REGION="ap-south-1", AWS_ENDPOINT_URL="http://x")
    assert ready["directory"].endswith("/here") and ready["region"] == "ap-south-1"
    for host, status in (("kinesis.test", 200), ("other.test", 403)):
        with socket.create_connection(("127.0.0.1", ready["port"]), timeout=10) as client:
            client.sendall(b"GET /-/health HTTP/1.1\r\nHost: %s\r\n\r\n" % host.encode())
            assert client.recv(4096).split()[1] == b"%d" % status
    _, out, _ = headrace.stop(process)
    assert "3.0 GiB" in out and "headrace.toml" in out and "AWS_ENDPOINT_URL is ignored" in out


def test_init_lists_are_parsed():
    assert serve.parse_init("a:2, b,") == [("a", 2), ("b", 1)]
    with pytest.raises(ConfigurationError):
        serve.parse_init(":3")
