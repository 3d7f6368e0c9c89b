# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: whenever the process ends, each acknowledged record is in exactly one file, in order, and no file is half.
Method: `headrace serve` in a process of its own, delivering into a directory, ended by SIGKILL at each named
place and at random moments under load. (The same with a real S3 server: tests/integration.)"""

import random
import socket
import threading
import time

import boto3
import pytest
from serving import KEYS, Headrace, Producer, assert_delivered, create, source, wait_for

from headrace.log import failpoints

POINTS = [name for name in failpoints.NAMES if name.startswith("firehose.")]


@pytest.fixture
def server(tmp_path):
    found = Headrace(tmp_path)
    yield found
    if found.process is not None and found.process.poll() is None:
        assert found.stop() == 0, found.output()


def objects(server):
    return lambda: server.objects("archive")


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_each_place_leaves_each_record_in_one_file(server, point):
    server.start(failpoint=f"{point}:2")
    create(server, interval=0)
    producer = Producer(server, "firehose")
    producer.start()
    assert server.process.wait(60) == -9
    server.start()
    wait_for(lambda: len(producer.acknowledged) > 100, what="records after the kill")
    producer.finish()
    assert_delivered(objects(server), producer.acknowledged, producer.attempted)
    assert server.stop() == 0
    left = list((server.directory / "buckets").rglob("*.part"))
    assert left == [], "the next attempt uses the temporary file of the first again"


def test_kills_at_any_moment_under_load_leave_each_record_in_one_file_in_order(server):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    server.start()
    create(server, interval=0, codec="UNCOMPRESSED", **source(server))
    producer = Producer(server, "kinesis")
    producer.start()
    for _ in range(4):
        time.sleep(chance.uniform(0.1, 0.6))
        server.kill()
        server.start()
    producer.finish()
    assert_delivered(objects(server), producer.acknowledged, producer.attempted, KEYS)


def test_a_store_that_never_answers_does_not_hold_the_process_at_its_end(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        silent = threading.Event()
        connections = []
        thread = threading.Thread(target=answer_until, args=(listening, silent, connections))
        thread.start()
        server = Headrace(
            tmp_path,
            f'[buckets.archive]\nurl = "s3://real"\nendpoint = "http://127.0.0.1:{listening.getsockname()[1]}"\n'
            'access_key_id = "a"\nsecret_access_key = "b"\n',
        ).start()
        try:
            create(server, interval=0)
            silent.set()
            count = len(connections)
            client = boto3.client("firehose", endpoint_url=server.url, region_name="us-east-1",
                                  aws_access_key_id="a", aws_secret_access_key="b")  # fmt: skip
            client.put_record(DeliveryStreamName="d", Record={"Data": b"x\n"})
            client.close()
            wait_for(lambda: len(connections) > count, what="the put")
            assert server.stop(20) == 0, server.output()  # the put itself would wait for 30 s
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in connections:
                connection.close()


def answer_until(listening, silent, connections):
    """A store that takes everything, and says nothing more once it is told to be silent."""
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        connections.append(connection)
        if not silent.is_set():
            connection.settimeout(5)
            connection.recv(65536)
            connection.sendall(
                b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
            )
            connection.close()
