# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""From the JSON records of a batch to typed columns, in one native pass.

Cost: about 100 ns for a record of 200 bytes with three columns wanted, GIL released; a few microseconds
for each call. Strings become codes into a dictionary while they are read: a str is made only for each
distinct one, and only when somebody asks.
"""

from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from libc.string cimport memcpy, memset

from headrace.core._batch cimport RecordBatch

import difflib
import os
import re

import numpy as np

from headrace import limits
from headrace.core.table import Column, Columns, Strings
from headrace.errors import InvalidArgument, LimitExceeded

cimport numpy as cnp

cnp.import_array()

cdef hr_simd SIMD = hr_simd_detect()
cdef locale_t C_LOCALE = newlocale(LC_ALL_MASK, b"C", NULL)
cdef int64_t ROWS_PER_CALL = 65536  # between two looks for Ctrl-C

# type: (kernel's type, type of the resulting column, dtype of its values, what it wants of a string)
cdef dict TYPES = {
    "i8": (HR_JSON_INT64, "i8", np.int64, 0),
    "f8": (HR_JSON_DOUBLE, "f8", np.float64, 0),
    "bool": (HR_JSON_BOOL, "bool", np.bool_, 0),
    "str": (HR_JSON_STRING, "str", np.int32, HR_JSON_WANTS_TEXT),
    "text": (HR_JSON_TEXT, "str", np.int32, HR_JSON_WANTS_TEXT),
    "json": (HR_JSON_RAW, "str", np.int32, HR_JSON_WANTS_RAW),
    "timestamp[s]": (HR_JSON_EPOCH_SECONDS, "timestamp", np.int64, 0),
    "timestamp[ms]": (HR_JSON_EPOCH_MILLIS, "timestamp", np.int64, 0),
    "timestamp[us]": (HR_JSON_EPOCH_MICROS, "timestamp", np.int64, 0),
    "timestamp": (HR_JSON_TIME, "timestamp", np.int64, HR_JSON_WANTS_TEXT),
}

_STEP = re.compile(r"""\.?(?P<name>[^.\[\]'"]+) | \[(?P<index>\d{1,9})\] | \['(?P<one>[^']*)'\] | \["(?P<two>[^"]*)"\]""",
                   re.VERBOSE)


def parse_path(path):
    """The steps of `$.a.b[0]`, `a.b[0]` or `$['a b'].c`: a tuple of names (str) and indexes (int)."""
    at = 1 if path.startswith("$") else 0
    steps = []
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None or (path[at] != "." and found["name"] is not None and at > 0):
            raise InvalidArgument(f"path {path!r} is not understood at character {at + 1}",
                                  hint="write $.name, $.outer.inner, $.list[0] or $['any name']")
        if found["index"] is not None:
            steps.append(int(found["index"]))
        else:
            steps.append(next(name for name in (found["name"], found["one"], found["two"]) if name is not None))
        at = found.end()
    if len(steps) >= limits.json_depth_max:
        raise InvalidArgument(f"path {path[:40]!r}… has {len(steps)} steps; at most {limits.json_depth_max - 1}")
    return tuple(steps)


class Field:
    """One wanted column.

    name: the column's name. path: where the value stands in each record (`$.a.b`, `a.b`, `a[0]`); without
    a path the name is the member's name as it is, or a path if it begins with `$`.
    type: what the value has to be:
        i8            an integer: 12, 2.0 and 1e3 are, 1.5 and what exceeds 64 bits are mismatches
        f8            a number, to the nearest double; beyond the largest double is a mismatch
        bool          true or false
        str           a string
        text          any scalar as its text: a string as it reads, numbers and booleans as they stand
        json          any value as it stands in the record
        timestamp[s], timestamp[ms], timestamp[us]
                      a number since 1970 UTC; digits below a microsecond are cut towards the past
        timestamp     a string: ISO 8601 / RFC 3339 or yyyy-MM-dd HH:mm:ss[.f]; without a zone it is UTC
    """

    __slots__ = ("name", "path", "steps", "type")

    def __init__(self, name, path=None, type="str"):
        if type not in TYPES:
            near = difflib.get_close_matches(str(type), TYPES, 1)
            raise InvalidArgument(f"field {name!r} has type {type!r}; known are {', '.join(TYPES)}",
                                  hint=f"did you mean {near[0]!r}?" if near else "")
        self.name = name
        self.path = path
        self.type = type
        if path is None and not name.startswith("$"):
            self.steps = (name,)
        else:
            self.steps = parse_path(name if path is None else path)

    def __repr__(self):
        return f"Field({self.name!r}, path={self.path!r}, type={self.type!r})"

    def __eq__(self, other):
        if not isinstance(other, Field):
            return NotImplemented
        return (self.name, self.steps, self.type) == (other.name, other.steps, other.type)

    def __hash__(self):
        return hash((self.name, self.steps, self.type))

    def __reduce__(self):
        return (Field, (self.name, self.path, self.type))


cdef class StringTable:
    """The distinct strings of one column while it is scanned. Grows by four, between calls of the kernel."""

    def __cinit__(self):
        memset(&self.table, 0, sizeof(self.table))
        seed = os.urandom(16)
        memcpy(&self.table.seed[0], <const char *>seed, 16)
        self.make_room(0)

    def __dealloc__(self):
        PyMem_RawFree(self.table.slots)
        PyMem_RawFree(self.table.ends)
        PyMem_RawFree(self.table.bytes)

    cdef int make_room(self, int64_t bytes_wanted) except -1:
        """Room for at least one more string of `bytes_wanted` bytes."""
        cdef hr_string_table *table = &self.table
        cdef int64_t used = table.ends[table.count] if table.ends != NULL else 0
        cdef int64_t size = max(4096, table.bytes_size)
        cdef int64_t count_max = max(128, <int64_t>table.count_max * 4)
        cdef void *memory
        if used + bytes_wanted > table.bytes_size or table.bytes == NULL:
            while size < used + bytes_wanted:
                size *= 4
            memory = PyMem_RawRealloc(table.bytes, size)
            if memory == NULL:
                raise MemoryError(f"{size} bytes for the strings of a column")
            table.bytes = <uint8_t *>memory
            table.bytes_size = size
        if table.count == table.count_max:
            if count_max > 0x7FFFFFFF:
                raise LimitExceeded(f"a column has more than {table.count} distinct strings; scan fewer rows at once")
            self.widen(count_max)
        return 0

    cdef int widen(self, int64_t count_max) except -1:
        cdef hr_string_table *table = &self.table
        cdef bint first = table.ends == NULL
        cdef uint64_t *old = table.slots
        cdef uint64_t *slots
        cdef void *memory = PyMem_RawRealloc(table.ends, (count_max + 1) * sizeof(int64_t))
        if memory == NULL:
            raise MemoryError(f"{count_max} strings of a column")
        table.ends = <int64_t *>memory
        if first:
            table.ends[0] = 0
        slots = <uint64_t *>PyMem_RawMalloc(2 * count_max * sizeof(uint64_t))
        if slots == NULL:
            raise MemoryError(f"{count_max} strings of a column")
        memset(slots, 0, 2 * count_max * sizeof(uint64_t))
        hr_string_table_rehash(table, slots, 2 * count_max - 1)
        PyMem_RawFree(old)
        table.count_max = <int32_t>count_max
        return 0

    def strings(self):
        """A copy of the strings, as the columns keep them."""
        cdef hr_string_table *table = &self.table
        cdef int64_t used = table.ends[table.count]
        cdef cnp.ndarray data = np.empty(used, dtype=np.uint8)
        cdef cnp.ndarray ends = np.empty(table.count + 1, dtype=np.int64)
        memcpy(cnp.PyArray_DATA(data), table.bytes, used)
        memcpy(cnp.PyArray_DATA(ends), table.ends, (table.count + 1) * sizeof(int64_t))
        return Strings(data, ends)


cdef object _memory(size_t size, void **out):
    """Zeroed memory that lives as long as the object returned."""
    cdef cnp.ndarray array = np.zeros(size + 1, dtype=np.uint8)
    out[0] = cnp.PyArray_DATA(array)
    return array


cdef class Plan:
    """The tree of wanted paths, laid out for the kernel. Valid for one scan at a time."""

    def __init__(self, fields):
        tree = _Branch()
        for number, field in enumerate(fields):
            branch = tree
            for step in field.steps:
                branch = branch.down(step)
            branch.columns.append(number)
        self.names = []
        self.keys = []
        self.tables = []
        branches = list(tree.walk())
        self._lay_out(branches, fields)

    cdef _lay_out(self, list branches, object fields):
        """Nodes in depth-first order, so that the slots below a node are a range."""
        cdef hr_json_node *nodes
        cdef hr_json_node *node
        cdef void *memory
        cdef int32_t slots = 0
        cdef Py_ssize_t i
        nodes_memory = _memory(len(branches) * sizeof(hr_json_node), &memory)
        nodes = <hr_json_node *>memory
        for i, branch in enumerate(branches):
            node = &nodes[i]
            branch.number = i
            node.slot = -1
            node.slot_first = slots
            if branch.columns:
                node.slot = slots
                slots += 1
            for number in branch.columns:
                node.wants |= <uint32_t>TYPES[fields[number].type][3]
        for i in range(len(branches) - 1, -1, -1):
            self._link(nodes, branches[i])
        slots_memory = _memory(slots * sizeof(hr_json_slot), &memory)
        self.scan.slots = <hr_json_slot *>memory
        kinds_memory = _memory(slots, &memory)
        self.scan.kinds = <uint8_t *>memory
        columns_memory = _memory(len(fields) * sizeof(hr_json_column), &memory)
        self.scan.columns = <hr_json_column *>memory
        self.scan.column_count = <int32_t>len(fields)
        self.scan.slot_count = slots
        self.scan.root = nodes
        self.scan.depth_max = limits.json_depth_max
        self.scan.c_locale = C_LOCALE
        self.arena = (nodes_memory, slots_memory, kinds_memory, columns_memory)
        for branch in branches:
            for number in branch.columns:
                self.scan.columns[<Py_ssize_t>number].slot = nodes[<Py_ssize_t>branch.number].slot
        for i, field in enumerate(fields):
            self.scan.columns[i].type = <hr_json_type><int>TYPES[field.type][0]
            table = StringTable() if TYPES[field.type][1] == "str" else None
            self.tables.append(table)
            self.scan.columns[i].table = &(<StringTable>table).table if table is not None else NULL

    cdef _link(self, hr_json_node *nodes, object branch):
        """Chain a node to its children, whose own ranges are known already (children come later)."""
        cdef hr_json_node *node = &nodes[<Py_ssize_t>branch.number]
        cdef hr_json_node *child
        cdef void *memory
        node.index = branch.step if isinstance(branch.step, int) else -1
        if isinstance(branch.step, str):
            name = branch.step.encode("utf-8", "surrogatepass")
            self.names.append(name)
            node.name = <const uint8_t *><const char *>name
            node.name_size = len(name)
        node.slot_end = node.slot_first + (node.slot >= 0)
        for below in branch.children():
            child = &nodes[<Py_ssize_t>below.number]
            node.slot_end = max(node.slot_end, child.slot_end)
        for below in reversed(branch.children()):
            child = &nodes[<Py_ssize_t>below.number]
            if isinstance(below.step, int):
                child.next = node.elements
                node.elements = child
            else:
                child.next = node.members
                node.members = child
        if node.members != NULL:
            self.keys.append(_memory(sizeof(hr_json_keys), &memory))
            node.keys = <hr_json_keys *>memory
            hr_json_keys_clear(node.keys)


class _Branch:
    """One step of the wanted paths while the tree is built."""

    __slots__ = ("below", "columns", "number", "step")

    def __init__(self, step=None):
        self.step = step
        self.columns = []
        self.below = {}
        self.number = -1

    def down(self, step):
        if step not in self.below:
            self.below[step] = _Branch(step)
        return self.below[step]

    def children(self):
        """Members in the order of their naming, then elements in ascending order."""
        names = [branch for step, branch in self.below.items() if isinstance(step, str)]
        return names + [self.below[step] for step in sorted(step for step in self.below if isinstance(step, int))]

    def walk(self):
        yield self
        for branch in self.children():
            yield from branch.walk()


def simd_levels():
    """The instruction set levels that the kernel has and this processor can be told to use: 0 scalar, 1 AVX2."""
    return list(range(min(hr_simd_processor(), HR_SIMD_AVX2) + 1))


def scan(RecordBatch batch not None, fields, *, simd=None):
    """The wanted fields of each record as typed columns.

    fields: sequence of Field with distinct names. simd: force an instruction set level (for tests).

    A row that is not one JSON object in valid JSON, nests deeper than `limits.json_depth_max`, or has
    invalid UTF-8 or half a surrogate pair in a wanted string is null in all columns and listed in
    `Columns.errors`. A missing member and JSON null are null; a value of another type is null and listed
    in `Columns.mismatches(name)`. The last of duplicate members wins.
    """
    cdef hr_simd level = SIMD
    if simd is not None:
        if simd not in simd_levels():
            raise InvalidArgument(f"simd level {simd} is not one of {simd_levels()}")
        level = simd
    fields = list(fields)
    names = [field.name for field in fields]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidArgument(f"two fields have the name {twice!r}", hint="give one of them another name and a path")
    if len(fields) > limits.columns_max:
        raise LimitExceeded(f"{len(fields)} fields; at most {limits.columns_max}")
    plan = Plan(fields)
    return _run(plan, batch, fields, level)


cdef object _run(Plan plan, RecordBatch batch, list fields, hr_simd level):
    cdef hr_json_scan *job = &plan.scan
    cdef int64_t row = 0, end, rows = batch.count
    cdef void *memory
    cdef cnp.ndarray array
    longest = int(batch.lengths.max()) if rows else 0
    scratch = _memory(longest + HR_JSON_PADDING, &memory)
    job.scratch = <uint8_t *>memory
    text = _memory(longest + HR_JSON_PADDING, &memory)
    job.text = <uint8_t *>memory
    job.base = batch.base
    job.offset = batch.offset
    job.length = batch.length
    array = error_marks = np.empty(rows, dtype=np.uint8)
    job.errors = <uint8_t *>cnp.PyArray_DATA(array)
    job.error_count = 0
    values, states = [], []
    for i, field in enumerate(fields):
        array = np.empty(rows, dtype=TYPES[field.type][2])
        values.append(array)
        job.columns[<Py_ssize_t>i].values = cnp.PyArray_DATA(array)
        array = np.empty(rows, dtype=np.uint8)
        states.append(array)
        job.columns[<Py_ssize_t>i].states = <uint8_t *>cnp.PyArray_DATA(array)
    while row < rows:
        end = min(rows, row + ROWS_PER_CALL)
        with nogil:
            row = hr_json_scan_rows(job, row, end, level)
        if row < end:
            (<StringTable>plan.tables[job.full_column]).make_room(job.full_bytes)
        PyErr_CheckSignals()
    errors = np.flatnonzero(error_marks).astype(np.int64, copy=False) if job.error_count else np.empty(0, np.int64)
    columns = {}
    for i, field in enumerate(fields):
        columns[field.name] = _column(field, values[i], states[i], plan.tables[i])
    return Columns(columns, rows, errors)


cdef object _column(object field, object values, object states, object table):
    kind = TYPES[field.type][1]
    if kind == "timestamp":
        values = values.view("datetime64[us]")
    valid = states == 1
    mismatches = np.flatnonzero(states == HR_JSON_ROW_MISMATCH).astype(np.int64, copy=False)
    return Column(kind, values, valid, mismatches, table.strings() if table is not None else None)
