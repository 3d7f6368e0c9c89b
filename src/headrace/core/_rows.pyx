# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Tables of other libraries as JSON records: one object a row, written natively from the Arrow C interface.

Integers, floats (the shortest text that reads back; NaN and infinities are null), booleans, strings (utf8,
large_utf8, utf8_view), timestamps (RFC 3339, with a Z where the table says UTC or another zone), date32,
null, and dictionaries of these. Columns keep their order. Other types: Unsupported, naming the column.

Cost: about 15 ns for a number, 25 for a double, the length of a string divided by some GB/s; GIL released.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid
from libc.string cimport memset, strerror

import json

import numpy as np

from headrace.errors import InvalidArgument, Unsupported

cimport numpy as cnp

cnp.import_array()

cdef int64_t ROWS_PER_CALL = 65536  # between two looks for Ctrl-C
cdef object POWERS = None
cdef const hr_power *POWER_TABLE = NULL

# format: (kind, buffers)
cdef dict KINDS = {
    "n": (HR_ROWS_NULL, 0), "b": (HR_ROWS_BOOL, 2),
    "c": (HR_ROWS_INT8, 2), "C": (HR_ROWS_UINT8, 2), "s": (HR_ROWS_INT16, 2), "S": (HR_ROWS_UINT16, 2),
    "i": (HR_ROWS_INT32, 2), "I": (HR_ROWS_UINT32, 2), "l": (HR_ROWS_INT64, 2), "L": (HR_ROWS_UINT64, 2),
    "f": (HR_ROWS_FLOAT, 2), "g": (HR_ROWS_DOUBLE, 2),
    "u": (HR_ROWS_TEXT, 3), "U": (HR_ROWS_LARGE_TEXT, 3), "vu": (HR_ROWS_VIEW, -1),
    "tss": (HR_ROWS_SECONDS, 2), "tsm": (HR_ROWS_MILLIS, 2), "tsu": (HR_ROWS_MICROS, 2), "tsn": (HR_ROWS_NANOS, 2),
    "tdD": (HR_ROWS_DATE, 2),
}
cdef set INTEGERS = set("cCsSiIlL")
cdef set KEYS = INTEGERS | {"u", "U", "vu", "n"}
cdef dict NAMES = {"z": "binary", "Z": "large_binary", "vz": "binary_view", "e": "float16", "tdm": "date64", "+s": "struct",
                   "+l": "list", "+L": "large_list", "+m": "map", "+r": "run_end_encoded", "+vl": "list_view"}


cdef object _load_powers():
    """The powers of ten as the kernel wants them, computed once with Python's integers (about a millisecond)."""
    global POWERS, POWER_TABLE
    cdef cnp.ndarray table
    if POWER_TABLE != NULL:
        return
    table = np.empty(2 * HR_POWER_COUNT, dtype=np.uint64)
    for i, exponent in enumerate(range(HR_POWER_FIRST, HR_POWER_LAST + 1)):
        if exponent >= 0:
            value, low = 10**exponent, 0
        else:
            low = 128 - exponent * 4
            value = -(-(1 << low) // 10**-exponent)
        shift = value.bit_length() - 128
        value = -(-value >> shift) if shift > 0 else value << -shift
        if value >> 128:
            value >>= 1
        table[2 * i], table[2 * i + 1] = value >> 64, value & (2**64 - 1)
    POWERS = table
    POWER_TABLE = <const hr_power *>cnp.PyArray_DATA(table)


def double_text(double value):
    """The shortest text of a finite double, as it is written into rows."""
    cdef uint8_t out[HR_DOUBLE_TEXT_MAX]
    _load_powers()
    if value - value != 0:
        raise ValueError(value)
    return PyBytes_FromStringAndSize(<const char *>out, hr_double_text(value, POWER_TABLE, out)).decode()


def float_text(float value):
    """The shortest text of a finite 32-bit float."""
    cdef uint8_t out[HR_DOUBLE_TEXT_MAX]
    _load_powers()
    if value - value != 0:
        raise ValueError(value)
    return PyBytes_FromStringAndSize(<const char *>out, hr_float_text(value, POWER_TABLE, out)).decode()


class ColumnType:
    """Name and type of one column of a source."""

    __slots__ = ("dictionary", "format", "kind", "name", "zulu")

    def __init__(self, name, format, kind, zulu, dictionary):
        self.name = name
        self.format = format
        self.kind = kind
        self.zulu = zulu
        self.dictionary = dictionary


cdef object _column_type(str name, ArrowSchema *schema, bint within):
    """What a schema says of a column; Unsupported where rows cannot be written from it."""
    cdef str format = (<bytes>schema.format).decode("utf-8", "replace") if schema.format != NULL else "?"
    base, zone = (format[:3], format[4:]) if format[:2] == "ts" else (format, "")
    dictionary = None
    if base not in KINDS:
        kind = NAMES.get(base) or ("decimal" if base.startswith("d:") else f"Arrow type {base!r}")
        raise Unsupported(f"column {name!r} has type {kind}, which has no JSON form here", hint="cast it or leave it out")
    kind = KINDS[base][0]
    if schema.dictionary != NULL:
        if within or base not in INTEGERS:
            raise Unsupported(f"column {name!r} is a dictionary of dictionaries or has codes of type {base!r}")
        dictionary = _column_type(name, schema.dictionary, True)
    return ColumnType(name, base, kind, bool(zone), dictionary)


cdef class ArrowSource:
    """The columns and chunks of any object with `__arrow_c_stream__` or `__arrow_c_array__`, or of a capsule."""

    def __init__(self, source):
        cdef ArrowSchema *schema
        self.stream = NULL
        self.single = NULL
        if hasattr(source, "__arrow_c_stream__"):
            source = source.__arrow_c_stream__()
        elif hasattr(source, "__arrow_c_array__"):
            schema_capsule, source = source.__arrow_c_array__()
            schema = <ArrowSchema *>PyCapsule_GetPointer(schema_capsule, "arrow_schema")
            self.columns = self._describe(schema)
            self.single = <ArrowArray *>PyCapsule_GetPointer(source, "arrow_array")
        self.capsule = source
        if self.single == NULL:
            if not PyCapsule_IsValid(source, "arrow_array_stream"):
                raise InvalidArgument(f"a {type(source).__name__} is no table: it has no __arrow_c_stream__")
            self.stream = <ArrowArrayStream *>PyCapsule_GetPointer(source, "arrow_array_stream")
            if self.stream.release == NULL:
                raise InvalidArgument("the Arrow stream was read already")
            self.columns = self._read_schema()

    cdef object _read_schema(self):
        cdef ArrowSchema schema
        cdef int code
        memset(&schema, 0, sizeof(schema))
        with nogil:
            code = self.stream.get_schema(self.stream, &schema)
        if code != 0:
            self._failed("schema", code)
        try:
            return self._describe(&schema)
        finally:
            if schema.release != NULL:
                schema.release(&schema)

    cdef object _describe(self, ArrowSchema *schema):
        cdef int64_t i
        cdef ArrowSchema *child
        if schema.release == NULL or schema.format == NULL or <bytes>schema.format != b"+s":
            raise Unsupported("the Arrow data is one array of values, not a table with named columns")
        columns = []
        for i in range(schema.n_children):
            child = schema.children[i]
            name = (<bytes>child.name).decode("utf-8", "replace") if child.name != NULL else ""
            if any(name == column.name for column in columns):
                raise InvalidArgument(f"two columns have the name {name!r}")
            columns.append(_column_type(name, child, False))
        return columns

    cdef int _failed(self, str what, int code) except -1:
        cdef const char *text = self.stream.get_last_error(self.stream)
        message = (<bytes>text).decode("utf-8", "replace") if text != NULL else (<bytes>strerror(code)).decode()
        raise InvalidArgument(f"the Arrow source failed to give its {what}: {message}")

    def chunks(self):
        """The chunks, one after the other; each is good on its own."""
        cdef Chunk chunk
        cdef int code
        while True:
            chunk = Chunk()
            if self.single != NULL:
                chunk.array = self.single[0]  # moved, as the interface has it
                self.single.release = NULL
            else:
                with nogil:
                    code = self.stream.get_next(self.stream, &chunk.array)
                if code != 0:
                    self._failed("rows", code)
            if chunk.array.release == NULL:
                return
            chunk.prepare(self.columns)
            yield chunk
            if self.single != NULL:
                return


cdef class Chunk:
    """Some rows of a source, checked as far as pointers and counts go, ready for the kernel."""

    def __cinit__(self):
        memset(&self.array, 0, sizeof(self.array))

    def __dealloc__(self):
        if self.array.release != NULL:
            self.array.release(&self.array)

    def prepare(self, list types):
        cdef int64_t i, count = len(types)
        cdef cnp.ndarray memory = np.zeros(2 * count * sizeof(hr_rows_column) + 1, dtype=np.uint8)
        self.arena = [memory]
        self.types = types
        self.columns = <hr_rows_column *>cnp.PyArray_DATA(memory)
        if (self.array.n_children != count or self.array.length < 0 or self.array.offset < 0
                or (count > 0 and self.array.children == NULL)):
            raise InvalidArgument(f"an Arrow chunk has {self.array.n_children} columns and {self.array.length} rows; "
                                  f"its schema has {count} columns")
        if self.array.null_count != 0 and self.array.n_buffers > 0 and self.array.buffers[0] != NULL:
            raise Unsupported("the Arrow table has null rows as a whole, which are no JSON objects")
        for i in range(count):
            self._fill(&self.columns[i], self.array.children[i], types[i], self.array.offset, self.array.length)
            if types[i].dictionary is not None:
                self._fill(&self.columns[count + i], self.array.children[i].dictionary, types[i].dictionary, 0, -1)
                self.columns[i].dictionary = &self.columns[count + i]
            label = b"{" if i == 0 else b","
            label += json.dumps(types[i].name, ensure_ascii=False).encode("utf-8", "replace") + b":"
            self.arena.append(label)
            self.columns[i].label = <const uint8_t *><const char *>label
            self.columns[i].label_size = len(label)

    cdef int _fill(self, hr_rows_column *column, ArrowArray *array, object type, int64_t offset, int64_t rows) except -1:
        """One column as the kernel wants it: `rows` of it behind `offset`; -1: a dictionary, all of it."""
        cdef int64_t buffers
        kind, expected = KINDS[type.format]
        if array == NULL or array.release == NULL or array.length < 0 or array.offset < 0:
            raise InvalidArgument(f"column {type.name!r} of an Arrow chunk is missing or was given away")
        if rows < 0:
            rows = array.length
        elif array.length - offset < rows:
            raise InvalidArgument(f"column {type.name!r} of an Arrow chunk has {array.length - offset} rows of {rows}")
        buffers = array.n_buffers
        if (buffers < 3 if expected < 0 else buffers != expected) or (buffers > 0 and array.buffers == NULL):
            raise InvalidArgument(f"column {type.name!r} of an Arrow chunk has {buffers} buffers, not {expected}")
        column.kind = HR_ROWS_CODES if type.dictionary is not None else <hr_rows_kind><int>kind
        column.codes = <hr_rows_kind><int>kind
        column.zulu = type.zulu
        column.offset = offset + array.offset
        column.length = rows
        if kind == HR_ROWS_NULL:
            return 0
        column.validity = <const uint8_t *>array.buffers[0] if array.null_count != 0 else NULL
        column.values = array.buffers[1]
        if rows > 0 and column.values == NULL:
            raise InvalidArgument(f"column {type.name!r} of an Arrow chunk has no values")
        if kind == HR_ROWS_TEXT or kind == HR_ROWS_LARGE_TEXT:
            column.data = <const uint8_t *>array.buffers[2]
        elif kind == HR_ROWS_VIEW:
            column.view_count = buffers - 3
            column.view_data = <const uint8_t **>&array.buffers[2]
            column.view_sizes = <const int64_t *>array.buffers[buffers - 1]
            if column.view_count > 0 and column.view_sizes == NULL:
                raise InvalidArgument(f"column {type.name!r} of an Arrow chunk has no sizes of its buffers")
        return 0

    def rows(self):
        """The rows as JSON: (buffer, ends), numpy arrays of uint8 and int64; row i ends at ends[i]."""
        return _written(self, -1)[:2]

    def texts(self, Py_ssize_t column):
        """One column as plain text: a list of str, None where it is null."""
        data, ends, nulls = _written(self, column)
        whole, at, out = data.tobytes(), 0, []
        for end, null in zip(ends.tolist(), nulls.tolist(), strict=True):
            out.append(None if null else whole[at:end].decode())
            at = end
        return out


cdef object _written(Chunk chunk, Py_ssize_t only):
    """Run the kernel over a chunk: all columns as JSON (only = -1), or one as text."""
    cdef hr_rows_job job
    cdef hr_rows_end code
    cdef int64_t rows = chunk.array.length, end
    cdef cnp.ndarray out = np.empty(max(4096, rows * (16 + 24 * len(chunk.types) if only < 0 else 16)), dtype=np.uint8)
    cdef cnp.ndarray ends = np.empty(rows, dtype=np.int64)
    cdef cnp.ndarray nulls = np.zeros(rows, dtype=np.uint8)
    cdef int64_t *end_of = <int64_t *>cnp.PyArray_DATA(ends)
    cdef uint8_t *null_of = <uint8_t *>cnp.PyArray_DATA(nulls)
    _load_powers()
    memset(&job, 0, sizeof(job))
    job.columns = chunk.columns if only < 0 else &chunk.columns[only]
    job.column_count = <int32_t>len(chunk.types) if only < 0 else 1
    job.powers = POWER_TABLE
    job.out = <uint8_t *>cnp.PyArray_DATA(out)
    job.out_size = len(out)
    while job.row < rows:
        end = min(rows, job.row + ROWS_PER_CALL)
        with nogil:
            code = hr_rows_write(&job, end, end_of) if only < 0 else hr_rows_write_text(&job, end, end_of, null_of)
        if code == HR_ROWS_BAD:
            name = chunk.types[job.bad_column if only < 0 else only].name
            raise InvalidArgument(f"column {name!r} has in row {job.row} of a chunk a value that cannot be read: text "
                                  "that is not UTF-8, a code or offset outside, or a time outside the years 1 to 9999")
        if code == HR_ROWS_FULL:
            larger = np.empty(max(2 * job.out_size, job.used + job.wanted), dtype=np.uint8)
            larger[:job.used] = out[:job.used]
            out = larger
            job.out = <uint8_t *>cnp.PyArray_DATA(out)
            job.out_size = len(out)
        PyErr_CheckSignals()
    return out[:job.used], ends, nulls


def json_chunks(source, *, key=None):
    """The rows of a table as JSON objects, a chunk of the source at a time.

    source: any object with `__arrow_c_stream__` or `__arrow_c_array__`, or such a capsule. key: a column of
    strings or integers. Yields (buffer, offsets, keys): row i of the chunk is
    buffer[offsets[i]:offsets[i + 1]]; keys is a list of str (None where null), or None without `key`.
    """
    reader = ArrowSource(source)
    number = -1
    if key is not None:
        names = [column.name for column in reader.columns]
        if key not in names:
            raise InvalidArgument(f"no column {key!r} for the key; there are {', '.join(map(repr, names)) or 'none'}")
        number = names.index(key)
        column = reader.columns[number]
        if (column.dictionary or column).format not in KEYS:
            raise Unsupported(f"column {key!r} cannot be the key: its type is neither string nor integer")
    for chunk in reader.chunks():
        data, ends = chunk.rows()
        keys = chunk.texts(number) if number >= 0 else None
        yield data, np.concatenate(([0], ends)), keys


def rows_as_json(source):
    """All rows of a table as JSON objects: (buffer, offsets), row i is buffer[offsets[i]:offsets[i + 1]]."""
    buffers, offsets, start = [np.empty(0, np.uint8)], [np.zeros(1, np.int64)], 0
    for data, ends, _ in json_chunks(source):
        buffers.append(data)
        offsets.append(ends[1:] + start)
        start += len(data)
    return (buffers[1] if len(buffers) == 2 else np.concatenate(buffers)), np.concatenate(offsets)
