# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A store with deliveries into directories, under a clock that the tests move."""

from __future__ import annotations

import json
import random
from base64 import b64encode
from pathlib import Path

from headrace.clock import FrozenClock
from headrace.config import Config
from headrace.core._entries import Entries
from headrace.firehose import Buckets, Deliveries, FirehoseService
from headrace.firehose.pipeline import Pipeline
from headrace.log import Log
from headrace.streams import Streams

ROLE = "arn:aws:iam::000000000000:role/firehose"


class Place:
    """An open store that can be closed, or dropped as by a crash, and opened again."""

    def __init__(self, directory: Path, seed: int = 1) -> None:
        self.directory = directory
        self.clock = FrozenClock()
        self.random = random.Random(seed)
        self.open()

    def open(self) -> None:
        self.log = Log.open(self.directory, clock=self.clock, background=False)
        self.streams = Streams(self.log, clock=self.clock)
        buckets = Buckets(Config(), self.directory)
        self.deliveries = Deliveries(self.streams, buckets, randomness=self.random.randbytes)
        self.service = FirehoseService(self.deliveries)

    def reopen(self) -> None:
        self.log.close()
        self.open()

    def call(self, operation: str, **members):
        """(status, code, decoded answer)."""
        answer = self.service.call(operation, json.dumps(members).encode())
        for lane, ticket in getattr(answer, "offsets", ()):
            lane.commit(ticket)
        code = getattr(answer, "code", "")
        return getattr(answer, "status", 200), code, json.loads(answer.body or b"{}")

    def ok(self, operation: str, **members):
        status, code, answer = self.call(operation, **members)
        assert status == 200, (code, answer)
        return answer

    def pipeline(self, name: str, destination=None) -> Pipeline:
        delivery = self.deliveries.get(name)
        found = destination or self.deliveries.buckets.find(delivery.destination.bucket)
        return Pipeline(self.deliveries, name, delivery, found)

    def put(self, stream: str, records: list[tuple[bytes, str]]) -> None:
        entries = Entries()
        for data, key in records:
            entries.add(data, key)
        found = self.streams.stream(stream)
        found.append(entries)
        found.commit()

    def objects(self, bucket: str = "logs") -> dict[str, bytes]:
        root = self.directory / "buckets" / bucket
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def s3(**members):
    """An ExtendedS3DestinationConfiguration."""
    return {"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::logs", **members}


CREATE = {"DeliveryStreamName": "d", "ExtendedS3DestinationConfiguration": s3()}
KINESIS = {"DeliveryStreamType": "KinesisStreamAsSource"}


def create(place, name="d", **members):
    return place.ok(
        "CreateDeliveryStream", DeliveryStreamName=name, ExtendedS3DestinationConfiguration=s3(**members)
    )


def refused(place, operation, **members):
    status, code, answer = place.call(operation, **members)
    assert status in (400, 500), answer
    return code, answer["message"]


def text(data: bytes) -> str:
    return b64encode(data).decode()
