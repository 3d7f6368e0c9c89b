# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: every record is in exactly one object, in order within its shard, in objects as large and as old as
asked for, whatever fails and whenever it stops. Method: a delivery is stepped under a frozen clock against a
plain model; stores fail before and after they wrote; the process ends at every named failpoint and goes on
from what the disk holds."""

import gzip
import random
import tempfile
from pathlib import Path

import pytest
from firehose_support import ROLE, Place, s3
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import Closed, DeliveryError, NotFound
from headrace.firehose import document
from headrace.firehose.pipeline import Read
from headrace.log import failpoints
from headrace.log.control import DIRTY, ControlFile

POINTS = [name for name in failpoints.NAMES if name.startswith("firehose.")]


class Crash(BaseException):
    """The process ends here."""


class Flaky:
    """A destination that fails as it is told: None, "before" or "after" it wrote."""

    local = True
    described = "flaky"

    def __init__(self, inner):
        self.inner = inner
        self.failures = []
        self.order = []  # names in the order in which they were first written

    def put(self, key, chunks):
        how = self.failures.pop() if self.failures else None
        if how == "before":
            next(chunks)
            raise DeliveryError("told to fail before")
        size = self.inner.put(key, chunks)
        if key not in self.order:
            self.order.append(key)
        if how == "after":
            raise DeliveryError("told to fail after")
        return size

    def exists(self, key):
        return self.inner.exists(key)


class Delivered:
    """One delivery of stream `s` and what the model expects of it."""

    def __init__(self, directory, *, shards=2, codec="GZIP", size=1, interval=10, seed=1):
        self.place = Place(directory, seed)
        self.place.streams.create("s", shards)
        self.put([(b"before the delivery", "k")])
        self.put_records = []
        self.place.ok(
            "CreateDeliveryStream",
            DeliveryStreamName="d",
            DeliveryStreamType="KinesisStreamAsSource",
            KinesisStreamSourceConfiguration={
                "KinesisStreamARN": self.place.streams.stream("s").arn,
                "RoleARN": ROLE,
            },
            ExtendedS3DestinationConfiguration=s3(
                CompressionFormat=codec, BufferingHints={"SizeInMBs": size, "IntervalInSeconds": interval}
            ),
        )
        self.codec = codec
        self.random = random.Random(seed)
        self.flaky = Flaky(self.place.deliveries.buckets.find("logs"))
        self.closed = []  # (size, age in ms, count) of each plan, when it was made
        self.start()

    def start(self):
        self.pipeline = self.place.pipeline("d", self.flaky)
        self.plan = self.pipeline.open_plan()
        self.again = self.plan is not None

    def put(self, records):
        self.place.put("s", records)

    def add(self, count, size):
        """Records that tell their key and number, and end with a line feed."""
        records = []
        for _ in range(count):
            key = f"k{self.random.randrange(8)}"
            number = len(self.put_records)
            head = b"%s %d " % (key.encode(), number)
            data = head + b"x" * max(size - len(head) - 1, 0) + b"\n"
            records.append((data, key))
            self.put_records.append(data)
        self.put(records)

    def step(self):
        """What a runner does in one turn."""
        while self.pipeline.poll() is not Read.NOTHING:
            pass
        if self.plan is None and self.pipeline.buffer.is_due(self.place.clock.monotonic_ns()):
            buffer = self.pipeline.buffer
            age = (self.place.clock.monotonic_ns() - buffer.opened_ns) / 1e6
            self.plan = self.pipeline.begin()
            self.again = False
            self.closed.append((self.plan.size, age, self.plan.count))
        if self.plan is not None:
            try:
                self.pipeline.deliver(self.plan, again=self.again)
            except DeliveryError as error:
                self.pipeline.note_failure(error)
                self.again = True
            else:
                self.plan = None

    def crash(self):
        failpoints.disarm()
        self.place.reopen()
        self.start()

    def finish(self):
        """Deliver everything, however many turns it takes."""
        self.flaky.failures.clear()
        for _ in range(200):
            self.place.clock.advance(11_000)
            self.step()
            if self.plan is None and self.pipeline.poll() is Read.NOTHING and not self.pipeline.buffer.count:
                return
        raise AssertionError("it does not come to an end")

    def objects(self):
        found = self.place.objects()
        assert not [name for name in found if name.endswith(".part")]
        opened = gzip.decompress if self.codec == "GZIP" else bytes
        names = [name for name in self.flaky.order if name in found]
        assert sorted(names) == sorted(found)
        return [opened(found[name]) for name in names]

    def check(self):
        """Exactly once, in order within each key (and so within its shard, by way of the order of objects)."""
        lines = b"".join(self.objects()).splitlines(keepends=True)
        assert sorted(lines) == sorted(self.put_records)
        last = {}
        for line in lines:
            key, number, *_ = line.split(b" ")
            assert last.get(key, -1) < int(number), f"{key!r}: {number!r} after {last[key]}"
            last[key] = int(number)


@pytest.fixture
def delivered(tmp_path):
    made = []

    def make(**options):
        made.append(Delivered(tmp_path / f"store-{len(made)}", **options))
        return made[-1]

    yield make
    failpoints.disarm()
    for one in made:
        one.place.log.close()


turns = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 6), st.integers(0, 400_000)),
        st.tuples(st.just("advance"), st.integers(1, 15_000)),
        st.tuples(st.just("step")),
        st.tuples(st.just("fail"), st.lists(st.sampled_from(["before", "after"]), max_size=3)),
        st.tuples(st.just("crash")),
        st.tuples(st.just("crash at"), st.sampled_from(POINTS)),
        st.tuples(st.just("split"), st.integers(0, 3)),
        st.tuples(st.just("merge"), st.integers(0, 3)),
        st.tuples(st.just("jump"), st.integers(-4_000_000, 4_000_000)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(turns, st.sampled_from(["GZIP", "UNCOMPRESSED"]), st.integers(1, 3), st.integers(0, 1000))
def test_every_record_is_in_exactly_one_object(turns, codec, shards, seed):
    with tempfile.TemporaryDirectory() as directory:
        one = Delivered(Path(directory) / "store", codec=codec, shards=shards, seed=seed)
        try:
            for turn in turns:
                take(one, *turn)
            failpoints.disarm()
            one.finish()
            one.check()
            for size, age, _ in one.closed:
                assert size >= 1 << 20 or age >= 10_000
                assert size < (1 << 20) + 400_000
        finally:
            failpoints.disarm()
            one.place.log.close()


def take(one, what, *rest):
    if what == "put":
        one.add(*rest)
    elif what == "advance":
        one.place.clock.advance(*rest)
    elif what == "fail":
        one.flaky.failures = list(*rest)
    elif what == "crash":
        one.crash()
    elif what == "split":
        stream = one.place.streams.stream("s")
        shards = [shard for shard in stream.shards if shard.open]
        shard = shards[rest[0] % len(shards)]
        stream.split(shard.number, (shard.start + shard.end) // 2)
    elif what == "merge":
        stream = one.place.streams.stream("s")
        shards = sorted((shard for shard in stream.shards if shard.open), key=lambda shard: shard.start)
        if len(shards) > 1:
            first = rest[0] % (len(shards) - 1)
            stream.merge(shards[first].number, shards[first + 1].number)
    elif what == "jump":
        one.place.clock.jump(*rest)
    else:
        if what == "crash at":
            failpoints.arm(rest[0], crash)
        try:
            one.step()
        except Crash:
            one.crash()


def crash():
    raise Crash


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_a_failpoint_leaves_each_record_in_one_object(delivered, point):
    one = delivered(shards=3)
    one.add(10, 1000)
    one.step()
    one.place.clock.advance(10_000)
    failpoints.arm(point, crash)
    with pytest.raises(Crash):
        one.step()
    one.crash()
    one.add(5, 1000)
    one.finish()
    one.check()
    assert len(one.objects()) == 2


def test_what_was_there_before_the_delivery_is_not_delivered(delivered):
    one = delivered()
    one.add(1, 10)
    one.finish()
    assert one.objects() == one.put_records


def test_an_object_is_closed_at_its_size_and_not_before(delivered):
    one = delivered(shards=1)
    one.add(10, 104_857)  # six bytes short of a mebibyte
    one.step()
    assert one.closed == []
    one.add(1, 100)
    one.step()
    assert one.closed == [(10 * 104_857 + 100, 0, 11)]


def test_the_interval_runs_from_the_first_record_into_the_buffer(delivered):
    one = delivered()
    one.place.clock.advance(60_000)
    one.step()  # an empty buffer has no timer
    one.add(1, 10)
    one.step()
    one.place.clock.advance(6_000)
    one.add(1, 10)
    one.step()
    one.place.clock.advance(3_999)
    one.step()
    assert one.closed == []
    one.place.clock.advance(1)
    one.step()
    assert [(age, count) for _, age, count in one.closed] == [(10_000, 2)]


def test_an_interval_goes_on_over_a_restart(delivered):
    one = delivered()
    one.add(1, 10)
    one.step()
    one.place.clock.advance(6_000)
    one.crash()
    one.step()
    one.place.clock.advance(3_999)
    one.step()
    assert one.closed == []
    one.place.clock.advance(1)
    one.step()
    assert [(age, count) for _, age, count in one.closed] == [(10_000, 1)]


def test_restarts_more_often_than_the_interval_do_not_put_a_delivery_off(delivered):
    one = delivered()
    one.add(1, 10)
    for _ in range(4):
        one.place.clock.advance(3_000)
        one.crash()
        one.step()
    assert [count for _, _, count in one.closed] == [1]


@pytest.mark.parametrize(("jump_ms", "left_ms"), [(-3_600_000, 10_000), (3_600_000, 0)])
def test_a_clock_that_jumped_while_stopped_shortens_or_lengthens_one_interval_by_no_more_than_itself(
    delivered, jump_ms, left_ms
):
    one = delivered()
    one.add(1, 10)
    one.place.clock.jump(jump_ms)
    one.crash()
    one.step()
    if left_ms:
        assert one.closed == []
        one.place.clock.advance(left_ms)
        one.step()
    assert [count for _, _, count in one.closed] == [1]


@pytest.mark.parametrize("jump_ms", [-3_600_000, 3_600_000])
def test_a_clock_that_jumps_moves_no_interval_of_a_running_delivery(delivered, jump_ms):
    one = delivered()
    one.add(1, 10)
    one.finish()
    one.closed.clear()
    one.add(1, 10)
    one.step()
    one.place.clock.jump(jump_ms)
    one.place.clock.advance(9_999)
    one.step()
    assert one.closed == []
    one.place.clock.advance(1)
    one.step()
    assert [(age, count) for _, age, count in one.closed] == [(10_000, 1)]


def test_an_interval_of_zero_closes_an_object_with_each_read(delivered):
    one = delivered(interval=0)
    for _ in range(3):
        one.add(2, 10)
        one.step()
    assert [count for _, _, count in one.closed] == [2, 2, 2]


def test_a_backlog_becomes_objects_of_the_size_asked_for(delivered):
    one = delivered(codec="UNCOMPRESSED", shards=2)
    for _ in range(30):
        one.add(10, 12_000)
    for _ in range(3):
        one.step()
    assert [size // 1000 for size, _, _ in one.closed] == [1056, 1056, 1056]
    one.finish()
    one.check()


def test_a_shard_comes_before_its_children_within_an_object(delivered):
    one = delivered(shards=1, codec="UNCOMPRESSED")
    one.add(20, 10)
    one.place.streams.stream("s").split(0, 1 << 127)
    one.add(20, 10)
    one.finish()
    assert len(one.objects()) == 1
    one.check()


def test_the_name_tells_the_arrival_of_the_oldest_record(delivered):
    one = delivered()
    one.place.clock.advance(3_600_000)
    one.add(1, 10)
    one.place.clock.advance(3_600_000)
    one.add(1, 10)
    one.finish()
    assert [name[:13] for name in one.flaky.order] == ["2023/11/14/23"]


@pytest.mark.parametrize("codec", ["GZIP", "UNCOMPRESSED"])
def test_the_same_plan_gives_the_same_bytes(delivered, codec):
    one = delivered(shards=3, codec=codec)
    one.add(40, 70_000)
    one.flaky.failures = ["after"]
    one.step()  # written, but not confirmed
    (name,) = one.flaky.order
    written = one.place.objects()[name]
    (one.place.directory / "buckets" / "logs" / name).unlink()
    one.crash()
    one.step()
    assert one.flaky.order == [name]
    assert one.place.objects()[name] == written


def test_an_object_that_is_there_is_not_sent_again(delivered):
    one = delivered()
    one.add(3, 10)
    one.step()
    one.place.clock.advance(10_000)
    one.flaky.failures = ["after"]
    one.step()
    assert one.pipeline.failure == "told to fail after"
    one.flaky.put = None  # would raise
    one.step()
    assert one.plan is None
    assert one.pipeline.failure == ""
    one.check()


def test_records_that_the_log_dropped_are_counted_and_the_others_delivered(delivered, caplog):
    one = delivered(shards=1)
    stream = one.place.streams.stream("s")
    one.add(3, 10)
    stream.lanes[0].close()  # seals the segment, so that it can be dropped
    one.place.reopen()
    one.add(2, 10)
    lane = one.place.streams.stream("s").lanes[0]
    assert lane.drop_before_indexes({0: 4}) >= 1
    one.start()
    one.finish()
    assert b"".join(one.objects()) == b"".join(one.put_records[3:])
    assert "dropped 3 records" in caplog.text


def test_a_plan_whose_records_are_gone_is_settled_and_counted(delivered, caplog):
    one = delivered(shards=1)
    one.add(3, 10)
    one.flaky.failures = ["before"] * 2
    one.step()
    one.place.clock.advance(10_000)
    one.step()
    assert one.plan.count == 3
    one.place.reopen()
    one.add(2, 10)
    one.place.streams.stream("s").lanes[0].drop_before_indexes({0: 4})
    one.start()
    one.finish()
    assert b"".join(one.objects()) == b"".join(one.put_records[3:])
    assert "dropped 3 records" in caplog.text


def test_nothing_is_settled_after_it_was_abandoned(delivered):
    one = delivered()
    one.add(1, 10)
    one.step()
    one.place.clock.advance(10_000)
    plan = None
    while plan is None:
        one.pipeline.poll()
        plan = one.pipeline.begin()
    one.pipeline.abandon()
    with pytest.raises(Closed):
        one.pipeline.deliver(plan, again=False)
    assert one.place.log.catalogue.get(document.PLAN, one.pipeline.delivery.id) is not None
    one.crash()
    one.finish()
    one.check()


def test_a_stream_that_was_deleted_and_made_again_is_not_the_source(delivered):
    one = delivered()
    one.place.streams.delete("s")
    one.place.streams.create("s", 2)
    with pytest.raises(NotFound, match="was deleted"):
        one.place.pipeline("d").poll()


def test_a_direct_put_buffer_is_dropped_after_delivery(place):
    hints = {"SizeInMBs": 1, "IntervalInSeconds": 1}
    place.ok(
        "CreateDeliveryStream",
        DeliveryStreamName="d",
        ExtendedS3DestinationConfiguration=s3(BufferingHints=hints),
    )
    stream = place.deliveries.intake("d")
    for _ in range(40):
        place.put(stream.name, [(b"x" * 100_000, None)])
    pipeline = place.pipeline("d")
    assert pipeline.open_plan() is None
    before = stream.lanes[0].size
    while pipeline.poll() is not Read.NOTHING:
        if pipeline.buffer.full:
            pipeline.deliver(pipeline.begin(), again=False)
    assert stream.lanes[0].size < before
    assert stream.lanes[0].bounds(0)[0] > 0
    assert len(place.objects()) == 3


def lose_power(place):
    """As if the writer had ended with the power and everything had been on the device: the indexes move ahead."""
    place.log.close()
    control = ControlFile(place.directory / "control", writer=True, boot_id=bytes(16))
    control.mark(DIRTY, pid=0)
    control.close()
    place.open()


def test_all_was_read_where_only_the_indexes_moved_ahead(delivered):
    one = delivered(shards=2)
    one.add(20, 10)
    lose_power(one.place)
    one.start()
    ends = one.pipeline.ends()
    assert not one.pipeline.reached(ends)
    for _ in range(10):
        one.pipeline.poll()
    assert one.pipeline.reached(ends)


def test_what_was_dropped_is_counted_across_a_step_of_the_index(delivered, caplog):
    one = delivered(shards=1)
    one.add(3, 10)
    lose_power(one.place)
    one.add(2, 10)
    one.place.reopen()
    one.add(4, 10)
    lane = one.place.streams.stream("s").lanes[0]
    assert lane.drop_before_indexes({0: 6 + (1 << 32)}) == 2
    one.start()
    one.finish()
    assert b"".join(one.objects()) == b"".join(one.put_records[5:])
    assert "dropped 5 records" in caplog.text
