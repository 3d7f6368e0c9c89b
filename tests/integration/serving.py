# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""`headrace serve` in a process that can be killed, what puts into it meanwhile, and what must have arrived."""

import gzip
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

ROLE = "arn:aws:iam::000000000000:role/firehose"
BUCKET = "archive"
KEYS = 16  # partition keys of a producer's records


class Process:
    """A server that can be killed and started again on the same port."""

    def __init__(self, output: Path):
        self.output_path = output
        self.process = None

    def launch(self, command, environment=None):
        with self.output_path.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=60):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def output(self):
        return self.output_path.read_text()


def wait_for(condition, seconds=60, what="it"):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.05)
    return found


class Headrace(Process):
    """`headrace serve`; a configuration maps buckets, without one they are directories of the store."""

    def __init__(self, directory: Path, configuration: str | None = None):
        super().__init__(directory / "headrace.log")
        self.directory = directory / "store"
        self.ready = directory / "ready.json"
        self.config = None
        if configuration is not None:
            self.config = directory / "headrace.toml"
            self.config.write_text(configuration)

    def objects(self, bucket):
        """Names and bytes of the objects in a bucket that is a directory of the store."""
        root = self.directory / "buckets" / bucket
        found = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
        return {str(path.relative_to(root)): path.read_bytes() for path in found}

    def start(self, failpoint=None):
        self.ready.unlink(missing_ok=True)
        # Variables of the operator's own shell must not reach the store.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE")}
        environment |= {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_SESSION_TOKEN": "wrong"}
        if failpoint:
            environment["HEADRACE_FAILPOINT"] = failpoint
        words = ["serve", self.directory, "--port", "0", "--ready-file", self.ready]
        config = [] if self.config is None else ["--config", self.config]
        self.launch([sys.executable, "-m", "headrace", *words, *config], environment)
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


def create(server, name="d", interval=1, size=1, codec="GZIP", bucket=BUCKET, **members):
    """Make a delivery stream and wait until it is ACTIVE."""
    client = server.client("firehose")
    client.create_delivery_stream(
        DeliveryStreamName=name,
        ExtendedS3DestinationConfiguration={
            "RoleARN": ROLE,
            "BucketARN": f"arn:aws:s3:::{bucket}",
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


def assert_delivered(objects, acknowledged, attempted=(), keys=1):
    """Everything acknowledged is there once; what was attempted without an answer at most once (each retry
    by a client is a record of its own, and has text of its own here). Records begin with their number; those
    that are equal modulo `keys` have one partition key, and come in order, within an object and from one to
    the next.

    objects: called for names and bytes."""
    want = set(acknowledged)

    def complete():
        groups = lines_of(objects())
        return groups if want <= set(itertools.chain(*groups)) else None

    groups = wait_for(complete, 120, "every record")
    found = list(itertools.chain(*groups))
    assert len(found) == len(set(found)), "a record is in two objects"
    assert set(found) <= want | set(attempted)
    for key in range(keys):
        numbers = [[int(line[:8]) for line in group if int(line[:8]) % keys == key] for group in groups]
        numbers = sorted(group for group in numbers if group)
        assert list(itertools.chain(*numbers)) == sorted(itertools.chain(*numbers)), f"order of key {key}"
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
            Records=[{"Data": r + b"\n", "PartitionKey": str(int(r[:8]) % KEYS)} for r in records],
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
