/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * load.h: the load generator: many HTTP/1.1 connections on one thread, writers that put and readers that get.
 *
 * Writers send prepared requests (hr_plan), one at a time each. Closed loop: the next request starts when
 * the answer is there; that measures throughput, and its latencies say nothing about load. Open loop: request
 * i is meant to start at begin + i / rate, whatever became of the ones before; a latency counts from that
 * moment, so a target that stands still is seen by every request that should have started meanwhile. A
 * request that finds all connections busy waits for one, and is counted as late.
 *
 * The generator measures itself: `slip` is the time between the moment at which a request could have started
 * (due, and a connection free) and the moment it did. The caller voids a run whose slip is too large.
 *
 * Readers follow a shard from an iterator to the tip, check each record against the ledger, and are done when
 * they find nothing new after the last writer has finished.
 *
 * One writer uses only templates whose index is its own modulo the number of writers, so that no two writers
 * rewrite the numbers of the same bytes. Cost of a PutRecords of 500 x 1 KiB: 2 µs for the numbers, the
 * rest is the kernel's copy.
 */
#ifndef HR_LOAD_H
#define HR_LOAD_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#include "answer.h"
#include "ledger.h"

#define HR_LOAD_ITERATOR_MAX 4096u
#define HR_LOAD_HEAD_MAX 2048u
#define HR_LOAD_BUFFER_FIRST ((size_t)1 << 18)
#define HR_LOAD_BUFFER_MAX ((size_t)HR_ANSWER_BODY_MAX + HR_ANSWER_HEAD_MAX)
#define HR_LOAD_ERROR_TEXT 512u
#define HR_LOAD_BREAKS_MAX 1000u /* broken connections before a run is given up */

typedef enum hr_load_state {
    HR_LOAD_RUNNING = 0,
    HR_LOAD_DONE = 1,
    HR_LOAD_FAILED = 2 /* `error` says why */
} hr_load_state;

typedef enum hr_phase {
    HR_PHASE_CLOSED = 0, /* no connection */
    HR_PHASE_IDLE,
    HR_PHASE_SENDING,    /* part of the request is still to be sent */
    HR_PHASE_WAITING,    /* for the answer */
    HR_PHASE_FINISHED    /* a reader at the end of its shard */
} hr_phase;

typedef struct hr_connection {
    int fd;
    hr_phase phase;
    uint32_t reader; /* 1: reads a shard; 0: writes */
    uint16_t producer;
    uint32_t template_index; /* next one to send */
    const uint8_t *out;
    size_t out_size, out_sent;
    uint8_t *in;
    size_t in_size, in_filled;
    hr_answer answer;
    uint64_t request;     /* number in the ledger */
    uint64_t intended_ns; /* when the request in flight was meant to start */
    uint64_t sent_ns;     /* when it did */
    uint64_t free_ns;     /* since when the connection is idle */
    /* readers only */
    uint64_t poll_ns;     /* not before */
    uint32_t last_chance; /* the request in flight was sent after the last writer had finished */
    uint32_t empties;     /* answers without a record in a row */
    hr_shard_order order;
    size_t iterator_size;
    uint8_t *head;        /* request buffer of a reader: head and body */
    uint8_t iterator[HR_LOAD_ITERATOR_MAX];
} hr_connection;

typedef struct hr_load {
    struct sockaddr_in address;
    hr_ledger *ledger;
    const hr_corpus_digits *digits;
    hr_connection *connections; /* writers, then readers */
    uint32_t writers, readers;
    const char *read_head; /* head of a GetRecords request without Content-Length and without the empty line */
    uint32_t read_limit;   /* records an answer */
    uint64_t poll_interval_ns;
    int epoll;
    /* what to do */
    double interval_ns;    /* open loop: between two requests; 0: closed loop */
    uint64_t begin_ns;     /* of the run */
    uint64_t stop_ns;      /* start no request after this */
    uint64_t requests_max; /* start no more than this */
    uint64_t grace_ns;     /* how long to wait for answers after the last start, and for any progress */
    /* what happened */
    uint64_t slots;        /* open loop: requests begun */
    uint64_t late;         /* open loop: begun more than 1 ms after they were due, as no connection was free */
    uint64_t skipped;      /* open loop: due before the end and never begun */
    uint64_t done, part, refused, unanswered, breaks;
    uint64_t records_done, records_refused;
    uint64_t reads, reads_refused, bytes_in, bytes_out;
    uint64_t last_done_ns; /* when the last answer to a writer came */
    uint64_t progress_ns;  /* when anything came */
    uint32_t writers_busy;
    uint32_t writing;      /* requests may still start */
    hr_histogram *latency; /* writers: from the intended start */
    hr_histogram *service; /* writers: from the sending */
    hr_histogram *slip;
    hr_histogram *read_service;
    hr_load_state state;
    char error[HR_LOAD_ERROR_TEXT];   /* why the run failed */
    char refusal[HR_LOAD_ERROR_TEXT]; /* the first error answer */
} hr_load;

/* The monotonic clock. */
uint64_t hr_load_now(void);

/* Connect everything. The caller has filled in address, ledger, digits, connections (zeroed but for reader,
 * producer, template_index, iterator, order), counts, read_*, poll_interval_ns and histograms. 0 or -1 (see
 * `error`). */
int hr_load_open(hr_load *load);

/* Set what to do next: an interval (0: closed loop), for how long, how many requests at most. */
void hr_load_begin(hr_load *load, double interval_ns, uint64_t duration_ns, uint64_t requests_max, uint64_t grace_ns);

/* Work until `until_ns` or until everything is done. */
hr_load_state hr_load_turn(hr_load *load, uint64_t until_ns);

/* Close all connections and free their buffers. */
void hr_load_close(hr_load *load);

#endif
