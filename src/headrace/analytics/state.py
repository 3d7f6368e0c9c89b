# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The state of a named query between steps, as it stands in the POSITION frames of its output.

A position holds: where reading continues; the watermarks, with the judgements that shards are idle; the
counts; how many records were put into each output lane; and the open windows, either as they are (if they
are small), or only as the ranges of records from which they are made again. Both give the same windows: a
shard's watermark at the start of its range stands with the range, so each row's fate is the same again.

A *plan* is a position with a step: "from here, the next records up to these". It is written before the
outputs of a step that go to more than one lane, because a crash may come between two lanes; after a start
such a step is done again, up to exactly the same record, and the producer's sequence drops what is there;
where the output was resharded in between, see stages.py.

Bytes: MessagePack of a map, with "version" 1.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec

from headrace import limits
from headrace.analytics.engine import Engine
from headrace.analytics.sources import Source
from headrace.analytics.stages import Stage
from headrace.core._batch import RecordBatch
from headrace.errors import Corrupt

VERSION = 1

Step = tuple[dict[int, int], list[int]]
"""Up to where a step reads each shard that gives something, and the shards that are left after it."""


@dataclass
class Range:
    """Records of one batch that may be in open windows: from `start`, when the shard's watermark was
    `watermark`; `latest` is the end of the last window that got one of them."""

    start: int
    watermark: int | None
    latest: int


@dataclass
class Position:
    """What is kept. `step` is set in plans only."""

    epoch: int = 0
    positions: dict[int, int] = field(default_factory=dict)
    sequences: dict[int, int] = field(default_factory=dict)
    watermarks: dict[str, Any] | None = None
    rejects: dict[str, Any] | None = None
    windows: dict[str, Any] | None = None  # inline state
    ranges: list[tuple[int, int, int, int | None]] = field(
        default_factory=list
    )  # shard, start, end, watermark
    step: Step | None = None
    generation: int = 0  # of plans: shards of the output ever made, when the records were routed
    stages: list[Stage] = field(default_factory=list)  # of plans: earlier generations, see stages.py

    def encode(self) -> bytes:
        """The bytes of a POSITION frame."""
        document = {
            "version": VERSION,
            "epoch": self.epoch,
            "positions": list(self.positions.items()),
            "sequences": list(self.sequences.items()),
            "watermarks": self.watermarks,
            "rejects": self.rejects,
            "windows": self.windows,
            "ranges": self.ranges,
            "step": None if self.step is None else [list(self.step[0].items()), self.step[1]],
            "generation": self.generation,
            "stages": [(generation, list(got.items())) for generation, got in self.stages],
        }
        return msgspec.msgpack.encode(document)

    @classmethod
    def decode(cls, data: bytes) -> Position:
        """From the bytes of a POSITION frame."""
        try:
            document = msgspec.msgpack.decode(data)
            if document["version"] != VERSION:
                raise Corrupt(
                    f"the state of a query has version {document['version']}; this headrace reads {VERSION}"
                )
            return cls(
                epoch=document["epoch"],
                positions=dict(document["positions"]),
                sequences=dict(document["sequences"]),
                watermarks=document["watermarks"],
                rejects=document["rejects"],
                windows=document["windows"],
                ranges=[tuple(part) for part in document["ranges"]],
                step=None
                if document["step"] is None
                else (dict(document["step"][0]), list(document["step"][1])),
                generation=document["generation"],
                stages=[(generation, dict(got)) for generation, got in document["stages"]],
            )
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            raise Corrupt(f"the state of a query is not readable: {error}") from error


class Tracker:
    """Which records the open windows were made of: for each shard the batches that may still matter."""

    def __init__(self) -> None:
        self.batches: dict[int, deque[Range]] = {}
        self.ends: dict[int, int] = {}

    def note(self, engine: Engine, batch: RecordBatch, before: int | None) -> None:
        """A batch was taken in; `before` is its shard's watermark before."""
        windows = engine.windows
        if windows is None:
            return
        shard = int(batch.shards[0])
        self.ends[shard] = int(batch.ordinals[-1]) + 1
        latest = windows.end(max(windows.open)) if windows.open else -(2**63)
        batches = self.batches.setdefault(shard, deque())
        batches.append(Range(int(batch.ordinals[0]), before, latest))
        if len(batches) > 1024:  # every second one: ranges become coarser, never wrong
            merged: deque[Range] = deque()
            while batches:
                first = batches.popleft()
                if batches:
                    first.latest = max(first.latest, batches.popleft().latest)
                merged.append(first)
            self.batches[shard] = merged

    def seed(self, shard: int, start: int, end: int, watermark: int | None, latest: int) -> None:
        """Take up a range whose rows are in the windows already."""
        self.batches[shard] = deque([Range(start, watermark, latest)])
        self.ends[shard] = end

    def ranges(self, engine: Engine) -> list[tuple[int, int, int, int | None]]:
        """For each shard: from where to read again, up to where, and the watermark at the start."""
        closed = engine.watermarks.closed
        result = []
        for shard, batches in list(self.batches.items()):
            while batches and closed is not None and batches[0].latest <= closed:
                batches.popleft()
            if batches:
                result.append((shard, batches[0].start, self.ends[shard], batches[0].watermark))
            else:
                del self.batches[shard]
        return result


def capture(
    engine: Engine, positions: dict[int, int], tracker: Tracker, sequences: dict[int, int], epoch: int
) -> Position:
    """The position after a step."""
    position = Position(
        epoch=epoch,
        positions=dict(positions),
        sequences=dict(sequences),
        watermarks=engine.watermarks.save(),
        rejects=engine.rejects.save(),
    )
    windows = engine.windows
    if windows is None or not windows.open:
        return position
    position.ranges = tracker.ranges(engine)
    # About 30 bytes for each group and aggregate: encode only what may be small enough.
    if len(windows) * (1 + len(windows.accumulators)) * 16 <= limits.sql_state_inline_size_max:
        saved = windows.save()
        if len(msgspec.msgpack.encode(saved)) <= limits.sql_state_inline_size_max:
            position.windows = saved
    return position


def restore(position: Position, engine: Engine, source: Source, tracker: Tracker) -> None:
    """Bring an engine to where a position says.

    Raises:
        ExpiredPosition: records that open windows need are no longer there.
    """
    if position.rejects is not None:
        engine.rejects.load(position.rejects)
    windows, marks = engine.windows, engine.watermarks
    if windows is None or position.watermarks is None:
        return
    if position.windows is not None:
        windows.load(position.windows)
        latest = windows.end(max(windows.open))
        for shard, start, end, watermark in position.ranges:
            tracker.seed(shard, start, end, watermark, latest)
    else:
        marks.closed = position.watermarks["closed"]
        for shard, start, end, watermark in position.ranges:
            marks.shards = {shard: watermark}
            for batch in source.read(shard, start, end):
                before = marks.of(shard)
                engine.take(batch, replay=True)
                tracker.note(engine, batch, before)
    marks.load(position.watermarks)
