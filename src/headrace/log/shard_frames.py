# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What a lane itself says of its shards: which ones it knows, and how the later ones were opened.

For topology the lane is the truth and the catalogue follows it. The states say which shards there are; what an OPEN
frame said of one is read from the raw segments, since a cold file keeps no such frames.
"""

from __future__ import annotations

from headrace.core import _frames
from headrace.log.lane import Lane
from headrace.log.segment import RawSegment


def known_shards(lane: Lane) -> list[int]:
    """The shards that ever had a record or a frame of their own. Opens the lane's files, if there are any; raises what
    that raises."""
    if not lane._loaded and not lane._log.disk.names(lane.directory):
        return []
    with lane._write_lock:
        lane._ensure()
        return lane._states.shards()


def opened_shards(lane: Lane) -> dict[int, bytes]:
    """Payloads of the OPEN frames in raw segments, by shard. Reads these segments: for repair, not for every day."""
    with lane._write_lock:
        lane._ensure()
        segments, visible = lane._all(), lane.visible
    found: dict[int, bytes] = {}
    for segment in segments:
        if isinstance(segment, RawSegment):
            events = segment.events(visible)
            found.update({event[1]: event[7] for event in events if event[0] == _frames.KIND_OPEN})
    return found
