# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The log: lanes of segments that keep what was promised. Knows nothing of Kinesis."""

from headrace.log.catalogue import Catalogue
from headrace.log.count import indexes_between
from headrace.log.lane import Lane
from headrace.log.lane_reader import LaneReader
from headrace.log.log import CODECS, Log, lock_holder
from headrace.log.shard_frames import known_shards, opened_shards

__all__ = [
    "CODECS",
    "Catalogue",
    "Lane",
    "LaneReader",
    "Log",
    "indexes_between",
    "known_shards",
    "lock_holder",
    "opened_shards",
]
