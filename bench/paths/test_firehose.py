# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""From a stream's log to an object in a directory, beside isal and plain writes of the same bytes.

Method: 64 MiB of telemetry (the seeded corpus, records of 200 and 1,024 bytes, four shards) lie in a log. The
whole way of a delivery is taken over them: read into the buffer, commit the plan, make the object from the log,
write and sync it, commit the position. `isal` compresses the same bytes, already joined, with the same level,
in pieces of the same size; `write` writes them to a file of the same directory and syncs it.
The clock is the processor's (`process_time`, all threads), so 64 MiB divided by a figure is the speed per core.
Limits: the log is warm in the page cache; the time in which the device writes is not seen; no server around it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from isal import isal_zlib

from headrace import limits
from headrace.bench._load import corpus, corpus_keys
from headrace.config import Config
from headrace.core._entries import Entries
from headrace.firehose import Buckets, Deliveries, document, payload
from headrace.firehose.destinations.directory import DirectoryDestination
from headrace.firehose.document import GZIP, UNCOMPRESSED
from headrace.firehose.pipeline import Pipeline, Read
from headrace.log import Log
from headrace.streams import Streams

SIZE = 64 * limits.MIB
ROLE = "arn:aws:iam::000000000000:role/firehose"
ASPECTS = [(size, codec) for codec in (GZIP, UNCOMPRESSED) for size in (200, 1024)]


class Filled:
    """A store with a stream of SIZE bytes, delivered from its beginning as often as one likes."""

    def __init__(self, directory: Path, size: int, codec: str) -> None:
        self.size, self.codec = size, codec
        self.log = Log.open(directory, background=False)
        self.streams = Streams(self.log)
        self.deliveries = Deliveries(self.streams, Buckets(Config(), directory))
        stream = self.streams.create("source", 4)
        self.destination = DirectoryDestination(directory / "objects")
        self.data = corpus(1, 0, SIZE // size, size)
        request = {
            "DeliveryStreamName": "d",
            "DeliveryStreamType": "KinesisStreamAsSource",
            "KinesisStreamSourceConfiguration": {"KinesisStreamARN": stream.arn, "RoleARN": ROLE},
            "ExtendedS3DestinationConfiguration": {
                "RoleARN": ROLE,
                "BucketARN": "arn:aws:s3:::objects",
                "CompressionFormat": codec,
                "BufferingHints": {"SizeInMBs": SIZE // limits.MIB, "IntervalInSeconds": 0},
            },
        }
        self.delivery = self.deliveries.create("d", request, {})
        self.begun = self.log.catalogue.get(document.POSITION, self.delivery.id)
        keys = corpus_keys(1, 0, SIZE // size)
        for start in range(0, len(keys), 500):
            entries = Entries()
            for number in range(start, min(start + 500, len(keys))):
                entries.add(self.data[number * size : (number + 1) * size], keys[number])
            stream.append(entries)
            stream.commit()

    def deliver(self) -> int:
        """All of it, from the first read to the position's commit; the bytes of the object."""
        self.log.catalogue.put(document.POSITION, self.delivery.id, self.begun)
        pipeline = Pipeline(self.deliveries, "d", self.delivery, self.destination)
        assert pipeline.open_plan() is None
        while pipeline.poll() is not Read.NOTHING:
            pass
        plan = pipeline.begin()
        assert plan.size == len(self.data), "records are missing"
        pipeline.deliver(plan, again=False)
        path = self.destination.root / plan.key
        found = path.stat().st_size
        path.unlink()
        return found

    def compress(self) -> int:
        """What the payload's compressor is fed, and nothing else."""
        encoder = isal_zlib.compressobj(payload._GZIP_LEVEL, isal_zlib.DEFLATED, payload._GZIP_WINDOW)
        view, step = memoryview(self.data), payload._PIECE_SIZE
        sizes = [len(encoder.compress(view[at : at + step])) for at in range(0, len(view), step)]
        return sum(sizes) + len(encoder.flush())

    def write(self) -> int:
        path = self.destination.root / "reference"
        path.parent.mkdir(exist_ok=True)
        with path.open("wb", buffering=0) as file:
            written = file.write(self.data)
            os.fsync(file.fileno())
        path.unlink()
        return written


@pytest.fixture(scope="module", params=ASPECTS, ids=lambda found: f"{found[1].lower()}-{found[0]}")
def filled(request: Any, tmp_path_factory: Any) -> Iterator[Filled]:
    found = Filled(tmp_path_factory.mktemp("firehose") / "store", *request.param)
    yield found
    found.log.close()


def measure(benchmark: Any, filled: Filled, run: Callable[[], int]) -> int:
    benchmark.group = f"{SIZE // limits.MIB} MiB of records of {filled.size} bytes, {filled.codec}"
    stored = int(benchmark.pedantic(run, rounds=7, warmup_rounds=1))
    benchmark.extra_info.update(bytes=len(filled.data), stored=stored)
    return stored


@pytest.mark.benchmark(timer=time.process_time)
def test_headrace(benchmark: Any, filled: Filled) -> None:
    stored = measure(benchmark, filled, filled.deliver)
    assert stored == len(filled.data) if filled.codec == UNCOMPRESSED else 0 < stored < len(filled.data)


@pytest.mark.benchmark(timer=time.process_time)
def test_reference(benchmark: Any, filled: Filled) -> None:
    """isal alone, in memory; for objects that are not compressed, one write and a sync."""
    assert measure(benchmark, filled, filled.compress if filled.codec == GZIP else filled.write)
