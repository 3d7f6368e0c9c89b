# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: what boto3 puts into Firehose and Kinesis stands in a real S3 server, each record in exactly one
object, in order, whoever is killed and whenever. Method: `headrace serve` and versitygw in processes of their
own, both ended by SIGKILL in the middle; every object is read back and compared with what was acknowledged."""

import gzip
import itertools
import json
import os
import random
import sys
import threading
import time
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from versitygw import ACCESS, BUCKET, SECRET, Gateway, Process, wait_for

pytestmark = pytest.mark.integration

ROLE = "arn:aws:iam::000000000000:role/firehose"


class Headrace(Process):
    """`headrace serve` with [buckets.archive] mapped to a gateway."""

    def __init__(self, directory: Path, gateway: Gateway, secret=SECRET, endpoint=None):
        super().__init__(directory / "headrace.log")
        self.directory = directory / "store"
        self.ready = directory / "ready.json"
        self.config = directory / "headrace.toml"
        (directory / "secret").write_text(secret)
        self.config.write_text(
            f'[buckets.{BUCKET}]\nurl = "s3://{BUCKET}/raw"\nendpoint = "{endpoint or gateway.url}"\n'
            f'access_key_id = "{ACCESS}"\nsecret_access_key = {{ file = "{directory}/secret" }}\n'
        )

    def start(self, failpoint=None):
        self.ready.unlink(missing_ok=True)
        # Variables of the operator's own shell must not reach the store.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE")}
        environment |= {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_SESSION_TOKEN": "wrong"}
        if failpoint:
            environment["HEADRACE_FAILPOINT"] = failpoint
        self.launch(
            [sys.executable, "-m", "headrace", "serve", self.directory, "--port", "0", "--config", self.config,
             "--ready-file", self.ready],
            environment,
        )  # fmt: skip
        wait_for(lambda: self.process.poll() is not None or self.ready.exists(), 60, "headrace")
        assert self.process.poll() is None, self.output()
        self.url = json.loads(self.ready.read_text())["url"]
        return self

    def client(self, service):
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20),
        )

    def status(self, name="d"):
        client = self.client("firehose")
        try:
            return client.describe_delivery_stream(DeliveryStreamName=name)["DeliveryStreamDescription"]
        finally:
            client.close()


@pytest.fixture
def headrace(tmp_path, gateway):
    made = []

    def make(**options):
        made.append(Headrace(tmp_path, gateway, **options))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            assert one.stop() == 0, one.output()
        assert SECRET not in one.output()


def create(server, name="d", interval=1, size=1, codec="GZIP", **members):
    client = server.client("firehose")
    client.create_delivery_stream(
        DeliveryStreamName=name,
        ExtendedS3DestinationConfiguration={
            "RoleARN": ROLE,
            "BucketARN": f"arn:aws:s3:::{BUCKET}",
            "Prefix": name + "/!{timestamp:yyyy-MM-dd}/",
            "ErrorOutputPrefix": "errors/!{firehose:error-output-type}/",
            "BufferingHints": {"SizeInMBs": size, "IntervalInSeconds": interval},
            "CompressionFormat": codec,
        },
        **members,
    )
    client.close()
    wait_for(lambda: server.status(name)["DeliveryStreamStatus"] == "ACTIVE", what="ACTIVE")


def lines_of(objects):
    """The records of all objects, each a line, and nothing but whole lines."""
    found = []
    for key, data in objects.items():
        assert not key.rpartition("/")[2].startswith("."), f"{key} was left behind"
        text = gzip.decompress(data) if key.endswith(".gz") else data
        assert text.endswith(b"\n")
        found.append(text.splitlines())
    return found


def assert_delivered(gateway, acknowledged, attempted=()):
    """Everything acknowledged is there once; what was attempted without an answer at most once (each retry
    by a client is a record of its own, and has text of its own here)."""
    want = set(acknowledged)

    def complete():
        found = list(itertools.chain(*lines_of(gateway.objects())))
        return found if want <= set(found) else None

    found = wait_for(complete, 120, "every record")
    assert len(found) == len(set(found)), "a record is in two objects"
    assert set(found) <= want | set(attempted)
    return found


class Producer(threading.Thread):
    """Puts until it is told to stop, through every death of the server; each record's text is put once."""

    def __init__(self, server, put):
        super().__init__(daemon=True)
        self.server, self.put = server, put
        self.acknowledged, self.attempted = [], []
        self.numbers = itertools.count()
        self.stopping = threading.Event()

    def run(self):
        client = url = None
        while not self.stopping.is_set():
            if url != self.server.url:
                url, client = self.server.url, self.server.client(self.put)
            records = [b"%08d %s" % (next(self.numbers), os.urandom(150).hex().encode()) for _ in range(50)]
            self.attempted += records
            try:
                self.acknowledged += [
                    r for r, ok in zip(records, self.send(client, records), strict=True) if ok
                ]
            except (BotoCoreError, ClientError):
                time.sleep(0.05)

    def send(self, client, records):
        if self.put == "firehose":
            answer = client.put_record_batch(
                DeliveryStreamName="d", Records=[{"Data": record + b"\n"} for record in records]
            )
            return ["RecordId" in entry for entry in answer["RequestResponses"]]
        answer = client.put_records(
            StreamName="s",
            Records=[{"Data": r + b"\n", "PartitionKey": str(int(r[:8]) % 16)} for r in records],
        )
        return ["SequenceNumber" in entry for entry in answer["Records"]]

    def finish(self):
        self.stopping.set()
        self.join(60)
        assert self.acknowledged
        return self


def source(server, shards=4):
    client = server.client("kinesis")
    client.create_stream(StreamName="s", ShardCount=shards)
    arn = client.describe_stream_summary(StreamName="s")["StreamDescriptionSummary"]["StreamARN"]
    client.close()
    return {
        "DeliveryStreamType": "KinesisStreamAsSource",
        "KinesisStreamSourceConfiguration": {"KinesisStreamARN": arn, "RoleARN": ROLE},
    }


@pytest.mark.parametrize("codec", ["GZIP", "UNCOMPRESSED"])
def test_records_put_by_boto3_arrive_in_objects_that_are_named_as_asked_for(headrace, gateway, codec):
    server = headrace().start()
    create(server, codec=codec)
    producer = Producer(server, "firehose")
    producer.start()
    time.sleep(3)
    producer.finish()
    found = assert_delivered(gateway, producer.acknowledged)
    keys = sorted(gateway.objects())
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert all(key.startswith(f"raw/d/{today}/d-1-{today}-") for key in keys), keys
    assert all(key.endswith(".gz") == (codec == "GZIP") for key in keys)
    assert len(found) == len(producer.acknowledged)
    for group in lines_of(gateway.objects()):
        assert group == sorted(group), "order within an object"


def test_large_objects_go_up_in_parts_and_come_back_whole(headrace, gateway):
    server = headrace().start()
    create(server, size=32, interval=900, codec="UNCOMPRESSED")
    client = server.client("firehose")
    sent = []
    for number in range(85):
        record = b"%08d %s" % (number, random.randbytes(199_990).hex().encode())
        sent.append(record)
        client.put_record(DeliveryStreamName="d", Record={"Data": record + b"\n"})
    client.close()
    wait_for(gateway.objects, 60, "the object")
    (group,) = lines_of(gateway.objects())
    assert group == sent[: len(group)]
    assert sum(len(line) + 1 for line in group) >= 32 << 20


@pytest.mark.parametrize("put", ["firehose", "kinesis"])
def test_each_record_is_in_one_object_though_either_side_is_killed(headrace, gateway, put):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    source_of_chance = random.Random(seed)
    server = headrace().start()
    create(server, **(source(server) if put == "kinesis" else {}))
    producer = Producer(server, put)
    producer.start()
    for number in range(6):
        time.sleep(source_of_chance.uniform(0.3, 1.5))
        if number % 2:
            server.kill()
            server.start()
        else:
            gateway.kill()
            time.sleep(source_of_chance.uniform(0, 0.7))
            gateway.start()
    time.sleep(0.5)
    producer.finish()
    assert_delivered(gateway, producer.acknowledged, producer.attempted)


@pytest.mark.parametrize("place", ["firehose.after_plan", "firehose.after_put", "firehose.after_settle"])
def test_each_record_is_in_one_object_after_a_kill_at_each_step(headrace, gateway, place):
    server = headrace().start()
    create(server)
    assert server.stop() == 0, server.output()
    server.start(failpoint=f"{place}:2")
    producer = Producer(server, "firehose")
    producer.start()
    server.process.wait(60)
    server.start()
    time.sleep(1)
    producer.finish()
    assert_delivered(gateway, producer.acknowledged, producer.attempted)


def test_a_wrong_secret_fails_the_creation_and_says_so_without_telling_it(headrace):
    server = headrace(secret="wrong").start()
    client = server.client("firehose")
    destination = {"RoleARN": ROLE, "BucketARN": f"arn:aws:s3:::{BUCKET}"}
    client.create_delivery_stream(DeliveryStreamName="d", ExtendedS3DestinationConfiguration=destination)
    wait_for(lambda: server.status()["DeliveryStreamStatus"] == "CREATING_FAILED", what="CREATING_FAILED")
    details = server.status()["FailureDescription"]["Details"]
    assert "SignatureDoesNotMatch" in details
    assert ACCESS not in details
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.put_record(DeliveryStreamName="d", Record={"Data": b"x"})
    client.delete_delivery_stream(DeliveryStreamName="d")
    client.close()


def test_a_bucket_that_is_not_there_fails_the_creation(headrace, gateway):
    (gateway.root / BUCKET).rmdir()
    server = headrace().start()
    client = server.client("firehose")
    destination = {"RoleARN": ROLE, "BucketARN": f"arn:aws:s3:::{BUCKET}"}
    client.create_delivery_stream(DeliveryStreamName="d", ExtendedS3DestinationConfiguration=destination)
    wait_for(lambda: server.status()["DeliveryStreamStatus"] == "CREATING_FAILED", what="CREATING_FAILED")
    assert "NoSuchBucket" in server.status()["FailureDescription"]["Details"]
    client.close()


def test_records_wait_while_the_store_is_down_and_its_error_is_shown(headrace, gateway):
    server = headrace().start()
    create(server)
    gateway.kill()
    client = server.client("firehose")
    sent = [b"%08d" % number for number in range(500)]
    for start in range(0, 500, 100):
        records = [{"Data": record + b"\n"} for record in sent[start : start + 100]]
        assert client.put_record_batch(DeliveryStreamName="d", Records=records)["FailedPutCount"] == 0
    wait_for(lambda: "FailureDescription" in server.status(), what="FailureDescription")
    details = server.status()["FailureDescription"]["Details"]
    assert f"s3://{BUCKET}/raw at {gateway.url}" in details
    server.kill()  # and the server dies meanwhile
    server.start()
    time.sleep(1)
    gateway.start()
    found = assert_delivered(gateway, sent)
    assert len(found) == len(sent)
    wait_for(lambda: "FailureDescription" not in server.status(), what="recovery")
    client.close()


def test_a_secret_that_becomes_wrong_later_is_shown_and_tried_again(headrace, gateway, tmp_path):
    server = headrace().start()
    create(server)
    assert server.stop() == 0, server.output()
    (tmp_path / "secret").write_text("rotated-away")
    server.start()
    client = server.client("firehose")
    client.put_record(DeliveryStreamName="d", Record={"Data": b"kept\n"})
    wait_for(lambda: "FailureDescription" in server.status(), what="FailureDescription")
    description = server.status()
    assert description["DeliveryStreamStatus"] == "ACTIVE"
    assert "SignatureDoesNotMatch" in description["FailureDescription"]["Details"]
    client.close()
    assert server.stop() == 0, server.output()
    (tmp_path / "secret").write_text(SECRET)
    server.start()
    assert_delivered(gateway, [b"kept"])


def test_a_deleted_delivery_delivers_what_was_open_first(headrace, gateway):
    server = headrace().start()
    create(server, interval=900)
    client = server.client("firehose")
    client.put_record(DeliveryStreamName="d", Record={"Data": b"open\n"})
    client.delete_delivery_stream(DeliveryStreamName="d")
    wait_for(lambda: client.list_delivery_streams()["DeliveryStreamNames"] == [], what="the end")
    assert_delivered(gateway, [b"open"])
    client.close()


def test_our_own_listener_is_refused_as_a_destination(headrace, gateway, tmp_path):
    server = headrace().start()
    assert server.stop() == 0
    port = server.url.rpartition(":")[2]
    server.config.write_text(
        server.config.read_text().replace(gateway.url, f"http://localhost:{port}")
        + f'[server]\nbind = "127.0.0.1:{port}"\n'
    )
    server.ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "headrace", "serve", server.directory, "--config", server.config]
    server.launch([*command, "--ready-file", server.ready])
    wait_for(server.ready.exists, what="headrace")
    client = server.client("firehose")
    destination = {"RoleARN": ROLE, "BucketARN": f"arn:aws:s3:::{BUCKET}"}
    client.create_delivery_stream(DeliveryStreamName="d", ExtendedS3DestinationConfiguration=destination)
    wait_for(lambda: server.status()["DeliveryStreamStatus"] == "CREATING_FAILED", what="CREATING_FAILED")
    assert "this very server" in server.status()["FailureDescription"]["Details"]
    client.close()
