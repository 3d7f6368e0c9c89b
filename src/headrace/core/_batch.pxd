# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""RecordBatch as native rooms see it: raw pointers that live as long as the batch."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cimport numpy as cnp


cdef class RecordBatch:
    cdef object _buffer             # whatever owns the bytes
    cdef const uint8_t *base        # first byte of the buffer
    cdef Py_ssize_t size            # bytes in the buffer
    cdef readonly Py_ssize_t count  # records
    cdef public object created      # shard -> when it was made, in seconds; None where that is not known
    cdef object _offsets, _lengths, _key_offsets, _key_lengths, _ordinals, _arrivals, _shards
    # the same arrays as pointers, each `count` long
    cdef const int64_t *offset
    cdef const uint32_t *length
    cdef const int64_t *key_offset
    cdef const uint32_t *key_length
    cdef const uint64_t *ordinal
    cdef const int64_t *arrival_ms
    cdef const uint32_t *shard
    cdef int _point(self) except -1
    cdef bytes _data_at(self, Py_ssize_t i)
    cdef str _key_at(self, Py_ssize_t i)
    cdef RecordBatch _take(self, object which)


# For rooms that fill the arrays themselves and know that they fit the buffer: no checks, no copies.
cdef cnp.ndarray batch_array(Py_ssize_t count, int type_number)
cdef RecordBatch batch_over(bytes data, cnp.ndarray offsets, cnp.ndarray lengths, cnp.ndarray key_offsets,
                            cnp.ndarray key_lengths, cnp.ndarray ordinals, cnp.ndarray arrivals, cnp.ndarray shards)
