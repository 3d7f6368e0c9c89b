/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * sink.c: a server that does nothing; sink.h says what for.
 */
#include "sink.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define EVENTS 64

static void drop(hr_sink_connection *connection)
{
    close(connection->fd);
    connection->fd = -1;
}

int hr_sink_open(hr_sink *sink)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    uint32_t i;
    for (i = 0; i < HR_SINK_CONNECTIONS_MAX; i++)
        sink->connections[i].fd = -1;
    sink->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (sink->epoll < 0 || epoll_ctl(sink->epoll, EPOLL_CTL_ADD, sink->listener, &event) != 0)
        return -errno;
    return 0;
}

void hr_sink_close(hr_sink *sink)
{
    uint32_t i;
    for (i = 0; i < HR_SINK_CONNECTIONS_MAX; i++)
        if (sink->connections[i].fd >= 0)
            drop(&sink->connections[i]);
    if (sink->epoll >= 0)
        close(sink->epoll);
    sink->epoll = -1;
}

/* Take a waiting connection into a free place; refuse it if there is none. */
static void take(hr_sink *sink)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
    int yes = 1, fd = accept4(sink->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    uint32_t i;
    if (fd < 0)
        return;
    for (i = 0; i < HR_SINK_CONNECTIONS_MAX && sink->connections[i].fd >= 0; i++)
        ;
    if (i == HR_SINK_CONNECTIONS_MAX) {
        close(fd);
        return;
    }
    memset(&sink->connections[i], 0, sizeof sink->connections[i]);
    sink->connections[i].fd = fd;
    event.data.ptr = &sink->connections[i];
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (epoll_ctl(sink->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        drop(&sink->connections[i]);
}

/* The number behind the first "Content-Length: "; 0 if there is none. */
static uint64_t length_of(const uint8_t *head, size_t size)
{
    static const char name[] = "Content-Length: ";
    const uint8_t *at = memmem(head, size, name, sizeof name - 1);
    uint64_t value = 0;
    if (at == NULL)
        return 0;
    for (at += sizeof name - 1; at < head + size && *at >= '0' && *at <= '9' && value < UINT32_MAX; at++)
        value = value * 10 + (*at - '0');
    return value;
}

/* Which answer the request with this head gets. */
static const hr_sink_answer *answer_for(hr_sink *sink, hr_sink_connection *connection, size_t head_size)
{
    static const char name[] = "X-Amz-Target: Kinesis_20131202.";
    const uint8_t *at = memmem(connection->head, head_size, name, sizeof name - 1);
    const uint8_t *end = connection->head + head_size;
    uint32_t i;
    if (at == NULL)
        return NULL;
    at += sizeof name - 1;
    for (i = 0; i < sink->answers_count; i++) {
        size_t size = strlen(sink->answers[i].operation);
        if (size < (size_t)(end - at) && memcmp(at, sink->answers[i].operation, size) == 0 && at[size] == '\r')
            break;
    }
    if (i == sink->answers_count)
        return NULL;
    if (strcmp(sink->answers[i].operation, "GetRecords") != 0 || sink->series_count == 0)
        return &sink->answers[i];
    if (connection->series == 0)
        connection->series = 1 + sink->series_taken++ % sink->series_count;
    const uint32_t *series = &sink->series[connection->series - 1];
    return connection->turn < series[1] - series[0] ? &sink->reads[series[0] + connection->turn++] : &sink->answers[i];
}

/* Send as much as the kernel takes. -1: broken. */
static int push(hr_sink_connection *connection)
{
    while (connection->out_left > 0) {
        ssize_t sent = send(connection->fd, connection->out, connection->out_left, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -1;
        connection->out += sent;
        connection->out_left -= (size_t)sent;
    }
    return 0;
}

/* Deal with bytes of a request; answer when it is whole. -1: broken. */
static int feed(hr_sink *sink, hr_sink_connection *connection, const uint8_t *bytes, size_t size)
{
    if (!connection->in_body) {
        size_t room = HR_SINK_HEAD_MAX - connection->head_filled, taken = size < room ? size : room;
        const uint8_t *end;
        size_t head_size;
        memcpy(connection->head + connection->head_filled, bytes, taken);
        end = memmem(connection->head, connection->head_filled + taken, "\r\n\r\n", 4);
        if (end == NULL) {
            connection->head_filled += taken;
            return taken < size || connection->head_filled == HR_SINK_HEAD_MAX ? -1 : 0;
        }
        head_size = (size_t)(end - connection->head) + 4;
        connection->answer = answer_for(sink, connection, head_size);
        connection->body_left = length_of(connection->head, head_size);
        size -= head_size - connection->head_filled;
        connection->head_filled = 0;
        connection->in_body = 1;
        if (connection->answer == NULL)
            return -1;
    }
    if (size > connection->body_left)
        return -1; /* pipelining is not for this server */
    connection->body_left -= size;
    if (connection->body_left > 0)
        return 0;
    connection->in_body = 0;
    connection->out = connection->answer->bytes;
    connection->out_left = connection->answer->size;
    return push(connection);
}

static void serve(hr_sink *sink, hr_sink_connection *connection, uint32_t events)
{
    if (connection->fd < 0)
        return;
    if ((events & EPOLLOUT) && push(connection) != 0) {
        drop(connection);
        return;
    }
    while (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        ssize_t got = recv(connection->fd, sink->scratch, HR_SINK_SCRATCH, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0 || feed(sink, connection, sink->scratch, (size_t)got) != 0) {
            drop(connection);
            return;
        }
        if ((size_t)got < HR_SINK_SCRATCH)
            return;
    }
}

int hr_sink_turn(hr_sink *sink, int timeout_ms)
{
    struct epoll_event events[EVENTS];
    int turns, count, i;
    assert(sink->answers_count > 0);
    for (turns = 0; turns < 1000; turns++) {
        count = epoll_wait(sink->epoll, events, EVENTS, timeout_ms);
        if (count < 0)
            return errno == EINTR ? 0 : -errno;
        if (count == 0)
            return 0;
        for (i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL)
                take(sink);
            else
                serve(sink, events[i].data.ptr, events[i].events);
        }
    }
    return 0;
}
