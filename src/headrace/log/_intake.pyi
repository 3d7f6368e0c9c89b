# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
from headrace.clock import Clock
from headrace.core._entries import Entries, Router
from headrace.errors import Error
from headrace.log.lane import Lane

def append_lanes(
    entries: Entries, router: Router, lanes: list[Lane], clock: Clock, framed: dict[int, int]
) -> tuple[list[tuple[Lane, int]], dict[int, Error] | None, int]: ...
def appended() -> int: ...
