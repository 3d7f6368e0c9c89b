# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What the demo checks at its end: every acknowledged record was read back, delivered and counted.

Digests stand for records: two lists of digests are the same if they are the same when sorted, and what is
lost, doubled or of unknown origin is told apart by counting.
"""

from __future__ import annotations

import gzip
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.cli.demo_feed import Ledger, digest
from headrace.cli.demo_windows import LiveWindow, by_metric

if TYPE_CHECKING:
    from headrace.streams import Stream

QUIET_S = 0.5
LOOK_S = 0.1


class Comparison:
    """Digests that were put against digests that were found."""

    def __init__(self, put: Any, found: Any) -> None:
        left, left_counts = np.unique(np.array(put, dtype=np.uint64), return_counts=True)
        right, right_counts = np.unique(np.array(found, dtype=np.uint64), return_counts=True)
        there = np.isin(right, left, assume_unique=True)
        wanted = np.zeros(len(right), dtype=np.int64)
        wanted[there] = left_counts[np.isin(left, right, assume_unique=True)]
        more = np.maximum(right_counts - wanted, 0)
        self.found = len(found)
        self.doubled = int(more[there].sum())
        self.unknown = int(right_counts[~there].sum())
        self.lost = len(put) - int(np.minimum(right_counts, wanted).sum())

    @property
    def same(self) -> bool:
        return not (self.lost or self.doubled or self.unknown)

    @property
    def text(self) -> str:
        """What differs, in words; "" if nothing does."""
        parts = [
            f"{count:,} {word}"
            for count, word in ((self.lost, "lost"), (self.doubled, "doubled"), (self.unknown, "changed"))
            if count
        ]
        return ", ".join(parts)


class ReadBack:
    """What the stream holds from some positions on.

    Attributes:
        digests: of key and data of each record.
        disordered: records of a shard that stand before one that was put earlier.
    """

    def __init__(self, stream: Stream, start: dict[int, int], wanted: int) -> None:
        from headrace.streams import StreamReader

        self.digests = array("Q")
        self.disordered = 0
        last: dict[int, int] = {}
        reader = StreamReader(stream, start)
        while batches := reader.poll() or (
            len(self.digests) < wanted and reader.wait(QUIET_S) and reader.poll()
        ):
            for batch in batches:
                shard = int(batch.shards[0])
                for data, key in zip(batch.data, batch.keys, strict=True):
                    self.digests.append(digest(data, key))
                    number = number_of(data)
                    self.disordered += number <= last.get(shard, 0)
                    last[shard] = number


def number_of(data: bytes) -> int:
    """The running number of a record that the feeder made, 0 of another: it starts with {"id":…,"""
    head = data[:32].removeprefix(b'{"id":').partition(b",")[0]
    return int(head) if head.isdigit() else 0


class Archive:
    """The objects that were delivered, each read once.

    Attributes:
        objects, stored: how many, and their bytes.
        nbytes: what was in them.
        digests: of the data of each record.
        broken: objects that are not gzip.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.objects = 0
        self.stored = 0
        self.nbytes = 0
        self.digests = array("Q")
        self.broken: list[str] = []
        self._seen: set[Path] = set()

    @property
    def ratio(self) -> float:
        """How much smaller the objects are; 0 before the first."""
        return self.nbytes / self.stored if self.stored else 0.0

    def look(self) -> None:
        """Read the objects that came since the last look. They appear whole, under their final names."""
        for path in sorted(self.directory.rglob("*.gz")) if self.directory.exists() else ():
            if path in self._seen or path.name.startswith("."):
                continue
            self._seen.add(path)
            packed = path.read_bytes()
            try:
                data = gzip.decompress(packed)
            except (OSError, EOFError, ValueError) as problem:
                self.broken.append(f"{path}: {problem}")
                continue
            self.objects += 1
            self.stored += len(packed)
            self.nbytes += len(data)
            for line in data.splitlines(keepends=True):
                self.digests.append(digest(line))

    def wait(self, records: int, seconds: float, going: Callable[[], bool]) -> None:
        """Until so many records were delivered, the time is over, or nobody delivers any more."""
        end = time.monotonic() + seconds
        while True:
            alive = going()
            self.look()
            if len(self.digests) >= records or time.monotonic() > end or not alive:
                return
            time.sleep(LOOK_S)


Verdict = tuple[bool, str]


def judge_reading(ledger: Ledger, read: ReadBack) -> Verdict:
    """Whether every record that was put was read back once, unchanged and in order."""
    compared = Comparison(ledger.whole, read.digests)
    trouble = compared.text
    if read.disordered and not ledger.retried:
        trouble = f"{trouble}, {read.disordered:,} out of order".removeprefix(", ")
    return not trouble, f"{compared.found:,} records read back: {trouble or 'each once, unchanged, in order'}"


def judge_delivery(ledger: Ledger, archive: Archive) -> Verdict:
    """Whether the objects contain exactly the records."""
    compared = Comparison(ledger.data, archive.digests)
    trouble = compared.text
    if archive.broken:
        trouble = f"{trouble}, {len(archive.broken)} objects cannot be read".removeprefix(", ")
    objects = f"{archive.objects} gzip object{'s' if archive.objects != 1 else ''}"
    return not trouble, f"{compared.found:,} records delivered in {objects}: {trouble or 'each once'}"


def judge_window(ledger: Ledger, window: LiveWindow) -> tuple[bool, str, int]:
    """Whether the counts add up, metric by metric, and live windows were right; and the sum of the counts."""
    counts, outside = window.recount()
    total = sum(counts.values())
    wrong = sum(counts.get(key) != count for key, count in window.counts.items())
    trouble = [
        text
        for text, bad in (
            (f"{total:,} counted of {ledger.records:,}", total != ledger.records),
            ("counts by metric differ", by_metric(counts) != dict(ledger.by_metric)),
            (f"{outside:,} rows in no window", outside),
            (f"{window.late:,} rows late while it ran", window.late),
            (f"{wrong:,} windows differed while it ran", wrong),
            (f"{window.doubled:,} windows came twice", window.doubled),
            (f"it failed: {window.failure}", window.failure),
        )
        if bad
    ]
    shown = f"{len(window.counts):,} rows live, {len(counts):,} in all"
    return (
        not trouble,
        f"{total:,} records counted by {window.title} ({shown}): {'; '.join(trouble) or 'exact'}",
        total,
    )
