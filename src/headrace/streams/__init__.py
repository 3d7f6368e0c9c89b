# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The room of Data Streams: what streams, shards, iterators and their operations mean.

It turns requests into appends to and reads from the log, and knows nothing of HTTP. The way in for a server
is `KinesisService.call`; for a program in this process `Streams`, `Stream` and `StreamReader`.
"""

from headrace.streams.answers import Answer, Pending, error_answer
from headrace.streams.operations import OPERATIONS
from headrace.streams.reader import StreamReader
from headrace.streams.service import KinesisService
from headrace.streams.shards import Shard, shard_id
from headrace.streams.stream import Stream
from headrace.streams.streams import StreamDefaults, Streams

__all__ = [
    "OPERATIONS",
    "Answer",
    "KinesisService",
    "Pending",
    "Shard",
    "Stream",
    "StreamDefaults",
    "StreamReader",
    "Streams",
    "error_answer",
    "shard_id",
]
