# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The answering side of a connection."""

from headrace.server._answers cimport Slot
from headrace.server._buffers cimport Buffer
from headrace.server._context cimport Peer


cdef class Answering(Peer):
    cdef int dispatch(self, Buffer buffer, Py_ssize_t start, Py_ssize_t size) except -1
    cdef int take(self, Slot slot, object result) except -1
