# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The kernels that write Arrow columns as JSON rows, as this module sees them."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from headrace.core._arrow cimport ArrowArray, ArrowArrayStream, ArrowSchema


cdef extern from "double_text.h":
    enum:
        HR_POWER_FIRST
        HR_POWER_LAST
        HR_POWER_COUNT
        HR_DOUBLE_TEXT_MAX
    ctypedef struct hr_power:
        uint64_t high
        uint64_t low
    size_t hr_double_text(double value, const hr_power *powers, uint8_t *out) noexcept nogil
    size_t hr_float_text(float value, const hr_power *powers, uint8_t *out) noexcept nogil

cdef extern from "json_rows.h":
    ctypedef enum hr_rows_kind:
        HR_ROWS_NULL
        HR_ROWS_BOOL
        HR_ROWS_INT8
        HR_ROWS_UINT8
        HR_ROWS_INT16
        HR_ROWS_UINT16
        HR_ROWS_INT32
        HR_ROWS_UINT32
        HR_ROWS_INT64
        HR_ROWS_UINT64
        HR_ROWS_FLOAT
        HR_ROWS_DOUBLE
        HR_ROWS_TEXT
        HR_ROWS_LARGE_TEXT
        HR_ROWS_VIEW
        HR_ROWS_SECONDS
        HR_ROWS_MILLIS
        HR_ROWS_MICROS
        HR_ROWS_NANOS
        HR_ROWS_DATE
        HR_ROWS_CODES
    ctypedef struct hr_rows_column:
        hr_rows_kind kind
        hr_rows_kind codes
        bint zulu
        const uint8_t *validity
        const void *values
        const uint8_t *data
        const uint8_t **view_data
        const int64_t *view_sizes
        int64_t view_count
        int64_t offset
        int64_t length
        const hr_rows_column *dictionary
        const uint8_t *label
        size_t label_size
    ctypedef enum hr_rows_end:
        HR_ROWS_DONE
        HR_ROWS_FULL
        HR_ROWS_BAD
    ctypedef struct hr_rows_job:
        const hr_rows_column *columns
        int32_t column_count
        const hr_power *powers
        uint8_t *out
        int64_t out_size
        int64_t used
        int64_t row
        int64_t wanted
        int32_t bad_column
    hr_rows_end hr_rows_write(hr_rows_job *job, int64_t end, int64_t *ends) noexcept nogil
    hr_rows_end hr_rows_write_text(hr_rows_job *job, int64_t end, int64_t *ends, uint8_t *nulls) noexcept nogil


cdef class ArrowSource:
    cdef object capsule             # keeps what is read alive
    cdef ArrowArrayStream *stream   # of a stream, else NULL
    cdef ArrowArray *single         # of one array, else NULL
    cdef readonly list columns      # ColumnType, in the order of the schema
    cdef object _describe(self, ArrowSchema *schema)
    cdef object _read_schema(self)
    cdef int _failed(self, str what, int code) except -1


cdef class Chunk:
    cdef ArrowArray array           # taken over from the source
    cdef hr_rows_column *columns    # each followed by its dictionary
    cdef object arena
    cdef list types
    cdef int _fill(self, hr_rows_column *column, ArrowArray *array, object type, int64_t offset, int64_t rows) except -1
