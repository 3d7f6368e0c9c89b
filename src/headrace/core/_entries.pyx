# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Entries and Router: records on their way in, and the open shard each belongs to.

Nothing is copied: an entry points into the caller's objects, which `Entries` keeps alive until `clear`.
Cost of the hot case (list of bytes, list of str keys, 500 entries, Zen 5): pointers 8 ns an entry, MD5
7 ns (AVX-512) to 16 ns (AVX2), routing 2 to 4 ns.
"""

from cpython.buffer cimport PyBUF_ND, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer, Py_buffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_Check, PyUnicode_DecodeUTF8
from libc.stdint cimport INT64_MAX, UINT32_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

import numpy as np

cimport numpy as cnp

from headrace.core._arrow_input cimport ArrowValues
from headrace.core._simd cimport hr_simd, hr_simd_detect, hr_simd_processor, simd_level
from headrace import limits
from headrace.core.encoding import record_json
from headrace.errors import InvalidArgument, ValidationError

cnp.import_array()


cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    Py_ssize_t PyUnicode_GET_LENGTH(object text)


cdef extern from "md5.h" nogil:
    void hr_md5_entries(hr_entry *entry, size_t count, hr_simd simd)
    void hr_md5(const uint8_t *data, size_t size, uint64_t *hash)


cdef extern from "route.h" nogil:
    uint32_t hr_route_locate(const hr_routes *routes, uint64_t high, uint64_t low)
    void hr_route_slots(hr_entry *entry, size_t count, const hr_routes *routes, uint64_t *turn)
    void hr_route_group(const hr_entry *entry, size_t count, const hr_routes *routes, uint32_t *order,
                        uint32_t *scratch, uint32_t *lane_start)


cdef hr_simd DETECTED = hr_simd_detect()

LEVELS = ("scalar", "avx2", "avx512")[:<int>hr_simd_processor() + 1]

cdef Py_ssize_t LANES_MAX = limits.lanes_max
cdef Py_ssize_t RECORD_SIZE_MAX = limits.record_size_max
cdef Py_ssize_t KEY_CHARACTERS_MAX = limits.partition_key_characters_max
cdef Py_ssize_t ALONE_MAX = 32  # up to so many entries, giving up the GIL costs more than it frees
cdef object HASH_KEY_END = 1 << 128
cdef object HALF_MASK = (1 << 64) - 1


def hash_key(key):
    """The 128-bit hash key of a partition key: MD5 of its UTF-8, read as a big-endian number."""
    cdef hr_entry entry
    cdef uint64_t halves[2]
    if not PyUnicode_Check(key):
        raise TypeError(f"the key is of type {type(key).__name__!r}; expected str")
    take_key(&entry, key, -1)
    hr_md5(entry.key, entry.key_size, halves)
    return (<object>halves[0] << 64) | halves[1]


cdef str at(Py_ssize_t position):
    """How a message names the record at `position` (−1: the only one)."""
    return "the record" if position < 0 else f"record {position}"


cdef int refuse_size(Py_ssize_t position, Py_ssize_t size, Py_ssize_t limit) except -1:
    text = f"{at(position)} has {size} bytes of data and key; the stream takes at most {limit}"
    raise InvalidArgument(text, hint="record_size_max is the stream's limit")


cdef int refuse_key(Py_ssize_t position, Py_ssize_t characters) except -1:
    raise ValidationError(f"the partition key of {at(position)} has {characters} characters; "
                          f"allowed are 1 to {KEY_CHARACTERS_MAX}")


cdef int refuse_text(Py_ssize_t position, str what, object error) except -1:
    raise InvalidArgument(f"the {what} of {at(position)} is not valid Unicode: {error}") from error


cdef inline int take_key(hr_entry *entry, object key, Py_ssize_t position) except -1:
    """Point an entry at a str; its UTF-8 lives as long as the str."""
    cdef Py_ssize_t size, characters = PyUnicode_GET_LENGTH(key)
    if characters < 1 or characters > KEY_CHARACTERS_MAX:
        refuse_key(position, characters)
    try:
        entry.key = <const uint8_t *>PyUnicode_AsUTF8AndSize(key, &size)
    except UnicodeEncodeError as error:
        refuse_text(position, "partition key", error)
    entry.key_size = <uint32_t>size
    return 0


cdef int take_key_bytes(hr_entry *entry, const uint8_t *key, Py_ssize_t size, Py_ssize_t position) except -1:
    """Point an entry at a key that came as bytes: it must be UTF-8 of an allowed length."""
    cdef Py_ssize_t i, characters = size
    cdef uint8_t every = 0
    if size > 4 * KEY_CHARACTERS_MAX:
        refuse_key(position, size)
    for i in range(size):
        every |= key[i]
    if every & 0x80:
        try:
            characters = PyUnicode_GET_LENGTH(PyUnicode_DecodeUTF8(<const char *>key, size, NULL))
        except UnicodeDecodeError as error:
            refuse_text(position, "partition key", error)
    if characters < 1 or characters > KEY_CHARACTERS_MAX:
        refuse_key(position, characters)
    entry.key = key
    entry.key_size = <uint32_t>size
    return 0


cdef inline int keyed(hr_entry *entry, Py_ssize_t position, Py_ssize_t limit) except -1:
    """Note that an entry has a key now, and check the size of both together."""
    entry.flags &= ~HR_ENTRY_ANY_SHARD
    if <Py_ssize_t>entry.data_size + entry.key_size > limit:
        refuse_size(position, <Py_ssize_t>entry.data_size + entry.key_size, limit)
    return 0


cdef inline void begin(hr_entry *entry) noexcept nogil:
    """An entry without key and data."""
    entry.key = NULL
    entry.data = NULL
    entry.key_size = entry.data_size = 0
    entry.hash_high = entry.hash_low = 0
    entry.slot = 0
    entry.flags = HR_ENTRY_ANY_SHARD
    entry.index = 0
    entry.arrival_ms = 0


cdef Py_ssize_t limit_of(object record_size_max) except -1:
    """The record size limit of a call; None: the most any stream may allow."""
    cdef Py_ssize_t limit = RECORD_SIZE_MAX if record_size_max is None else record_size_max
    if limit < 1 or limit > RECORD_SIZE_MAX:
        raise InvalidArgument(f"record_size_max is {limit}; allowed are 1 to {RECORD_SIZE_MAX}")
    return limit


cdef class Entries:
    """Records on their way in, 64 bytes each, pointing at bytes that are kept alive until `clear`.

    One thread uses it at a time. Changing a bytearray or array handed in before the records were appended
    changes what is appended. A call that raises leaves the entries as they were before it.
    """

    def __cinit__(self):
        self.owners = []

    def __dealloc__(self):
        PyMem_Free(self.entry)
        PyMem_Free(self.order)
        PyMem_Free(self.lane_start)

    cdef int reserve(self, Py_ssize_t capacity) except -1:
        """Make room for `capacity` entries in all; grows by half at least."""
        cdef hr_entry *moved
        if capacity <= self.capacity:
            return 0
        if capacity > <Py_ssize_t>UINT32_MAX:
            raise InvalidArgument(f"{capacity} records in one call; allowed are {UINT32_MAX}")
        capacity = max(capacity, self.capacity + self.capacity // 2, 64)
        moved = <hr_entry *>PyMem_Realloc(self.entry, <size_t>capacity * sizeof(hr_entry))
        if moved == NULL:
            raise MemoryError()
        self.entry = moved
        self.capacity = capacity
        return 0

    cpdef void clear(self) noexcept:
        """Forget all entries and let go of the caller's objects; the memory is kept for the next use."""
        self.count = 0
        self.lane_count = 0
        self.owners.clear()

    cdef int order_reserve(self, Py_ssize_t lane_count) except -1:
        """Make room for the results of routing `count` entries into `lane_count` lanes."""
        cdef uint32_t *moved
        if self.order_capacity < self.count:
            moved = <uint32_t *>PyMem_Realloc(self.order, <size_t>self.capacity * 3 * sizeof(uint32_t))
            if moved == NULL:
                raise MemoryError()
            self.order = moved
            self.order_capacity = self.capacity
        if self.lane_capacity < lane_count + 1:
            moved = <uint32_t *>PyMem_Realloc(self.lane_start, <size_t>(lane_count + 1) * sizeof(uint32_t))
            if moved == NULL:
                raise MemoryError()
            self.lane_start = moved
            self.lane_capacity = lane_count + 1
        return 0

    def __len__(self):
        return self.count

    # --- one record ---

    cdef int take_data(self, hr_entry *entry, object item, Py_ssize_t position, Py_ssize_t limit) except -1:
        """Point an entry at the bytes of any value."""
        cdef Py_ssize_t size
        if PyBytes_Check(item):
            entry.data = <const uint8_t *>PyBytes_AS_STRING(item)
            size = PyBytes_GET_SIZE(item)
        elif PyUnicode_Check(item):
            try:
                entry.data = <const uint8_t *>PyUnicode_AsUTF8AndSize(item, &size)
            except UnicodeEncodeError as error:
                refuse_text(position, "text", error)
        else:
            return self.take_other(entry, item, position, limit)
        if size > limit:
            refuse_size(position, size, limit)
        entry.data_size = <uint32_t>size
        return 0

    cdef int take_other(self, hr_entry *entry, object item, Py_ssize_t position, Py_ssize_t limit) except -1:
        """Bytes-like objects as they are, everything else as JSON."""
        cdef Py_buffer view
        if PyObject_CheckBuffer(item) and not isinstance(item, np.generic):
            held = memoryview(item)
            if held.itemsize != 1 or not held.c_contiguous or held.format not in ("B", "b", "c"):
                kind = f"{type(item).__name__!r} of format {held.format!r}"
                raise TypeError(f"{at(position)} is a {kind}; expected contiguous bytes, as bytes() gives")
            # `held` keeps the export alive (a bytearray cannot shrink meanwhile), so the pointer stays good.
            PyObject_GetBuffer(held, &view, PyBUF_ND)
            entry.data = <const uint8_t *>view.buf
            size = view.len
            PyBuffer_Release(&view)
        else:
            try:
                held = record_json(item)
            except TypeError as error:
                kind = type(item).__name__
                raise TypeError(f"{at(position)} is of type {kind!r}, neither bytes-like nor str, "
                                f"and has no JSON: {error}") from error
            except ValueError as error:
                raise InvalidArgument(f"{at(position)} has no JSON: {error}") from error
            entry.data = <const uint8_t *>PyBytes_AS_STRING(held)
            size = PyBytes_GET_SIZE(held)
        if size > limit:
            refuse_size(position, size, limit)
        entry.data_size = <uint32_t>size
        self.owners.append(held)
        return 0

    def add(self, data, key=None, hash_key=None, *, record_size_max=None):
        """Add one record.

        data: bytes-like or str as it is, anything else as JSON. key: str, or None to spread evenly.
        hash_key: an explicit 128-bit hash key that overrides the key's. record_size_max: limit of data
        and key in bytes. Raises InvalidArgument, ValidationError (the key's length) or TypeError.
        """
        cdef Py_ssize_t limit = limit_of(record_size_max), owned = len(self.owners)
        cdef hr_entry entry
        begin(&entry)
        try:
            self.take_data(&entry, data, -1, limit)
            if key is not None:
                if not PyUnicode_Check(key):
                    raise TypeError(f"the key is of type {type(key).__name__!r}; expected str or None")
                take_key(&entry, key, -1)
                keyed(&entry, -1, limit)
            if hash_key is not None:
                if not 0 <= hash_key < HASH_KEY_END:
                    raise InvalidArgument(f"hash_key is {hash_key}; allowed are 0 to 2^128 - 1")
                entry.hash_high = <uint64_t>(hash_key >> 64)
                entry.hash_low = <uint64_t>(hash_key & HALF_MASK)
                entry.flags = HR_ENTRY_EXPLICIT_HASH
            self.reserve(self.count + 1)
        except BaseException:
            del self.owners[owned:]
            raise
        self.owners.append((data, key))
        self.entry[self.count] = entry
        self.count += 1

    # --- many records ---

    def extend(self, data, keys=None, *, record_size_max=None):
        """Add many records.

        data: list of bytes-like or str (anything else as JSON), list of (key, data) pairs, numpy array
        of dtype S (without trailing NULs) or V, two-dimensional uint8 array (a row a record), or an
        object with the Arrow C data interface that holds binary or text.
        keys: list of str or None, numpy or Arrow array of text, one str for all, or None: spread evenly.
        Raises InvalidArgument, ValidationError or TypeError, naming the record; then nothing was added.
        """
        cdef Py_ssize_t limit = limit_of(record_size_max), first = self.count, owned = len(self.owners)
        self.lane_count = 0
        try:
            if isinstance(data, np.ndarray) and data.dtype.kind not in "OUT":
                self.extend_array(data, limit)
                self.extend_keys(keys, first, limit)
            elif is_arrow(data):
                self.extend_arrow(data, limit)
                self.extend_keys(keys, first, limit)
            elif isinstance(data, (str, bytes, bytearray, memoryview, dict)):
                raise TypeError(f"data is of type {type(data).__name__!r}; expected a list of records or an array")
            else:
                self.extend_sequence(as_tuple(data, "data"), keys, limit)
        except BaseException:
            self.count = first
            del self.owners[owned:]
            raise

    cdef int extend_sequence(self, tuple items, object keys, Py_ssize_t limit) except -1:
        """Records that are Python objects, perhaps as (key, data) pairs."""
        cdef Py_ssize_t i, size, first = self.count, count = PyTuple_GET_SIZE(items)
        cdef hr_entry *entry
        cdef PyObject *item
        self.reserve(first + count)
        entry = self.entry + first
        self.owners.append(items)
        for i in range(count):
            begin(entry + i)
            item = PyTuple_GET_ITEM(items, i)
            if PyBytes_Check(<object>item):
                size = PyBytes_GET_SIZE(<object>item)
                if size > limit:
                    refuse_size(i, size, limit)
                entry[i].data = <const uint8_t *>PyBytes_AS_STRING(<object>item)
                entry[i].data_size = <uint32_t>size
            elif PyTuple_CheckExact(<object>item):
                self.take_pair(entry + i, <tuple>item, keys, i, limit)
            else:
                self.take_data(entry + i, <object>item, i, limit)
        self.count = first + count
        return self.extend_keys(keys, first, limit)

    cdef int take_pair(self, hr_entry *entry, tuple pair, object keys, Py_ssize_t position,
                       Py_ssize_t limit) except -1:
        """One (key, data) pair."""
        if keys is not None:
            raise InvalidArgument(f"record {position} is a tuple, a (key, data) pair; keys= was given too")
        if PyTuple_GET_SIZE(pair) != 2:
            raise InvalidArgument(f"record {position} is a tuple of {len(pair)}; expected a (key, data) pair")
        key, data = pair
        self.take_data(entry, data, position, limit)
        if key is not None:
            check_key(key, position)
            take_key(entry, key, position)
            keyed(entry, position, limit)
        return 0

    cdef int extend_array(self, object array, Py_ssize_t limit) except -1:
        """Records that lie in a numpy array at a fixed distance: dtype S, V, or rows of uint8."""
        cdef Py_ssize_t i, count, size, stride, first = self.count
        cdef bint is_text
        cdef const uint8_t *row
        cdef hr_entry *entry
        rows = rows_of(array)
        is_text = array.dtype.kind == "S"
        count, stride = rows.shape[0], rows.strides[0]
        size = rows.shape[1] if rows.ndim == 2 else rows.itemsize
        self.reserve(first + count)
        entry = self.entry + first
        self.owners.append(rows)
        row = <const uint8_t *>cnp.PyArray_DATA(<cnp.ndarray>rows)
        for i in range(count):
            begin(entry + i)
            entry[i].data = row + i * stride
            trimmed = trim(entry[i].data, size) if is_text else size
            if trimmed > limit:
                refuse_size(i, trimmed, limit)
            entry[i].data_size = <uint32_t>trimmed
        self.count = first + count
        return 0

    cdef int extend_arrow(self, object data, Py_ssize_t limit) except -1:
        """Records that lie in an Arrow array."""
        cdef Py_ssize_t i, first = self.count
        cdef ArrowValues values = ArrowValues(data, "data")
        cdef hr_entry *entry
        self.reserve(max(first + values.count, 1))
        entry = self.entry + first
        for i in range(values.count):
            begin(entry + i)
        self.owners.append(values)
        values.locate(&entry.data, &entry.data_size, sizeof(hr_entry))
        for i in range(values.count):
            if entry[i].data == NULL:
                raise InvalidArgument(f"record {i} is null in the Arrow array")
            if entry[i].data_size > limit:
                refuse_size(i, entry[i].data_size, limit)
        self.count = first + values.count
        return 0

    cdef int extend_keys(self, object keys, Py_ssize_t first, Py_ssize_t limit) except -1:
        """Give the entries from `first` on their keys."""
        cdef Py_ssize_t i, count = self.count - first
        cdef hr_entry *entry = self.entry + first
        cdef PyObject *item
        cdef tuple items
        if keys is None:
            return 0
        if PyUnicode_Check(keys):
            return self.one_key(keys, first, limit)
        if isinstance(keys, np.ndarray) and keys.dtype.kind == "S" and keys.ndim == 1:
            return self.keys_numpy(keys, first, limit)
        if is_arrow(keys):
            return self.keys_arrow(keys, first, limit)
        items = as_tuple(keys, "keys")
        count_matches(PyTuple_GET_SIZE(items), count)
        self.owners.append(items)
        for i in range(count):
            item = PyTuple_GET_ITEM(items, i)
            if <object>item is None:
                continue
            if not PyUnicode_Check(<object>item):
                check_key(<object>item, i)
            take_key(entry + i, <object>item, i)
            keyed(entry + i, i, limit)
        return 0

    cdef int keys_numpy(self, object keys, Py_ssize_t first, Py_ssize_t limit) except -1:
        """Keys from a numpy array of dtype S."""
        cdef Py_ssize_t i, size = keys.itemsize, stride = keys.strides[0]
        cdef const uint8_t *row = <const uint8_t *>cnp.PyArray_DATA(<cnp.ndarray>keys)
        cdef hr_entry *entry = self.entry + first
        count_matches(keys.shape[0], self.count - first)
        self.owners.append(keys)
        for i in range(self.count - first):
            take_key_bytes(entry + i, row, trim(row, size), i)
            keyed(entry + i, i, limit)
            row += stride
        return 0

    cdef int keys_arrow(self, object keys, Py_ssize_t first, Py_ssize_t limit) except -1:
        """Keys from an Arrow array; a null is a record without key."""
        cdef Py_ssize_t i
        cdef hr_entry *entry = self.entry + first
        cdef ArrowValues values = ArrowValues(keys, "keys")
        count_matches(values.count, self.count - first)
        self.owners.append(values)
        values.locate(&entry.key, &entry.key_size, sizeof(hr_entry))
        for i in range(values.count):
            if entry[i].key != NULL:
                take_key_bytes(entry + i, entry[i].key, entry[i].key_size, i)
                keyed(entry + i, i, limit)
        return 0

    cdef int one_key(self, str key, Py_ssize_t first, Py_ssize_t limit) except -1:
        """Give all entries from `first` on the same key, hashed once."""
        cdef hr_entry model
        cdef uint64_t halves[2]
        cdef Py_ssize_t i
        begin(&model)
        take_key(&model, key, 0)
        hr_md5(model.key, model.key_size, halves)
        self.owners.append(key)
        for i in range(first, self.count):
            self.entry[i].key = model.key
            self.entry[i].key_size = model.key_size
            self.entry[i].hash_high = halves[0]
            self.entry[i].hash_low = halves[1]
            self.entry[i].flags = HR_ENTRY_HASHED
            if <Py_ssize_t>self.entry[i].data_size + model.key_size > limit:
                refuse_size(i - first, <Py_ssize_t>self.entry[i].data_size + model.key_size, limit)
        return 0

    # --- what the entries hold, and what became of them ---

    @property
    def nbytes(self):
        """Bytes of all data and keys."""
        cdef Py_ssize_t i
        cdef uint64_t total = 0
        for i in range(self.count):
            total += <uint64_t>self.entry[i].data_size + self.entry[i].key_size
        return total

    @property
    def data(self):
        """Copies of the records, as list of bytes."""
        cdef Py_ssize_t i
        cdef hr_entry *entry = self.entry
        return [(<const char *>entry[i].data)[:entry[i].data_size] if entry[i].data_size else b""
                for i in range(self.count)]

    @property
    def keys(self):
        """The partition keys as list of str; None where there is none."""
        cdef Py_ssize_t i
        cdef hr_entry *entry = self.entry
        return [(<const char *>entry[i].key)[:entry[i].key_size].decode() if entry[i].key_size else None
                for i in range(self.count)]

    @property
    def hash_keys(self):
        """The hash keys as list of int; None where there is none, or none yet."""
        cdef Py_ssize_t i
        cdef hr_entry *entry = self.entry
        return [(<object>entry[i].hash_high << 64) | entry[i].hash_low
                if entry[i].flags & (HR_ENTRY_EXPLICIT_HASH | HR_ENTRY_HASHED) else None
                for i in range(self.count)]

    cdef object field(self, int kind, void *first):
        """A copy of one field of all entries as an array; `first` points at that of the first entry."""
        cdef cnp.npy_intp count = self.count, stride = sizeof(hr_entry)
        if count == 0:
            return cnp.PyArray_SimpleNew(1, &count, kind)
        return cnp.PyArray_New(np.ndarray, 1, &count, kind, &stride, first, 0, 0, None).copy()

    @property
    def slots(self):
        """After routing: each entry's place in the router's table (uint32)."""
        return self.field(cnp.NPY_UINT32, &self.entry.slot if self.count else NULL)

    @property
    def lanes(self):
        """After routing: for each lane the positions of its entries (list of uint32 arrays), by shard."""
        cdef Py_ssize_t lane
        cdef cnp.ndarray out = np.empty(self.count if self.lane_count else 0, np.uint32)
        if self.lane_count and self.count:
            memcpy(cnp.PyArray_DATA(out), self.order, <size_t>self.count * sizeof(uint32_t))
        return [out[self.lane_start[lane]:self.lane_start[lane + 1]] for lane in range(self.lane_count)]

    @property
    def indexes(self):
        """After appending: the running index of each record within its shard (uint64)."""
        return self.field(cnp.NPY_UINT64, &self.entry.index if self.count else NULL)

    @property
    def arrivals(self):
        """After appending: the arrival time of each record in epoch milliseconds (int64)."""
        return self.field(cnp.NPY_INT64, &self.entry.arrival_ms if self.count else NULL)

    def shards(self, Router router not None):
        """After routing by `router`: the shard number of each record (uint32)."""
        cdef cnp.ndarray out = np.empty(self.count, np.uint32)
        cdef uint32_t *shard = <uint32_t *>cnp.PyArray_DATA(out)
        cdef Py_ssize_t i
        for i in range(self.count):
            if self.entry[i].slot >= router.count:
                raise ValueError(f"record {i} was routed by another router")
            shard[i] = router.shard[self.entry[i].slot]
        return out


cdef inline Py_ssize_t trim(const uint8_t *text, Py_ssize_t size) noexcept nogil:
    """The size without trailing NULs: numpy pads dtype S with them."""
    while size > 0 and text[size - 1] == 0:
        size -= 1
    return size


cdef tuple as_tuple(object values, str what):
    """The values as a tuple, which nobody can change while the GIL is given up."""
    if PyTuple_CheckExact(values):
        return values
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            raise TypeError(f"{what} is an array of shape {values.shape}; expected one dimension")
        values = values.tolist()
    try:
        return tuple(values)
    except TypeError as error:
        kind = type(values).__name__
        raise TypeError(f"{what} is of type {kind!r}; expected a list or an array") from error


cdef inline bint is_arrow(object values):
    """Whether an object hands out Arrow arrays (numpy arrays, lists and tuples never do)."""
    if type(values) is list or type(values) is tuple or isinstance(values, np.ndarray):
        return False
    return hasattr(values, "__arrow_c_array__") or hasattr(values, "__arrow_c_stream__")


cdef int check_key(object key, Py_ssize_t position) except -1:
    if not PyUnicode_Check(key):
        kind = type(key).__name__
        raise TypeError(f"the key of record {position} is of type {kind!r}; expected str or None")
    return 0


cdef int count_matches(Py_ssize_t keys, Py_ssize_t records) except -1:
    if keys != records:
        raise InvalidArgument(f"there are {keys} keys for {records} records")
    return 0


cdef object rows_of(object array):
    """A numpy array whose rows are records; copied only where a row's own bytes are not adjacent."""
    if array.ndim == 1 and array.dtype.kind in "SV":
        return array
    if array.ndim == 2 and array.dtype == np.uint8:
        return array if array.shape[1] < 2 or array.strides[1] == 1 else np.ascontiguousarray(array)
    raise TypeError(f"data is an array of shape {array.shape} and dtype {array.dtype}; "
                    "expected one dimension of dtype S or V, or two of uint8")


cdef class Router:
    """Which open shard a hash key belongs to, and in which lane that shard lives.

    shards: rows (start, end, shard, lane, created_s) sorted by range; ranges are inclusive, adjacent and
    cover 0 to 2^128 − 1; lane ordinals are 0 to lane_count − 1. A router does not change: after a split
    or merge a stream makes a new one.
    """

    def __cinit__(self, shards):
        cdef Py_ssize_t slot, lane, next_rank = 0
        rows = list(shards)
        self.count = len(rows)
        if not 1 <= self.count <= UINT32_MAX:
            raise InvalidArgument(f"a router has {len(rows)} shards; allowed are 1 to {UINT32_MAX}")
        self.end_high = <uint64_t *>PyMem_Malloc(<size_t>self.count * 8)
        self.end_low = <uint64_t *>PyMem_Malloc(<size_t>self.count * 8)
        self.created_s = <uint64_t *>PyMem_Malloc(<size_t>self.count * 8)
        self.shard = <uint32_t *>PyMem_Malloc(<size_t>self.count * 4)
        self.lane = <uint32_t *>PyMem_Malloc(<size_t>self.count * 4)
        self.rank = <uint32_t *>PyMem_Malloc(<size_t>self.count * 4)
        if (self.end_high == NULL or self.end_low == NULL or self.created_s == NULL or self.shard == NULL
                or self.lane == NULL or self.rank == NULL):
            raise MemoryError()
        # After merges a stream has fewer shards than lanes, and its lanes keep their ordinals.
        lane_end = max(self.count, LANES_MAX)
        next_start = 0
        for slot, (start, end, shard, lane, created_s) in enumerate(rows):
            if start != next_start or end < start or end >= HASH_KEY_END:
                raise InvalidArgument(f"shard {shard} has the range {start} to {end}; "
                                      f"expected one from {next_start}")
            if not 0 <= lane < lane_end:
                raise InvalidArgument(f"shard {shard} has lane {lane}; allowed are 0 to {lane_end - 1}")
            next_start = end + 1
            self.end_high[slot] = <uint64_t>(end >> 64)
            self.end_low[slot] = <uint64_t>(end & HALF_MASK)
            self.shard[slot] = shard
            self.lane[slot] = <uint32_t>lane
            self.created_s[slot] = created_s
            self.lane_count = max(self.lane_count, lane + 1)
        if next_start != HASH_KEY_END:
            raise InvalidArgument(f"the ranges end at {next_start - 1}; expected 2^128 - 1")
        for slot in np.argsort([row[3] for row in rows], kind="stable"):
            self.rank[slot] = <uint32_t>next_rank
            next_rank += 1
        self.routes = hr_routes(self.end_high, self.end_low, self.lane, self.rank, <uint32_t>self.count,
                                <uint32_t>self.lane_count)

    def __dealloc__(self):
        PyMem_Free(self.end_high)
        PyMem_Free(self.end_low)
        PyMem_Free(self.created_s)
        PyMem_Free(self.shard)
        PyMem_Free(self.lane)
        PyMem_Free(self.rank)

    cpdef int route(self, Entries entries) except -1:
        """Hash the keys, find each entry's slot, and order the entries by lane and shard.

        Cost: an MD5 a key (7 to 16 ns in batches; none with one shard), 1 ns for the slot, 1 to 4 for
        the order. The GIL is given up for more than a few entries.
        """
        entries.order_reserve(self.lane_count)
        if entries.count <= ALONE_MAX:
            self.route_with(entries, DETECTED)
        else:
            with nogil:
                self.route_with(entries, DETECTED)
        entries.lane_count = self.lane_count
        return 0

    cdef void route_with(self, Entries entries, hr_simd simd) noexcept nogil:
        cdef size_t count = <size_t>entries.count
        cdef uint64_t turn = self.turn
        if self.count > 1:
            hr_md5_entries(entries.entry, count, simd)
        hr_route_slots(entries.entry, count, &self.routes, &turn)
        hr_route_group(entries.entry, count, &self.routes, entries.order, entries.order + count,
                       entries.lane_start)
        self.turn = turn

    def locate(self, hash_key):
        """The number of the shard whose range holds a hash key."""
        if not 0 <= hash_key < HASH_KEY_END:
            raise InvalidArgument(f"hash_key is {hash_key}; allowed are 0 to 2^128 - 1")
        high, low = hash_key >> 64, hash_key & HALF_MASK
        return self.shard[hr_route_locate(&self.routes, <uint64_t>high, <uint64_t>low)]


def hash_entries(Entries entries not None, simd=None):
    """Hash the keys of entries that have no hash yet; `simd` forces a level (tests and benches)."""
    cdef hr_simd level = <hr_simd>simd_level(simd, DETECTED)
    with nogil:
        hr_md5_entries(entries.entry, <size_t>entries.count, level)
