# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What the commands that work on a directory offline say where it is not to be had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.errors import LockedByOther, NotFound


@contextmanager
def offline(directory: Path) -> Iterator[None]:
    """Errors of the block with a hint that fits a command: it needs a store that nobody writes."""
    try:
        yield
    except LockedByOther as error:
        raise LockedByOther(error.message, hint="this works offline: stop that process first") from None
    except NotFound as error:
        raise NotFound(error.message, hint="give the directory that holds `lanes` and `control`") from None
