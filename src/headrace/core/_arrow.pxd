# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The structs of the Arrow C interface, for rooms that read or write them."""

from libc.stdint cimport int32_t, int64_t, uint8_t


cdef extern from "arrow_abi.h":
    enum:
        HR_ARROW_NULLABLE
        HR_ARROW_VIEW_INLINE
    ctypedef struct ArrowSchema:
        const char *format
        const char *name
        const char *metadata
        int64_t flags
        int64_t n_children
        ArrowSchema **children
        ArrowSchema *dictionary
        void (*release)(ArrowSchema *) noexcept nogil
        void *private_data
    ctypedef struct ArrowArray:
        int64_t length
        int64_t null_count
        int64_t offset
        int64_t n_buffers
        int64_t n_children
        const void **buffers
        ArrowArray **children
        ArrowArray *dictionary
        void (*release)(ArrowArray *) noexcept nogil
        void *private_data
    ctypedef struct ArrowArrayStream:
        int (*get_schema)(ArrowArrayStream *, ArrowSchema *) noexcept nogil
        int (*get_next)(ArrowArrayStream *, ArrowArray *) noexcept nogil
        const char *(*get_last_error)(ArrowArrayStream *) noexcept nogil
        void (*release)(ArrowArrayStream *) noexcept nogil
        void *private_data
    ctypedef struct hr_arrow_view:
        int32_t size

cdef extern from "utf8.h":
    bint hr_utf8_valid(const uint8_t *text, size_t size) noexcept nogil


cdef class Stream:
    cdef object node        # what the chunks look like
    cdef list chunks        # what is left to hand over
    cdef bytes error        # the last one's text
