# cython: wraparound=True
# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Columns and RecordBatch handed over by the Arrow C data interface, without pyarrow.

Who owns what: each exported array holds one reference to a Python list of everything its buffers point
into, and its release callback (any thread, at any time) drops it. Nothing is copied but bit masks, and
16 bytes for each record of a batch (the views). Children may be taken away from their parent.

Cost: a few microseconds for each column; 3 ns for each record of a batch.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EINVAL, ENOMEM
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset, strlen

from headrace.core._batch cimport RecordBatch

import numpy as np

from headrace.errors import Corrupt, Unsupported

cimport numpy as cnp

cnp.import_array()

cdef extern from "Python.h":
    bint Py_IsInitialized() noexcept nogil

cdef int64_t VIEW_WINDOW = 1 << 30        # a batch's buffer is shown in windows that begin so far apart
cdef int64_t VIEW_SIZE_MAX = 0x7FFFFFFF   # what a view can reach
FORMATS = {"i8": "l", "f8": "g", "bool": "b", "timestamp": "tsu:UTC"}


class Node:
    """One array with its type, as Python objects: what the C structs are filled from.

    buffers: None, an object with the buffer protocol, or (owner, address).
    """

    __slots__ = ("buffers", "children", "dictionary", "flags", "format", "length", "name", "null_count")

    def __init__(self, format, name, length, buffers, *, null_count=0, flags=0, children=(), dictionary=None):
        self.format = format
        self.name = name
        self.length = length
        self.buffers = buffers
        self.null_count = null_count
        self.flags = flags
        self.children = children
        self.dictionary = dictionary


# --- schemas ---

cdef char *_text(str text) except NULL:
    """A copy that the struct owns."""
    cdef bytes data = text.encode("utf-8", "replace")
    cdef char *copy = <char *>calloc(len(data) + 1, 1)
    if copy == NULL:
        raise MemoryError
    memcpy(copy, <const char *>data, len(data))
    return copy


cdef void _release_schema(ArrowSchema *schema) noexcept nogil:
    cdef int64_t i
    for i in range(schema.n_children):
        if schema.children[i] != NULL:
            if schema.children[i].release != NULL:
                schema.children[i].release(schema.children[i])
            free(schema.children[i])
    if schema.dictionary != NULL:
        if schema.dictionary.release != NULL:
            schema.dictionary.release(schema.dictionary)
        free(schema.dictionary)
    free(schema.children)
    free(<void *>schema.format)
    free(<void *>schema.name)
    schema.release = NULL


cdef int _fill_schema(ArrowSchema *out, object node) except -1:
    """Fill a struct; where that fails, what was filled is released."""
    memset(out, 0, sizeof(ArrowSchema))
    out.release = <void (*)(ArrowSchema *) noexcept nogil>_release_schema
    try:
        out.format = _text(node.format)
        out.name = _text(node.name)
        out.flags = node.flags
        out.children = <ArrowSchema **>calloc(len(node.children) + 1, sizeof(ArrowSchema *))
        if out.children == NULL:
            raise MemoryError
        out.n_children = len(node.children)
        for i, child in enumerate(node.children):
            out.children[<Py_ssize_t>i] = <ArrowSchema *>calloc(1, sizeof(ArrowSchema))
            if out.children[<Py_ssize_t>i] == NULL:
                raise MemoryError
            _fill_schema(out.children[<Py_ssize_t>i], child)
        if node.dictionary is not None:
            out.dictionary = <ArrowSchema *>calloc(1, sizeof(ArrowSchema))
            if out.dictionary == NULL:
                raise MemoryError
            _fill_schema(out.dictionary, node.dictionary)
    except BaseException:
        _release_schema(out)
        raise
    return 0


# --- arrays ---

cdef void _drop(void *owner) noexcept with gil:
    Py_DECREF(<object>owner)


cdef void _release_array(ArrowArray *array) noexcept nogil:
    cdef int64_t i
    for i in range(array.n_children):
        if array.children[i] != NULL:
            if array.children[i].release != NULL:
                array.children[i].release(array.children[i])
            free(array.children[i])
    if array.dictionary != NULL:
        if array.dictionary.release != NULL:
            array.dictionary.release(array.dictionary)
        free(array.dictionary)
    free(array.children)
    free(array.buffers)
    array.release = NULL
    if array.private_data != NULL and Py_IsInitialized():  # after the interpreter's end nothing is left to drop
        _drop(array.private_data)


cdef const void *_address(object buffer, list owners) except? NULL:
    """Where a buffer's bytes lie; what owns them goes into `owners`."""
    cdef cnp.ndarray array
    if buffer is None:
        return NULL
    if isinstance(buffer, tuple):
        owners.append(buffer[0])
        return <const void *><size_t>buffer[1]
    array = buffer
    assert cnp.PyArray_IS_C_CONTIGUOUS(array)
    owners.append(array)
    return cnp.PyArray_DATA(array)


cdef int _fill_array(ArrowArray *out, object node) except -1:
    """Fill a struct; where that fails, what was filled is released."""
    cdef list owners = []
    memset(out, 0, sizeof(ArrowArray))
    out.release = <void (*)(ArrowArray *) noexcept nogil>_release_array
    try:
        out.length = node.length
        out.null_count = node.null_count
        out.buffers = <const void **>calloc(len(node.buffers) + 1, sizeof(void *))
        out.children = <ArrowArray **>calloc(len(node.children) + 1, sizeof(ArrowArray *))
        if out.buffers == NULL or out.children == NULL:
            raise MemoryError
        out.n_buffers = len(node.buffers)
        for i, buffer in enumerate(node.buffers):
            out.buffers[<Py_ssize_t>i] = _address(buffer, owners)
        out.private_data = <void *>owners
        Py_INCREF(owners)
        out.n_children = len(node.children)
        for i, child in enumerate(node.children):
            out.children[<Py_ssize_t>i] = <ArrowArray *>calloc(1, sizeof(ArrowArray))
            if out.children[<Py_ssize_t>i] == NULL:
                raise MemoryError
            _fill_array(out.children[<Py_ssize_t>i], child)
        if node.dictionary is not None:
            out.dictionary = <ArrowArray *>calloc(1, sizeof(ArrowArray))
            if out.dictionary == NULL:
                raise MemoryError
            _fill_array(out.dictionary, node.dictionary)
    except BaseException:
        _release_array(out)
        raise
    return 0


# --- streams ---

cdef class Stream:
    """What stands behind an exported stream: the chunks that were not taken yet."""

    def __init__(self, node, chunks):
        self.node = node
        self.chunks = list(reversed(chunks))
        self.error = b""


cdef int _stream_schema(ArrowArrayStream *stream, ArrowSchema *out) noexcept with gil:
    cdef Stream state = <Stream>stream.private_data
    try:
        _fill_schema(out, state.node)
        return 0
    except MemoryError:
        return ENOMEM
    except BaseException as error:
        state.error = f"{type(error).__name__}: {error}".encode()
        return EINVAL


cdef int _stream_next(ArrowArrayStream *stream, ArrowArray *out) noexcept with gil:
    cdef Stream state = <Stream>stream.private_data
    memset(out, 0, sizeof(ArrowArray))
    if not state.chunks:
        return 0
    try:
        _fill_array(out, state.chunks.pop())
        return 0
    except MemoryError:
        return ENOMEM
    except BaseException as error:
        state.error = f"{type(error).__name__}: {error}".encode()
        return EINVAL


cdef const char *_stream_error(ArrowArrayStream *stream) noexcept with gil:
    cdef Stream state = <Stream>stream.private_data
    return <const char *>state.error if state.error else NULL


cdef void _stream_release(ArrowArrayStream *stream) noexcept nogil:
    stream.release = NULL
    if stream.private_data != NULL and Py_IsInitialized():
        _drop(stream.private_data)
    stream.private_data = NULL


# --- capsules ---

cdef void _end_schema(object capsule) noexcept:
    cdef ArrowSchema *schema = <ArrowSchema *>PyCapsule_GetPointer(capsule, "arrow_schema")
    if schema.release != NULL:
        schema.release(schema)
    free(schema)


cdef void _end_array(object capsule) noexcept:
    cdef ArrowArray *array = <ArrowArray *>PyCapsule_GetPointer(capsule, "arrow_array")
    if array.release != NULL:
        array.release(array)
    free(array)


cdef void _end_stream(object capsule) noexcept:
    cdef ArrowArrayStream *stream = <ArrowArrayStream *>PyCapsule_GetPointer(capsule, "arrow_array_stream")
    if stream.release != NULL:
        stream.release(stream)
    free(stream)


cdef object _schema_capsule(object node):
    cdef ArrowSchema *schema = <ArrowSchema *>calloc(1, sizeof(ArrowSchema))
    if schema == NULL:
        raise MemoryError
    capsule = PyCapsule_New(schema, "arrow_schema", _end_schema)
    _fill_schema(schema, node)
    return capsule


cdef object _array_capsule(object node):
    cdef ArrowArray *array = <ArrowArray *>calloc(1, sizeof(ArrowArray))
    if array == NULL:
        raise MemoryError
    capsule = PyCapsule_New(array, "arrow_array", _end_array)
    _fill_array(array, node)
    return capsule


cdef object _stream_capsule(object node, object chunks):
    cdef ArrowArrayStream *stream
    cdef Stream state = Stream(node, chunks)
    stream = <ArrowArrayStream *>calloc(1, sizeof(ArrowArrayStream))
    if stream == NULL:
        raise MemoryError
    stream.get_schema = <int (*)(ArrowArrayStream *, ArrowSchema *) noexcept nogil>_stream_schema
    stream.get_next = <int (*)(ArrowArrayStream *, ArrowArray *) noexcept nogil>_stream_next
    stream.get_last_error = <const char *(*)(ArrowArrayStream *) noexcept nogil>_stream_error
    stream.release = <void (*)(ArrowArrayStream *) noexcept nogil>_stream_release
    stream.private_data = <void *>state
    Py_INCREF(state)
    return PyCapsule_New(stream, "arrow_array_stream", _end_stream)


# --- columns ---

cdef set _plain_strings(object requested):
    """The names of columns that a consumer asked for as plain utf8 (u) or large_utf8 (U), with the format."""
    cdef ArrowSchema *schema
    cdef ArrowSchema *child
    cdef int64_t i
    wanted = set()
    if requested is None:
        return wanted
    schema = <ArrowSchema *>PyCapsule_GetPointer(requested, "arrow_schema")
    if schema.release == NULL or schema.format == NULL or strlen(schema.format) != 2:
        return wanted
    for i in range(schema.n_children):
        child = schema.children[i]
        if child.dictionary == NULL and child.format != NULL and child.name != NULL:
            format = (<bytes>child.format).decode("utf-8", "replace")
            if format in ("u", "U"):
                wanted.add(((<bytes>child.name).decode("utf-8", "replace"), format))
    return wanted


def _bits(mask):
    """Booleans as a bitmap."""
    return np.packbits(mask, bitorder="little")


cdef object _strings_node(object strings):
    """The dictionary itself. Never empty: some readers look at code 0 of a null row."""
    data, ends = strings.data, strings.ends
    if len(ends) == 1:
        ends = np.zeros(2, dtype=np.int64)
    large = ends[-1] > VIEW_SIZE_MAX
    offsets = np.ascontiguousarray(ends, dtype=np.int64 if large else np.int32)
    if data.size == 0:
        data = np.zeros(1, dtype=np.uint8)
    return Node("U" if large else "u", "", len(ends) - 1, [None, offsets, np.ascontiguousarray(data)])


cdef object _plain_node(str name, object column, object validity, int64_t nulls, str format):
    """A string column without a dictionary: each row's text written out."""
    cdef cnp.ndarray codes = np.ascontiguousarray(column.values, dtype=np.int32)
    cdef cnp.ndarray data = np.ascontiguousarray(column.strings.data)
    cdef cnp.ndarray ends = np.ascontiguousarray(column.strings.ends)
    cdef const int32_t *code = <const int32_t *>cnp.PyArray_DATA(codes)
    cdef const int64_t *end = <const int64_t *>cnp.PyArray_DATA(ends)
    cdef const uint8_t *source = <const uint8_t *>cnp.PyArray_DATA(data)
    cdef const int64_t *at
    cdef uint8_t *target
    cdef Py_ssize_t i, rows = len(codes)
    sizes = np.append(np.diff(ends), 0)[codes]  # code -1: no bytes
    starts = np.zeros(rows + 1, dtype=np.int64)
    np.cumsum(sizes, out=starts[1:])
    if format == "u" and starts[-1] > VIEW_SIZE_MAX:
        return None
    out = np.empty(int(starts[-1]) + 1, dtype=np.uint8)
    at = <const int64_t *>cnp.PyArray_DATA(<cnp.ndarray>starts)
    target = <uint8_t *>cnp.PyArray_DATA(<cnp.ndarray>out)
    with nogil:
        for i in range(rows):
            if code[i] >= 0:
                memcpy(target + at[i], source + end[code[i]], end[code[i] + 1] - end[code[i]])
    offsets = starts.astype(np.int32) if format == "u" else starts
    return Node(format, name, rows, [validity, offsets, out], null_count=nulls, flags=HR_ARROW_NULLABLE)


cdef object _column_node(str name, object column, set plain):
    cdef int64_t rows = len(column)
    cdef int64_t nulls = rows - int(np.count_nonzero(column.valid))
    validity = _bits(column.valid) if nulls else None
    if column.type == "str":
        for format in ("u", "U"):
            if (name, format) in plain:
                node = _plain_node(name, column, validity, nulls, format)
                if node is not None:
                    return node
        codes = np.maximum(column.values, 0) if nulls else np.ascontiguousarray(column.values)
        return Node("i", name, rows, [validity, codes], null_count=nulls, flags=HR_ARROW_NULLABLE,
                    dictionary=_strings_node(column.strings))
    values = _bits(column.values) if column.type == "bool" else np.ascontiguousarray(column.values)
    return Node(FORMATS[column.type], name, rows, [validity, values], null_count=nulls, flags=HR_ARROW_NULLABLE)


cdef object _columns_node(object columns, object requested):
    plain = _plain_strings(requested)
    children = [_column_node(name, columns.column(name), plain) for name in columns]
    return Node("+s", "", columns.rows, [None], children=children)


def columns_schema(columns):
    """The capsule of the columns' type: a struct."""
    return _schema_capsule(_columns_node(columns.head(0), None))


def columns_array(columns, requested_schema=None):
    """The capsules (schema, array). A consumer that asks for utf8 instead of a dictionary gets it."""
    node = _columns_node(columns, requested_schema)
    return _schema_capsule(node), _array_capsule(node)


def columns_stream(columns, requested_schema=None):
    """The capsule of a stream with one chunk."""
    node = _columns_node(columns, requested_schema)
    return _stream_capsule(node, [node])


# --- batches ---

cdef int64_t _write_views(hr_arrow_view *out, const uint8_t *base, const int64_t *offset, const uint32_t *length,
                          Py_ssize_t count, bint text) noexcept nogil:
    """The views of `count` values; returns the first row whose text is not UTF-8, or -1."""
    cdef Py_ssize_t i
    cdef const uint8_t *data
    cdef int32_t *words
    for i in range(count):
        data = base + offset[i]
        if text and not hr_utf8_valid(data, length[i]):
            return i
        words = <int32_t *>&out[i]
        words[0] = <int32_t>length[i]
        words[1] = words[2] = words[3] = 0
        if length[i] <= HR_ARROW_VIEW_INLINE:
            memcpy(&words[1], data, length[i])
        else:
            memcpy(&words[1], data, 4)
            words[2] = <int32_t>(offset[i] // VIEW_WINDOW)
            words[3] = <int32_t>(offset[i] % VIEW_WINDOW)
    return -1


cdef list _windows(RecordBatch batch, list sizes):
    """The batch's buffer as one or more that a view can reach; they overlap, so each record lies in one."""
    cdef int64_t start = 0
    windows = []
    while True:
        windows.append((batch, <size_t>(batch.base + start)))
        sizes.append(min(batch.size - start, VIEW_SIZE_MAX))
        start += VIEW_WINDOW
        if start >= batch.size:
            return windows


cdef object _views_node(RecordBatch batch, str format, str name, bint text):
    cdef cnp.ndarray views = np.empty(2 * batch.count, dtype=np.uint64)
    cdef const int64_t *offset = batch.key_offset if text else batch.offset
    cdef const uint32_t *length = batch.key_length if text else batch.length
    cdef hr_arrow_view *out = <hr_arrow_view *>cnp.PyArray_DATA(views)
    cdef int64_t bad
    cdef list sizes = []
    lengths = batch.key_lengths if text else batch.lengths
    if batch.count and int(lengths.max()) > VIEW_WINDOW:
        raise Unsupported(f"{name} of {int(lengths.max())} bytes in a record; Arrow views reach {VIEW_WINDOW}")
    with nogil:
        bad = _write_views(out, batch.base, offset, length, batch.count, text)
    if bad >= 0:
        raise Corrupt(f"the {name} of record {bad} is not UTF-8")
    windows = _windows(batch, sizes)
    return Node(format, name, batch.count, [None, views, *windows, np.array(sizes, dtype=np.int64)])


cdef object _batch_node(RecordBatch batch):
    rows = batch.count
    children = [
        _views_node(batch, "vz", "data", False),
        _views_node(batch, "vu", "partition_key", True),
        Node("I", "shard", rows, [None, batch.shards]),
        Node("L", "ordinal", rows, [None, batch.ordinals]),
        Node("tsm:UTC", "arrival", rows, [None, batch._arrivals]),
    ]
    return Node("+s", "", rows, [None], children=children)


def batch_schema():
    """The capsule of a RecordBatch's type, the same for all."""
    return _schema_capsule(_batch_node(RecordBatch.empty()))


def batch_array(RecordBatch batch not None):
    """The capsules (schema, array) of a batch: payloads and keys stay where they are."""
    node = _batch_node(batch)
    return _schema_capsule(node), _array_capsule(node)


def batch_stream(RecordBatch batch not None):
    """The capsule of a stream with the batch as its one chunk."""
    node = _batch_node(batch)
    return _stream_capsule(node, [node])
