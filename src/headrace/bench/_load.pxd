# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Histogram, Plan, Ledger and Load: the native load generator's C side."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from posix.types cimport off_t


cdef extern from "histogram.h" nogil:
    const uint32_t HR_HISTOGRAM_COUNTERS
    ctypedef struct hr_histogram:
        uint64_t *counts
        uint64_t total
        uint64_t sum
        uint64_t low
        uint64_t high
    uint32_t hr_histogram_index(uint64_t value)
    uint64_t hr_histogram_highest_of(uint32_t index)
    void hr_histogram_record(hr_histogram *histogram, uint64_t value, uint64_t times)
    uint64_t hr_histogram_at_rank(const hr_histogram *histogram, uint64_t rank)


cdef extern from "corpus.h" nogil:
    const size_t HR_CORPUS_SIZE_MIN
    const size_t HR_CORPUS_SIZE_MAX
    const uint64_t HR_CORPUS_NUMBERS_MAX
    const size_t HR_CORPUS_KEY_SIZE
    ctypedef struct hr_corpus_digits:
        pass
    void hr_corpus_record(uint64_t seed, uint64_t number, uint8_t *out, size_t size)
    void hr_corpus_key(uint64_t seed, uint64_t number, uint8_t *out)
    void hr_corpus_number_set(uint8_t *record, uint64_t number)
    void hr_corpus_digits_fill(hr_corpus_digits *digits)


cdef extern from "answer.h" nogil:
    ctypedef enum hr_answer_state:
        HR_ANSWER_MORE
        HR_ANSWER_DONE
        HR_ANSWER_BAD
    ctypedef struct hr_answer:
        uint32_t status
        uint32_t closes
        size_t body_start
        size_t body_size
    void hr_answer_reset(hr_answer *answer)
    hr_answer_state hr_answer_feed(hr_answer *answer, uint8_t *buffer, size_t filled)
    ctypedef struct hr_text:
        const uint8_t *text
        size_t size
    ctypedef struct hr_scanned_record:
        hr_text data
        hr_text partition_key
        hr_text sequence_number
        hr_text error_code
        hr_text shard_id
    ctypedef struct hr_scanned:
        uint64_t records
        int64_t failed_count
        int64_t millis_behind
        hr_text next_iterator
        hr_text sequence_number
        uint32_t has_error_code
    ctypedef void (*hr_record_callback)(void *context, uint64_t position, const hr_scanned_record *record) noexcept nogil
    int hr_scan_records(const uint8_t *body, size_t size, hr_scanned *out, hr_record_callback callback, void *context)
    int64_t hr_failed_count_fast(const uint8_t *body, size_t size)


cdef extern from "ledger.h" nogil:
    const uint8_t HR_OUTCOME_DONE
    const uint32_t HR_LEDGER_NUMBERED_EVERY
    ctypedef struct hr_plan:
        uint8_t *bytes
        const uint64_t *start
        const uint32_t *text
        const uint32_t *key
        const uint8_t *raw
        uint32_t count
        uint32_t records
        uint32_t size
        uint32_t text_size
        uint32_t key_size
    ctypedef struct hr_note:
        uint64_t start_ns
        uint8_t outcome
    ctypedef struct hr_ledger:
        const hr_plan *plan
        hr_note *notes
        uint8_t *seen
        uint64_t *numbered
        const uint32_t *home
        uint64_t notes_max
        uint64_t issued
        uint64_t base
        uint64_t read
        uint64_t changed
        uint64_t doubled
        uint64_t reordered
        uint64_t unsorted
        uint64_t rekeyed
        uint64_t misplaced
        uint64_t renumbered
        hr_histogram *travel
    ctypedef struct hr_shard_order:
        uint64_t *last
        uint32_t producers
        uint32_t shard
    ctypedef struct hr_tally:
        uint64_t requests
        uint64_t records
        uint64_t acknowledged
        uint64_t refused
        uint64_t unknown
        uint64_t lost
        uint64_t refused_seen
        uint64_t unknown_seen
        uint64_t first_lost
    uint64_t hr_ledger_begin(hr_ledger *ledger, uint32_t template_index, uint16_t producer, uint64_t start_ns)
    uint64_t hr_ledger_see_bytes(hr_ledger *ledger, hr_shard_order *order, const uint8_t *data, size_t size,
                                 uint64_t now_ns)
    void hr_ledger_tally(const hr_ledger *ledger, hr_tally *tally)


cdef extern from "load.h" nogil:
    const size_t HR_LOAD_ITERATOR_MAX
    const size_t HR_LOAD_HEAD_MAX
    ctypedef enum hr_load_state:
        HR_LOAD_RUNNING
        HR_LOAD_DONE
        HR_LOAD_FAILED
    struct in_addr:
        uint32_t s_addr
    struct sockaddr_in:
        uint16_t sin_family
        uint16_t sin_port
        in_addr sin_addr
    ctypedef struct hr_connection:
        uint32_t reader
        uint16_t producer
        uint32_t template_index
        hr_shard_order order
        size_t iterator_size
        uint8_t *iterator
    ctypedef struct hr_load:
        sockaddr_in address
        hr_ledger *ledger
        const hr_corpus_digits *digits
        hr_connection *connections
        uint32_t writers
        uint32_t readers
        const char *read_head
        uint32_t read_limit
        uint64_t poll_interval_ns
        int epoll
        uint64_t begin_ns
        uint64_t last_done_ns
        uint64_t slots
        uint64_t late
        uint64_t skipped
        uint64_t done
        uint64_t part
        uint64_t refused
        uint64_t unanswered
        uint64_t breaks
        uint64_t records_done
        uint64_t records_refused
        uint64_t reads
        uint64_t reads_refused
        uint64_t bytes_in
        uint64_t bytes_out
        hr_histogram *latency
        hr_histogram *service
        hr_histogram *slip
        hr_histogram *read_service
        hr_load_state state
        const char *error
        const char *refusal
    uint64_t hr_load_now()
    int hr_load_open(hr_load *load)
    void hr_load_begin(hr_load *load, double interval_ns, uint64_t duration_ns, uint64_t requests_max,
                       uint64_t grace_ns)
    hr_load_state hr_load_turn(hr_load *load, uint64_t until_ns)
    void hr_load_close(hr_load *load)


cdef extern from "plain_disk.h" nogil:
    int hr_plain_disk(int fd, uint8_t *bytes, size_t size, uint64_t count, off_t offset, int sync,
                      hr_histogram *durations)


cdef class Histogram:
    cdef hr_histogram *histogram


cdef class Plan:
    cdef hr_plan plan
    cdef readonly object raw          # uint8 array: the payloads
    cdef readonly object requests     # uint8 array: the requests, or None
    cdef readonly object starts
    cdef readonly object texts
    cdef readonly object keys
    cdef int _check(self) except -1
    cdef int _check_inside(self, offsets, uint32_t size, what) except -1


cdef class Ledger:
    cdef hr_ledger ledger
    cdef readonly Plan plan
    cdef readonly Histogram travel    # from the intended start of a request to its record being seen
    cdef object _notes
    cdef object _seen
    cdef object _numbered
    cdef object _home


cdef class ShardOrder:
    cdef hr_shard_order order
    cdef object _last


cdef class Load:
    cdef hr_load load
    cdef readonly Ledger ledger
    cdef readonly Histogram latency       # writers: from the intended start
    cdef readonly Histogram service       # writers: from the sending
    cdef readonly Histogram slip          # open loop: how far the generator itself was behind
    cdef readonly Histogram read_service  # readers
    cdef object _digits
    cdef bytes _head
    cdef list _orders
    cdef int _add_reader(self, hr_connection *connection, bytes iterator, uint32_t producers) except -1
    cpdef close(self)
