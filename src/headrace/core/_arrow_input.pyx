# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Arrow arrays of binary or text taken in by the C data interface, without pyarrow and without copying.

Cost: a few microseconds an array and a few nanoseconds a value.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.pycapsule cimport PyCapsule_GetPointer

from headrace.errors import InvalidArgument


cdef extern from "arrow_values.h" nogil:
    ctypedef struct ArrowSchema:
        const char *format
        ArrowSchema *dictionary
        void (*release)(ArrowSchema *) noexcept
    ctypedef struct ArrowArrayStream:
        int (*get_schema)(ArrowArrayStream *, ArrowSchema *) noexcept
        int (*get_next)(ArrowArrayStream *, ArrowArray *) noexcept
        const char *(*get_last_error)(ArrowArrayStream *) noexcept
        void (*release)(ArrowArrayStream *) noexcept
    ctypedef enum hr_arrow_fault:
        HR_ARROW_FINE
    hr_arrow_layout hr_arrow_layout_of(const char *format, int64_t *width)
    hr_arrow_fault hr_arrow_values(const ArrowArray *array, hr_arrow_layout layout, int64_t width,
                                   const uint8_t **data, uint32_t *size, size_t stride, int64_t *position)


# in the order of hr_arrow_fault
cdef tuple FAULTS = ("", "counts that no such array has", "no buffer where one must be",
                     "offsets that fall or are negative", "a view that points outside its buffer")


cdef class ArrowChunk:
    """One array that was handed over; released with the object."""

    def __dealloc__(self):
        if self.array.release != NULL:
            self.array.release(&self.array)


cdef class ArrowValues:
    """The values of an object with `__arrow_c_array__` or `__arrow_c_stream__`.

    what: how messages name the object. Raises TypeError where it holds neither binary nor text, and
    InvalidArgument where its buffers contradict each other.
    """

    def __init__(self, source, str what not None):
        self.what = what
        self.chunks = []
        if hasattr(source, "__arrow_c_array__"):
            schema, array = source.__arrow_c_array__()
            self.take_layout(schema)
            self.take_array(array)
        elif hasattr(source, "__arrow_c_stream__"):
            self.take_stream(source.__arrow_c_stream__())
        else:
            kind = type(source).__name__
            raise TypeError(f"{what} is of type {kind!r}, which has no Arrow C data interface")

    cdef int take_layout(self, object schema) except -1:
        """Find the layout in an exported schema."""
        cdef ArrowSchema *pointer = <ArrowSchema *>PyCapsule_GetPointer(schema, "arrow_schema")
        if pointer.release == NULL:
            raise InvalidArgument(f"{self.what} is an Arrow array that was handed over before")
        return take_format(self, pointer)

    cdef int take_array(self, object capsule) except -1:
        """Take an exported array over from its capsule."""
        cdef ArrowArray *pointer = <ArrowArray *>PyCapsule_GetPointer(capsule, "arrow_array")
        cdef ArrowChunk chunk = ArrowChunk()
        if pointer.release == NULL:
            raise InvalidArgument(f"{self.what} is an Arrow array that was handed over before")
        chunk.array = pointer[0]
        pointer.release = NULL
        self.chunks.append(chunk)
        self.count = <Py_ssize_t>max(chunk.array.length, 0)
        return 0

    cdef int take_stream(self, object capsule) except -1:
        """Take all arrays of an exported stream."""
        cdef ArrowArrayStream *stream
        cdef ArrowSchema schema
        cdef ArrowChunk chunk
        stream = <ArrowArrayStream *>PyCapsule_GetPointer(capsule, "arrow_array_stream")
        if stream.release == NULL:
            raise InvalidArgument(f"{self.what} is an Arrow stream that was handed over before")
        refuse_stream(self, stream, stream.get_schema(stream, &schema))
        try:
            take_format(self, &schema)
        finally:
            if schema.release != NULL:
                schema.release(&schema)
        while True:
            chunk = ArrowChunk()
            refuse_stream(self, stream, stream.get_next(stream, &chunk.array))
            if chunk.array.release == NULL:
                return 0
            self.chunks.append(chunk)
            self.count += <Py_ssize_t>max(chunk.array.length, 0)

    cdef int locate(self, const uint8_t **data, uint32_t *size, size_t stride) except -1:
        cdef ArrowChunk chunk
        cdef hr_arrow_fault fault
        cdef int64_t position, done = 0
        for chunk in self.chunks:
            fault = hr_arrow_values(&chunk.array, self.layout, self.width, data, size, stride, &position)
            if fault != HR_ARROW_FINE:
                raise InvalidArgument(f"{self.what} is an Arrow array with {FAULTS[<int>fault]}, "
                                      f"seen at value {done + position}")
            data = <const uint8_t **>(<char *>data + <size_t>chunk.array.length * stride)
            size = <uint32_t *>(<char *>size + <size_t>chunk.array.length * stride)
            done += chunk.array.length
        return 0

    def to_list(self):
        """Copies of the values, as list of bytes or None."""
        cdef const uint8_t **data = <const uint8_t **>PyMem_Malloc(<size_t>(self.count + 1) * 16)
        cdef uint32_t *size = <uint32_t *>(data + 1)
        cdef Py_ssize_t i
        if data == NULL:
            raise MemoryError()
        try:
            self.locate(data, size, 16)
            return [(<const char *>data[2 * i])[:size[4 * i]] if data[2 * i] != NULL else None
                    for i in range(self.count)]
        finally:
            PyMem_Free(data)


cdef int take_format(ArrowValues values, ArrowSchema *schema) except -1:
    values.layout = hr_arrow_layout_of(schema.format, &values.width)
    if values.layout == HR_ARROW_OTHER or schema.dictionary != NULL:
        kind = schema.format.decode("utf-8", "replace")
        if schema.dictionary != NULL:
            kind = f"dictionary of {kind}"
        elif kind == "+s":
            raise TypeError(f"{values.what} is an Arrow table or struct; expected an array of binary or text "
                            "(put_table takes tables)")
        raise TypeError(f"{values.what} is an Arrow array of format {kind!r}; expected binary or text")
    return 0


cdef int refuse_stream(ArrowValues values, ArrowArrayStream *stream, int error) except -1:
    """Raise what a stream says about its failure."""
    cdef const char *said
    if error == 0:
        return 0
    said = stream.get_last_error(stream)
    raise InvalidArgument(f"{values.what} is an Arrow stream that failed with error {error}"
                          + ("" if said == NULL else f": {said.decode('utf-8', 'replace')}"))
