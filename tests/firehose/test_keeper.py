# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: deliveries run, fail, recover, end and stop as their states say. Method: a keeper on a loop with
destinations that fail as they are told; waits are for what must come, with a deadline, never fixed sleeps."""

import asyncio
import contextlib
import threading
import time

import pytest
from firehose_support import ROLE, Place, s3

from headrace import limits, telemetry
from headrace.clock import SystemClock
from headrace.errors import DeliveryError, NotFound
from headrace.firehose import document
from headrace.firehose.keeper import DeliveryKeeper
from headrace.firehose.pipeline import Read

SOON = {"SizeInMBs": 1, "IntervalInSeconds": 0}
LATER = {"SizeInMBs": 1, "IntervalInSeconds": 900}


class Told:
    """A destination that does as it is told: `failing` (a message), `held` (waits)."""

    local = False
    described = "told"

    def __init__(self):
        self.failing = ""
        self.check_failing = ""
        self.held = threading.Event()
        self.held.set()
        self.objects = {}
        self.attempts = 0

    def check(self, key):
        if self.check_failing:
            raise DeliveryError(self.check_failing)

    def exists(self, key):
        return key in self.objects

    def put(self, key, chunks):
        self.attempts += 1
        assert self.held.wait(20)
        if self.failing:
            raise DeliveryError(self.failing)
        self.objects[key] = b"".join(chunks)
        return len(self.objects[key])

    def close(self):
        pass


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "firehose_backoff_ms_first", 10)
    monkeypatch.setattr(limits, "firehose_backoff_ms_max", 40)
    found = Place(tmp_path / "store")
    found.clock = SystemClock()
    found.reopen()
    found.told = Told()
    found.deliveries.buckets.find = lambda name: found.told
    yield found
    found.told.held.set()
    found.log.close()


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


async def active(place, hints=SOON):
    create(place, hints)
    await until(lambda: status(place) == "ACTIVE")


def run(test):
    """Run an async test on a loop of its own."""
    return lambda place: asyncio.run(test(place))


@run
async def test_a_checked_destination_makes_a_delivery_active_and_records_arrive(place):
    async with kept(place):
        create(place)
        await until(lambda: status(place) == "ACTIVE")
        put(place, b"one")
        await until(lambda: b"one" in place.told.objects.values())


@run
async def test_a_delivery_that_was_there_before_goes_on(place):
    create(place)
    assert status(place) == "CREATING"
    async with kept(place):
        await until(lambda: status(place) == "ACTIVE")


@run
async def test_a_destination_that_fails_its_check_fails_the_creation_and_says_why(place):
    place.told.check_failing = "InvalidAccessKeyId"
    async with kept(place):
        create(place)
        await until(lambda: status(place) == "CREATING_FAILED")
    assert describe(place)["FailureDescription"] == {
        "Type": "UNKNOWN_ERROR",
        "Details": "InvalidAccessKeyId",
    }
    code = place.call("PutRecord", DeliveryStreamName="d", Record={"Data": ""})[1]
    assert code == "ResourceNotFoundException"


@run
async def test_failures_are_shown_and_tried_again_until_they_end(place):
    async with kept(place):
        await active(place)
        place.told.failing = "503 Slow Down"
        put(place, b"one")
        await until(lambda: place.told.attempts >= 4)
        assert describe(place)["FailureDescription"]["Details"] == "503 Slow Down"
        assert 'headrace_firehose_failing{delivery="d"} 1.0' in telemetry.render().decode()
        put(place, b"two")
        place.told.failing = ""
        await until(lambda: len(place.told.objects) == 2)
        await until(lambda: "FailureDescription" not in describe(place))
    assert list(place.told.objects.values()) == [b"one", b"two"]


@run
async def test_while_an_object_is_under_way_one_more_buffer_fills_and_no_more(place):
    async with kept(place) as keeper:
        await active(place, LATER)
        place.told.held.clear()
        for _ in range(5):
            put(place, b"x" * 1_000_000)
            put(place, b"x" * 100_000)
        runner = keeper._runners["d"]
        await until(lambda: place.told.attempts == 1 and runner.pipeline.buffer.full)
        await asyncio.sleep(0.1)
        assert runner.pipeline.buffer.count == 2
        place.told.held.set()
        await until(lambda: len(place.told.objects) == 5)
    assert {len(data) for data in place.told.objects.values()} == {1_100_000}


@run
async def test_what_is_open_is_delivered_before_a_delivery_is_gone(place):
    async with kept(place):
        await active(place, LATER)
        put(place, b"open")
        place.ok("DeleteDeliveryStream", DeliveryStreamName="d")
        await until(lambda: gone(place))
    assert list(place.told.objects.values()) == [b"open"]
    assert place.streams.list(internal=True) == []
    assert place.log.catalogue.items(document.PLAN) == place.log.catalogue.items(document.POSITION) == []


@run
async def test_a_deletion_that_cannot_deliver_fails_after_its_time_and_keeps_the_records(place):
    limit, limits.firehose_delete_ms_max = limits.firehose_delete_ms_max, 100
    try:
        async with kept(place):
            await active(place, LATER)
            put(place, b"open")
            place.told.failing = "down"
            place.ok("DeleteDeliveryStream", DeliveryStreamName="d")
            await until(lambda: status(place) == "DELETING_FAILED")
            assert describe(place)["FailureDescription"]["Details"] == "down"
            place.told.failing = ""
            place.ok("DeleteDeliveryStream", DeliveryStreamName="d", AllowForceDelete=True)
            await until(lambda: gone(place))
    finally:
        limits.firehose_delete_ms_max = limit
    assert list(place.told.objects.values()) == [b"open"]


@run
async def test_a_forced_deletion_sets_aside_what_cannot_be_delivered(place):
    async with kept(place):
        await active(place, LATER)
        put(place, b"open")
        place.told.failing = "down"
        place.ok("DeleteDeliveryStream", DeliveryStreamName="d", AllowForceDelete=True)
        await until(lambda: gone(place))
    orphans = [path for path in (place.directory / "orphans").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in orphans] == [b"open"]


@run
async def test_a_new_delivery_of_the_same_name_begins_anew(place):
    async with kept(place):
        await active(place)
        put(place, b"first")
        await until(lambda: len(place.told.objects) == 1)
        place.ok("DeleteDeliveryStream", DeliveryStreamName="d")
        await until(lambda: gone(place))
        await active(place)
        put(place, b"second")
        await until(lambda: len(place.told.objects) == 2)
    assert list(place.told.objects.values()) == [b"first", b"second"]


@run
async def test_a_source_that_is_deleted_is_told_and_the_delivery_can_be_deleted(place):
    place.streams.create("s", 2)
    async with kept(place):
        create(
            place,
            DeliveryStreamType="KinesisStreamAsSource",
            KinesisStreamSourceConfiguration={
                "KinesisStreamARN": place.streams.stream("s").arn,
                "RoleARN": ROLE,
            },
        )
        await until(lambda: status(place) == "ACTIVE")
        place.put("s", [(b"a", "k")])
        await until(lambda: len(place.told.objects) == 1)
        stream = place.streams.stream("s")
        place.streams.delete("s")
        assert stream.deleted
        place.deliveries.changed("d")
        await until(lambda: "FailureDescription" in describe(place))
        assert "not found" in describe(place)["FailureDescription"]["Details"]
        place.ok("DeleteDeliveryStream", DeliveryStreamName="d")
        await until(lambda: gone(place))


@run
async def test_a_stop_while_an_object_is_under_way_leaves_its_plan_and_the_next_run_ends_it(place):
    async with kept(place):
        await active(place)
        place.told.held.clear()
        put(place, b"one")
        await until(lambda: place.told.attempts == 1)
    assert len(place.log.catalogue.items(document.PLAN)) == 1
    place.told.held.set()
    async with kept(place):
        await until(lambda: not place.log.catalogue.items(document.PLAN))
        put(place, b"two")
        await until(lambda: len(place.told.objects) == 2)
    assert list(place.told.objects.values()) == [b"one", b"two"]


@run
async def test_an_idle_delivery_does_nothing(place):
    async with kept(place) as keeper:
        await active(place)
        runner = keeper._runners["d"]
        await until(lambda: runner.pipeline is not None and runner.pipeline._reader is not None)
        await asyncio.sleep(0.1)
        polls = []
        runner.pipeline.poll = lambda: polls.append(1) or Read.NOTHING
        await asyncio.sleep(0.3)
        assert polls == []


@run
async def test_a_hundred_deliveries_share_the_threads(place):
    async with kept(place):
        for number in range(100):
            place.ok(
                "CreateDeliveryStream",
                DeliveryStreamName=f"n{number}",
                ExtendedS3DestinationConfiguration=s3(BufferingHints=SOON),
            )
        await until(lambda: all(found.status == "ACTIVE" for _, found in place.deliveries.list()))
        for number in range(100):
            place.put(f"$firehose:n{number}", [(b"%d" % number, None)])
        await until(lambda: len(place.told.objects) == 100)
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("headrace-firehose")]
        assert len(threads) <= limits.firehose_readers_max + limits.firehose_uploads_max
    assert sorted(place.told.objects.values()) == sorted(b"%d" % number for number in range(100))
