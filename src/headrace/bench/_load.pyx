# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The native load generator: corpus, ledger, histograms, and the loop over many connections."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport ceil
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.types cimport off_t

import os
import socket

import numpy as np

cimport numpy as cnp

cnp.import_array()


NUMBERS_MAX = HR_CORPUS_NUMBERS_MAX
SLICE_NS = 100_000_000  # how long the loop runs without asking Python for signals


def now_ns():
    """The monotonic clock that all latencies are taken from, in nanoseconds."""
    return hr_load_now()


def corpus(uint64_t seed, uint64_t first, Py_ssize_t count, Py_ssize_t size):
    """Records first … first + count - 1 of the corpus `seed`, `size` bytes each, joined. Same seed, same bytes."""
    cdef Py_ssize_t i
    cdef uint8_t *out
    if not HR_CORPUS_SIZE_MIN <= <size_t>max(size, 0) <= HR_CORPUS_SIZE_MAX:
        raise ValueError(f"a record of {size} bytes; {HR_CORPUS_SIZE_MIN} to {HR_CORPUS_SIZE_MAX} are allowed")
    if count < 0 or first + <uint64_t>count > HR_CORPUS_NUMBERS_MAX:
        raise ValueError(f"records {first} to {first + count}; the last number is {HR_CORPUS_NUMBERS_MAX - 1}")
    joined = PyBytes_FromStringAndSize(NULL, count * size)
    out = <uint8_t *>PyBytes_AS_STRING(joined)
    with nogil:
        for i in range(count):
            hr_corpus_record(seed, first + <uint64_t>i, out + i * size, size)
    return joined


def corpus_keys(uint64_t seed, uint64_t first, Py_ssize_t count):
    """The partition keys of the same records: their hosts."""
    cdef uint8_t key[8]
    cdef Py_ssize_t i
    keys = []
    for i in range(count):
        hr_corpus_key(seed, first + <uint64_t>i, key)
        keys.append((<char *>key)[:HR_CORPUS_KEY_SIZE].decode("ascii"))
    return keys


def read_answer(parts):
    """Read an HTTP answer that arrives in these parts: (status, whether the server closes, body).

    None if it is not whole after the last part. Raises ValueError if it is no answer, or if more follows it.
    """
    cdef hr_answer answer
    cdef hr_answer_state state = HR_ANSWER_MORE
    cdef cnp.ndarray buffer = np.empty(sum(map(len, parts)) + 1, dtype=np.uint8)
    cdef uint8_t *at = <uint8_t *>cnp.PyArray_DATA(buffer)
    cdef size_t filled = 0
    hr_answer_reset(&answer)
    for part in parts:
        if state == HR_ANSWER_DONE and len(part):
            raise ValueError("more follows the answer")
        memcpy(at + filled, PyBytes_AS_STRING(part), len(part))
        filled += len(part)
        if state == HR_ANSWER_MORE:
            state = hr_answer_feed(&answer, at, filled)
        if state == HR_ANSWER_BAD:
            raise ValueError("not an HTTP/1.1 answer")
    if state == HR_ANSWER_MORE:
        return None
    return answer.status, bool(answer.closes), (<char *>at)[answer.body_start:answer.body_start + answer.body_size]


cdef object _text(const hr_text *text):
    return None if text.text == NULL else (<const char *>text.text)[:text.size]


cdef void _append_record(void *context, uint64_t position, const hr_scanned_record *record) noexcept with gil:
    (<list>context).append({"Data": _text(&record.data), "PartitionKey": _text(&record.partition_key),
                            "SequenceNumber": _text(&record.sequence_number),
                            "ErrorCode": _text(&record.error_code), "ShardId": _text(&record.shard_id)})


def scan_answer(bytes body):
    """What the load reads in the JSON body of an answer; strings as bytes as they stand between their quotes.

    Raises ValueError where the body is not a JSON object as far as it was looked at.
    """
    cdef hr_scanned scanned
    records = []
    if hr_scan_records(<const uint8_t *>PyBytes_AS_STRING(body), len(body), &scanned, <hr_record_callback>_append_record,
                       <void *>records) != 0:
        raise ValueError("not a JSON object")
    return {"Records": records, "FailedRecordCount": scanned.failed_count,
            "MillisBehindLatest": scanned.millis_behind, "NextShardIterator": _text(&scanned.next_iterator),
            "SequenceNumber": _text(&scanned.sequence_number), "error": bool(scanned.has_error_code),
            "fast": hr_failed_count_fast(<const uint8_t *>PyBytes_AS_STRING(body), len(body))}


cdef class Histogram:
    """Counts of durations in HdrHistogram's layout: 1 µs to 1 h, three digits. Values are microseconds."""

    def __cinit__(self):
        self.histogram = <hr_histogram *>calloc(1, sizeof(hr_histogram))
        if self.histogram == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.histogram)

    def record(self, uint64_t value, uint64_t times=1):
        """Count `value` microseconds `times` times; more than an hour counts as an hour."""
        hr_histogram_record(self.histogram, value, times)

    def merge(self, Histogram other):
        """Add the counts of another histogram."""
        cdef uint32_t i
        if other.histogram.total == 0:
            return
        for i in range(HR_HISTOGRAM_COUNTERS):
            self.histogram.counts[i] += other.histogram.counts[i]
        if self.histogram.total == 0 or other.histogram.low < self.histogram.low:
            self.histogram.low = other.histogram.low
        self.histogram.high = max(self.histogram.high, other.histogram.high)
        self.histogram.total += other.histogram.total
        self.histogram.sum += other.histogram.sum

    def percentile(self, double percent):
        """The value that `percent` of the counted values do not exceed, in microseconds; 0 if there are none."""
        if not 0 <= percent <= 100:
            raise ValueError(f"percentile {percent}; 0 to 100 are allowed")
        return hr_histogram_at_rank(self.histogram, <uint64_t>ceil(percent / 100 * self.histogram.total - 1e-9))

    @property
    def counts(self):
        """A copy of the counters, as a uint64 array."""
        cdef cnp.npy_intp size = HR_HISTOGRAM_COUNTERS
        out = np.empty(size, dtype=np.uint64)
        memcpy(cnp.PyArray_DATA(<cnp.ndarray>out), self.histogram.counts, size * sizeof(uint64_t))
        return out

    @staticmethod
    def index(uint64_t value):
        """The counter that `value` belongs to."""
        return hr_histogram_index(value)

    @staticmethod
    def highest_of(uint32_t index):
        """The largest value that belongs to the counter `index`."""
        if index >= HR_HISTOGRAM_COUNTERS:
            raise IndexError(f"counter {index} of {HR_HISTOGRAM_COUNTERS}")
        return hr_histogram_highest_of(index)

    @property
    def total(self):
        return self.histogram.total

    @property
    def mean(self):
        return self.histogram.sum / self.histogram.total if self.histogram.total else 0.0

    @property
    def low(self):
        return self.histogram.low if self.histogram.total else 0

    @property
    def high(self):
        return self.histogram.high


cdef class Plan:
    """The distinct records of a load and the requests made from them (see native/ledger.h).

    raw: count * records payloads of `size` bytes, joined. requests: one writable buffer with all requests, or
    None where records go another way; starts: count + 1 offsets into it; texts: where in its request the
    base64 text of each record begins; keys: where its partition key does (None: keys are not compared), which has
    the corpus' size.
    """

    def __init__(self, raw, Py_ssize_t size, Py_ssize_t records, requests=None, starts=None, texts=None, keys=None):
        self.raw = np.frombuffer(bytearray(raw), dtype=np.uint8)
        if size <= 0 or records <= 0 or len(self.raw) == 0 or len(self.raw) % (size * records):
            raise ValueError(f"{len(self.raw)} bytes are not whole requests of {records} records of {size} bytes")
        self.plan.count = len(self.raw) // (size * records)
        self.plan.records = records
        self.plan.size = size
        self.plan.text_size = (size + 2) // 3 * 4
        self.plan.raw = <const uint8_t *>cnp.PyArray_DATA(<cnp.ndarray>self.raw)
        if requests is None:
            return
        self.requests = np.frombuffer(bytearray(requests), dtype=np.uint8)
        self.starts = np.ascontiguousarray(starts, dtype=np.uint64)
        self.texts = np.ascontiguousarray(texts, dtype=np.uint32)
        self._check()
        if keys is not None:
            self.keys = np.ascontiguousarray(keys, dtype=np.uint32)
            self._check_inside(self.keys, HR_CORPUS_KEY_SIZE, "key")
            self.plan.key = <const uint32_t *>cnp.PyArray_DATA(<cnp.ndarray>self.keys)
            self.plan.key_size = HR_CORPUS_KEY_SIZE
        self.plan.bytes = <uint8_t *>cnp.PyArray_DATA(<cnp.ndarray>self.requests)
        self.plan.start = <const uint64_t *>cnp.PyArray_DATA(<cnp.ndarray>self.starts)
        self.plan.text = <const uint32_t *>cnp.PyArray_DATA(<cnp.ndarray>self.texts)

    cdef int _check(self) except -1:
        """The offsets must lie inside: the loop does not look again."""
        count, records = self.plan.count, self.plan.records
        if self.starts.shape != (count + 1,) or self.texts.shape != (count * records,):
            raise ValueError(f"{count} requests of {records} records need as many offsets; got "
                             f"{self.starts.shape} and {self.texts.shape}")
        sizes = np.diff(self.starts.astype(np.int64))
        if (sizes <= 0).any() or int(self.starts[0]) != 0 or int(self.starts[count]) != len(self.requests):
            raise ValueError("the starts of the requests do not divide the buffer")
        self._check_inside(self.texts, self.plan.text_size, "text")
        return 0

    cdef int _check_inside(self, offsets, uint32_t size, what) except -1:
        """Every record's text or key must end inside its request."""
        if offsets.shape != self.texts.shape:
            raise ValueError(f"{self.texts.shape[0]} records need as many offsets; got {offsets.shape}")
        room = np.diff(self.starts.astype(np.int64)).repeat(self.plan.records) - offsets
        if (room < size).any():
            raise ValueError(f"a record's {what} ends outside its request")
        return 0

    @property
    def count(self):
        return self.plan.count

    @property
    def records(self):
        return self.plan.records

    @property
    def size(self):
        return self.plan.size

    def stamp(self, uint32_t template, uint64_t number):
        """Give the raw records of one template the sequence numbers from `number` on, in place."""
        cdef uint32_t j
        cdef uint8_t *record
        if template >= self.plan.count:
            raise IndexError(f"template {template} of {self.plan.count}")
        record = <uint8_t *>self.plan.raw + <size_t>template * self.plan.records * self.plan.size
        with nogil:
            for j in range(self.plan.records):
                hr_corpus_number_set(record + <size_t>j * self.plan.size, number + j)

    def payloads(self, uint32_t template):
        """The raw records of one template as a (records, size) uint8 view."""
        if template >= self.plan.count:
            raise IndexError(f"template {template} of {self.plan.count}")
        return self.raw.reshape(self.plan.count, self.plan.records, self.plan.size)[template]


cdef class Ledger:
    """What a load sent and what came back (see native/ledger.h).

    requests_max bounds the requests that can be noted; memory is touched only as it is used. base is the
    number of the first record.
    """

    def __init__(self, Plan plan not None, uint64_t requests_max, uint64_t base=0):
        if base + requests_max * plan.plan.records > HR_CORPUS_NUMBERS_MAX:
            raise ValueError(f"numbers up to {base + requests_max * plan.plan.records}; at most {NUMBERS_MAX}")
        self.plan = plan
        self._notes = np.zeros(requests_max * 16, dtype=np.uint8)
        self._seen = np.zeros(requests_max * plan.plan.records, dtype=np.uint8)
        numbered = (requests_max // HR_LEDGER_NUMBERED_EVERY + 1) * plan.plan.records
        self._numbered = np.zeros(numbered if plan.requests is not None else 0, dtype=np.uint64)
        self.travel = Histogram()
        self.ledger.plan = &plan.plan
        self.ledger.notes = <hr_note *>cnp.PyArray_DATA(<cnp.ndarray>self._notes)
        self.ledger.seen = <uint8_t *>cnp.PyArray_DATA(<cnp.ndarray>self._seen)
        if len(self._numbered):
            self.ledger.numbered = <uint64_t *>cnp.PyArray_DATA(<cnp.ndarray>self._numbered)
        self.ledger.notes_max = requests_max
        self.ledger.base = base
        self.ledger.travel = self.travel.histogram

    def expect_in(self, home):
        """Say which shard each record of the plan belongs to: uint32, its place among the iterators of a `Load`."""
        home = np.ascontiguousarray(home, dtype=np.uint32)
        if home.shape != (self.plan.plan.count * self.plan.plan.records,):
            raise ValueError(f"{home.shape} shards for {self.plan.plan.count * self.plan.plan.records} records")
        self._home = home
        self.ledger.home = <const uint32_t *>cnp.PyArray_DATA(<cnp.ndarray>self._home)

    def begin(self, uint32_t template, uint16_t producer=0):
        """Note that a request is begun now; returns its number and the number of its first record."""
        if template >= self.plan.plan.count:
            raise IndexError(f"template {template} of {self.plan.plan.count}")
        request = hr_ledger_begin(&self.ledger, template, producer, hr_load_now())
        if request == 2**64 - 1:
            raise ValueError(f"the ledger holds {self.ledger.notes_max} requests")
        return request, self.ledger.base + request * self.plan.plan.records

    def done(self, uint64_t request):
        """Note that every record of the request was acknowledged."""
        if request >= self.ledger.issued:
            raise IndexError(f"request {request} of {self.ledger.issued}")
        self.ledger.notes[request].outcome = HR_OUTCOME_DONE

    def see(self, const uint8_t[::1] buffer, const int64_t[::1] offsets, const uint32_t[::1] lengths,
            ShardOrder order not None, uint64_t seen_ns=0):
        """Check records of one shard that were read as plain bytes. seen_ns: when; 0: no travel times."""
        cdef Py_ssize_t i
        cdef Py_ssize_t size = buffer.shape[0]
        if offsets.shape[0] != lengths.shape[0]:
            raise ValueError(f"{offsets.shape[0]} offsets and {lengths.shape[0]} lengths")
        for i in range(offsets.shape[0]):
            if offsets[i] < 0 or offsets[i] + <int64_t>lengths[i] > size:
                raise ValueError(f"record {i} lies outside the buffer")
        if size == 0:
            return
        with nogil:
            for i in range(offsets.shape[0]):
                hr_ledger_see_bytes(&self.ledger, &order.order, &buffer[0] + offsets[i], lengths[i], seen_ns)

    def forget_reading(self):
        """Make ready for another reading of everything: nothing was seen yet."""
        self._seen &= 0xFE  # HR_SEEN_ONCE
        self.ledger.read = self.ledger.changed = self.ledger.doubled = 0
        self.ledger.reordered = self.ledger.unsorted = 0
        self.ledger.rekeyed = self.ledger.misplaced = self.ledger.renumbered = 0

    def tally(self):
        """Count what became of everything begun, as a dict. See hr_tally."""
        cdef hr_tally tally
        with nogil:
            hr_ledger_tally(&self.ledger, &tally)
        return {
            "requests": tally.requests, "records": tally.records, "acknowledged": tally.acknowledged,
            "refused": tally.refused, "unknown": tally.unknown, "read": self.ledger.read, "lost": tally.lost,
            "doubled": self.ledger.doubled, "changed": self.ledger.changed, "reordered": self.ledger.reordered,
            "unsorted": self.ledger.unsorted, "rekeyed": self.ledger.rekeyed,
            "misplaced": self.ledger.misplaced, "renumbered": self.ledger.renumbered, "refused_seen": tally.refused_seen,
            "unknown_seen": tally.unknown_seen,
            "first_lost": None if tally.first_lost == 2**64 - 1 else tally.first_lost,
        }


cdef class ShardOrder:
    """What was seen last in one shard, for `Ledger.see`: one for each shard and reading."""

    def __init__(self, uint32_t producers=1):
        self._last = np.zeros(max(producers, 1), dtype=np.uint64)
        self.order.last = <uint64_t *>cnp.PyArray_DATA(<cnp.ndarray>self._last)
        self.order.producers = max(producers, 1)


cdef class Load:
    """Writers and readers of one stream over HTTP/1.1, on the calling thread (see native/load.h).

    address: (IPv4 address, port). producers: how many writers the ledger's requests came from, where that
    is more than `writers` (a later reading). iterators: one shard iterator for each reader. read_head: head of
    a GetRecords request, without Content-Length and the empty line. Connects at once; raises OSError.
    """

    def __init__(self, address, Ledger ledger not None, *, uint32_t writers=0, uint32_t producers=0, iterators=(),
                 bytes read_head=b"", uint32_t read_limit=10000, double poll_interval=0.005):
        cdef uint32_t i
        host, port = address
        if writers > 65535 or (writers and (ledger.plan.plan.bytes == NULL or writers > ledger.plan.plan.count)):
            raise ValueError(f"{writers} writers need as many requests; the plan has {ledger.plan.count}")
        if len(read_head) >= HR_LOAD_HEAD_MAX or any(len(text) > HR_LOAD_ITERATOR_MAX for text in iterators):
            raise ValueError("a head or an iterator is too long")
        self.ledger = ledger
        self.latency, self.service, self.slip, self.read_service = Histogram(), Histogram(), Histogram(), Histogram()
        self._digits = np.zeros(4000, dtype=np.uint8)
        hr_corpus_digits_fill(<hr_corpus_digits *>cnp.PyArray_DATA(<cnp.ndarray>self._digits))
        self._head = read_head
        self._orders = []
        memset(&self.load, 0, sizeof(hr_load))
        self.load.epoll = -1
        memcpy(&self.load.address.sin_addr, PyBytes_AS_STRING(socket.inet_aton(host)), 4)
        self.load.address.sin_family = socket.AF_INET
        self.load.address.sin_port = socket.htons(port)
        self.load.ledger = &ledger.ledger
        self.load.digits = <hr_corpus_digits *>cnp.PyArray_DATA(<cnp.ndarray>self._digits)
        self.load.read_head = PyBytes_AS_STRING(self._head)
        self.load.read_limit = read_limit
        self.load.poll_interval_ns = <uint64_t>(poll_interval * 1e9)
        self.load.latency, self.load.service = self.latency.histogram, self.service.histogram
        self.load.slip, self.load.read_service = self.slip.histogram, self.read_service.histogram
        self.load.connections = <hr_connection *>calloc(writers + len(iterators) + 1, sizeof(hr_connection))
        if self.load.connections == NULL:
            raise MemoryError()
        self.load.writers = writers
        self.load.readers = len(iterators)
        for i in range(writers):
            self.load.connections[i].producer = i
            self.load.connections[i].template_index = i
        for i in range(self.load.readers):
            self._add_reader(&self.load.connections[writers + i], iterators[i], max(producers, writers))
            self.load.connections[writers + i].order.shard = i
        if hr_load_open(&self.load) != 0:
            raise OSError(self.load.error.decode("utf-8", "replace"))

    cdef int _add_reader(self, hr_connection *connection, bytes iterator, uint32_t producers) except -1:
        order = ShardOrder(producers)
        self._orders.append(order)
        connection.reader = 1
        connection.order = (<ShardOrder>order).order
        connection.iterator_size = len(iterator)
        memcpy(connection.iterator, PyBytes_AS_STRING(iterator), len(iterator))
        return 0

    def __dealloc__(self):
        self.close()

    cpdef close(self):
        """Close the connections. Done twice it does nothing."""
        if self.load.connections != NULL:
            hr_load_close(&self.load)
            free(self.load.connections)
            self.load.connections = NULL
            self.load.writers = self.load.readers = 0

    def run(self, double seconds, *, requests_max=None, rate=None, double grace=30.0, on_slice=None):
        """Write for `seconds` (at most requests_max requests), read to the end, and return the counts.

        rate: requests a second, open loop; None: closed loop. grace: seconds without any answer after which
        the target is taken for dead. on_slice(counts) is called about every 100 ms. Raises OSError if the
        run had to be given up.
        """
        cdef uint64_t until
        cdef hr_load_state state = HR_LOAD_RUNNING
        if rate is not None and rate <= 0:
            raise ValueError(f"a rate of {rate} requests a second")
        hr_load_begin(&self.load, 0.0 if rate is None else 1e9 / rate, <uint64_t>(seconds * 1e9),
                      2**63 if requests_max is None else requests_max, <uint64_t>(grace * 1e9))
        while state == HR_LOAD_RUNNING:
            until = hr_load_now() + <uint64_t>SLICE_NS
            with nogil:
                state = hr_load_turn(&self.load, until)
            PyErr_CheckSignals()
            if on_slice is not None:
                on_slice(self.counts())
        if state == HR_LOAD_FAILED:
            refusal = self.load.refusal.decode("utf-8", "replace")
            raise OSError(self.load.error.decode("utf-8", "replace") + (f" ({refusal})" if refusal else ""))
        return self.counts()

    def counts(self):
        """What happened so far, as a dict."""
        return {
            "seconds": (self.load.last_done_ns - self.load.begin_ns) / 1e9,
            "elapsed": (hr_load_now() - self.load.begin_ns) / 1e9,
            "requests_done": self.load.done, "requests_partly_refused": self.load.part,
            "requests_refused": self.load.refused, "requests_unanswered": self.load.unanswered,
            "records_done": self.load.records_done, "records_refused": self.load.records_refused,
            "late": self.load.late, "skipped": self.load.skipped, "slots": self.load.slots,
            "connections_broken": self.load.breaks, "reads": self.load.reads,
            "reads_refused": self.load.reads_refused, "records_read": self.ledger.ledger.read,
            "bytes_in": self.load.bytes_in, "bytes_out": self.load.bytes_out,
            "first_refusal": self.load.refusal.decode("utf-8", "replace") or None,
        }


def plain_disk(path, Py_ssize_t size, uint64_t count, *, uint64_t offset=0, block=None, bint sync=True):
    """Write `count` blocks of `size` bytes into a prewritten file, fdatasync behind each; returns a Histogram.

    The file at `path` must be at least offset + size * count bytes long and stays as long as it is. block: the
    bytes to write (corpus records by default). Raises OSError.
    """
    cdef Histogram durations = Histogram()
    cdef int failed, fd
    cdef uint8_t *bytes_at
    if size < 8:
        raise ValueError(f"a block of {size} bytes; at least 8 are needed")
    if block is None:
        block = corpus(1, 0, size // 1024 + 1, 1024)
    held = np.frombuffer(bytearray(memoryview(block)[:size]), dtype=np.uint8)
    if len(held) != size:
        raise ValueError(f"the block has {len(held)} bytes; {size} are needed")
    bytes_at = <uint8_t *>cnp.PyArray_DATA(<cnp.ndarray>held)
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        if <uint64_t>os.fstat(fd).st_size < offset + size * count:
            raise ValueError(f"{path} is shorter than {offset + size * count} bytes: write it first")
        with nogil:
            failed = hr_plain_disk(fd, bytes_at, size, count, <off_t>offset, sync, durations.histogram)
    finally:
        os.close(fd)
    if failed:
        raise OSError(-failed, os.strerror(-failed), str(path))
    return durations
