# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A store that is served from its own process: clients and the library see the same records."""

from __future__ import annotations

import gc
import os
import socket

import boto3
import pytest
from botocore.config import Config

import headrace

QUICK = Config(retries={"total_max_attempts": 1})


def test_clients_and_the_library_see_the_same(store):
    stream = store.stream("metrics", shards=2)
    with store.serve() as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        kinesis = boto3.client("kinesis", config=QUICK, **server.boto3())
        kinesis.put_record(StreamName="metrics", Data=b"by boto3", PartitionKey="k")
        position = stream.put(b"by the library", "k")
        assert stream.read().data == [b"by boto3", b"by the library"]
        shard = position.shard_id
        start = kinesis.get_shard_iterator(
            StreamName="metrics", ShardId=shard, ShardIteratorType="AT_SEQUENCE_NUMBER",
            StartingSequenceNumber=position.sequence_number,
        )  # fmt: skip
        found = kinesis.get_records(ShardIterator=start["ShardIterator"])["Records"]
        assert [record["Data"] for record in found] == [b"by the library"]
        assert found[0]["SequenceNumber"] == position.sequence_number
        kinesis.create_stream(StreamName="made-by-boto3", ShardCount=1)
        kinesis.close()
    assert store.stream("made-by-boto3", create=False).shards == 1
    server.stop()
    assert stream.put(b"after", "k").ordinal == position.ordinal + 1


def test_what_the_program_holds_stays_collectable(store):
    before = gc.get_freeze_count()
    with store.serve():
        assert gc.get_freeze_count() == before


def test_a_store_is_served_once_at_a_time(store):
    for _ in range(2):
        with store.serve() as server:
            with pytest.raises(headrace.AlreadyExists, match=f"is served at {server.url}"):
                store.serve()
            assert store.stream("s", shards=1).put(b"x", "k")


def test_closing_the_store_stops_its_servers(tmp_path):
    store = headrace.open(tmp_path / "s")
    server = store.serve()
    store.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), 5)
    with pytest.raises(headrace.Closed):
        store.serve()


def test_a_process_that_joined_does_not_serve(store, run_python):
    done = run_python(
        "import sys, headrace\nwith headrace.open(sys.argv[1]) as s:\n"
        "    try: s.serve()\n    except headrace.LockedByOther as e: print(e)",
        os.fspath(store.path),
    )
    assert "serve it from there" in done.stdout


def test_only_loopback_is_served(store):
    with pytest.raises(headrace.Error, match=r"0\.0\.0\.0"):
        store.serve("0.0.0.0")
