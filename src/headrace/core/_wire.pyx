# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Bodies of put requests to entries, entries and batches to bodies of answers, all JSON, without Python objects.

Also what such bodies are made of: base64 and sequence numbers. Costs are given with each function; they were
taken on one core with AVX-512, everything in cache.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer, Py_buffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

import msgspec

from headrace import limits

from headrace.core._entries cimport HR_ENTRY_EXPLICIT_HASH, Entries, Router, hr_entry
from headrace.core._simd cimport hr_simd, hr_simd_detect, hr_simd_processor, simd_level


cdef extern from "base64.h" nogil:
    size_t hr_base64_encoded_size(size_t size)
    void hr_base64_encode(uint8_t *target, const uint8_t *source, size_t size, hr_simd simd)
    Py_ssize_t hr_base64_decode(uint8_t *target, size_t room, const uint8_t *source, size_t size, hr_simd simd)


cdef extern from "sequence.h" nogil:
    const int HR_SEQUENCE_DIGITS
    const uint64_t HR_SEQUENCE_SECONDS_MAX
    ctypedef struct hr_sequence:
        pass
    void hr_sequence_base(hr_sequence *base, uint64_t created_s, uint32_t shard, uint64_t arrival_s)
    void hr_sequence_write(uint8_t *target, const hr_sequence *base, uint64_t index, hr_simd simd)


cdef extern from "wire_scan.h" nogil:
    ctypedef enum hr_scan_kind:
        HR_SCAN_PUT_RECORDS
        HR_SCAN_PUT_RECORD
        HR_SCAN_FIREHOSE_BATCH
        HR_SCAN_FIREHOSE_RECORD
    ctypedef struct hr_scan_limits:
        size_t count_max
        size_t record_size_max
        size_t total_size_max
    ctypedef struct hr_scan_span:
        const uint8_t *start
        size_t size
    ctypedef struct hr_scan_result:
        hr_scan_span stream_name
        hr_scan_span stream_arn
        hr_scan_span ordering
        int dry_run
        size_t total_size
        size_t record_size_largest
        size_t arena_used
    size_t hr_scan_arena_size(size_t size)
    Py_ssize_t hr_scan_put(hr_scan_kind kind, const uint8_t *body, size_t size, uint8_t *arena, hr_entry *entries,
                           const hr_scan_limits *limits, hr_scan_result *result, hr_simd simd)


cdef extern from "wire_write.h" nogil:
    ctypedef enum hr_put_form:
        HR_PUT_KINESIS
        HR_PUT_FIREHOSE
    ctypedef struct hr_write_text:
        const uint8_t *start
        size_t size
    ctypedef struct hr_put_outcome:
        const hr_entry *entry
        size_t count
        const uint32_t *shard
        const uint64_t *created_s
        size_t slots
        const uint8_t *failure
        const hr_write_text *reason
        size_t reasons
    size_t hr_write_put_size(hr_put_form form, const hr_put_outcome *outcome, size_t *failed)
    void hr_write_put(hr_put_form form, const hr_put_outcome *outcome, uint8_t *target, hr_simd simd)
    size_t hr_write_records_size(const hr_write_records_from *records, hr_simd simd)
    void hr_write_records(const hr_write_records_from *records, uint8_t *target, hr_simd simd)


cdef hr_simd DETECTED = hr_simd_detect()

LEVELS = ("scalar", "avx2", "avx512")[:<int>hr_simd_processor() + 1]

cdef size_t RECORDS_MAX = limits.put_records_count_max
cdef size_t RECORD_SIZE_MAX = limits.record_size_max
cdef size_t RECORDS_SIZE_MAX = limits.put_records_size_max
cdef size_t RECORD_SIZE_LIMIT = limits.frame_record_size_max
cdef size_t FIREHOSE_RECORD_SIZE_MAX = limits.firehose_record_size_max
cdef size_t FIREHOSE_BATCH_COUNT_MAX = limits.firehose_batch_count_max
cdef size_t FIREHOSE_BATCH_SIZE_MAX = limits.firehose_batch_size_max

# The arena shrinks to what a round of this many requests needed, if it is more than four times as large.
cdef int ARENA_ROUND = 256
cdef size_t ARENA_SIZE_MIN = 64 * 1024

# One entry as a list of its own: brackets, names, sequence number and shard id.
cdef enum:
    SINGLE_SIZE = 128


# --- base64 ---

def base64_encode(data, simd=None):
    """The base64 text (bytes) of a bytes-like object: RFC 4648, section 4, with padding.

    Cost: 27 ns for 1 KiB.
    """
    cdef hr_simd level = <hr_simd>simd_level(simd, DETECTED)
    cdef Py_buffer view
    cdef bytes text
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        text = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>hr_base64_encoded_size(<size_t>view.len))
        hr_base64_encode(<uint8_t *>PyBytes_AS_STRING(text), <const uint8_t *>view.buf, <size_t>view.len, level)
    finally:
        PyBuffer_Release(&view)
    return text


def base64_decode(text, simd=None):
    """The bytes that a base64 text stands for, or None if it is not base64.

    text: str or bytes-like. Padding is demanded and no other character than those of the alphabet is allowed;
    unused low bits of the last group are ignored. Cost: 32 ns for 1 KiB of data.
    """
    cdef hr_simd level = <hr_simd>simd_level(simd, DETECTED)
    cdef Py_buffer view
    cdef bytes data
    cdef Py_ssize_t written
    if isinstance(text, str):
        if not text.isascii():
            return None
        text = text.encode("ascii")
    PyObject_GetBuffer(text, &view, PyBUF_SIMPLE)
    try:
        data = PyBytes_FromStringAndSize(NULL, view.len // 4 * 3)
        written = hr_base64_decode(<uint8_t *>PyBytes_AS_STRING(data), <size_t>PyBytes_GET_SIZE(data),
                                   <const uint8_t *>view.buf, <size_t>view.len, level)
    finally:
        PyBuffer_Release(&view)
    if written < 0:
        return None
    return data if written == PyBytes_GET_SIZE(data) else data[:written]


# --- sequence numbers ---

cdef object _seconds(object value, str name):
    """The value, if it fits the 36 bits a sequence number has for seconds."""
    if not 0 <= value <= HR_SEQUENCE_SECONDS_MAX:
        raise ValueError(f"{name} is {value}; a sequence number holds 0 to {HR_SEQUENCE_SECONDS_MAX} seconds")
    return value


def sequence_number(created_s, uint32_t shard, uint64_t index, arrival_ms, simd=None):
    """The sequence number of a record: 56 decimal digits.

    created_s: creation of the shard, epoch seconds; arrival_ms: arrival of the record, epoch milliseconds (only
    the second enters). Raises ValueError where a time is negative or beyond 36 bits of seconds.
    """
    cdef hr_simd level = <hr_simd>simd_level(simd, DETECTED)
    cdef hr_sequence base
    cdef uint8_t digits[64]
    hr_sequence_base(&base, _seconds(created_s, "created_s"), shard,
                     _seconds(arrival_ms // 1000, "arrival_ms // 1000"))
    hr_sequence_write(digits, &base, index, level)
    return PyUnicode_DecodeASCII(<const char *>digits, HR_SEQUENCE_DIGITS, NULL)


def parse_sequence_number(str text):
    """The parts (created_s, shard, index, arrival_s) of a sequence number, or None if it is not one of ours."""
    if len(text) != HR_SEQUENCE_DIGITS or not text.isascii() or not text.isdigit():
        return None
    number = int(text)
    shard = number >> 4 & 0xFFFFFFFF
    if (number >> 184 != 2 or number & 0xF != 2 or number >> 72 & 0xFF != 0
            or number >> 144 & 0xF != shard & 0xF):
        return None
    return (number >> 148 & 0xFFFFFFFFF, shard, number >> 80 & 0xFFFFFFFFFFFFFFFF, number >> 36 & 0xFFFFFFFFF)


# --- requests ---

cdef class Arena:
    """Memory that decoded data and keys lie in; freed when neither scanner nor entries hold it."""

    def __cinit__(self, size_t size):
        self.start = <uint8_t *>PyMem_RawMalloc(size)
        if self.start == NULL:
            raise MemoryError(f"no memory for {size} bytes of decoded records")
        self.size = size

    def __dealloc__(self):
        PyMem_RawFree(self.start)


cdef str _text(const hr_scan_span *span, str last):
    """A span as str. A server sees the same few names, so the last one is given again if it is the same."""
    if span.size == 0:
        return None
    if last is not None and <size_t>len(last) == span.size:
        if memcmp(<const char *>_ascii(last), span.start, span.size) == 0:
            return last
    return PyUnicode_DecodeASCII(<const char *>span.start, <Py_ssize_t>span.size, NULL)


cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL


cdef const char *_ascii(str text) except NULL:
    return PyUnicode_AsUTF8AndSize(text, NULL)


cdef class PutScan:
    """Reads put requests, one after the other, into `entries`.

    Each `scan_…` answers True where it understood the body, and False where it declines: because the body is
    wrong, or only because it is unusual (an unknown or null member, a name written twice, base64 with escapes,
    StreamId). A declined body goes to the slow reader, which finds its meaning or its error, and may load what
    it found by `fill`. A body that is understood is valid JSON with one meaning and within the limits given.

    After True:
        entries: the records in the order of the request, ready for Router.route. They lie in this scanner's
            arena: the next scan overwrites them.
        stream_name, stream_arn: str or None, at least one given. For Firehose the name of the delivery stream.
        sequence_number_for_ordering: str or None (PutRecord).
        dry_run: bool.
        total_size: bytes of data and keys together; record_size_largest: those of the largest record, to be
            held against the stream's own limit.
    After False `entries` is empty and the rest None, False and 0.

    The body is not kept. The arena grows with the bodies and shrinks when they have become much smaller.
    One scanner serves one thread. Cost: 46 ns a record of 1 KiB, 20 ns at 100 bytes, 0.2 µs a request.
    """

    def __init__(self, simd=None):
        self.simd = <hr_simd>simd_level(simd, DETECTED)
        self.entries = Entries()
        self.arena = Arena(ARENA_SIZE_MIN)
        self.round_left = ARENA_ROUND
        self.recent_need = 0

    cdef int clear(self) except -1:
        """Forget the last request."""
        self.entries.clear()
        self.dry_run = False
        self.total_size = 0
        self.record_size_largest = 0
        self.sequence_number_for_ordering = None

    cdef int fit_arena(self, size_t need) except -1:
        """Have an arena of at least `need` bytes, and not far more than recent requests needed."""
        self.recent_need = max(self.recent_need, need)
        self.round_left -= 1
        if need > self.arena.size:
            self.arena = Arena(need + need // 4)
        elif self.round_left <= 0:
            if self.arena.size > ARENA_SIZE_MIN and self.arena.size // 4 > self.recent_need:
                self.arena = Arena(max(ARENA_SIZE_MIN, 2 * self.recent_need))
            self.round_left = ARENA_ROUND
            self.recent_need = 0

    cdef bint scan(self, int kind, object body, size_t count_max, size_t record_size_max,
                   size_t total_size_max) except -1:
        cdef hr_scan_limits bounds
        cdef hr_scan_result result
        cdef Py_buffer view
        cdef Py_ssize_t count
        if not 1 <= count_max <= RECORDS_MAX:
            raise ValueError(f"count_max is {count_max}; expected 1 to {RECORDS_MAX}")
        if record_size_max > RECORD_SIZE_LIMIT:
            raise ValueError(f"record_size_max is {record_size_max}; at most {RECORD_SIZE_LIMIT} is possible")
        bounds.count_max = count_max
        bounds.record_size_max = record_size_max
        bounds.total_size_max = total_size_max
        PyObject_GetBuffer(body, &view, PyBUF_SIMPLE)
        try:
            self.clear()
            self.entries.reserve(<Py_ssize_t>count_max)
            self.fit_arena(hr_scan_arena_size(<size_t>view.len))
            count = hr_scan_put(<hr_scan_kind>kind, <const uint8_t *>view.buf, <size_t>view.len, self.arena.start,
                                self.entries.entry, &bounds, &result, self.simd)
            if count < 0:
                self.stream_name = self.stream_arn = None
                return False
            self.stream_name = _text(&result.stream_name, self.stream_name)
            self.stream_arn = _text(&result.stream_arn, self.stream_arn)
            self.sequence_number_for_ordering = _text(&result.ordering, None)
        finally:
            PyBuffer_Release(&view)
        self.dry_run = result.dry_run != 0
        self.total_size = <Py_ssize_t>result.total_size
        self.record_size_largest = <Py_ssize_t>result.record_size_largest
        self.entries.count = count
        self.entries.owners.append(self.arena)
        return True

    def scan_put_records(self, body, *, size_t count_max=RECORDS_MAX, size_t record_size_max=RECORD_SIZE_MAX,
                         size_t total_size_max=RECORDS_SIZE_MAX):
        """Read the body of a Kinesis PutRecords request. Sizes are of decoded data and keys."""
        return self.scan(HR_SCAN_PUT_RECORDS, body, count_max, record_size_max, total_size_max)

    def scan_put_record(self, body, *, size_t record_size_max=RECORD_SIZE_MAX):
        """Read the body of a Kinesis PutRecord request."""
        return self.scan(HR_SCAN_PUT_RECORD, body, 1, record_size_max, record_size_max)

    def scan_firehose_batch(self, body, *, size_t count_max=FIREHOSE_BATCH_COUNT_MAX,
                            size_t record_size_max=FIREHOSE_RECORD_SIZE_MAX,
                            size_t total_size_max=FIREHOSE_BATCH_SIZE_MAX):
        """Read the body of a Firehose PutRecordBatch request; the entries have no keys."""
        return self.scan(HR_SCAN_FIREHOSE_BATCH, body, count_max, record_size_max, total_size_max)

    def scan_firehose_record(self, body, *, size_t record_size_max=FIREHOSE_RECORD_SIZE_MAX):
        """Read the body of a Firehose PutRecord request; the entry has no key."""
        return self.scan(HR_SCAN_FIREHOSE_RECORD, body, 1, record_size_max, record_size_max)

    def fill(self, records, *, str stream_name=None, str stream_arn=None, bint dry_run=False,
             str sequence_number_for_ordering=None):
        """Load a request that a slow reader has understood, so that all that follows is the same.

        records: iterable of (data: bytes, key: str | None, hash_key: int | None). Sizes are counted; what is
        allowed is for the reader to have checked.
        """
        cdef Py_ssize_t i
        cdef Py_ssize_t size
        self.clear()
        self.stream_name = stream_name
        self.stream_arn = stream_arn
        self.dry_run = dry_run
        self.sequence_number_for_ordering = sequence_number_for_ordering
        for data, key, hash_key in records:
            self.entries.add(data, key, hash_key)
        for i in range(self.entries.count):
            size = <Py_ssize_t>self.entries.entry[i].data_size + <Py_ssize_t>self.entries.entry[i].key_size
            self.total_size += size
            self.record_size_largest = max(self.record_size_largest, size)

    def records(self):
        """The entries as a list of (data, key, hash_key), copied: key "" where none was given, hash_key None
        where none was. For tests and for looking at a request; not for the hot path."""
        cdef Py_ssize_t i
        cdef hr_entry *entry
        found = []
        for i in range(self.entries.count):
            entry = &self.entries.entry[i]
            found.append((
                PyBytes_FromStringAndSize(<const char *>entry.data, entry.data_size),
                PyBytes_FromStringAndSize(<const char *>entry.key, entry.key_size).decode("utf-8"),
                (int(entry.hash_high) << 64) + int(entry.hash_low) if entry.flags & HR_ENTRY_EXPLICIT_HASH else None,
            ))
        return found

    @property
    def arena_size(self):
        """Bytes that the arena holds at present."""
        return self.arena.size


# --- answers to puts ---

cdef int _check_routed(Entries entries) except -1:
    if entries.count > 0 and entries.lane_count == 0:
        raise ValueError(f"{entries.count} entries were not routed yet")


cdef class _Outcome:
    """The entries of a put and what became of them, as the kernel reads it; holds all that it points at."""

    cdef hr_put_outcome outcome
    cdef Py_buffer view
    cdef bint viewed
    cdef list texts
    cdef hr_write_text reason[255]
    cdef object held

    def __cinit__(self, Entries entries, Router router, failures, reasons):
        self.viewed = False
        _check_routed(entries)
        self.held = (entries, router)
        self.texts = [msgspec.json.encode({"ErrorCode": code, "ErrorMessage": message})
                      for code, message in reasons]
        if len(self.texts) > 255:
            raise ValueError(f"{len(self.texts)} reasons; one byte an entry tells 255 apart")
        for i, text in enumerate(self.texts):
            self.reason[i].start = <const uint8_t *>PyBytes_AS_STRING(text)
            self.reason[i].size = <size_t>PyBytes_GET_SIZE(text)
        self.outcome.entry = entries.entry
        self.outcome.count = <size_t>entries.count
        self.outcome.shard = router.shard
        self.outcome.created_s = router.created_s
        self.outcome.slots = <size_t>router.count
        self.outcome.failure = NULL
        self.outcome.reason = self.reason
        self.outcome.reasons = <size_t>len(self.texts)
        if failures is None:
            return
        PyObject_GetBuffer(failures, &self.view, PyBUF_SIMPLE)
        self.viewed = True
        if self.view.len != entries.count:
            raise ValueError(f"failures has {self.view.len} bytes for {entries.count} entries")
        self.outcome.failure = <const uint8_t *>self.view.buf

    def __dealloc__(self):
        if self.viewed:
            PyBuffer_Release(&self.view)

    cdef size_t measure(self, hr_put_form form, size_t *failed) except 0:
        """Bytes of the list. ValueError where an entry cannot be written."""
        cdef size_t size = hr_write_put_size(form, &self.outcome, failed)
        if size == 0:
            raise ValueError("an entry cannot be written: its slot is not in this router, its failure has no reason, "
                             f"or a time is not within 0 to {HR_SEQUENCE_SECONDS_MAX} seconds")
        return size


cdef bytes _put_list(hr_put_form form, _Outcome outcome, bytes before, bytes after, size_t size, hr_simd simd):
    """One bytes object: `before`, the list of `size` bytes, `after`."""
    cdef Py_ssize_t head = PyBytes_GET_SIZE(before), tail = PyBytes_GET_SIZE(after)
    cdef bytes answer = PyBytes_FromStringAndSize(NULL, head + <Py_ssize_t>size + tail)
    cdef uint8_t *target = <uint8_t *>PyBytes_AS_STRING(answer)
    memcpy(target, PyBytes_AS_STRING(before), head)
    hr_write_put(form, &outcome.outcome, target + head, simd)
    memcpy(target + head + size, PyBytes_AS_STRING(after), tail)
    return answer


def put_records_answer(Entries entries, Router router, *, failures=None, reasons=(), encryption=None,
                       simd=None):
    """The body that answers PutRecords: {"FailedRecordCount": …, "Records": […]}.

    entries: routed by `router` and appended, so that slot, index and arrival are set.
    failures: None if all were stored, else a bytes-like (or numpy uint8) with one byte an entry: 0 for stored, k
        for refused because of reasons[k - 1], a pair (ErrorCode, ErrorMessage). At most 255 reasons.
    encryption: EncryptionType to tell, or None to tell none.
    Cost: 15 ns an entry.
    """
    cdef hr_simd level = <hr_simd>simd_level(simd, DETECTED)
    cdef size_t failed = 0
    outcome = _Outcome(entries, router, failures, reasons)
    cdef size_t size = outcome.measure(HR_PUT_KINESIS, &failed)
    after = b"}" if encryption is None else b',"EncryptionType":%b}' % msgspec.json.encode(encryption)
    return _put_list(HR_PUT_KINESIS, outcome, b'{"FailedRecordCount":%d,"Records":' % failed, after, size, level)


def firehose_batch_answer(Entries entries, Router router, *, failures=None, reasons=(), bint encrypted=False,
                          simd=None):
    """The body that answers Firehose's PutRecordBatch; failures and reasons as in put_records_answer.

    A RecordId is opaque to clients. Ours is the sequence number of the record in the stream that the delivery
    stream buffers in: unique there, increasing within a shard, and enough to find the record again.
    """
    cdef hr_simd level = <hr_simd>simd_level(simd, DETECTED)
    cdef size_t failed = 0
    outcome = _Outcome(entries, router, failures, reasons)
    cdef size_t size = outcome.measure(HR_PUT_FIREHOSE, &failed)
    before = b'{"FailedPutCount":%d,"Encrypted":%b,"RequestResponses":' % (
        failed, b"true" if encrypted else b"false")
    return _put_list(HR_PUT_FIREHOSE, outcome, before, b"}", size, level)


cdef bytes _single(hr_put_form form, Entries entries, Router router, bytes more):
    """The object that tells of the one entry, with `more` before its closing brace. Cost: 0.1 µs."""
    cdef hr_put_outcome outcome
    cdef uint8_t text[SINGLE_SIZE]
    cdef size_t failed = 0, size
    if entries.count != 1:
        raise ValueError(f"{entries.count} entries; this answer tells of exactly one")
    _check_routed(entries)
    outcome.entry = entries.entry
    outcome.count = 1
    outcome.shard = router.shard
    outcome.created_s = router.created_s
    outcome.slots = <size_t>router.count
    outcome.failure = NULL
    outcome.reason = NULL
    outcome.reasons = 0
    size = hr_write_put_size(form, &outcome, &failed)
    if not 0 < size <= SINGLE_SIZE:
        raise ValueError("the entry cannot be written: its slot is not in this router, or a time is not within 0 "
                         f"to {HR_SEQUENCE_SECONDS_MAX} seconds")
    hr_write_put(form, &outcome, text, DETECTED)
    # `[{…}]` without the brackets and the closing brace.
    return PyBytes_FromStringAndSize(<const char *>text + 1, <Py_ssize_t>size - 3) + more


def put_record_answer(Entries entries, Router router, *, encryption=None):
    """The body that answers PutRecord, of the one entry there is. Cost: 0.15 µs."""
    more = b"}" if encryption is None else b',"EncryptionType":%b}' % msgspec.json.encode(encryption)
    return _single(HR_PUT_KINESIS, entries, router, more)


def firehose_record_answer(Entries entries, Router router, *, bint encrypted=False):
    """The body that answers Firehose's PutRecord, of the one entry there is."""
    more = b',"Encrypted":true}' if encrypted else b',"Encrypted":false}'
    return _single(HR_PUT_FIREHOSE, entries, router, more)


# --- answers to reads: what core._records_answer uses of the kernel that is compiled in here ---

cdef size_t records_size(const hr_write_records_from *records, hr_simd simd) noexcept nogil:
    """See hr_write_records_size."""
    return hr_write_records_size(records, simd)


cdef void write_records(const hr_write_records_from *records, uint8_t *target, hr_simd simd) noexcept nogil:
    """See hr_write_records."""
    hr_write_records(records, target, simd)
