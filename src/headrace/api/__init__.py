# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The embedded library: stores, streams, producers, tails."""

from headrace.api.position import Position, Positions, Start
from headrace.api.store import Store, open
from headrace.api.stream import Stream
from headrace.api.stream_info import StreamInfo
from headrace.api.tail import Tail

__all__ = ["Position", "Positions", "Start", "Store", "Stream", "StreamInfo", "Tail", "open"]
