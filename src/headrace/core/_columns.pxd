# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The JSON scanner's kernel as this module sees it; nothing here is for other rooms."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t


cdef extern from "simd.h":
    ctypedef int hr_simd
    hr_simd HR_SIMD_AVX2
    hr_simd hr_simd_processor() noexcept nogil
    hr_simd hr_simd_detect() noexcept nogil

cdef extern from "locale.h":
    ctypedef void *locale_t
    int LC_ALL_MASK
    locale_t newlocale(int mask, const char *name, locale_t base) noexcept nogil

cdef extern from "string_table.h":
    ctypedef struct hr_string_table:
        uint64_t *slots
        uint64_t slot_mask
        uint8_t *bytes
        int64_t bytes_size
        int64_t *ends
        int32_t count
        int32_t count_max
        uint64_t seed[2]
    void hr_string_table_rehash(hr_string_table *table, uint64_t *slots, uint64_t slot_mask) noexcept nogil

cdef extern from "json_columns.h":
    enum:
        HR_JSON_DEPTH_MAX
        HR_JSON_PADDING
        HR_JSON_ROW_MISMATCH
        HR_JSON_WANTS_TEXT
        HR_JSON_WANTS_RAW
    ctypedef enum hr_json_type:
        HR_JSON_INT64
        HR_JSON_DOUBLE
        HR_JSON_BOOL
        HR_JSON_STRING
        HR_JSON_TEXT
        HR_JSON_RAW
        HR_JSON_EPOCH_SECONDS
        HR_JSON_EPOCH_MILLIS
        HR_JSON_EPOCH_MICROS
        HR_JSON_TIME
    ctypedef struct hr_json_slot:
        pass
    ctypedef struct hr_json_keys:
        pass
    ctypedef struct hr_json_node:
        const uint8_t *name
        size_t name_size
        int64_t index
        hr_json_node *members
        hr_json_node *elements
        hr_json_node *next
        hr_json_keys *keys
        int32_t slot
        int32_t slot_first
        int32_t slot_end
        uint32_t wants
    ctypedef struct hr_json_column:
        hr_json_type type
        int32_t slot
        void *values
        uint8_t *states
        hr_string_table *table
    ctypedef struct hr_json_scan:
        const uint8_t *base
        const int64_t *offset
        const uint32_t *length
        hr_json_node *root
        hr_json_slot *slots
        uint8_t *kinds
        int32_t slot_count
        int32_t column_count
        hr_json_column *columns
        uint8_t *errors
        int64_t error_count
        uint8_t *scratch
        uint8_t *text
        int32_t depth_max
        int32_t full_column
        int64_t full_bytes
        locale_t c_locale
    int64_t hr_json_scan_rows(hr_json_scan *scan, int64_t first, int64_t end, hr_simd simd) noexcept nogil
    void hr_json_keys_clear(hr_json_keys *keys) noexcept nogil


cdef class StringTable:
    cdef hr_string_table table
    cdef int make_room(self, int64_t bytes_wanted) except -1
    cdef int widen(self, int64_t count_max) except -1


cdef class Plan:
    cdef hr_json_scan scan
    cdef list tables    # StringTable or None for each column
    cdef list names     # keeps the names' bytes alive
    cdef list keys      # keeps the memory of the predicted keys alive
    cdef object arena   # keeps the nodes alive
    cdef _lay_out(self, list branches, object fields)
    cdef _link(self, hr_json_node *nodes, object branch)
