/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * sink.h: a server that does nothing: what sockets and the load itself can carry, as a ceiling for real ones.
 *
 * It reads requests, throws their bodies away, and sends answers that were prepared. Puts get one answer
 * always. Reads get a series of answers, another one for each connection that reads, then the last answer.
 * One thread, epoll, HTTP/1.1 without pipelining; only the head's operation and Content-Length are looked at.
 */
#ifndef HR_SINK_H
#define HR_SINK_H

#include <stddef.h>
#include <stdint.h>

#define HR_SINK_HEAD_MAX 4096u
#define HR_SINK_CONNECTIONS_MAX 256u
#define HR_SINK_SCRATCH ((size_t)1 << 20)

typedef struct hr_sink_answer {
    const char *operation; /* as in "PutRecords" */
    const uint8_t *bytes;  /* head and body */
    size_t size;
} hr_sink_answer;

typedef struct hr_sink_connection {
    int fd;
    size_t head_filled;
    uint64_t body_left;  /* of the request */
    uint32_t in_body;
    uint32_t turn;       /* reads answered */
    uint32_t series;     /* 1 + which series its reads get; 0: it has not read yet */
    const hr_sink_answer *answer;
    const uint8_t *out;
    size_t out_left;
    uint8_t head[HR_SINK_HEAD_MAX];
} hr_sink_connection;

typedef struct hr_sink {
    int listener; /* bound, listening, non-blocking */
    int epoll;
    const hr_sink_answer *answers; /* by operation; GetRecords: the answer at the end */
    uint32_t answers_count;
    const hr_sink_answer *reads; /* what GetRecords gets before the end, series after series */
    const uint32_t *series;      /* series i is reads[series[i] … series[i + 1]) */
    uint32_t series_count;
    uint32_t series_taken;
    hr_sink_connection *connections; /* HR_SINK_CONNECTIONS_MAX */
    uint8_t *scratch;                /* HR_SINK_SCRATCH */
} hr_sink;

/* Register the listener. 0 or -errno. */
int hr_sink_open(hr_sink *sink);

/* Serve for about `timeout_ms`. 0 or -errno. */
int hr_sink_turn(hr_sink *sink, int timeout_ms);

/* Close every connection and the epoll; the listener stays the caller's. */
void hr_sink_close(hr_sink *sink);

#endif
