# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: all deliveries of a store run while it is served, share its threads, and are taken up again by the next
run. Method: a keeper on a loop with destinations that do as they are told."""

import threading

from firehose_support import s3
from running_support import SOON, active, create, gone, kept, put, run, status, until

from headrace import limits
from headrace.firehose import document
from headrace.firehose.keeper import hanging


@run
async def test_a_delivery_that_was_there_before_goes_on(place):
    create(place)
    assert status(place) == "CREATING"
    async with kept(place):
        await until(lambda: status(place) == "ACTIVE")


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


@run
async def test_a_stop_does_not_wait_for_a_put_that_hangs_and_tells_of_it(place):
    async with kept(place):
        await active(place)
        place.told.held.clear()
        put(place, b"one")
        await until(lambda: place.told.busy)
        assert hanging()
    assert place.told.busy == 1  # it stopped all the same
    assert hanging()
    place.told.held.set()
    await until(lambda: not hanging())
    async with kept(place):
        await until(lambda: not place.log.catalogue.items(document.PLAN))
    assert list(place.told.objects.values()) == [b"one"]
