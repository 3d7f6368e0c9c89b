# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Heads of HTTP requests: the one room that owns the native parser, with a Python face for tests.

The server's connection takes the C functions by cimport; nothing here is on its hot path but a call.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef extern from "http_head.h" nogil:
    int hr_http_head_parse(const uint8_t *data, size_t size, size_t *scanned, hr_http_head *head)
    int hr_http_chunk_line(const uint8_t *data, size_t size, uint64_t *chunk_size, size_t *line_size)
    int hr_http_trailer_line(const uint8_t *data, size_t size, size_t *line_size)
    int hr_http_error_status(int error)
    const char *hr_http_error_text(int error)


cdef int parse_head(const uint8_t *data, size_t size, size_t *scanned, hr_http_head *head) noexcept nogil:
    return hr_http_head_parse(data, size, scanned, head)


cdef int parse_chunk_line(const uint8_t *data, size_t size, uint64_t *chunk_size,
                          size_t *line_size) noexcept nogil:
    return hr_http_chunk_line(data, size, chunk_size, line_size)


cdef int parse_trailer_line(const uint8_t *data, size_t size, size_t *line_size) noexcept nogil:
    return hr_http_trailer_line(data, size, line_size)


cpdef int error_status(int error) noexcept:
    """The HTTP status that answers a parse error."""
    return hr_http_error_status(error)


cpdef str error_text(int error):
    """A sentence that says what was wrong."""
    return hr_http_error_text(error).decode("ascii")


class BadHead(ValueError):
    """A head that was refused: `error` (number), `status` (HTTP) and a sentence."""

    def __init__(self, error):
        super().__init__(error_text(error))
        self.error = error
        self.status = error_status(error)


class Head:
    """A parsed head as Python values; absent headers are None."""

    __slots__ = ("amz_target", "authorization", "chunked", "content_length", "content_type", "continue_",
                 "head_size", "header_count", "host", "keep_alive", "method", "minor", "origin", "path")


cdef object _span(const uint8_t *data, hr_http_span span):
    if span.size == 0 and span.start == 0:
        return None
    return (<const char *>data)[span.start:span.start + span.size]


cdef object _head(const uint8_t *data, hr_http_head *parsed):
    head = Head()
    head.head_size = parsed.head_size
    head.header_count = parsed.header_count
    head.method = ("other", "GET", "HEAD", "POST")[parsed.method]
    head.minor = parsed.minor
    head.keep_alive = bool(parsed.flags & HR_HTTP_KEEP_ALIVE)
    head.chunked = bool(parsed.flags & HR_HTTP_CHUNKED)
    head.continue_ = bool(parsed.flags & HR_HTTP_CONTINUE)
    head.authorization = bool(parsed.flags & HR_HTTP_AUTHORIZATION)
    head.content_length = parsed.content_length if parsed.flags & HR_HTTP_HAS_LENGTH else None
    head.path = _span(data, parsed.path) or b""
    head.host = _span(data, parsed.host)
    head.origin = _span(data, parsed.origin)
    head.content_type = _span(data, parsed.content_type)
    head.amz_target = _span(data, parsed.amz_target)
    return head


def parse(const uint8_t[::1] data not None):
    """Parse the head at the front of `data`: a Head, None where more bytes are needed; raises BadHead."""
    cdef hr_http_head parsed
    cdef size_t scanned = 0
    cdef const uint8_t *first = &data[0] if data.shape[0] else NULL
    cdef int verdict = hr_http_head_parse(first, data.shape[0], &scanned, &parsed)
    if verdict == HR_HTTP_BAD:
        raise BadHead(parsed.error)
    return _head(first, &parsed) if verdict == HR_HTTP_COMPLETE else None


def chunk_line(const uint8_t[::1] data not None):
    """(chunk size, bytes of the line) of the chunk-size line at the front, None if incomplete; raises BadHead."""
    cdef uint64_t chunk = 0
    cdef size_t line = 0
    cdef int verdict = hr_http_chunk_line(&data[0] if data.shape[0] else NULL, data.shape[0], &chunk, &line)
    if verdict == HR_HTTP_BAD:
        raise BadHead(HR_HTTP_BAD_CHUNK)
    return (chunk, line) if verdict == HR_HTTP_COMPLETE else None


def trailer_line(const uint8_t[::1] data not None):
    """Bytes of the trailer line at the front (2: the end of the trailer), None if incomplete; raises BadHead."""
    cdef size_t line = 0
    cdef int verdict = hr_http_trailer_line(&data[0] if data.shape[0] else NULL, data.shape[0], &line)
    if verdict == HR_HTTP_BAD:
        raise BadHead(HR_HTTP_BAD_CHUNK)
    return line if verdict == HR_HTTP_COMPLETE else None
