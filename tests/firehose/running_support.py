# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Deliveries that run: a keeper on a loop, and a destination that does as it is told. Waits are for what must
come, with a deadline, never fixed sleeps."""

import asyncio
import contextlib
import threading
import time

from firehose_support import ROLE, s3

from headrace.errors import DeliveryError, NotFound
from headrace.firehose.keeper import DeliveryKeeper

SOON = {"SizeInMBs": 1, "IntervalInSeconds": 0}
LATER = {"SizeInMBs": 1, "IntervalInSeconds": 900}


class Told:
    """A destination that does as it is told: `failing` (a message), `held` (waits).

    attempts: puts begun. busy, busiest: puts under way at this moment, and the most there ever were.
    """

    local = False
    described = "told"

    def __init__(self):
        self.failing = ""
        self.check_failing = ""
        self.held = threading.Event()
        self.held.set()
        self.objects = {}
        self.attempts = self.busy = self.busiest = 0
        self.lock = threading.Lock()

    def check(self, key):
        if self.check_failing:
            raise DeliveryError(self.check_failing)

    def exists(self, key):
        return key in self.objects

    def put(self, key, chunks):
        with self.lock:
            self.attempts += 1
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
        try:
            assert self.held.wait(20)
            if self.failing:
                raise DeliveryError(self.failing)
            self.objects[key] = b"".join(chunks)
            return len(self.objects[key])
        finally:
            with self.lock:
                self.busy -= 1

    def close(self):
        pass


@contextlib.asynccontextmanager
async def kept(place):
    keeper = DeliveryKeeper(place.deliveries)
    await keeper.start()
    try:
        yield keeper
    finally:
        await keeper.stop()


async def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        await asyncio.sleep(0.005)


def create(place, hints=SOON, **members):
    place.ok(
        "CreateDeliveryStream",
        DeliveryStreamName="d",
        ExtendedS3DestinationConfiguration=s3(BufferingHints=hints),
        **members,
    )


def describe(place):
    return place.ok("DescribeDeliveryStream", DeliveryStreamName="d")["DeliveryStreamDescription"]


def status(place):
    return describe(place)["DeliveryStreamStatus"]


def gone(place):
    try:
        place.deliveries.get("d")
    except NotFound:
        return True
    return False


def put(place, data=b"x"):
    place.put("$firehose:d", [(data, None)])


def lines(place):
    """The records of all objects, each a line, in the order of the objects."""
    return b"".join(place.told.objects.values()).splitlines(keepends=True)


def source(place, name="s"):
    """Members of a request for a delivery of a stream."""
    arn = place.streams.stream(name).arn
    return {
        "DeliveryStreamType": "KinesisStreamAsSource",
        "KinesisStreamSourceConfiguration": {"KinesisStreamARN": arn, "RoleARN": ROLE},
    }


async def active(place, hints=SOON):
    create(place, hints)
    await until(lambda: status(place) == "ACTIVE")


def run(test):
    """Run an async test on a loop of its own."""
    return lambda running: asyncio.run(test(running))
