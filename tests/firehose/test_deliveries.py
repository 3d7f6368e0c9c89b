# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: delivery streams are in the catalogue whole or not at all, whoever asks and whenever the process ends.
Method: changes cut off half-way, two threads at once, and a second process's view of the same store."""

import threading

import pytest
from firehose_support import CREATE, Place, create

from headrace import config as configuration
from headrace.clock import FrozenClock
from headrace.config import Config
from headrace.errors import NotFound
from headrace.firehose import Buckets, Deliveries, document
from headrace.log import Log
from headrace.streams import Streams


def test_a_delivery_begins_exactly_where_its_stream_stands_when_it_is_made(place):
    stream = place.streams.create("s", 2)
    place.put("s", [(b"before", f"k{number}") for number in range(20)])
    create_of_stream(place)
    ends = {shard.number: stream.lane_of(shard.number).bounds(shard.number)[1] for shard in stream.shards}
    found = place.log.catalogue.get(document.POSITION, place.deliveries.get("d").id)
    assert document.decode_position("d", found).shards == ends
    assert sum(ends.values()) == 20


def create_of_stream(place):
    source = {
        "KinesisStreamARN": place.streams.stream("s").arn,
        "RoleARN": "arn:aws:iam::000000000000:role/r",
    }
    place.ok(
        "CreateDeliveryStream", **CREATE, DeliveryStreamType="KinesisStreamAsSource",
        KinesisStreamSourceConfiguration=source,
    )  # fmt: skip


def test_a_destination_that_cannot_be_written_is_refused_and_leaves_nothing(place):
    (place.directory / "buckets").write_text("a file where directories should be")
    status, code, answer = place.call("CreateDeliveryStream", **CREATE)
    assert (status, code) == (400, "InvalidArgumentException"), answer
    assert "buckets/logs" in answer["message"]
    assert place.deliveries.list() == []
    assert place.streams.list(internal=True) == []
    assert place.log.catalogue.items(document.POSITION) == []


def test_of_two_at_once_one_is_made_and_one_refused(place):
    together = threading.Barrier(8)
    answers = []

    def make():
        together.wait()
        answers.append(place.call("CreateDeliveryStream", **CREATE)[:2])

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [(200, "")] + [(400, "ResourceInUseException")] * 7
    assert len(place.streams.list(internal=True)) == len(place.log.catalogue.items(document.POSITION)) == 1


def test_internal_streams_are_not_listed_with_the_others(place):
    create(place)
    assert place.streams.list() == []
    assert [stream.name for stream in place.streams.list(internal=True)] == ["$firehose:d"]


def test_a_crash_while_removing_leaves_no_buffer_behind(place):
    create(place)
    place.log.catalogue.delete(document.DELIVERY, "d")
    place.reopen()
    assert place.streams.list(internal=True) == []


def test_everything_is_as_before_after_a_start(place):
    create(place, CompressionFormat="GZIP")
    place.ok("TagDeliveryStream", DeliveryStreamName="d", Tags=[{"Key": "a", "Value": "1"}])
    before = place.deliveries.get("d")
    place.reopen()
    assert place.deliveries.get("d") == before
    assert place.deliveries.intake("d").name == "$firehose:d"


@pytest.mark.parametrize(
    ("status", "works"),
    [
        ("CREATING", True),
        ("CREATING_FAILED", False),
        ("ACTIVE", True),
        ("DELETING", True),
        ("DELETING_FAILED", False),
    ],
)
def test_records_are_taken_in_one_state_only_and_work_is_done_in_three(place, status, works):
    create(place)
    place.deliveries.update("d", status=status)
    assert place.deliveries.has_work("d") == works
    if status == "ACTIVE":
        assert place.deliveries.intake("d")
    else:
        with pytest.raises(NotFound, match=f"is not active: {status}"):
            place.deliveries.intake("d")


def test_a_process_that_does_not_write_sees_each_change_and_takes_no_records(place):
    log = Log.open_reader(place.directory, clock=FrozenClock())
    try:
        seen = Deliveries(Streams(log, clock=place.clock), Buckets(Config(), place.directory))
        assert seen.list() == []
        create(place)
        assert [name for name, _ in seen.list()] == ["d"]
        assert seen.get("d").status == "ACTIVE"
        with pytest.raises(NotFound, match="is not active"):
            seen.intake("d")
        place.deliveries.update("d", status="DELETING")
        assert seen.get("d").status == "DELETING"
        place.deliveries.remove("d")
        with pytest.raises(NotFound):
            seen.get("d")
    finally:
        log.close()


def test_no_secret_of_a_bucket_is_kept_in_the_catalogue_or_shown(tmp_path):
    place = Place(tmp_path / "store")
    try:
        (tmp_path / "headrace.toml").write_text(
            '[buckets.logs]\nurl = "s3://real"\nendpoint = "http://127.0.0.1:1"\naccess_key_id = "the-key"\n'
            'secret_access_key = "the-secret"\nsession_token = "the-token"\n'
        )
        place.deliveries.buckets = Buckets(configuration.load(tmp_path / "headrace.toml"), place.directory)
        create(place)
        shown = repr(place.ok("DescribeDeliveryStream", DeliveryStreamName="d"))
        shown += repr(place.deliveries.get("d")) + repr(place.log.catalogue.items(document.DELIVERY))
        assert not any(secret in shown for secret in ("the-key", "the-secret", "the-token"))
    finally:
        place.log.close()
    kept = b"".join(path.read_bytes() for path in place.directory.rglob("*") if path.is_file())
    assert not any(secret in kept for secret in (b"the-key", b"the-secret", b"the-token"))
