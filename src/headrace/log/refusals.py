# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The system's refusals in our words: what the log makes of an OSError before it leaves it.

Inside the log an OSError stays what it is, since some are expected there (a file that was dropped meanwhile, a
full disk). Where a call of the log ends, each becomes a Backpressure or a StorageError that names the file, the
system's words and its code, and what to do.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from headrace.disk import is_full
from headrace.errors import Backpressure, Error, StorageError

UNREAD = "nothing was changed: look at the device, then ask again; headrace verify reads every byte"


def words(problem: OSError, path: Path | None = None) -> str:
    """As in "/data/lanes/00000001/0.raw: Input/output error (EIO)"; `path` where the system names none."""
    named = problem.filename or path
    said = str(problem.strerror or problem)
    if problem.errno is not None:
        said += f" ({errno.errorcode.get(problem.errno, problem.errno)})"
    return said if named is None else f"{os.fsdecode(named)}: {said}"


def unreadable(problem: OSError, what: str, path: Path | None = None) -> StorageError:
    """The error where `what` could not be read."""
    return StorageError(f"{what} could not be read: {words(problem, path)}", hint=UNREAD)


def unwritable(problem: OSError, what: str) -> Error:
    """The error where `what` could not be written; Backpressure where there is no room for it."""
    if is_full(problem):
        return Backpressure(
            f"no space left on the device for {what}",
            retry_after=1.0,
            hint="free some space or lower a stream's limit",
        )
    return StorageError(f"{what} could not be written: {words(problem)}")
