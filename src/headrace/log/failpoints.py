# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The named places where a crash is worth a test, and the switch that makes one happen there.

HEADRACE_FAILPOINT=name or name:count kills the process with SIGKILL when the place is reached (for the
count-th time). A test may instead `arm` a place with a function, to raise an error or to look around.
Unarmed, a place costs one look at a module variable.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

NAMES = (
    "write.before",  # framed, not handed to the file
    "write.after",  # in the file, not published
    "sync.before",  # in the file, not on the device
    "sync.before_directory",  # a new segment's bytes are on the device, its name may not be
    "sync.after",  # on the device, not published
    "publish.after",  # visible, not answered
    "seal.before_end",  # the segment ends and nothing follows, its END frame is not written
    "seal.after_end",  # END written, not on the device
    "roll.before_settle",  # the segment is full, not all of it on the device
    "roll.after_settle",  # all of it is, no new segment yet
    "roll.after_create",  # the new file has its name and is blank, or an earlier segment
    "roll.after_header",  # header and SNAPSHOT written, nothing of it on the device
    "fail.before_zero",  # a write failed, its header at the tail still stands
    "fail.after_zero",  # the header is zeroed, the failure not answered
    "manifest.before_replace",
    "manifest.after_replace",  # the floor moved, the dropped files are still there
    "drop.after_unlink",  # one dropped file is gone
    "cold.before_write",
    "cold.after_write",  # the temporary file is written, not synced
    "cold.after_sync",
    "cold.after_rename",  # both the raw and the cold file stand
    "cold.after_unlink",
    "close.before_end",
    "close.after_end",  # END written, the store not marked clean
    "close.after_clean",
    "topology.after_intent",  # the catalogue knows what is intended, the lane nothing
    "topology.after_group",  # CLOSE and OPEN stand in the lane, the catalogue is behind
    "topology.after_commit",
    "sql.plan.before",  # a step's rows are made, nothing of it is in the log
    "sql.plan.after",  # its plan stands in the output's home lane
    "sql.lane.before",  # between two lanes of a step
    "sql.home.before",  # all but the home lane have their rows
    "sql.home.after",  # the step is complete, the query does not know yet
    "firehose.after_plan",  # the plan is committed, nothing left yet
    "firehose.file_before_sync",  # the temporary file is written
    "firehose.file_before_rename",  # and synced
    "firehose.after_put",  # the store confirmed the object, the position has not moved
    "firehose.after_settle",  # the position moved, the log still holds the records
)

_armed: dict[str, Callable[[], None]] | None = None


def arm(name: str, action: Callable[[], None]) -> None:
    """Run `action` whenever the place is reached."""
    global _armed
    if name not in NAMES:
        raise ValueError(f"no failpoint {name!r}; there are {', '.join(NAMES)}")
    _armed = {**(_armed or {}), name: action}


def disarm() -> None:
    """Forget every armed place."""
    global _armed
    _armed = None


def reach(name: str) -> None:
    """Called where the named place is."""
    if _armed is not None and name in _armed:
        _armed[name]()


def _kill_at(count: int) -> Callable[[], None]:
    left = count

    def action() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return action


def arm_from_environment() -> None:
    """Arm what HEADRACE_FAILPOINT names."""
    wish = os.environ.get("HEADRACE_FAILPOINT", "")
    if wish:
        name, _, count = wish.partition(":")
        arm(name, _kill_at(int(count or 1)))


arm_from_environment()
