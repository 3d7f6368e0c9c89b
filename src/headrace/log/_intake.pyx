# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Routed entries into the lanes they belong to: the step of a put that every request takes.

Cost beyond core._frames.Tail.append, a lane: four attribute look-ups and one tuple; the clock once a call. With
the lanes' Python method instead a request paid 2 µs more.
"""

from libc.stdint cimport int64_t

from headrace.core._entries cimport Entries, Router
from headrace.core._frames cimport Tail

from headrace.errors import Error

cdef int64_t _appended = 0  # of this process; guarded by the GIL


def appended():
    """How many records `append_lanes` has framed in this process."""
    return _appended


def append_lanes(Entries entries not None, Router router not None, list lanes not None, clock, dict framed not None):
    """Frame entries that `router.route` has grouped, each lane's as one atomic group.

    lanes: Lane objects by ordinal; framed: gets the latest ticket of each ordinal. Returns
    ([(lane, ticket)], {ordinal: Error} or None, how many entries were refused). Nothing is promised before the
    tickets are committed.
    """
    global _appended
    cdef list tickets = []
    cdef dict failures = None
    cdef Py_ssize_t ordinal, count
    cdef Py_ssize_t refused = 0
    cdef int64_t now_ms = clock.now_ms()
    cdef long long end
    if router.lane_count > len(lanes) or entries.lane_count != router.lane_count:
        raise ValueError(f"entries routed to {entries.lane_count} of {router.lane_count} lanes; {len(lanes)} given")
    for ordinal in range(router.lane_count):
        count = entries.lane_start[ordinal + 1] - entries.lane_start[ordinal]
        if count == 0:
            continue
        lane = lanes[ordinal]
        tail = lane._tail
        end = -1
        # A tail that was replaced after this look takes nothing any more and says so.
        if tail is not None and lane._error is None:
            end = (<Tail?>tail).append(entries, router, <unsigned int>ordinal, now_ms)
        try:
            ticket = end + lane._shift if end >= 0 else lane.append(entries, router, ordinal)
        except Error as error:
            failures = failures or {}
            failures[ordinal] = error
            refused += count
            continue
        _appended += count
        framed[ordinal] = ticket
        tickets.append((lane, ticket))
    return tickets, failures, refused
