# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A store in a temporary directory, its streams, and the service as a client sees it; its clock is ours."""

import json
from base64 import b64decode, b64encode

import pytest

from headrace.clock import FrozenClock
from headrace.log import Log
from headrace.streams import KinesisService, Pending, StreamDefaults, Streams


class ServiceError(Exception):
    """An error answer."""

    def __init__(self, status, code, message):
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message


class Store:
    """A store that can be closed and opened again."""

    def __init__(self, directory, **defaults):
        self.directory = directory
        self.clock = FrozenClock(1_700_000_000_250)
        self.defaults = StreamDefaults(**{"cores": 4, **defaults})
        self.log = None
        self.open()

    def open(self):
        self.log = Log.open(self.directory, clock=self.clock, background=False)
        self.streams = Streams(self.log, clock=self.clock, defaults=self.defaults)
        self.service = KinesisService(self.streams)

    def close(self):
        self.log.close()

    def reopen(self):
        self.close()
        self.open()

    def raw(self, operation, body):
        """Status and body, after what was promised is kept."""
        answer = self.service.call(operation, body)
        if isinstance(answer, Pending):
            for lane, ticket in answer.offsets:
                lane.commit(ticket)
            return 200, answer.body
        return answer.status, bytes(answer.body)  # a large one is bytes-like

    def __call__(self, operation, **members):
        """The decoded answer; raises ServiceError."""
        for record in [members, *members.get("Records", [])]:
            if isinstance(record.get("Data"), bytes):
                record["Data"] = b64encode(record["Data"]).decode()
        status, body = self.raw(operation, json.dumps(members).encode())
        answer = json.loads(body) if body else None
        if status != 200:
            raise ServiceError(status, answer["__type"], answer["message"])
        return answer

    def refused(self, operation, **members):
        """(code, message) of a request that must fail."""
        with pytest.raises(ServiceError) as caught:
            self(operation, **members)
        assert caught.value.status == (500 if caught.value.code == "InternalFailure" else 400)
        return caught.value.code, caught.value.message

    def put(self, name, *texts, key="k"):
        """Put texts under one key; the answers of PutRecord."""
        return [self("PutRecord", StreamName=name, Data=text.encode(), PartitionKey=key) for text in texts]

    def iterator(self, name, shard=0, kind="TRIM_HORIZON", **members):
        return self(
            "GetShardIterator",
            StreamName=name,
            ShardId=f"shardId-{shard:012d}",
            ShardIteratorType=kind,
            **members,
        )["ShardIterator"]

    def read(self, name, shard=0, kind="TRIM_HORIZON", **members):
        """Payloads of one GetRecords call."""
        answer = self("GetRecords", ShardIterator=self.iterator(name, shard, kind, **members))
        return [b64decode(record["Data"]).decode() for record in answer["Records"]]


@pytest.fixture
def kinesis(tmp_path):
    store = Store(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture
def make_store(tmp_path):
    """Stores with other defaults; closed at the end."""
    made = []

    def make(name="other", **defaults):
        store = Store(tmp_path / name, **defaults)
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()
