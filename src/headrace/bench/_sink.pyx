# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A server that does nothing, as a ceiling for real ones (see native/sink.h)."""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

import os


cdef extern from "sink.h" nogil:
    const uint32_t HR_SINK_CONNECTIONS_MAX
    const size_t HR_SINK_SCRATCH
    ctypedef struct hr_sink_answer:
        const char *operation
        const uint8_t *bytes
        size_t size
    ctypedef struct hr_sink_connection:
        pass
    ctypedef struct hr_sink:
        int listener
        int epoll
        const hr_sink_answer *answers
        uint32_t answers_count
        const hr_sink_answer *reads
        const uint32_t *series
        uint32_t series_count
        hr_sink_connection *connections
        uint8_t *scratch
    int hr_sink_open(hr_sink *sink)
    int hr_sink_turn(hr_sink *sink, int timeout_ms)
    void hr_sink_close(hr_sink *sink)


cdef void _fill(hr_sink_answer *out, bytes operation, bytes answer) noexcept:
    out.operation = PyBytes_AS_STRING(operation)
    out.bytes = <const uint8_t *>PyBytes_AS_STRING(answer)
    out.size = len(answer)


def serve(int listener, dict answers, series=(), stop=None):
    """Serve the listening, non-blocking socket until interrupted, or until `stop()` is true.

    answers: whole HTTP answers by operation (bytes); GetRecords: the one at the end. series: lists of the answers
    that GetRecords gets before it; each connection that reads gets the next list.
    """
    cdef hr_sink sink
    cdef hr_sink_answer *table
    cdef uint32_t *starts
    cdef int failed
    cdef Py_ssize_t i
    reads = [answer for each in series for answer in each]
    if not answers:
        raise ValueError("there is no answer to give")
    table = <hr_sink_answer *>calloc(len(answers) + len(reads), sizeof(hr_sink_answer))
    starts = <uint32_t *>calloc(len(series) + 1, sizeof(uint32_t))
    memset(&sink, 0, sizeof(sink))
    sink.connections = <hr_sink_connection *>calloc(HR_SINK_CONNECTIONS_MAX, sizeof(hr_sink_connection))
    sink.scratch = <uint8_t *>calloc(1, HR_SINK_SCRATCH)
    sink.listener, sink.epoll = listener, -1
    sink.answers, sink.answers_count = table, len(answers)
    sink.reads, sink.series, sink.series_count = table + len(answers), starts, len(series)
    try:
        if table == NULL or starts == NULL or sink.connections == NULL or sink.scratch == NULL:
            raise MemoryError()
        for i, (operation, answer) in enumerate(answers.items()):
            _fill(&table[i], operation, answer)
        for i, answer in enumerate(reads):
            _fill(&table[len(answers) + i], b"GetRecords", answer)
        for i in range(len(series)):
            starts[i + 1] = starts[i] + len(series[i])
        failed = hr_sink_open(&sink)
        while not failed and (stop is None or not stop()):
            with nogil:
                failed = hr_sink_turn(&sink, 100)
            PyErr_CheckSignals()
        if failed:
            raise OSError(-failed, os.strerror(-failed))
    finally:
        if sink.epoll >= 0:
            hr_sink_close(&sink)
        free(table)
        free(starts)
        free(sink.connections)
        free(sink.scratch)
