# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The heads of HTTP requests as the server's connection sees them: a C struct and three parsers."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef extern from "http_head.h" nogil:
    enum:
        HR_HTTP_PARTIAL
        HR_HTTP_COMPLETE
        HR_HTTP_BAD
        HR_HTTP_HEAD_SIZE_MAX
    enum:
        HR_HTTP_PREFACE_2
        HR_HTTP_BAD_CHUNK
    enum:
        HR_HTTP_OTHER
        HR_HTTP_GET
        HR_HTTP_HEAD
        HR_HTTP_POST
    enum:
        HR_HTTP_KEEP_ALIVE
        HR_HTTP_HAS_LENGTH
        HR_HTTP_CHUNKED
        HR_HTTP_CONTINUE
        HR_HTTP_AUTHORIZATION
    ctypedef struct hr_http_span:
        uint32_t start
        uint32_t size
    ctypedef struct hr_http_head:
        uint64_t content_length
        uint32_t head_size
        uint32_t flags
        uint32_t header_count
        uint8_t method
        uint8_t minor
        uint8_t error
        hr_http_span path
        hr_http_span host
        hr_http_span origin
        hr_http_span content_type
        hr_http_span amz_target


cdef int parse_head(const uint8_t *data, size_t size, size_t *scanned, hr_http_head *head) noexcept nogil
cdef int parse_chunk_line(const uint8_t *data, size_t size, uint64_t *chunk_size,
                          size_t *line_size) noexcept nogil
cdef int parse_trailer_line(const uint8_t *data, size_t size, size_t *line_size) noexcept nogil
cpdef int error_status(int error) noexcept
cpdef str error_text(int error)
