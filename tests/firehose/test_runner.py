# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a delivery runs, fails, recovers and ends as its states say. Method: a keeper on a loop with destinations
that fail as they are told."""

import asyncio
import base64
import re
import threading

import pytest
from firehose_support import s3
from running_support import (
    LATER,
    SOON,
    active,
    create,
    describe,
    gone,
    kept,
    lines,
    put,
    run,
    source,
    status,
    until,
)

from headrace import limits, telemetry
from headrace.errors import Corrupt, InvalidArgument
from headrace.firehose import document
from headrace.firehose.pipeline import Pipeline, Read


@run
async def test_a_checked_destination_makes_a_delivery_active_and_records_arrive(place):
    async with kept(place):
        create(place)
        await until(lambda: status(place) == "ACTIVE")
        put(place, b"one")
        await until(lambda: b"one" in place.told.objects.values())


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
async def test_a_source_that_is_deleted_is_told_and_the_delivery_can_be_deleted(place):
    place.streams.create("s", 2)
    async with kept(place):
        create(place, **source(place))
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
async def test_what_was_read_of_a_source_that_is_deleted_is_counted_as_lost(place):
    place.streams.create("s", 2)
    before = lost()
    async with kept(place) as keeper:
        create(place, LATER, **source(place))
        await until(lambda: status(place) == "ACTIVE")
        place.put("s", [(b"a", "k"), (b"b", "l"), (b"c", "m")])
        await until(lambda: keeper._runners["d"].pipeline.buffer.count == 3)
        place.streams.delete("s")
        place.deliveries.changed("d")
        await until(lambda: lost() == before + 3)
    assert place.told.objects == {}


def lost():
    found = re.search(
        r'headrace_firehose_records_lost_total\{delivery="d"\} (\S+)', telemetry.render().decode()
    )
    return float(found[1]) if found else 0


@run
async def test_a_delivery_that_starts_again_waits_for_the_put_of_its_earlier_self(place):
    async with kept(place) as keeper:
        await active(place)
        place.told.held.clear()
        put(place, b"one\n")
        await until(lambda: place.told.busy)
        runner = keeper._runners["d"]
        first = runner.pipeline

        def failing():
            raise OSError("told to")

        first.poll = failing
        put(place, b"two\n")
        await until(lambda: first._abandoned)
        await asyncio.sleep(0.2)  # time enough to begin what must not begin
        assert (place.told.attempts, runner.pipeline) == (1, first)
        place.told.held.set()
        await until(lambda: lines(place) == [b"one\n", b"two\n"])
        assert runner.pipeline is not first
    assert place.told.busiest == 1


@run
async def test_two_deliveries_of_one_stream_deliver_all_of_it_each(place):
    place.streams.create("s", 3)
    stores = {name: type(place.told)() for name in ("a", "b")}
    place.deliveries.buckets.find = lambda name: stores[name]
    async with kept(place):
        for name, hints in (("a", SOON), ("b", {"SizeInMBs": 1, "IntervalInSeconds": 1})):
            place.ok(
                "CreateDeliveryStream",
                DeliveryStreamName=name,
                ExtendedS3DestinationConfiguration=s3(BucketARN=f"arn:aws:s3:::{name}", BufferingHints=hints),
                **source(place),
            )
        await until(lambda: all(found.status == "ACTIVE" for _, found in place.deliveries.list()))
        stores["a"].failing = "down"  # one that fails does not hold the other
        sent = [b"%d\n" % number for number in range(300)]
        for record in sent:
            place.put("s", [(record, record.decode())])
        await until(lambda: sorted(b"".join(stores["b"].objects.values()).splitlines(True)) == sorted(sent))
        assert stores["a"].objects == {}
        stores["a"].failing = ""
        await until(lambda: sorted(b"".join(stores["a"].objects.values()).splitlines(True)) == sorted(sent))


@run
async def test_a_source_that_is_resharded_while_it_is_delivered_loses_nothing_and_keeps_each_keys_order(
    place,
):
    stream = place.streams.create("s", 2)
    async with kept(place):
        create(place, **source(place))
        await until(lambda: status(place) == "ACTIVE")
        for number in range(240):
            if number % 40 == 20:
                shards = sorted(
                    (shard for shard in stream.shards if shard.open), key=lambda shard: shard.start
                )
                if number % 80 == 20:
                    stream.split(shards[0].number, (shards[0].start + shards[0].end) // 2)
                else:
                    stream.merge(shards[0].number, shards[1].number)
            if number == 200:
                stream.scale(5)
            place.put("s", [(b"%d %d\n" % (number % 7, number), f"k{number % 7}")])
            if number % 11 == 0:
                await asyncio.sleep(0.002)
        await until(lambda: len(lines(place)) == 240)
    for key in range(7):
        of_key = [int(line.split()[1]) for line in lines(place) if int(line.split()[0]) == key]
        assert of_key == list(range(key, 240, 7))


@run
async def test_starts_and_stops_under_load_leave_each_record_in_one_object_in_order(place):
    create(place)
    stopped = threading.Event()
    sent = []

    def produce():
        while not stopped.is_set():
            record = b"%d\n" % len(sent)
            put(place, record)
            sent.append(record)

    async with kept(place):
        await until(lambda: status(place) == "ACTIVE")
    producer = threading.Thread(target=produce)
    producer.start()
    try:
        for number in range(8):
            async with kept(place):
                had = len(place.told.objects)
                await until(lambda had=had: len(place.told.objects) > had)
                if number % 2:  # stopped in the middle of a put
                    place.told.held.clear()
                    await until(lambda: place.told.busy)
            place.told.held.set()
            await until(lambda: not place.told.busy)
    finally:
        stopped.set()
        producer.join()
    async with kept(place):
        await until(lambda: len(lines(place)) >= len(sent))
    assert lines(place) == sent


@run
async def test_a_full_store_refuses_records_until_some_are_delivered_and_keeps_what_it_took(place):
    async with kept(place):
        await active(place)
        place.told.failing = "down"
        place.deliveries.intake("d").lanes[0].set_limit(1 << 20, "throttle")
        record = base64.b64encode(b"x" * 99_999 + b"\n").decode()

        taken = 0

        def send():
            nonlocal taken
            answer = place.call("PutRecord", DeliveryStreamName="d", Record={"Data": record})
            taken += answer[0] == 200
            assert taken < 1000, "it is never full"
            return answer

        full = 0
        while full < 5:  # a smaller segment may find room where a larger one did not
            status_, code, answer = send()
            full = 0 if status_ == 200 else full + 1
        assert (status_, code, answer["message"]) == (500, "ServiceUnavailableException", "Slow down.")
        batch = place.ok("PutRecordBatch", DeliveryStreamName="d", Records=[{"Data": record}] * 2)
        assert [entry["ErrorCode"] for entry in batch["RequestResponses"]] == [
            "ServiceUnavailableException"
        ] * 2
        assert place.told.objects == {}
        place.told.failing = ""
        await until(lambda: send()[0] == 200)
        await until(lambda: len(lines(place)) == taken)


# --- deleting what cannot be delivered ---


def unmap(place):
    """The operator takes the bucket out of the configuration."""

    def find(name):
        raise InvalidArgument(f"Bucket {name} is not mapped.")

    place.deliveries.buckets.find = find


@pytest.mark.parametrize("of_stream", [False, True])
def test_a_delivery_whose_bucket_is_no_longer_mapped_goes_by_force(running, of_stream):
    async def test(place):
        place.streams.create("s")
        async with kept(place):
            create(place, LATER, **(source(place) if of_stream else {}))
            await until(lambda: status(place) == "ACTIVE")
        place.put("s" if of_stream else "$firehose:d", [(b"open", "k")])
        unmap(place)
        async with kept(place):
            await until(
                lambda: "is not mapped" in describe(place).get("FailureDescription", {}).get("Details", "")
            )
            place.ok("DeleteDeliveryStream", DeliveryStreamName="d", AllowForceDelete=True)
            await until(lambda: gone(place))

    asyncio.run(test(running))
    orphans = [path.read_bytes() for path in (running.directory / "orphans").rglob("*") if path.is_file()]
    assert orphans == ([] if of_stream else [b"open"])


@pytest.mark.parametrize("force", [False, True])
def test_a_deletion_that_cannot_read_fails_after_its_time_and_throws_nothing_away(
    running, monkeypatch, force
):
    monkeypatch.setattr(limits, "firehose_delete_ms_max", 100)

    async def test(place):
        async with kept(place):
            await active(place, LATER)

            def damaged(self):
                raise Corrupt("the log is damaged")

            with monkeypatch.context() as patch:
                patch.setattr(Pipeline, "poll", damaged)
                put(place, b"kept")
                await until(lambda: "FailureDescription" in describe(place))
                place.ok("DeleteDeliveryStream", DeliveryStreamName="d", AllowForceDelete=force)
                await until(lambda: status(place) == "DELETING_FAILED")
                assert describe(place)["FailureDescription"]["Details"] == "the log is damaged"
            place.ok("DeleteDeliveryStream", DeliveryStreamName="d", AllowForceDelete=True)
            await until(lambda: gone(place))

    asyncio.run(test(running))
    assert list(running.told.objects.values()) == [b"kept"]
