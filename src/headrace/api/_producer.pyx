# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The hot half of a producer: batches of records being collected, and the acks that stand for them.

Cost of a put, a record: two list appends and one ack of 40 bytes from a free list; no lock, because the GIL
is held from the look at the open batch to the append. Framing costs nothing until the batch is full.
"""

cimport cython

import threading


cdef class Batch:
    """Records on their way: open while it is filled, then sent, then settled.

    Attributes:
        data, keys: what was put, in order.
        size: bytes of data and keys.
        unkeyed: how many have no key.
        parts: what its records still wait for: to be sent, for room, for the device. Settled at none.
    """

    cdef public list data
    cdef public list keys
    cdef public Py_ssize_t size
    cdef public Py_ssize_t unkeyed
    cdef public Py_ssize_t parts
    cdef public object shards, indexes, arrivals    # arrays, once settled
    cdef public dict errors                         # what befell some of it, by place
    cdef readonly bint settled
    cdef object _event
    cdef list _callbacks

    def __init__(self):
        self.data = []
        self.keys = []

    def __len__(self):
        return 0 if self.data is None else len(self.data)

    def settle(self):
        """Everything is durable as promised, or failed: let whoever waits go on."""
        self.settled = True
        self.data = self.keys = None
        if self._event is not None:
            self._event.set()
        if self._callbacks is not None:
            for callback in self._callbacks:
                callback()
            self._callbacks = None

    def wait(self, timeout):
        """Until settled; False at the time-out."""
        if self.settled:
            return True
        if self._event is None:
            self._event = threading.Event()
        if self.settled:
            return True
        return self._event.wait(timeout)

    def when_settled(self, callback):
        """Call `callback` once settled, from the thread that settles; at once if it is."""
        if self.settled:
            callback()
            return
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(callback)


@cython.freelist(1024)
cdef class Ack:
    """Stands for one record of a producer. When it is done, the record is durable as the stream promises, or has failed.

    `result()` returns its Position or raises what befell it; awaiting it, in any running loop, does the same. Either
    sends the record's batch at once, without waiting for the linger.
    """

    cdef readonly Batch batch
    cdef readonly Py_ssize_t place
    cdef object producer

    @property
    def done(self):
        """Whether the record is durable, or has failed."""
        return self.batch.settled

    def result(self, timeout=None):
        """Wait for it and return its Position. Raises TimeoutError after `timeout` seconds (None: none), and else what
        befell the record: Backpressure where no room came free in time, StorageError, NotFound where the stream was
        deleted. After a StorageError the record may have been taken all the same."""
        if not self.batch.settled:
            self.producer._hurry(self.batch, timeout is None)
            if not self.batch.wait(timeout):
                raise TimeoutError(f"the record is not durable after {timeout} s")
        error = self.exception()
        if error is not None:
            raise error
        return self.producer._position(self.batch, self.place)

    def exception(self):
        """What befell the record; None where it is durable, and as long as the ack is not done. Does not wait."""
        if self.batch.errors is not None:
            return self.batch.errors.get(self.place)
        return None

    def __await__(self):
        import asyncio

        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def settled():
            loop.call_soon_threadsafe(lambda: None if future.done() else future.set_result(None))

        self.producer._hurry(self.batch, False)  # the loop must not block
        self.batch.when_settled(settled)
        yield from future.__await__()
        return self.result(0)

    def __repr__(self):
        return f"Ack({'done' if self.done else 'pending'})"


cdef class Collector:
    """Collects records into the open batch; says when that is full."""

    cdef public Batch open
    cdef public bint closed         # every put raises Closed
    cdef readonly Py_ssize_t batch_count
    cdef readonly Py_ssize_t batch_size
    cdef Py_ssize_t record_size_max
    cdef object producer

    def __init__(self, producer, Py_ssize_t batch_count, Py_ssize_t batch_size, Py_ssize_t record_size_max):
        self.producer = producer
        self.record_size_max = record_size_max
        self.batch_count = batch_count
        self.batch_size = batch_size
        self.open = Batch()

    def put(self, data, key=None):
        """Add a record and return its Ack. Blocks while too much waits to become durable (`max_pending_bytes`).

        data: bytes or str as they are, other bytes-like objects copied, anything else as JSON. key: 1 to
        256 characters, or None to spread evenly. Raises TypeError for data that has no JSON and for a key that is no
        str, ValidationError for a key or record that is too long: for this record alone. Raises Closed after `close`.
        """
        cdef Batch batch
        cdef Ack ack
        cdef Py_ssize_t size
        if self.closed:
            self.producer._refuse_closed()
        if type(data) is not bytes:
            data = self.producer._as_bytes(data)
        size = len(<bytes>data)
        if key is not None:
            if type(key) is not str or not 0 < len(<str>key) <= 256:
                self.producer._refuse_key(key)
            size += len(<str>key)
        if size > self.record_size_max:
            self.producer._refuse_size(size)
        # Making an object may run the garbage collector, and that any code. From the look at the open
        # batch to the last append nothing lets another thread run; before that, one may have closed the producer.
        ack = Ack.__new__(Ack)
        if self.closed:
            self.producer._refuse_closed()
        ack.producer = self.producer
        batch = self.open
        ack.batch = batch
        ack.place = len(batch.data)
        batch.data.append(data)
        batch.keys.append(key)
        batch.size += size
        if key is None:
            batch.unkeyed += 1
        if ack.place + 1 >= self.batch_count or batch.size >= self.batch_size:
            self.producer._full(batch)
        elif ack.place == 0:
            self.producer._opened(batch)
        return ack

    def take(self):
        """The open batch, in whose place a new one is opened; None if it is empty."""
        cdef Batch batch = self.open
        if not batch.data:
            return None
        self.open = Batch()
        return batch
