# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""One HTTP/1.1 connection."""

from headrace.core._http cimport hr_http_head
from headrace.server._answering cimport Answering


cdef class Connection(Answering):
    cdef int step(self) except -1
    cdef int on_head(self) except -1
    cdef int accept(self, hr_http_head *head, object refusal) except -1
    cdef object inspect(self, hr_http_head *head)
    cdef object resolve(self, hr_http_head *head)
    cdef bytes span(self, unsigned int start, unsigned int size)
    cdef int on_body(self) except -1
    cdef int on_chunk(self) except -1
    cdef int on_chunk_data(self) except -1
    cdef int make_room(self) except -1
    cdef int refuse(self, int error) except -1
    cdef int end_request(self) except -1
