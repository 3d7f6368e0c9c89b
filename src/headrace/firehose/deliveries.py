# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Deliveries: all delivery streams of a store, by name; their settings and states in the catalogue.

    CREATING ──check──▶ ACTIVE ──delete──▶ DELETING ──what was open is delivered──▶ gone
        └─────▶ CREATING_FAILED ──delete──▶ gone    └──▶ DELETING_FAILED ──delete with force──▶ DELETING

What a DirectPut delivery takes in goes into an internal stream of the same log, and from there the same way
as any other stream. The keeper (keeper.py) does the work; here is what it works from.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable

import msgspec

from headrace import limits
from headrace.errors import (
    CallerError,
    DeliveryError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    ResourceInUse,
)
from headrace.firehose import document, settings
from headrace.firehose.buckets import Buckets
from headrace.firehose.document import (
    ACTIVE,
    CREATING,
    CREATING_FAILED,
    DELETING,
    DELETING_FAILED,
    DIRECT_PUT,
    STREAM_SOURCE,
    Delivery,
    Position,
    Source,
)
from headrace.firehose.object_name import Randomness
from headrace.streams.reader import StreamReader
from headrace.streams.stream import Stream
from headrace.streams.streams import Streams

INTERNAL_PREFIX = "$firehose:"


class Deliveries:
    """The delivery streams of one store. Safe to share between threads.

    changed: called with a name after its delivery stream was made, or its state changed by a client; the
        keeper sets it.
    failures: name -> the latest failure of a delivery that goes on trying; the keeper fills it.
    """

    def __init__(self, streams: Streams, buckets: Buckets, *, randomness: Randomness = os.urandom) -> None:
        self.streams = streams
        self.buckets = buckets
        self.clock = streams.clock
        self.randomness = randomness
        self.arn_prefix = f"arn:aws:firehose:{streams.region}:{streams.account}:deliverystream/"
        self.changed: Callable[[str], None] = lambda _name: None
        self.failures: dict[str, str] = {}
        self.lock = threading.RLock()  # one change at a time
        self._deliveries: dict[str, Delivery] = {}
        self._intakes: dict[str, Stream] = {}  # of those that take records now
        self._load()

    # --- finding ---

    def get(self, name: str) -> Delivery:
        """Raises NotFound in the service's words."""
        if not self.streams.log.writer:
            self._reload()
        delivery = self._deliveries.get(name)
        if delivery is None:
            raise self._unknown(name)
        return delivery

    def list(self) -> list[tuple[str, Delivery]]:
        """(name, delivery stream) in the order of the names."""
        if not self.streams.log.writer:
            self._reload()
        return sorted(self._deliveries.items())

    def has_work(self, name: str) -> bool:
        """Whether there is a delivery stream of this name that a keeper has something to do for."""
        delivery = self._deliveries.get(name)
        return delivery is not None and delivery.status in (CREATING, ACTIVE, DELETING)

    def intake(self, name: str) -> Stream:
        """The stream that takes what is put into a delivery stream. Cost: one look-up.

        Raises NotFound where there is none of this name or it does not take records now, InvalidArgument
        where its source is another stream.
        """
        stream = self._intakes.get(name)
        if stream is None:
            delivery = self.get(name)
            if delivery.type != DIRECT_PUT:
                raise InvalidArgument(
                    "This operation is not permitted on KinesisStreamAsSource delivery stream type."
                )
            raise NotFound(
                f"Firehose {name} under account {self.streams.account} is not active: {delivery.status}."
            )
        return stream

    def arn(self, name: str) -> str:
        return f"{self.arn_prefix}{name}"

    def _unknown(self, name: str) -> NotFound:
        return NotFound(f"Firehose {name} under account {self.streams.account} not found.")

    # --- making ---

    def create(self, name: str, request: settings.Request, tags: dict[str, str]) -> Delivery:
        """Make a delivery stream of a validated request. Durable in the catalogue when this returns.

        It is ACTIVE at once where the destination can be checked at once, else CREATING until the keeper has
        checked it. Raises InvalidArgument, ResourceInUse or LimitExceeded.
        """
        kind = settings.source_type(request)
        target = settings.destination(request)
        destination = self.buckets.find(target.bucket)
        now_ms = self.clock.now_ms()
        status = CREATING
        if destination.local:
            try:
                destination.check(settings.namer(target, name, 1).make(now_ms, self.randomness))
            except DeliveryError as error:
                raise InvalidArgument(f"Bucket {target.bucket} cannot be written: {error.message}") from None
            status = ACTIVE
        with self.lock:
            self._check_new(name)
            catalogue = self.streams.log.catalogue
            with catalogue.transaction(durable=True):
                source, position = self._source(name, kind, request)
                delivery = Delivery(
                    id=uuid.UUID(bytes=self.randomness(16), version=4).hex,
                    created_ms=now_ms,
                    updated_ms=now_ms,
                    type=kind,
                    source=source,
                    destination=target,
                    status=status,
                    tags=tags,
                )
                catalogue.put(document.POSITION, delivery.id, document.encode(Position(position)))
                catalogue.put(document.DELIVERY, name, document.encode(delivery))
            self._adopt(name, delivery)
        self.changed(name)
        return delivery

    def _check_new(self, name: str) -> None:
        if name in self._deliveries:
            raise ResourceInUse(f"Firehose {name} under accountId {self.streams.account} already exists")
        if len(self._deliveries) >= limits.firehose_streams_max:
            raise LimitExceeded(
                f"You have already consumed your firehose quota of {limits.firehose_streams_max} hoses."
            )

    def _source(self, name: str, kind: str, request: settings.Request) -> tuple[Source, dict[int, int]]:
        """The source and where delivery begins: exactly here, so that nothing put from now on is skipped."""
        if kind == STREAM_SOURCE:
            given = request["KinesisStreamSourceConfiguration"]
            arn = given["KinesisStreamARN"]
            try:
                stream = self.streams.stream(arn=arn)
                if stream.document.internal:
                    raise NotFound(f"Stream {stream.name} under account {self.streams.account} not found.")
            except CallerError as error:
                raise InvalidArgument(error.message) from None
            source = Source(stream.name, stream.document.id, arn, given["RoleARN"])
        else:
            stream = self.streams.create(
                INTERNAL_PREFIX + name,
                internal=True,
                retention_hours=limits.retention_hours_max,
                on_full="throttle",
                record_size_max=limits.firehose_record_size_max,
            )
            source = Source(stream.name, stream.document.id)
        return source, StreamReader(stream, "latest").positions

    # --- changing ---

    def update(self, name: str, **members: object) -> Delivery:
        """Change members, in the catalogue first. Raises NotFound."""
        with self.lock:
            changed = msgspec.structs.replace(self.get(name), updated_ms=self.clock.now_ms(), **members)
            self.streams.log.catalogue.put(document.DELIVERY, name, document.encode(changed), durable=True)
            self._adopt(name, changed)
            return changed

    def delete(self, name: str, *, force: bool) -> None:
        """Begin to delete. Raises NotFound, and ResourceInUse while it is being created."""
        with self.lock:
            delivery = self.get(name)
            if delivery.status == CREATING:
                raise ResourceInUse(
                    f"Firehose {name} under account {self.streams.account} is being created and cannot be "
                    "deleted yet."
                )
            if delivery.status == CREATING_FAILED:
                self.remove(name)
            elif delivery.status != DELETING or (force and not delivery.force):
                if delivery.status == DELETING_FAILED and not force:
                    raise ResourceInUse(
                        f"Firehose {name} under account {self.streams.account} could not be deleted: "
                        f"{delivery.failure} Set AllowForceDelete to delete it with what it holds."
                    )
                self.update(name, status=DELETING, force=force, failure="")
        self.changed(name)

    def remove(self, name: str) -> None:
        """Forget a delivery stream, and what its own buffer holds."""
        with self.lock:
            delivery = self.get(name)
            catalogue = self.streams.log.catalogue
            with catalogue.transaction(durable=True):
                catalogue.delete(document.DELIVERY, name)
                catalogue.delete(document.POSITION, delivery.id)
                catalogue.delete(document.PLAN, delivery.id)
            del self._deliveries[name]
            self._intakes.pop(name, None)
            self.failures.pop(name, None)
            if delivery.type == DIRECT_PUT:
                self._remove_stream(delivery.source.name)

    def _remove_stream(self, name: str) -> None:
        try:
            self.streams.delete(name)
        except NotFound:
            pass

    # --- the catalogue ---

    def _load(self) -> None:
        self._reload()
        if self.streams.log.writer:
            # A crash between the two halves of `remove` leaves the stream behind.
            kept = {delivery.source.name for delivery in self._deliveries.values()}
            for stream in self.streams.list(internal=True):
                if stream.name.startswith(INTERNAL_PREFIX) and stream.name not in kept:
                    self._remove_stream(stream.name)

    def _reload(self) -> None:
        self._deliveries.clear()
        self._intakes.clear()
        for name, value in self.streams.log.catalogue.items(document.DELIVERY):
            self._adopt(name, document.decode_delivery(name, value))

    def _adopt(self, name: str, delivery: Delivery) -> None:
        self._deliveries[name] = delivery
        if delivery.type == DIRECT_PUT and delivery.status == ACTIVE and self.streams.log.writer:
            self._intakes[name] = self.streams.stream(delivery.source.name)
        else:
            self._intakes.pop(name, None)
