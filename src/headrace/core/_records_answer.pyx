# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The body that answers GetRecords, written while the frames are read.

Each piece of frames (a quarter of a mebibyte) is read, checked, and written into the answer while it is in the
second cache. The answer's memory is used again for the next one: a fresh block of 11 MB costs 2,700 page faults.

Cost of a record of 1 KiB: one copy out of the page cache (none out of the ring), one checksum pass, one pass of
base64 into the answer, 44 bytes of columns; no allocation and no Python object a record.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

import msgspec

from headrace import limits

from headrace.core._batch cimport RecordBatch
from headrace.core._frame_source cimport FrameSource
from headrace.core._frames cimport (
    HR_FRAME_OK,
    HR_KIND_RECORDS,
    check_frame,
    fill_columns,
    hr_frame_columns,
    hr_frame_header,
    hr_frame_state,
    hr_frame_stride,
)
from headrace.core._simd cimport hr_simd, hr_simd_detect, hr_simd_processor, simd_level
from headrace.core._wire cimport hr_write_records_from, records_size, write_records

from headrace.core._frames import STATE_NAMES

LEVELS = ("scalar", "avx2", "avx512")[:<int>hr_simd_processor() + 1]

cdef hr_simd DETECTED = hr_simd_detect()

cdef bytes BEFORE = b'{"Records":[]'
cdef enum:
    SMALL_SIZE = 65536      # an answer up to this size is copied into a bytes object
    BLOCK_STEP = 1048576    # larger ones lie in blocks of a multiple of this
    RECORD_OVERHEAD = 224   # of an answer, a record: names, sequence number, time, and a key of usual length
    COLUMN_BYTES = 44       # a record

# Blocks that wait for the next answer, the one used last at the end. Guarded by the GIL.
cdef list _spares = []
cdef size_t _spares_size = 0
cdef Py_ssize_t _spares_least = 0  # fewest there were since the last `trim`
cdef size_t SPARES_SIZE_MAX = limits.answers_kept_size_max


def trim():
    """Give the blocks back to the system that no answer needed since the last call."""
    global _spares_least, _spares_size
    cdef Py_ssize_t idle = min(_spares_least, len(_spares))
    for block in _spares[:idle]:
        _spares_size -= (<Block>block).capacity
    del _spares[:idle]
    _spares_least = len(_spares)


def kept_size():
    """Bytes of blocks that wait for the next answer."""
    return _spares_size


cdef class Block:
    """Memory for one answer."""

    cdef uint8_t *start
    cdef size_t capacity

    def __cinit__(self, size_t capacity):
        self.start = <uint8_t *>malloc(capacity)
        if self.start == NULL:
            raise MemoryError(f"no memory for an answer of {capacity} bytes")
        self.capacity = capacity

    def __dealloc__(self):
        free(self.start)

    cdef int grow(self, size_t capacity) except -1:
        cdef uint8_t *grown = <uint8_t *>realloc(self.start, capacity)
        if grown == NULL:
            raise MemoryError(f"no memory for an answer of {capacity} bytes")
        self.start, self.capacity = grown, capacity
        return 0


cdef Block take_block(size_t size):
    """A block of at least that size: the one given back last that is large enough, else a new one."""
    global _spares_least, _spares_size
    cdef Block block
    cdef Py_ssize_t i
    if size <= SMALL_SIZE:
        return Block(SMALL_SIZE)
    for i in range(len(_spares) - 1, -1, -1):
        block = <Block>_spares[i]
        if block.capacity >= size:
            del _spares[i]
            _spares_size -= block.capacity
            _spares_least = min(_spares_least, len(_spares))
            return block
    return Block((size + BLOCK_STEP - 1) // BLOCK_STEP * BLOCK_STEP)


cdef void give_block(Block block):
    global _spares_size
    if block.capacity > SMALL_SIZE and _spares_size + block.capacity <= SPARES_SIZE_MAX:
        _spares_size += block.capacity
        _spares.append(block)


cdef class AnswerBody:
    """A large answer: bytes-like and read-only. Its memory is used again when nobody looks at it any more."""

    cdef Block block
    cdef Py_ssize_t size

    def __len__(self):
        return self.size

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.block.start, self.size, True, flags)

    def __dealloc__(self):
        if self.block is not None:
            give_block(self.block)


cdef class RecordsAnswer:
    """Takes records of one shard, in order, and makes the body.

    shard, created_s: the shard's number and creation (epoch seconds). encryption: EncryptionType of each record,
    or None to tell none.

    Attributes: count, records taken; last_index and last_arrival_ms, of the last of them.
    """

    cdef hr_write_records_from records
    cdef hr_simd simd
    cdef bytes encryption
    cdef Block block
    cdef size_t used            # bytes written; the last one is always the closing bracket
    cdef hr_frame_columns columns
    cdef char *memory           # that the columns lie in
    cdef Py_ssize_t room        # of the columns, in records
    cdef readonly Py_ssize_t count
    cdef readonly uint64_t last_index
    cdef readonly int64_t last_arrival_ms

    def __init__(self, uint32_t shard, uint64_t created_s, *, str encryption=None, simd=None):
        self.simd = <hr_simd>simd_level(simd, DETECTED)
        self.records.shard = shard
        self.records.created_s = created_s
        if encryption is not None:
            text = msgspec.json.encode(encryption)
            self.encryption = text[1:len(text) - 1]
            self.records.encryption = PyBytes_AS_STRING(self.encryption)
        self.block = take_block(SMALL_SIZE)
        memcpy(self.block.start, PyBytes_AS_STRING(BEFORE), PyBytes_GET_SIZE(BEFORE))
        self.used = PyBytes_GET_SIZE(BEFORE)

    def __dealloc__(self):
        free(self.memory)

    cdef int reserve(self, size_t size) except -1:
        """Have room for `size` more bytes."""
        cdef Block larger
        cdef size_t need = self.used + size
        if need > self.block.capacity:
            if self.block.capacity > SMALL_SIZE:
                self.block.grow(need + need // 2)
            else:
                larger = take_block(need)
                memcpy(larger.start, self.block.start, self.used)
                self.block = larger
        return 0

    cdef int reserve_columns(self, Py_ssize_t count) except -1:
        """Have columns for `count` records; what is in them is not kept."""
        cdef Py_ssize_t room = max(count, 512)
        cdef char *column
        if count <= self.room:
            return 0
        free(self.memory)
        self.room = 0
        self.memory = column = <char *>malloc(room * COLUMN_BYTES)
        if column == NULL:
            raise MemoryError()
        self.room = room
        self.columns.offset = <int64_t *>column
        self.columns.key_offset = <int64_t *>(column + 8 * room)
        self.columns.ordinal = <uint64_t *>(column + 16 * room)
        self.columns.arrival_ms = <int64_t *>(column + 24 * room)
        self.columns.length = <uint32_t *>(column + 32 * room)
        self.columns.key_length = <uint32_t *>(column + 36 * room)
        self.columns.shard = <uint32_t *>(column + 40 * room)
        return 0

    cdef int write(self) except -1:
        """Write self.records behind what there is."""
        cdef size_t size
        cdef uint8_t *target
        if self.records.count == 0:
            return 0
        size = records_size(&self.records, self.simd)
        if size == 0:
            raise ValueError("created_s or an arrival is not within 0 to 68719476735 seconds")
        self.reserve(size)
        # A list of its own, whose opening bracket falls on the one that closes what there is (first: opens it).
        self.used -= 1 if self.count else 2
        target = self.block.start + self.used
        write_records(&self.records, target, self.simd)
        if self.count:
            target[0] = b","
        self.used += size
        self.count += <Py_ssize_t>self.records.count
        self.last_index = self.records.ordinal[self.records.count - 1]
        self.last_arrival_ms = self.records.arrival_ms[self.records.count - 1]
        return 0

    def add(self, RecordBatch batch not None):
        """Take all records of a batch. ValueError where a time does not fit a sequence number."""
        self.records.base = batch.base
        self.records.count = <size_t>batch.count
        self.records.offset = batch.offset
        self.records.length = batch.length
        self.records.key_offset = batch.key_offset
        self.records.key_length = batch.key_length
        self.records.ordinal = batch.ordinal
        self.records.arrival_ms = batch.arrival_ms
        self.write()

    def take(self, FrameSource source not None):
        """Take what the source gives, up to its max_records and max_bytes but at least one record if there is one.

        ValueError names the first bad frame's place among what was read. OSError on a failed read.
        """
        cdef const uint8_t *piece
        cdef size_t size
        cdef Py_ssize_t before = 0
        cdef int64_t bytes_left = source.max_bytes
        cdef Py_ssize_t count_left = source.max_records
        self.reserve(<size_t>source.size // 3 * 4 + <size_t>source.size // 16 + RECORD_OVERHEAD)
        while count_left > 0 and bytes_left > 0 and source.next(&piece, &size):
            self.fill(source, piece, size, before, &count_left, &bytes_left)
            self.write()
            before += size

    cdef int fill(self, FrameSource source, const uint8_t *piece, size_t size, Py_ssize_t before,
                  Py_ssize_t *count_left, int64_t *bytes_left) except -1:
        """Check a piece of frames and point self.records at those of its records that are wanted."""
        cdef hr_frame_header header
        cdef hr_frame_state state
        cdef size_t at = 0
        cdef Py_ssize_t count = 0
        cdef uint32_t skip, take
        while at < size:
            state = check_frame(piece + at, size - at, source.salt, &header)
            if state != HR_FRAME_OK or header.shard != source.shard:
                what = STATE_NAMES[<int>state] if state != HR_FRAME_OK else "frame of another shard"
                raise ValueError(f"{what} at byte {before + <Py_ssize_t>at} of what was read")
            count += header.count
            at += hr_frame_stride(header.body_size)
        self.reserve_columns(count)
        at = 0
        count = 0
        while at < size and count < count_left[0]:
            memcpy(&header, piece + at, sizeof(header))
            if header.kind == HR_KIND_RECORDS and header.first_index + header.count > source.index:
                skip = <uint32_t>(source.index - header.first_index) if source.index > header.first_index else 0
                take = header.count - skip
                if <Py_ssize_t>take > count_left[0] - count:
                    take = <uint32_t>(count_left[0] - count)
                fill_columns(piece, at, &header, skip, take, &self.columns, count)
                count += take
            at += hr_frame_stride(header.body_size)
        count_left[0] -= count
        self.records.count = <size_t>self.within(count, bytes_left)
        self.records.base = piece
        self.records.offset = self.columns.offset
        self.records.length = self.columns.length
        self.records.key_offset = self.columns.key_offset
        self.records.key_length = self.columns.key_length
        self.records.ordinal = self.columns.ordinal
        self.records.arrival_ms = self.columns.arrival_ms
        return 0

    cdef Py_ssize_t within(self, Py_ssize_t count, int64_t *bytes_left) noexcept:
        """How many of the first records keep within the bytes that are left; takes these off."""
        cdef Py_ssize_t i
        cdef int64_t size
        for i in range(count):
            size = <int64_t>self.columns.length[i] + self.columns.key_length[i]
            if size > bytes_left[0] and (i > 0 or self.count > 0):
                bytes_left[0] = 0
                return i
            bytes_left[0] -= size
        return count

    def finish(self, int64_t millis_behind, str next_iterator, bytes child_shards_json=None):
        """The body: bytes, or where it is large an AnswerBody. Nothing may be taken after it.

        next_iterator: None at the end of a closed shard, written as null. child_shards_json: a JSON list, or
        None to leave ChildShards out.
        """
        cdef bytes after = b',"NextShardIterator":%b,"MillisBehindLatest":%d' % (
            msgspec.json.encode(next_iterator), millis_behind)
        cdef AnswerBody body
        cdef Block block
        after += b"}" if child_shards_json is None else b',"ChildShards":%b}' % child_shards_json
        self.reserve(PyBytes_GET_SIZE(after))
        memcpy(self.block.start + self.used, PyBytes_AS_STRING(after), PyBytes_GET_SIZE(after))
        self.used += PyBytes_GET_SIZE(after)
        block, self.block = self.block, None
        if block.capacity <= SMALL_SIZE:
            return PyBytes_FromStringAndSize(<const char *>block.start, self.used)
        body = AnswerBody()
        body.block, body.size = block, self.used
        return body
