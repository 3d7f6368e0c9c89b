# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Streams: all streams of a store, by name and by ARN.

The process that writes the store keeps them in memory (a kilobyte each) and is the only one that changes
the catalogue. Other processes read the catalogue when they ask for a stream, so they see what the writer
made, changed or deleted.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from headrace import limits
from headrace.clock import Clock, SystemClock
from headrace.config import check_choice, check_count
from headrace.errors import AlreadyExists, Error, InvalidArgument, LimitExceeded, NotFound, StorageError
from headrace.streams import document as documents
from headrace.streams import topology
from headrace.streams.document import AUTO, ON_DEMAND, PROVISIONED, USER_PARTITION_KEY, StreamDocument
from headrace.streams.stream import Stream
from headrace.streams.tokens import Sealer, load_key

if TYPE_CHECKING:
    from headrace.log import Log

Durability = Literal["process", "disk"]
OnFull = Literal["throttle", "drop_oldest"]
RETENTION_MS = 30_000  # between two looks at what is too old

logger = logging.getLogger("headrace.streams")

_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_INTERNAL_NAME = re.compile(r"\$[a-zA-Z0-9_.$:-]{1,255}")
_ARN = re.compile(r"arn:aws[^:]*:kinesis:([^:]*):(\d{12}):stream/([^/]+)")


class StreamDefaults(msgspec.Struct, frozen=True):
    """What a stream gets where its creator says nothing."""

    durability: Durability = "process"
    max_bytes: int | None = None
    on_full: OnFull = "throttle"
    on_demand_shards: int = 4
    cores: int = os.cpu_count() or 1
    enforce_limits: bool = False  # the real service's limits on how often a stream is scaled

    def __post_init__(self) -> None:
        check_choice("durability", self.durability, get_args(Durability))
        check_choice("on_full", self.on_full, get_args(OnFull))
        if self.max_bytes is not None:
            check_count("max_bytes of a stream", self.max_bytes, limits.stream_size_least)


class Streams:
    """The streams of one store."""

    def __init__(
        self,
        log: Log,
        *,
        clock: Clock | None = None,
        account: str = "000000000000",
        region: str = "us-east-1",
        defaults: StreamDefaults | None = None,
    ) -> None:
        self.log = log
        self.clock: Clock = clock or SystemClock()
        self.account = account
        self.region = region
        self.defaults = defaults or StreamDefaults()
        self.arn_prefix = f"arn:aws:kinesis:{region}:{account}:stream/"
        self.control = threading.RLock()  # one change of the catalogue at a time
        self._streams: dict[str, Stream] = {}
        self._sealer: Sealer | None = None
        self._kept_ms = self.clock.now_ms()
        self._load()
        if log.writer:
            log.maintenance.add("retention", self._keep)

    @property
    def sealer(self) -> Sealer:
        """Seals iterators and page tokens under the store's key."""
        if self._sealer is None:
            self._sealer = Sealer(load_key(self.log.directory))
        return self._sealer

    # --- finding ---

    def stream(self, name: str | None = None, arn: str | None = None) -> Stream:
        """The stream of this name, ARN, or both. Raises NotFound in the service's words."""
        if arn is not None:
            name = self._name_of(arn, name)
        elif name is None:
            raise InvalidArgument("Either StreamName or StreamARN should be provided.")
        stream = self._streams.get(name) if self.log.writer else self._look_up(name)
        if stream is None:
            raise self._unknown(name)
        return stream

    def get(self, name: str) -> Stream | None:
        """The stream of this name, or None. The writer's fast path: one look-up."""
        return self._streams.get(name)

    def refresh(self, stream: Stream) -> None:
        """Bring a stream up to what the catalogue says; for processes that do not write the store."""
        found = self._look_up(stream.name)
        if found is not stream:
            stream.deleted = True

    def list(self, *, internal: bool = False) -> list[Stream]:
        """All streams in the order of their names, without those that headrace keeps for itself."""
        if not self.log.writer:
            self._reload()
        return [
            stream for _, stream in sorted(self._streams.items()) if internal or not stream.document.internal
        ]

    def _name_of(self, arn: str, name: str | None) -> str:
        found = arn.removeprefix(self.arn_prefix)
        if found == arn or "/" in found:
            match = _ARN.fullmatch(arn)
            if match is None:
                raise InvalidArgument(f"{arn} is not the ARN of a stream.")
            region, account, found = match.groups()
            if (region, account) != (self.region, self.account):
                raise NotFound(
                    f"Stream {found} under account {account} not found.",
                    hint=f"this store's streams are {self.arn_prefix}NAME",
                )
        if name is not None and name != found:
            raise InvalidArgument(f"StreamName {name} and StreamARN {arn} do not name the same stream.")
        return found

    def _unknown(self, name: str) -> NotFound:
        # Only where names are few: a client may ask for what is missing as often as it likes.
        names = list(self._streams) if len(self._streams) <= 100 else []
        near = difflib.get_close_matches(name, names, 3)
        hint = f"did you mean {', '.join(near)}?" if near else ""
        return NotFound(f"Stream {name} under account {self.account} not found.", hint=hint)

    # --- making ---

    def create(
        self,
        name: str,
        shards: int = 1,
        *,
        durability: Durability | None = None,
        retention_hours: int = limits.retention_hours_min,
        max_bytes: int | None = None,
        on_full: OnFull | None = None,
        record_size_max: int = limits.record_size_default,
        mode: str = PROVISIONED,
        internal: bool = False,
        tags: dict[str, str] | None = None,
        distribution: str = USER_PARTITION_KEY,
    ) -> Stream:
        """Make a stream; it is ACTIVE at once. When this returns it survives the loss of power, whatever its
        records survive: no file of its lanes may outlive what the catalogue says of them.

        A `disk` stream has one lane, so that one sync covers a request; a `process` stream has as many as
        shards, cores and 8 allow. Raises AlreadyExists, InvalidArgument or LimitExceeded.
        """
        self._check_name(name, internal)
        shards = check_count("shards", shards, 1)
        if shards > limits.shards_max:
            raise LimitExceeded(self.shard_limit_text(0, shards))
        retention_hours = check_count("retention_hours", retention_hours, 1, limits.retention_hours_max)
        record_size_max = check_count("record_size_max", record_size_max, 1, limits.record_size_max)
        if max_bytes is not None:
            max_bytes = check_count("max_bytes of a stream", max_bytes, limits.stream_size_least)
        if durability is not None:
            check_choice("durability", durability, get_args(Durability))
        if on_full is not None:
            check_choice("on_full", on_full, get_args(OnFull))
        if distribution == AUTO and mode != ON_DEMAND:
            raise InvalidArgument("The AUTO record distribution strategy needs a stream in ON_DEMAND mode.")
        document = StreamDocument(
            id=int.from_bytes(os.urandom(8), "big") >> 1,
            created_ms=self.clock.now_ms(),
            durability=self.defaults.durability if durability is None else durability,
            lanes=[],
            even=shards,
            mode=mode,
            retention_hours=retention_hours,
            max_bytes=self.defaults.max_bytes if max_bytes is None else max_bytes,
            on_full=self.defaults.on_full if on_full is None else on_full,
            record_size_max=record_size_max,
            internal=internal,
            distribution=distribution,
            tags=dict(tags or {}),
        )
        with self.control:
            if name in self._streams:
                raise AlreadyExists(f"Stream {name} under account {self.account} already exists.")
            return self._make(name, document)

    def _make(self, name: str, document: StreamDocument) -> Stream:
        count = 1 if document.durability == "disk" else self._lane_count(document.even)
        catalogue = self.log.catalogue
        with catalogue.transaction(durable=True):
            document.lanes = [self.log.add_lane(document.durability) for _ in range(count)]
            catalogue.put(documents.STREAM, name, documents.encode(document))
        stream = self._streams[name] = Stream(self, name, document)
        return stream

    def _lane_count(self, shards: int) -> int:
        return min(shards, self.defaults.cores, limits.lanes_max)

    def delete(self, name: str) -> None:
        """Delete a stream and its records. It stays deleted when this returns, also after a loss of power.
        Raises NotFound; StorageError where files could not be removed, which the next opening tries again."""
        with self.control:
            stream = self.stream(name)
            key = f"{stream.document.id:016x}"
            catalogue = self.log.catalogue
            with catalogue.transaction(durable=True):
                catalogue.put(
                    documents.DROPPED, key, documents.encode(documents.Dropped(stream.document.lanes))
                )
                catalogue.delete(documents.STREAM, name)
                catalogue.delete(documents.INTENT, name)
            with stream.lock:
                stream.deleted = True
            del self._streams[name]
            self._drop(key, stream.document.lanes)

    def _drop(self, key: str, lanes: Iterable[int]) -> None:
        for lane in lanes:
            self.log.delete_lane(lane)
        self.log.catalogue.delete(documents.DROPPED, key)

    def _check_name(self, name: str, internal: bool) -> None:
        if not isinstance(name, str) or not (_INTERNAL_NAME if internal else _NAME).fullmatch(name):
            raise InvalidArgument(
                f"{name!r} is not a stream name: 1 to 128 letters, digits, _, . and - are allowed"
            )

    def shard_limit_text(self, present: int, wanted: int) -> str:
        """What is said of a change that would open too many shards."""
        return (
            f"This request would exceed the shard limit for the account {self.account} in {self.region}. "
            f"Current shard count for the stream: {present}. Limit: {limits.shards_max}. "
            f"Number of additional shards that would have resulted from this request: {wanted}."
        )

    # --- keeping ---

    def _keep(self) -> None:
        """Apply retention every half minute of the clock; the log's maintenance asks once a second."""
        now_ms = self.clock.now_ms()
        if abs(now_ms - self._kept_ms) >= RETENTION_MS:
            self._kept_ms = now_ms
            self.apply_retention()

    def apply_retention(self) -> None:
        """Let the log drop what is older than each stream keeps. Where the log runs in the background it sees to
        this by itself.

        Sizes need no call: a lane keeps within its limit as it takes records. A stream without files costs
        one look for its directory. What stops one stream is logged, and the others go on.
        """
        now_ms = self.clock.now_ms()
        for stream in list(self._streams.values()):
            if self.log.closed:
                return
            floor_ms = now_ms - stream.document.retention_hours * 3_600_000
            try:
                self._drop_before(stream, floor_ms)
            except (OSError, Error) as problem:
                if not (stream.deleted or self.log.closed):
                    logger.warning("retention of stream %s: %s", stream.name, problem)

    def _drop_before(self, stream: Stream, floor_ms: int) -> None:
        if any(self.log.lane_directory(number).exists() for number in stream.document.lanes):
            for lane in stream.lanes:
                lane.drop_before(floor_ms)

    # --- the catalogue ---

    def _load(self) -> None:
        """Read every stream; the writer also finishes what an earlier process began."""
        catalogue = self.log.catalogue
        self._reload()
        if not self.log.writer:
            return
        for key, value in catalogue.items(documents.DROPPED):
            try:
                self._drop(key, documents.decode_dropped(value).lanes)
            except StorageError as problem:
                self.log.note(f"a deleted stream is not all gone: {problem.message}")
        for name, intent in catalogue.items(documents.INTENT):
            stream = self._streams.get(name)
            if stream is None:
                catalogue.delete(documents.INTENT, name)
                continue
            try:
                topology.resume(stream, intent)
            except Error as problem:  # of one stream; the next opening tries again
                self.log.note(f"stream {name}: its reshard could not be finished: {problem.message}")

    def _reload(self) -> None:
        items = dict(self.log.catalogue.items(documents.STREAM))
        for name in self._streams.keys() - items.keys():
            self._streams.pop(name).deleted = True
        for name, value in items.items():
            self._adopt(name, value)

    def _look_up(self, name: str) -> Stream | None:
        value = self.log.catalogue.get(documents.STREAM, name)
        if value is None:
            gone = self._streams.pop(name, None)
            if gone is not None:
                gone.deleted = True
            return None
        return self._adopt(name, value)

    def _adopt(self, name: str, value: bytes) -> Stream:
        document = documents.decode_stream(name, value)
        stream = self._streams.get(name)
        if stream is None or stream.document.id != document.id:
            if stream is not None:
                stream.deleted = True
            stream = self._streams[name] = Stream(self, name, document)
        else:
            stream.adopt(document)
        return stream
