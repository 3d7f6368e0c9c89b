# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: what boto3 puts into Firehose and Kinesis stands in a real S3 server, each record in exactly one
object, in order, whoever is killed and whenever. Method: `headrace serve` and versitygw in processes of their
own, both ended by SIGKILL in the middle; every object is read back and compared with what was acknowledged."""

import random
import re
import sys
import time
from pathlib import Path

import pytest
from serving import (
    BUCKET,
    KEYS,
    ROLE,
    Headrace,
    Producer,
    assert_delivered,
    create,
    lines_of,
    source,
    wait_for,
)
from versitygw import ACCESS, SECRET

pytestmark = pytest.mark.integration


@pytest.fixture
def headrace(tmp_path, gateway):
    made = []

    def make(secret=SECRET):
        (tmp_path / "secret").write_text(secret)
        configuration = (
            f'[buckets.{BUCKET}]\nurl = "s3://{BUCKET}/raw"\nendpoint = "{gateway.url}"\n'
            f'access_key_id = "{ACCESS}"\nsecret_access_key = {{ file = "{tmp_path}/secret" }}\n'
        )
        made.append(Headrace(tmp_path, configuration))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            assert one.stop() == 0, one.output()
        assert SECRET not in one.output()


@pytest.mark.parametrize("codec", ["GZIP", "UNCOMPRESSED"])
def test_records_put_by_boto3_arrive_in_objects_that_are_named_as_asked_for(headrace, gateway, codec):
    server = headrace().start()
    create(server, codec=codec)
    producer = Producer(server, "firehose")
    producer.start()
    time.sleep(3)
    producer.finish()
    found = assert_delivered(gateway.objects, producer.acknowledged)
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


@pytest.mark.parametrize("codec", ["GZIP", "UNCOMPRESSED"])
def test_the_largest_object_takes_the_memory_of_a_few_parts(headrace, gateway, codec):
    server = headrace().start()
    create(server, size=128, interval=900, codec=codec)
    client = server.client("firehose")
    line = random.randbytes(499_995).hex().encode()
    for number in range(134):  # 134,000,000 bytes: not yet the object
        client.put_record(DeliveryStreamName="d", Record={"Data": b"%08d %s\n" % (number, line)})
    assert gateway.objects() == {}
    before = anonymous_mib(server)
    client.put_record(DeliveryStreamName="d", Record={"Data": b"%08d %s\n" % (number + 1, line)})
    client.close()
    most = 0
    watching = gateway.client()
    while not watching.list_objects_v2(Bucket=BUCKET).get("KeyCount"):
        most = max(most, anonymous_mib(server))
    watching.close()
    print(f"{most - before} MiB beside {before}")
    # 8 MiB read for the buffer, 8 for the object, 1 to compress, four parts of 8; the log packs its own meanwhile
    assert 0 < most - before < 80
    (group,) = lines_of(gateway.objects())
    assert [int(found[:8]) for found in group] == list(range(135))


def anonymous_mib(server):
    """Memory of the server's own: not what it maps of files."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) >> 10


@pytest.mark.parametrize("put", ["firehose", "kinesis", "kinesis, resharded"])
def test_each_record_is_in_one_object_though_either_side_is_killed(headrace, gateway, put):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    source_of_chance = random.Random(seed)
    server = headrace().start()
    service, _, resharded = put.partition(", ")
    create(server, **(source(server) if service == "kinesis" else {}))
    producer = Producer(server, service)
    producer.start()
    for number in range(6):
        time.sleep(source_of_chance.uniform(0.3, 1.5))
        if resharded:
            client = server.client("kinesis")
            client.update_shard_count(
                StreamName="s", TargetShardCount=(6, 3)[number % 2], ScalingType="UNIFORM_SCALING"
            )
            client.close()
        if number % 2:
            server.kill()
            server.start()
        else:
            gateway.kill()
            time.sleep(source_of_chance.uniform(0, 0.7))
            gateway.start()
    time.sleep(0.5)
    producer.finish()
    keys = KEYS if service == "kinesis" else 1
    assert_delivered(gateway.objects, producer.acknowledged, producer.attempted, keys)


def test_each_record_is_in_one_object_over_starts_and_stops_under_load(headrace, gateway):
    server = headrace().start()
    create(server, interval=0)
    producer = Producer(server, "firehose")
    producer.start()
    for _ in range(4):
        time.sleep(0.7)
        assert server.stop() == 0, server.output()
        server.start()
    producer.finish()
    assert_delivered(gateway.objects, producer.acknowledged, producer.attempted)


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
    assert_delivered(gateway.objects, producer.acknowledged, producer.attempted)


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
    found = assert_delivered(gateway.objects, sent)
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
    client.put_record(DeliveryStreamName="d", Record={"Data": b"00000000 kept\n"})
    wait_for(lambda: "FailureDescription" in server.status(), what="FailureDescription")
    description = server.status()
    assert description["DeliveryStreamStatus"] == "ACTIVE"
    assert "SignatureDoesNotMatch" in description["FailureDescription"]["Details"]
    client.close()
    assert server.stop() == 0, server.output()
    (tmp_path / "secret").write_text(SECRET)
    server.start()
    assert_delivered(gateway.objects, [b"00000000 kept"])


def test_a_deleted_delivery_delivers_what_was_open_first(headrace, gateway):
    server = headrace().start()
    create(server, interval=900)
    client = server.client("firehose")
    client.put_record(DeliveryStreamName="d", Record={"Data": b"00000000 open\n"})
    client.delete_delivery_stream(DeliveryStreamName="d")
    wait_for(lambda: client.list_delivery_streams()["DeliveryStreamNames"] == [], what="the end")
    assert_delivered(gateway.objects, [b"00000000 open"])
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
