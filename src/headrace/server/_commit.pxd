# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The committer: one write a lane for each turn of the loop."""

from headrace.server._answers cimport Slot


cdef class LaneQueue:
    cdef object lane
    cdef bint needs_sync
    cdef bint working               # a sync (or a waiting commit) runs in a thread
    cdef list fresh_offsets         # appended in this turn, not yet written
    cdef list fresh_slots
    cdef list offsets               # written, waiting for the promise
    cdef list slots


cdef class Committer:
    cdef object loop
    cdef object executor
    cdef object executor_factory
    cdef dict queues                # lane -> LaneQueue, only while something waits there
    cdef list touched               # queues with fresh slots
    cdef bint scheduled
    cdef object run_later
    cdef readonly unsigned long long turns
    cdef readonly unsigned long long writes
    cdef readonly unsigned long long syncs
    cdef readonly unsigned long long failures
    cdef int add(self, Slot slot, object commits) except -1
    cdef int write(self, LaneQueue queue, list finished) except -1
    cdef int work(self, LaneQueue queue) except -1
    cdef int fail(self, list slots, object error, list finished) except -1
