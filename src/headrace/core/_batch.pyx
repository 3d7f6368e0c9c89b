# cython: wraparound=True
# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""RecordBatch: a buffer with arrays that say where its records lie. The one currency between rooms.

Cost: building a batch from arrays takes seven buffer look-ups and one bounds pass over the arrays (about
2 ns a record); no record becomes a Python object until somebody asks for it by index or as a list.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_SIMPLE, PyObject_GetBuffer, PyBuffer_Release, Py_buffer
from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy

import numpy as np

from headrace.errors import Unsupported

cimport numpy as cnp

cnp.import_array()


class Record:
    """One record, copied out of its batch. Compares by value.

    Attributes:
        data: bytes, the payload.
        key: str, the partition key; empty where none was given.
        shard: int, the shard's number.
        ordinal: int, the running index within the shard.
        arrival_ms: int, when it was taken in, milliseconds since 1970 UTC.
    """

    __slots__ = ("arrival_ms", "data", "key", "ordinal", "shard")

    def __init__(self, data, key, shard, ordinal, arrival_ms):
        self.data = data
        self.key = key
        self.shard = shard
        self.ordinal = ordinal
        self.arrival_ms = arrival_ms

    def __repr__(self):
        return (f"Record(data={self.data!r}, key={self.key!r}, shard={self.shard}, "
                f"ordinal={self.ordinal}, arrival_ms={self.arrival_ms})")

    def __eq__(self, other):
        if not isinstance(other, Record):
            return NotImplemented
        return ((self.data, self.key, self.shard, self.ordinal, self.arrival_ms)
                == (other.data, other.key, other.shard, other.ordinal, other.arrival_ms))

    __hash__ = None


cdef object _array(object values, object dtype, Py_ssize_t count, str name):
    """Take `values` as a read-only contiguous array of one dtype, or say what is wrong with it."""
    array = np.ascontiguousarray(values, dtype=dtype)
    if array.ndim != 1 or array.shape[0] != count:
        raise ValueError(f"{name} has shape {array.shape}; expected ({count},)")
    view = array.view()
    view.flags.writeable = False
    return view


cdef class RecordBatch:
    """Records that share one buffer. Made by `Stream.read`, `batches` and `tail`, by `of` and by `concat`.

    Arrays, all read-only, contiguous and of the shape (len(batch),):
        offsets      int64   first byte of the record's data in `buffer`
        lengths      uint32  bytes of data
        key_offsets  int64   first byte of the partition key in `buffer`
        key_lengths  uint32  bytes of the key (UTF-8)
        ordinals     uint64  running index within the shard
        arrival      datetime64[ms]  when the record was taken in, UTC (never decreasing within a shard)
        shards       uint32  shard number

    `count` is len(batch). `created` says of each shard when it was made (seconds since 1970), or is None: a part of
    sequence numbers, which readers of streams set. The batch owns its bytes: it stays valid whatever happens to the
    log it came from. Slices and `filter` share them. It can be pickled, with its buffer. Raises ValueError where an
    array has the wrong length or points outside the buffer.
    """

    def __init__(self, buffer, offsets, lengths, key_offsets, key_lengths, ordinals, arrivals, shards):
        cdef Py_buffer view
        cdef Py_ssize_t i
        count = len(offsets)
        self.count = count
        self._offsets = _array(offsets, np.int64, count, "offsets")
        self._lengths = _array(lengths, np.uint32, count, "lengths")
        self._key_offsets = _array(key_offsets, np.int64, count, "key_offsets")
        self._key_lengths = _array(key_lengths, np.uint32, count, "key_lengths")
        self._ordinals = _array(ordinals, np.uint64, count, "ordinals")
        self._arrivals = _array(arrivals, np.int64, count, "arrivals")
        self._shards = _array(shards, np.uint32, count, "shards")
        self._buffer = buffer if isinstance(buffer, memoryview) else memoryview(buffer)
        PyObject_GetBuffer(self._buffer, &view, PyBUF_SIMPLE)
        # `_buffer` is a memoryview of ours and keeps the export alive, so the pointer stays good.
        self.base = <const uint8_t *>view.buf
        self.size = view.len
        PyBuffer_Release(&view)
        self._point()
        for i in range(self.count):
            if (self.offset[i] < 0 or self.offset[i] > self.size - <int64_t>self.length[i]
                    or self.key_offset[i] < 0 or self.key_offset[i] > self.size - <int64_t>self.key_length[i]):
                raise ValueError(f"record {i} lies outside the buffer of {self.size} bytes")

    cdef int _point(self) except -1:
        """Set the pointers to the arrays' data."""
        self.offset = <const int64_t *>cnp.PyArray_DATA(<cnp.ndarray>self._offsets)
        self.length = <const uint32_t *>cnp.PyArray_DATA(<cnp.ndarray>self._lengths)
        self.key_offset = <const int64_t *>cnp.PyArray_DATA(<cnp.ndarray>self._key_offsets)
        self.key_length = <const uint32_t *>cnp.PyArray_DATA(<cnp.ndarray>self._key_lengths)
        self.ordinal = <const uint64_t *>cnp.PyArray_DATA(<cnp.ndarray>self._ordinals)
        self.arrival_ms = <const int64_t *>cnp.PyArray_DATA(<cnp.ndarray>self._arrivals)
        self.shard = <const uint32_t *>cnp.PyArray_DATA(<cnp.ndarray>self._shards)
        return 0

    @staticmethod
    def empty():
        """A batch without records."""
        return RecordBatch(b"", [], [], [], [], [], [], [])

    @staticmethod
    def of(data, keys=None, shard=0, first_ordinal=0, arrival_ms=0):
        """A batch of one shard made from Python values, for tests and small jobs.

        data: list of bytes; keys: list of str, or None for empty keys; first_ordinal: of the first record, the
        others count on from it; arrival_ms: int, or one per record. It knows no sequence numbers.
        """
        data = [bytes(item) for item in data]
        count = len(data)
        encoded = [key.encode() for key in keys] if keys is not None else [b""] * count
        lengths = np.array([len(item) for item in data], dtype=np.uint32)
        key_lengths = np.array([len(key) for key in encoded], dtype=np.uint32)
        key_offsets = np.zeros(count, dtype=np.int64)
        if count:
            ends = np.cumsum(lengths.astype(np.int64) + key_lengths)
            key_offsets[1:] = ends[:-1]
        return RecordBatch(
            b"".join(part for pair in zip(encoded, data) for part in pair),
            key_offsets + key_lengths, lengths, key_offsets, key_lengths,
            np.arange(first_ordinal, first_ordinal + count, dtype=np.uint64),
            np.broadcast_to(np.asarray(arrival_ms, dtype=np.int64), (count,)),
            np.full(count, shard, dtype=np.uint32))

    @property
    def buffer(self):
        """The shared bytes, as a read-only memoryview of uint8. Slices of a batch have all of it."""
        return self._buffer.toreadonly()

    @property
    def offsets(self):
        """Where each record's data begins in `buffer`, in bytes: int64, shape (len(batch),), read-only."""
        return self._offsets

    @property
    def lengths(self):
        """Bytes of each record's data: uint32, shape (len(batch),), read-only."""
        return self._lengths

    @property
    def key_offsets(self):
        """Where each record's partition key begins in `buffer`, in bytes: int64, shape (len(batch),), read-only."""
        return self._key_offsets

    @property
    def key_lengths(self):
        """Bytes of each record's partition key in UTF-8: uint32, shape (len(batch),), read-only."""
        return self._key_lengths

    @property
    def ordinals(self):
        """Each record's running index within its shard: uint64, shape (len(batch),), read-only.

        Ascends within a shard, by one from record to record. A step is larger only where records are missing: after
        `filter`, where they were dropped before a reader came to them, behind damage that was repaired, and by 2**32
        or more where a store goes on after a loss of power.
        """
        return self._ordinals

    @property
    def sequence_numbers(self):
        """The records' sequence numbers as the service writes them (objects: str).

        Raises Unsupported for a batch that was not read from a stream. Cost: made anew at each call, about
        half a microsecond a record; `ordinals` cost nothing.
        """
        from headrace.core._wire import sequence_number
        if self.created is None:
            raise Unsupported("this batch was not read from a stream, so its sequence numbers are not known",
                              hint="ordinals and shards are")
        created = {int(shard): self.created[int(shard)] for shard in np.unique(self._shards)}
        numbers = np.empty(self.count, dtype=object)
        for i in range(self.count):
            numbers[i] = str(sequence_number(created[self.shard[i]], self.shard[i], self.ordinal[i],
                                             self.arrival_ms[i]))
        return numbers

    @property
    def shards(self):
        """The number of each record's shard, 7 for shardId-000000000007: uint32, shape (len(batch),), read-only."""
        return self._shards

    @property
    def arrival(self):
        """When each record was taken in, by the clock of the process that writes, UTC: datetime64[ms], shape
        (len(batch),), read-only. Never decreases within a shard."""
        return self._arrivals.view("datetime64[ms]")

    @property
    def nbytes(self):
        """Bytes of data and keys of the records, an int; `buffer` may hold more."""
        return int(self._lengths.sum(dtype=np.int64) + self._key_lengths.sum(dtype=np.int64))

    cdef bytes _data_at(self, Py_ssize_t i):
        return PyBytes_FromStringAndSize(<const char *>self.base + self.offset[i], self.length[i])

    cdef str _key_at(self, Py_ssize_t i):
        return (<const char *>self.base + self.key_offset[i])[:self.key_length[i]].decode("utf-8")

    @property
    def data(self):
        """The payloads as a list of bytes: a copy, made anew at each call."""
        return [self._data_at(i) for i in range(self.count)]

    def joined(self):
        """The payloads one after another, as one bytes object. Cost: one copy, without the GIL."""
        cdef Py_ssize_t i
        cdef Py_ssize_t size = 0
        cdef char *target
        for i in range(self.count):
            size += self.length[i]
        cdef bytes text = PyBytes_FromStringAndSize(NULL, size)
        target = PyBytes_AS_STRING(text)
        with nogil:
            for i in range(self.count):
                memcpy(target, self.base + self.offset[i], self.length[i])
                target += self.length[i]
        return text

    @property
    def keys(self):
        """The partition keys as a list of str, empty where none was given: a copy, made anew at each call."""
        return [self._key_at(i) for i in range(self.count)]

    def __len__(self):
        return self.count

    def __getitem__(self, item):
        """`batch[i]`: a Record, copied out, or IndexError. `batch[a:b:c]`: a RecordBatch that shares this one's bytes."""
        if isinstance(item, slice):
            return self._take(item)
        index = item.__index__()
        if index < 0:
            index += self.count
        if not 0 <= index < self.count:
            raise IndexError(f"record {item} of a batch of {self.count}")
        return Record(self._data_at(index), self._key_at(index), int(self.shard[index]),
                      int(self.ordinal[index]), int(self.arrival_ms[index]))

    def __iter__(self):
        for i in range(self.count):
            yield self[i]

    cdef RecordBatch _take(self, object which):
        cdef RecordBatch part = RecordBatch(
            self._buffer, self._offsets[which], self._lengths[which], self._key_offsets[which],
            self._key_lengths[which], self._ordinals[which], self._arrivals[which], self._shards[which])
        part.created = self.created
        return part

    def head(self, n=10):
        """The first `n` records, or all if there are fewer; they share this batch's bytes."""
        return self[:n]

    def filter(self, mask):
        """The records where `mask` (bool, shape (len(batch),)) is true; they share this batch's bytes. Raises ValueError
        for a mask of another type or shape."""
        mask = np.asarray(mask)
        if mask.dtype != np.bool_ or mask.shape != (self.count,):
            raise ValueError(f"mask has dtype {mask.dtype} and shape {mask.shape}; expected bool ({self.count},)")
        return self._take(mask)

    @staticmethod
    def concat(batches):
        """One batch with the records of all, in the order given. The bytes are copied once, unless there is one batch only.

        It knows sequence numbers where all its parts are of one stream.
        """
        batches = [batch for batch in batches if len(batch)]
        if not batches:
            return RecordBatch.empty()
        if len(batches) == 1:
            return batches[0]
        starts = np.cumsum([0] + [len(batch.buffer) for batch in batches[:-1]])
        def joined(name):
            return np.concatenate([getattr(batch, name) for batch in batches])
        def shifted(name):
            return np.concatenate([getattr(batch, name) + start for batch, start in zip(batches, starts)])
        both = RecordBatch(b"".join(batch.buffer for batch in batches), shifted("offsets"), joined("lengths"),
                           shifted("key_offsets"), joined("key_lengths"), joined("ordinals"),
                           joined("arrival").view(np.int64), joined("shards"))
        if all(batch.created == batches[0].created for batch in batches):
            both.created = batches[0].created
        return both

    # --- other shapes; the rooms that make them are imported when they are asked for ---

    def columns(self, *names, **types):
        """Members of the JSON records as typed columns: `batch.columns("ts", "host", cpu="f8")`.

        Names without a type get the type of their values in this batch; no names at all: every member.
        Returns Columns: a mapping of names to arrays of the shape (len(batch),), with a mask of valid rows each; what is
        missing, null or of another type is not valid. A record that is no JSON object is in `.errors`. Types and paths:
        see `headrace.core._columns.Field`. Raises InvalidArgument for an unknown type, a path that is none, and a name
        that is given twice, LimitExceeded beyond 1,024 columns. Cost: about 100 ns a record.
        """
        from headrace.core.inference import columns
        return columns(self, *names, **types)

    def __arrow_c_schema__(self):
        """The Arrow C data interface, which other libraries call: data (binary view), partition_key (string view),
        shard (uint32), ordinal (uint64), arrival (timestamp in ms, UTC)."""
        from headrace.core import _arrow
        return _arrow.batch_schema()

    def __arrow_c_array__(self, requested_schema=None):
        from headrace.core import _arrow
        return _arrow.batch_array(self)

    def __arrow_c_stream__(self, requested_schema=None):
        from headrace.core import _arrow
        return _arrow.batch_stream(self)

    def to_arrow(self):
        """A pyarrow.Table of data, partition_key, shard, ordinal and arrival; it shares this batch's bytes. Unsupported
        without pyarrow."""
        from headrace.core import handover
        return handover.to_arrow(self)

    def to_polars(self):
        """A polars.DataFrame of data, partition_key, shard, ordinal and arrival. Unsupported without the library."""
        from headrace.core import handover
        return handover.to_polars(self)

    def to_pandas(self):
        """A pandas.DataFrame of data (bytes), partition_key, shard, ordinal and arrival. Unsupported without the library."""
        from headrace.core import handover
        return handover.batch_to_pandas(self)

    def to_numpy(self):
        """A dict of arrays: data (objects: bytes), partition_key (objects: str), shard, ordinal, arrival."""
        from headrace.core import handover
        return handover.batch_to_numpy(self)

    def __reduce__(self):
        created = self.created
        if created is not None:
            created = {int(shard): int(created[int(shard)]) for shard in np.unique(self._shards)}
        return (_batch_again, (created, bytes(self._buffer), self._offsets, self._lengths, self._key_offsets,
                               self._key_lengths, self._ordinals, self._arrivals, self._shards))

    def __repr__(self):
        return f"RecordBatch({self.count} records, {self.nbytes} bytes)"


def _batch_again(created, *parts):
    """Make a batch again from its pickled parts."""
    batch = RecordBatch(*parts)
    batch.created = created
    return batch


cdef cnp.ndarray batch_array(Py_ssize_t count, int type_number):
    """A new array for `batch_over`; its numbers are still to be filled in."""
    cdef cnp.npy_intp shape = count
    return cnp.PyArray_EMPTY(1, &shape, type_number, 0)


cdef RecordBatch batch_over(bytes data, cnp.ndarray offsets, cnp.ndarray lengths, cnp.ndarray key_offsets,
                            cnp.ndarray key_lengths, cnp.ndarray ordinals, cnp.ndarray arrivals, cnp.ndarray shards):
    """A batch over `data` of arrays made by `batch_array`, which nobody else holds. The caller vouches for what
    they say. Cost: half a microsecond instead of the five of the checked way."""
    cdef RecordBatch batch = RecordBatch.__new__(RecordBatch)
    for array in (offsets, lengths, key_offsets, key_lengths, ordinals, arrivals, shards):
        cnp.PyArray_CLEARFLAGS(<cnp.ndarray>array, cnp.NPY_ARRAY_WRITEABLE)
    batch._buffer = memoryview(data)
    batch.base = <const uint8_t *><const char *>data
    batch.size = len(data)
    batch.count = cnp.PyArray_DIM(offsets, 0)
    batch._offsets, batch._lengths = offsets, lengths
    batch._key_offsets, batch._key_lengths = key_offsets, key_lengths
    batch._ordinals, batch._arrivals, batch._shards = ordinals, arrivals, shards
    batch._point()
    return batch
