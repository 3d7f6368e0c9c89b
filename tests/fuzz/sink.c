/* Invariant: whatever a client sends, in whatever pieces, the sink stays within its buffers, answers only whole
 * requests for operations it knows, and lets go of every other connection. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include "fuzz.h"
#include "sink.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint8_t done[] = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";
static const uint8_t data_answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndata";

/* A sink that keeps its epoll; nobody ever connects to its "listener", a pipe. */
static hr_sink *sink(void)
{
    static hr_sink *kept;
    static const hr_sink_answer answers[] = {{"PutRecord", done, sizeof done - 1}, {"GetRecords", done, sizeof done - 1}};
    static const hr_sink_answer reads[] = {{"GetRecords", data_answer, sizeof data_answer - 1},
                                           {"GetRecords", data_answer, sizeof data_answer - 1},
                                           {"GetRecords", data_answer, sizeof data_answer - 1}};
    static const uint32_t series[] = {0, 2, 2, 3};
    int ends[2];
    if (kept != NULL)
        return kept;
    kept = calloc(1, sizeof *kept);
    CHECK(pipe(ends) == 0);
    *kept = (hr_sink){.listener = ends[0], .answers = answers, .answers_count = 2, .reads = reads, .series = series,
                      .series_count = 3};
    kept->connections = calloc(HR_SINK_CONNECTIONS_MAX, sizeof(hr_sink_connection));
    kept->scratch = malloc(HR_SINK_SCRATCH);
    CHECK(hr_sink_open(kept) == 0);
    return kept;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hr_sink *s = sink();
    hr_sink_connection *connection = &s->connections[0];
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = connection};
    uint8_t answer[4096];
    int ends[2];
    size_t at = 0, piece = size ? 1 + data[0] * 8u : 1;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
    memset(connection, 0, sizeof *connection);
    connection->fd = ends[0];
    CHECK(epoll_ctl(s->epoll, EPOLL_CTL_ADD, ends[0], &event) == 0);
    while (at < size && connection->fd >= 0) {
        size_t now = size - at < piece ? size - at : piece;
        ssize_t sent = send(ends[1], data + at, now, MSG_NOSIGNAL), got;
        if (sent <= 0)
            break;
        at += (size_t)sent;
        CHECK(hr_sink_turn(s, 0) == 0);
        CHECK(connection->fd < 0 || connection->head_filled < HR_SINK_HEAD_MAX);
        while ((got = recv(ends[1], answer, sizeof answer, 0)) > 0)
            CHECK(got % (ssize_t)(sizeof done - 1) == 0 && memcmp(answer, done, 9) == 0);
    }
    close(ends[1]);
    CHECK(hr_sink_turn(s, 0) == 0);
    CHECK(connection->fd < 0); /* the client has gone, so has the connection */
    return 0;
}
