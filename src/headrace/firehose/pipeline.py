# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""One delivery's work, step by step: read, plan, put, settle. Every step blocks and can be the last.

    poll        new records enter the open buffer (as ranges; they stay in the log)
    begin       the buffer becomes a plan: an object's name and ranges, committed in the catalogue
    deliver     the object is made from the plan and put; after the store's word the position moves and the
                plan goes, in one transaction; then the log may drop what a DirectPut buffer held

Why each record is in exactly one object: the position moves only together with the removal of the plan, so
that after a crash at any moment the plan, if there is one, is carried out first. It has the same name and
ranges as before; if the object is there already, that was its crash between put and settle, and it is
settled without being sent again. Both commits reach the device before the next step.

The steps know nothing of loops or threads: `runner.py` calls them, tests call them under a frozen clock.
"""

from __future__ import annotations

import contextlib
import enum
import itertools
import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from headrace import limits, telemetry
from headrace.errors import Closed, NotFound
from headrace.firehose import document
from headrace.firehose.buffer import Buffer
from headrace.firehose.destination import Destination
from headrace.firehose.document import DIRECT_PUT, Delivery, Plan, Position
from headrace.firehose.payload import Payload
from headrace.firehose.settings import namer
from headrace.log import indexes_between
from headrace.log.failpoints import reach
from headrace.streams.reader import StreamReader
from headrace.streams.stream import Stream

if TYPE_CHECKING:
    from headrace.firehose.deliveries import Deliveries

logger = logging.getLogger("headrace.firehose")

_LABELS = ("delivery",)
records_total = telemetry.counter(
    "headrace_firehose_records_total", "Records whose object the store has confirmed.", _LABELS
)
bytes_total = telemetry.counter(
    "headrace_firehose_bytes_total", "Bytes of these records before compression.", _LABELS
)
stored_bytes_total = telemetry.counter(
    "headrace_firehose_stored_bytes_total", "Bytes of the objects as they were stored.", _LABELS
)
objects_total = telemetry.counter(
    "headrace_firehose_objects_total", "Objects the store has confirmed.", _LABELS
)
retries_total = telemetry.counter(
    "headrace_firehose_retries_total", "Attempts to put an object that failed and are repeated.", _LABELS
)
lost_total = telemetry.counter(
    "headrace_firehose_records_lost_total", "Records the log dropped before they were delivered.", _LABELS
)


class Read(enum.Enum):
    """What a poll found."""

    NOTHING = 0
    ALL = 1  # that was probably all there is just now
    MORE = 2  # there may be more


class Pipeline:
    """The steps of one delivery. `poll` and `deliver` may run at once in two threads; neither in two.

    Attributes:
        buffer: what was read since the last plan.
        under_way: the plan that is not settled.
        failure: the latest failure in words, empty after a success.
    """

    def __init__(
        self, deliveries: Deliveries, name: str, delivery: Delivery, destination: Destination
    ) -> None:
        self.deliveries = deliveries
        self.name = name
        self.delivery = delivery
        self.destination = destination
        self.failure = ""
        self.under_way: Plan | None = None
        self._clock = deliveries.clock
        self._catalogue = deliveries.streams.log.catalogue
        self._namer = namer(delivery.destination, name, delivery.version)
        self._gate = threading.Lock()  # between uses of the log by an upload and being abandoned
        self._abandoned = False
        self._stream: Stream | None = None
        self._reader: StreamReader | None = None
        self._known: dict[int, int] = {}  # the reader's position after the last whole poll
        self._resumed = True  # until the first plan of this run: records may have waited for an earlier one
        self.buffer = self._new_buffer()

    def _new_buffer(self) -> Buffer:
        settings = self.delivery.destination
        return Buffer(settings.size_mb, settings.interval_s)

    # --- where it stands ---

    @property
    def stream(self) -> Stream:
        """The source. Raises NotFound where it was deleted, also if another of its name was made since."""
        if self._stream is None or self._stream.deleted:
            source = self.delivery.source
            stream = self.deliveries.streams.stream(source.name)
            if stream.document.id != source.stream_id:
                raise NotFound(f"Stream {source.name}, which {self.name} delivered, was deleted.")
            self._stream = stream
        return self._stream

    def open_plan(self) -> Plan | None:
        """The object that was under way when an earlier run ended. Call before the first poll."""
        value = self._catalogue.get(document.PLAN, self.delivery.id)
        plan = None if value is None else document.decode_plan(self.name, value)
        self._known = self._position() if plan is None else plan.after
        self.under_way = plan
        return plan

    def _position(self) -> dict[int, int]:
        value = self._catalogue.get(document.POSITION, self.delivery.id)
        return {} if value is None else document.decode_position(self.name, value).shards

    def ends(self) -> dict[int, int]:
        """shard -> the index that follows its last record now, for every shard that is being read."""
        reader = self._open_reader()
        return {shard: self.stream.lane_of(shard).bounds(shard)[1] for shard in reader.positions}

    def reached(self, ends: dict[int, int]) -> bool:
        """Whether everything before these indexes was read. Shards that were read to their end are gone."""
        positions = self._open_reader().positions
        return all(
            self.stream.lane_of(shard).reached(shard, positions.get(shard, end), end)
            for shard, end in ends.items()
        )

    @property
    def oldest_ms(self) -> int:
        """Arrival of the oldest record that was read and is not delivered; 0 where there is none."""
        plan, buffer = self.under_way, self.buffer
        return plan.oldest_ms if plan is not None else buffer.oldest_ms

    # --- the steps ---

    def poll(self) -> Read:
        """Read what is new into the buffer, as far as there is room."""
        room = min(self.buffer.room, limits.firehose_poll_size_max)
        if not room:
            return Read.NOTHING
        reader = self._open_reader()
        try:
            batches = reader.poll(room)
        except BaseException:
            self._reader = None  # it may have gone past what it did not return
            raise
        read = 0
        for batch in batches:
            self._note_gap(int(batch.shards[0]), int(batch.ordinals[0]))
            self.buffer.add(batch, self._opened_ns(int(batch.arrival[0].view("int64"))))
            read += max(batch.nbytes, 1)
        self._known = dict(reader.positions)
        if not read:
            return Read.NOTHING
        return Read.ALL if read < room // 2 else Read.MORE

    def _opened_ns(self, arrival_ms: int) -> int:
        """When the interval of a buffer begins whose first record arrived then: now, in the first buffer after
        a start as long ago as that was, so that restarts do not put a delivery off again and again."""
        now_ns = self._clock.monotonic_ns()
        if not self._resumed:
            return now_ns
        age_ms = min(self._clock.now_ms() - arrival_ms, self.delivery.destination.interval_s * 1000)
        return now_ns - max(age_ms, 0) * 1_000_000

    def _open_reader(self) -> StreamReader:
        if self._reader is None:
            self._reader = StreamReader(self.stream, dict(self._known))
        return self._reader

    def _note_gap(self, shard: int, first: int) -> None:
        """Count records that the log dropped between the last poll and this one.

        An index also moves ahead, by 2^32, when a store starts uncleanly on a new boot or was repaired: the log
        dropped nothing there.
        """
        expected = self._known.get(shard, 0)
        if first > expected:
            kept = self.stream.lane_of(shard).bounds(shard)[0]
            self._note_lost(indexes_between(expected, min(kept, first)))

    def _note_lost(self, count: int) -> None:
        if count > 0:
            lost_total.add(count, self.name)
            logger.error(
                "delivery %s: the log dropped %d records of stream %s before they were delivered; keep more "
                "(retention, max_bytes)", self.name, count, self.delivery.source.name,
            )  # fmt: skip

    def begin(self) -> Plan:
        """Make a plan of the buffer and commit it; the next records go into a new buffer."""
        buffer = self.buffer
        plan = Plan(
            key=self._namer.make(buffer.oldest_ms, self.deliveries.randomness),
            ranges=buffer.ranges(),
            codec=self.delivery.destination.codec,
            count=buffer.count,
            size=buffer.size,
            oldest_ms=buffer.oldest_ms,
            after=dict(self._known),
        )
        self._catalogue.put(document.PLAN, self.delivery.id, document.encode(plan), durable=True)
        self.under_way, self.buffer = plan, self._new_buffer()
        self._resumed = False
        reach("firehose.after_plan")
        return plan

    def deliver(self, plan: Plan, *, again: bool, destination: Destination | None = None) -> None:
        """Put the object of a plan and settle it. Raises DeliveryError where the store did not confirm.

        again: it may have been sent before, so look for it first.
        destination: another than the delivery's own (for what is left of a deleted one).
        """
        target = destination or self.destination
        if not (again and target.exists(plan.key)):
            payload = Payload(self.stream, plan, self.allowed)
            chunks = iter(payload)
            first = next(chunks, b"")
            stored = 0
            if payload.count:
                stored = target.put(plan.key, itertools.chain((first,), chunks))
            self._note_lost(plan.count - payload.count)
            count, size = payload.count, payload.size
        else:
            stored, count, size = 0, plan.count, plan.size
        reach("firehose.after_put")
        self.settle(plan)
        self._note_success(plan, count, size, stored)

    def settle(self, plan: Plan) -> None:
        """Move the position behind a plan and forget it, at once."""
        with self.allowed():
            with self._catalogue.transaction(durable=True):
                position = document.encode(Position(plan.after))
                self._catalogue.put(document.POSITION, self.delivery.id, position)
                self._catalogue.delete(document.PLAN, self.delivery.id)
            self.under_way = None
            reach("firehose.after_settle")
            if self.delivery.type == DIRECT_PUT:
                for lane in self.stream.lanes:
                    lane.drop_before_indexes(plan.after)

    def note_source_gone(self) -> None:
        """The source was deleted, and with it what was read of it and not delivered."""
        plan, buffer = self.under_way, self.buffer
        self._note_lost(buffer.count + (plan.count if plan is not None else 0))
        self.under_way, self.buffer = None, self._new_buffer()

    def _note_success(self, plan: Plan, count: int, size: int, stored: int) -> None:
        self.failure = ""
        if count:
            records_total.add(count, self.name)
            bytes_total.add(size, self.name)
            stored_bytes_total.add(stored, self.name)
            objects_total.add(1, self.name)
        logger.info(
            "delivery %s: %s has %d records, %d bytes of %d", self.name, plan.key, count, stored, size
        )

    def note_failure(self, error: BaseException) -> None:
        """Remember what went wrong for those who ask; it is tried again."""
        text = getattr(error, "message", "") or f"{type(error).__name__}: {error}"
        if text != self.failure:
            logger.warning("delivery %s: %s", self.name, text)
        self.failure = text

    # --- the end ---

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Around each use of the log by an upload. Raises Closed where nothing more may be done."""
        with self._gate:
            if self._abandoned:
                raise Closed(f"delivery {self.name} was stopped")
            yield

    def abandon(self) -> None:
        """Stop for good: when this returns no upload uses the log, and none will. A put that waits for its
        store ends at its next chunk, and nothing is settled."""
        with self._gate:
            self._abandoned = True
