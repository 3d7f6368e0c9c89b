# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A site serves a real store from a thread: boto3 in, the log below, keepers beside, an orderly end."""

import asyncio
import contextlib
import http.client
import json
import re
import socket
import urllib.request

import boto3
import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.clock import FrozenClock
from headrace.config import Config, Secret, Server, Store
from headrace.config import Streams as StreamsConfig
from headrace.disk import SystemDisk
from headrace.errors import AddressInUse, ConfigurationError, StorageError
from headrace.log import Log
from headrace.server import app
from headrace.server.app import ServerThread, Site
from headrace.server.listener import bind_socket, check_exposure, is_loopback
from headrace.streams.answers import Answer


@pytest.fixture
def log(tmp_path):
    log = Log.open(tmp_path / "store", background=False)
    yield log
    log.close()


class Recorder:
    """A keeper that writes down when it was started and stopped."""

    def __init__(self, name: str, events: list[str], failure: Exception | None = None) -> None:
        self.name, self.events, self.failure = name, events, failure

    async def start(self) -> None:
        self.events.append(f"start {self.name}")

    async def stop(self) -> None:
        self.events.append(f"stop {self.name}")
        if self.failure:
            raise self.failure


def test_boto3_puts_and_reads_through_a_thread_of_this_process(log):
    site = Site(log)
    with ServerThread(site) as server:
        client = boto3.client("kinesis", **server.boto3())
        client.create_stream(StreamName="s", ShardCount=2)
        answer = client.put_records(
            StreamName="s", Records=[{"Data": b"%d" % i, "PartitionKey": str(i)} for i in range(100)]
        )
        assert answer["FailedRecordCount"] == 0
        found = []
        for shard in client.list_shards(StreamName="s")["Shards"]:
            iterator = client.get_shard_iterator(
                StreamName="s", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            found += [record["Data"] for record in client.get_records(ShardIterator=iterator)["Records"]]
        assert sorted(found) == sorted(b"%d" % i for i in range(100))
        client.close()
    server.stop()
    with pytest.raises(OSError):
        socket.create_connection((server.host, server.port), timeout=1)


def test_a_disk_stream_is_synced_before_its_answer(log):
    site = Site(log, Config(store=Store(durability="disk")))
    with ServerThread(site) as server:
        client = boto3.client("kinesis", **server.boto3())
        client.create_stream(StreamName="s", ShardCount=4)
        client.put_records(
            StreamName="s", Records=[{"Data": b"x", "PartitionKey": str(i)} for i in range(64)]
        )
        assert server.listener.context.committer.syncs == 1
        client.close()


class CountingDisk(SystemDisk):
    """The system's disk; writes down each call that waits for the device."""

    def __init__(self) -> None:
        self.waits: list[str] = []

    def sync(self, file):
        self.waits.append("file")
        super().sync(file)

    def sync_directory(self, path):
        self.waits.append("directory")
        super().sync_directory(path)


def test_a_put_records_over_64_shards_of_a_disk_stream_costs_one_sync(tmp_path):
    """Method: count what waits for the device, over several requests of 500 records that reach every shard."""
    disk = CountingDisk()
    log = Log.open(tmp_path / "store", disk=disk, background=False)
    with ServerThread(Site(log, Config(store=Store(durability="disk")))) as server:
        client = boto3.client("kinesis", **server.boto3())
        client.create_stream(StreamName="s", ShardCount=64)
        client.put_records(StreamName="s", Records=[{"Data": b"first", "PartitionKey": "k"}])
        for turn in range(3):
            disk.waits.clear()
            answer = client.put_records(
                StreamName="s",
                Records=[
                    {
                        "Data": b"x" * 300,
                        "PartitionKey": "k",
                        "ExplicitHashKey": str(((i % 64) << 122) + turn),
                    }
                    for i in range(500)
                ],
            )
            assert answer["FailedRecordCount"] == 0
            assert len({record["ShardId"] for record in answer["Records"]}) == 64
            assert disk.waits == ["file"]
        client.close()
    log.close()


def test_a_write_that_the_disk_refuses_is_answered_as_internal_failure(log, monkeypatch, caplog):
    site = Site(log)
    stream = site.streams.create("s", 1)
    with ServerThread(site) as server:
        url = server.url

        def put() -> int:
            body = json.dumps({"StreamName": "s", "Data": "eA==", "PartitionKey": "a"}).encode()
            headers = {
                "X-Amz-Target": "Kinesis_20131202.PutRecord",
                "Content-Type": "application/x-amz-json-1.1",
            }
            try:
                return urllib.request.urlopen(urllib.request.Request(url, body, headers)).status
            except urllib.error.HTTPError as error:
                return error.code

        assert put() == 200

        def refuse():
            raise StorageError("no")

        with monkeypatch.context() as patch:
            patch.setattr(type(stream.lanes[0]), "write", lambda self: refuse())
            assert put() == 500
        assert put() == 200


def test_health_says_ok_and_metrics_render(log):
    with ServerThread(Site(log)) as server:
        health = json.loads(urllib.request.urlopen(server.url + "/-/health").read())
        assert health["status"] == "ok" and health["uptime_s"] >= 0 and health["records_dropped"] >= 0
        answer = urllib.request.urlopen(server.url + "/-/metrics")
        text = answer.read().decode()
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert answer.headers["Cache-Control"] == "no-store"
        families = {family.name: family for family in text_string_to_metric_families(text)}
        values = {name: family.samples[0].value for name, family in families.items() if family.samples}
        assert values["headrace_http_connections"] in (1, 2)
        assert values["headrace_process_resident_bytes"] > 1e6


def test_metrics_are_prometheus_text_and_count_what_was_done(log):
    """Read back by prometheus-client's own parser; a name that Prometheus would not take does not get through it."""
    with ServerThread(Site(log)) as server:
        client = boto3.client("kinesis", **server.boto3())
        client.create_stream(StreamName="s", ShardCount=1)
        for _ in range(3):
            client.put_record(StreamName="s", Data=b"x", PartitionKey="k")
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.put_record(StreamName="nowhere", Data=b"x", PartitionKey="k")
        client.close()
        families = list(
            text_string_to_metric_families(urllib.request.urlopen(server.url + "/-/metrics").read().decode())
        )
    assert all(re.fullmatch(r"headrace_[a-z0-9_]+", family.name) for family in families)
    assert all(family.documentation and family.type != "unknown" for family in families)
    assert len({family.name for family in families}) == len(families)
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }
    put = (("operation", "PutRecord"), ("service", "Kinesis_20131202"))
    assert samples["headrace_operation_answers_total", *put, ("status", "2xx")] == 3
    assert samples["headrace_operation_answers_total", *put, ("status", "4xx")] == 1
    assert samples["headrace_operation_seconds_count", *put] == 4
    assert samples["headrace_operation_seconds_sum", *put] > 0
    buckets = [
        (float(dict(key[1:])["le"]), value)
        for key, value in samples.items()
        if key[0] == "headrace_operation_seconds_bucket" and ("operation", "PutRecord") in key
    ]
    assert [count for _, count in sorted(buckets)] == sorted(count for _, count in buckets)
    assert dict(buckets)[float("inf")] == 4


def test_keepers_start_in_order_and_stop_in_reverse_whatever_one_does(log, caplog):
    site = Site(log)
    events: list[str] = []
    site.add_keeper(Recorder("a", events))
    site.add_keeper(Recorder("b", events, RuntimeError("stuck")))
    with ServerThread(site):
        assert events == ["start a", "start b"]
    assert events == ["start a", "start b", "stop b", "stop a"]
    assert any("did not stop" in record.message for record in caplog.records)


def test_a_keeper_that_cannot_start_ends_the_start_and_stops_the_others(log):
    site = Site(log)
    events: list[str] = []

    class Broken(Recorder):
        async def start(self) -> None:
            raise ConfigurationError("broken")

    site.add_keeper(Recorder("a", events))
    site.add_keeper(Broken("b", events))
    with pytest.raises(ConfigurationError, match="broken"):
        ServerThread(site).start()
    assert events == ["start a", "stop a"]


def test_names_that_are_no_operations_share_one_label(log):
    """Whoever makes up names neither makes the page long nor keeps real operations out of it."""
    with ServerThread(Site(log)) as server, contextlib.ExitStack() as stack:
        connection = http.client.HTTPConnection(server.host, server.port)
        stack.callback(connection.close)

        def post(target: str) -> int:
            connection.request("POST", "/", b"{}", {"X-Amz-Target": target})
            answer = connection.getresponse()
            answer.read()
            return answer.status

        for number in range(550):
            assert post(f"Kinesis_20131202.Made{number}") == post(f"Made_{number}.Up") == 400
        assert post("Kinesis_20131202.ListStreams") == 200
        page = urllib.request.urlopen(server.url + "/-/metrics").read().decode()
    labels = 'operation="unknown",service="unknown",status="4xx"'
    assert f"headrace_operation_answers_total{{{labels}}} 1100.0" in page
    assert 'operation="ListStreams",service="Kinesis_20131202",status="2xx"} 1.0' in page
    assert "Made" not in page


def test_a_service_of_another_room_is_added_by_its_prefix(log):
    class Other:
        operations = frozenset({"Do"})

        def call(self, operation: str, body):
            return Answer(200, operation.encode())

    site = Site(log)
    site.add_service("Other_1", Other())
    with ServerThread(site) as server:
        headers = {"X-Amz-Target": "Other_1.Do", "Content-Type": "application/json"}
        assert urllib.request.urlopen(urllib.request.Request(server.url, b"{}", headers)).read() == b"Do"


def test_the_account_and_region_of_the_configuration_reach_arns(log, monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    assert Site(log).streams.arn_prefix == "arn:aws:kinesis:eu-north-1:000000000000:stream/"


def test_the_limit_of_scalings_a_day_is_switched_on_by_the_configuration(log):
    config = Config(streams=StreamsConfig(enforce_limits=True))
    with ServerThread(Site(log, config, clock=FrozenClock(1_700_000_000_000))) as server:
        client = boto3.client("kinesis", **server.boto3())
        client.create_stream(StreamName="a", ShardCount=1)

        def scale(count: int):
            return client.update_shard_count(
                StreamName="a", TargetShardCount=count, ScalingType="UNIFORM_SCALING"
            )

        for turn in range(10):
            scale(2 - turn % 2)
        with pytest.raises(client.exceptions.LimitExceededException, match="more than 10 times"):
            scale(2)


def test_addresses_beyond_loopback_need_to_be_allowed(log):
    for host in ("0.0.0.0", "::", "", "192.0.2.1", "no.such.host.invalid"):
        assert not is_loopback(host)
        with pytest.raises(ConfigurationError, match="--insecure"):
            check_exposure(host, False)
        check_exposure(host, True)
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        check_exposure(host, False)
    with pytest.raises(ConfigurationError):
        ServerThread(Site(log), "0.0.0.0")
    ServerThread(Site(log, Config(server=Server(insecure=True))), "0.0.0.0").stop()


def status_of(port: int, path: str, **headers: str) -> int:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status


def test_beyond_loopback_metrics_are_for_those_who_have_the_token(log):
    token = {"insecure": True, "metrics_token": Secret("s3cret-µ")}
    for settings, authorization, status in (
        ({"insecure": True}, None, 403),
        ({"insecure": True}, "Bearer ", 403),
        (token, None, 403),
        (token, "Bearer s3cret", 403),
        (token, "Bearer s3cret-µ2", 403),
        (token, "Basic s3cret-µ", 403),
        (token, "Bearer s3cret-µ", 200),
        (token, "bearer  s3cret-µ ", 200),
    ):
        headers = {} if authorization is None else {"Authorization": authorization.encode()}
        with ServerThread(Site(log, Config(server=Server(**settings))), "0.0.0.0") as server:
            assert status_of(server.port, "/-/metrics", **headers) == status, authorization
            assert status_of(server.port, "/-/health") == 200
    with pytest.raises(ConfigurationError, match="metrics_token of"):
        Site(log, Config(server=Server(metrics_token=Secret(""))))
    with ServerThread(Site(log, Config(server=Server(metrics_token=Secret("x"))))) as server:
        assert status_of(server.port, "/-/metrics") == 200


def test_a_bound_port_is_refused_by_name():
    bound = bind_socket("127.0.0.1", 0)
    bound.listen()
    with pytest.raises(AddressInUse, match="Address already in use"):
        bind_socket("127.0.0.1", bound.getsockname()[1])
    bound.close()
    with pytest.raises(AddressInUse, match=r"cannot listen on 192\.0\.2\.1"):
        bind_socket("192.0.2.1", 0)


def test_an_ipv6_address_gives_a_url_in_brackets(log):
    with ServerThread(Site(log), "::1") as server:
        assert server.url.startswith("http://[::1]:")
        assert urllib.request.urlopen(server.url + "/-/health").status == 200


def test_serving_ends_when_it_is_told_to_on_a_plain_loop_too(log):
    """The server runs on asyncio's own loop as well as on uvloop."""

    async def main() -> int:
        stop = asyncio.Event()
        ports = []

        def ready(listener) -> None:
            ports.append(listener.port)
            stop.set()

        await app.serve(Site(log), bind_socket("127.0.0.1", 0), ready, stop)
        return ports[0]

    assert asyncio.run(main()) > 0
