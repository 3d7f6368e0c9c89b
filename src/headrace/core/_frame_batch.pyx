# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The records of frames as arrays over their bytes.

Cost: one checksum pass, one pass over the rows, 40 bytes of arrays a record.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cimport numpy as cnp

from headrace.core._batch cimport RecordBatch, batch_array, batch_over
from headrace.core._frames cimport (
    HR_FRAME_HEADER_SIZE,
    HR_FRAME_OK,
    HR_KIND_RECORDS,
    check_frame,
    fill_columns,
    hr_frame_columns,
    hr_frame_header,
    hr_frame_state,
    hr_frame_stride,
)

from headrace.core._batch import RecordBatch as _RecordBatch
from headrace.core._frames import STATE_NAMES

cnp.import_array()


def decode_frames(bytes data, uint32_t salt, uint64_t index, Py_ssize_t max_records, Py_ssize_t max_bytes,
                  shard=None):
    """The records of the frames in `data`, from `index` on, as a RecordBatch that owns `data`.

    Every checksum is verified. Stops before the record that would exceed max_records or max_bytes (data and
    keys), but takes at least one. ValueError names the first bad frame's place. With `shard`, frames of
    another shard are an error.
    """
    cdef const uint8_t *base = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef size_t size = len(data)
    cdef size_t at = 0
    cdef Py_ssize_t count = 0
    cdef hr_frame_header header
    cdef hr_frame_state state = HR_FRAME_OK
    cdef bint any_shard = shard is None
    cdef uint32_t only = 0 if any_shard else shard
    cdef bint stray = False
    with nogil:
        while at < size:
            state = check_frame(base + at, size - at, salt, &header)
            stray = not any_shard and header.shard != only
            if state != HR_FRAME_OK or stray:
                break
            count += header.count
            at += hr_frame_stride(header.body_size)
    if state != HR_FRAME_OK or stray:
        raise ValueError(f"{'frame of another shard' if stray else STATE_NAMES[<int>state]} at byte {at} of what was read")
    return _decode(data, base, size, count, index, max_records, max_bytes)


cdef object _decode(bytes data, const uint8_t *base, size_t size, Py_ssize_t count, uint64_t index,
                    Py_ssize_t max_records, Py_ssize_t max_bytes):
    """Fill the arrays; every frame was checked."""
    cdef hr_frame_columns columns
    cdef hr_frame_header header
    cdef size_t at = 0
    cdef Py_ssize_t filled = 0
    cdef Py_ssize_t wanted
    cdef uint32_t skip, take
    if count > max_records:
        count = max_records
    offsets = batch_array(count, cnp.NPY_INT64)
    lengths = batch_array(count, cnp.NPY_UINT32)
    key_offsets = batch_array(count, cnp.NPY_INT64)
    key_lengths = batch_array(count, cnp.NPY_UINT32)
    ordinals = batch_array(count, cnp.NPY_UINT64)
    arrivals = batch_array(count, cnp.NPY_INT64)
    shards = batch_array(count, cnp.NPY_UINT32)
    columns.offset = <int64_t *>cnp.PyArray_DATA(<cnp.ndarray>offsets)
    columns.length = <uint32_t *>cnp.PyArray_DATA(<cnp.ndarray>lengths)
    columns.key_offset = <int64_t *>cnp.PyArray_DATA(<cnp.ndarray>key_offsets)
    columns.key_length = <uint32_t *>cnp.PyArray_DATA(<cnp.ndarray>key_lengths)
    columns.ordinal = <uint64_t *>cnp.PyArray_DATA(<cnp.ndarray>ordinals)
    columns.arrival_ms = <int64_t *>cnp.PyArray_DATA(<cnp.ndarray>arrivals)
    columns.shard = <uint32_t *>cnp.PyArray_DATA(<cnp.ndarray>shards)
    with nogil:
        while at < size and filled < max_records:
            memcpy(&header, base + at, HR_FRAME_HEADER_SIZE)
            if header.kind == HR_KIND_RECORDS and header.first_index + header.count > index:
                skip = <uint32_t>(index - header.first_index) if index > header.first_index else 0
                take = header.count - skip
                if filled + <Py_ssize_t>take > max_records:
                    take = <uint32_t>(max_records - filled)
                fill_columns(base, at, &header, skip, take, &columns, filled)
                filled += take
            at += hr_frame_stride(header.body_size)
        wanted = _within(&columns, filled, max_bytes)
    if wanted < count:
        return _RecordBatch(data, offsets[:wanted], lengths[:wanted], key_offsets[:wanted], key_lengths[:wanted],
                            ordinals[:wanted], arrivals[:wanted], shards[:wanted])
    return batch_over(data, offsets, lengths, key_offsets, key_lengths, ordinals, arrivals, shards)


cdef Py_ssize_t _within(const hr_frame_columns *columns, Py_ssize_t count, Py_ssize_t max_bytes) noexcept nogil:
    """How many of the first records keep within max_bytes of data and keys; at least one."""
    cdef Py_ssize_t i
    cdef int64_t total = 0
    for i in range(count):
        total += columns.length[i] + columns.key_length[i]
        if total > max_bytes and i > 0:
            return i
    return count
