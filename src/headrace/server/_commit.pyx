# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The committer: one write a lane for each turn of the loop, and answers when the lane's promise holds.

Everything that the connections appended while the loop handled one round of sockets is written by one
`lane.write()`. A `process` lane has then kept its promise; for a `disk` lane `lane.commit()` runs in a
thread, one at a time a lane, and what arrives meanwhile shares the next one; a write that may wait for the
device is left to it, too. A failed write or sync is
answered as InternalFailure to exactly the requests it carried: nothing is acknowledged that is not so.

Cost: a request adds two list entries; a turn adds one callback and one call a lane.
"""

import logging

from headrace.server._answers cimport Slot, finish_error


cdef class LaneQueue:
    """The slots that wait for one lane, in the order of their offsets."""

    def __cinit__(self, lane):
        self.lane = lane
        self.needs_sync = lane.needs_sync
        self.fresh_offsets = []
        self.fresh_slots = []
        self.offsets = []
        self.slots = []


cdef int release(LaneQueue queue, list finished, Committer committer) except -1:
    """Move slots whose ticket the lane has settled out of the queue; answered ones go to `finished`."""
    cdef Slot slot
    cdef Py_ssize_t count = 0
    durable = queue.lane.durable
    cdef bint has_failed = queue.lane.has_failed  # after `durable`: a failure is noted before it is settled
    for offset in queue.offsets:
        if offset > durable:
            break
        slot = <Slot>queue.slots[count]
        count += 1
        if has_failed:
            try:
                queue.lane.outcome(offset)
            except Exception as error:
                committer.fail([slot], error, finished)
                continue
        slot.waiting -= 1
        if slot.waiting == 0 and not slot.done:
            slot.done = True
            finished.append(slot)
    if count:
        del queue.offsets[:count]
        del queue.slots[:count]
    return 0


cdef class Committer:
    """Collects what one turn of `loop` appended.

    executor_factory: makes the thread pool for syncs when the first one is needed.
    """

    def __init__(self, loop, executor_factory):
        self.loop = loop
        self.executor_factory = executor_factory
        self.queues = {}
        self.touched = []
        self.run_later = self.run

    cdef int add(self, Slot slot, object commits) except -1:
        """Hold the slot's answer, which it already carries, until each (lane, offset) is committed."""
        cdef LaneQueue queue
        for lane, offset in commits:
            queue = <LaneQueue>self.queues.get(lane)
            if queue is None:
                queue = LaneQueue(lane)
                self.queues[lane] = queue
            if not queue.fresh_slots:
                self.touched.append(queue)
            queue.fresh_offsets.append(offset)
            queue.fresh_slots.append(slot)
            slot.waiting += 1
        if slot.waiting == 0:
            slot.done = True
        elif not self.scheduled:
            self.scheduled = True
            self.loop.call_soon(self.run_later)
        return 0

    def run(self):
        """Write what this turn brought, then send what is acknowledged."""
        cdef list touched = self.touched
        cdef list finished = []
        cdef LaneQueue queue
        self.scheduled = False
        self.touched = []
        self.turns += 1
        for queue in touched:
            self.write(queue, finished)
        send(finished)

    cdef int write(self, LaneQueue queue, list finished) except -1:
        cdef Py_ssize_t fresh, keep
        error = None
        try:
            if not (queue.needs_sync and queue.lane.write_may_wait):
                queue.lane.write()
                self.writes += 1
        except Exception as problem:
            error = problem
        fresh = len(queue.fresh_slots)
        if queue.offsets:
            queue.offsets += queue.fresh_offsets
            queue.slots += queue.fresh_slots
        else:
            queue.offsets = queue.fresh_offsets
            queue.slots = queue.fresh_slots
        queue.fresh_slots = []
        queue.fresh_offsets = []
        if error is not None or not queue.needs_sync:
            release(queue, finished, self)
        if error is not None and queue.offsets:
            # What the lane has not settled by itself (it could not even try) has failed with this write;
            # what was written before it may still be waiting for its sync.
            keep = max(0, len(queue.slots) - fresh)
            failed = queue.slots[keep:]
            del queue.slots[keep:]
            del queue.offsets[keep:]
            self.fail(failed, error, finished)
        if queue.offsets:
            self.work(queue)
        elif not queue.working:
            self.queues.pop(queue.lane, None)
        return 0

    cdef int work(self, LaneQueue queue) except -1:
        """Start a commit of all that waits in a thread, unless one runs."""
        if queue.working:
            return 0
        if self.executor is None:
            self.executor = self.executor_factory()
        queue.working = True
        future = self.executor.submit(queue.lane.commit, queue.offsets[len(queue.offsets) - 1])
        future.add_done_callback(lambda done: self.loop.call_soon_threadsafe(self.worked, queue, done))
        return 0

    def worked(self, LaneQueue queue not None, future):
        """A sync has ended: answer what it covered, and start the next one if more was written."""
        cdef list finished = []
        queue.working = False
        self.syncs += 1
        error = future.exception()
        release(queue, finished, self)
        if error is not None:
            slots = queue.slots
            queue.slots = []
            queue.offsets = []
            self.fail(slots, error, finished)
        if queue.offsets:
            self.work(queue)
        elif not queue.fresh_slots:
            self.queues.pop(queue.lane, None)
        send(finished)

    cdef int fail(self, list slots, object error, list finished) except -1:
        cdef Slot slot
        logging.getLogger("headrace.server").error("a commit failed: %s", error)
        for slot in slots:
            slot.waiting -= 1
            if not slot.done:
                self.failures += 1
                finish_error(slot, 500, "InternalFailure", f"The records could not be stored: {error}",
                             slot.content_type)
                finished.append(slot)
        return 0

    @property
    def idle(self):
        """Nothing waits for a commit."""
        return not self.queues


cdef int send(list finished) except -1:
    """Tell each connection once all slots of this round are marked, so that its answers leave together."""
    cdef Slot slot
    for slot in finished:
        slot.outlet.flush()
    return 0
