/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * load.c: the load generator; load.h has the theory. Linux only (epoll).
 */
#include "load.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define EVENTS 64
#define LATE_NS UINT64_C(1000000)
#define SPIN_NS UINT64_C(1200000)      /* nearer than this the next start is awaited without sleeping */
#define RETRY_NS UINT64_C(200000000)   /* a refused read is tried again after this */
#define EMPTIES_MAX 20000u             /* empty answers in a row before a reader is taken for stuck */
#define READS_REFUSED_MAX 500u

uint64_t hr_load_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static hr_load_state fail(hr_load *load, const char *what, int number)
{
    if (load->state != HR_LOAD_FAILED)
        snprintf(load->error, sizeof load->error, number ? "%s: %s" : "%s", what, number ? strerror(number) : "");
    load->state = HR_LOAD_FAILED;
    return load->state;
}

/* Keep the first error answer for the report. */
static void keep_refusal(hr_load *load, const hr_connection *connection)
{
    const uint8_t *body = connection->in + connection->answer.body_start;
    int size = (int)(connection->answer.body_size < 400 ? connection->answer.body_size : 400);
    if (load->refusal[0] == 0)
        snprintf(load->refusal, sizeof load->refusal, "HTTP %u: %.*s", connection->answer.status, size,
                 (const char *)body);
}

/* --- connections --- */

/* Connect. On loopback this does not wait; elsewhere it takes one round trip before or between requests. */
static int connect_one(hr_load *load, hr_connection *connection)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = connection};
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        fail(load, "cannot make a socket", errno);
        return -1;
    }
    if (connect(fd, (const struct sockaddr *)&load->address, sizeof load->address) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) != 0 ||
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0 ||
        epoll_ctl(load->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        fail(load, "cannot connect to the target", errno);
        close(fd);
        return -1;
    }
    connection->fd = fd;
    connection->phase = HR_PHASE_IDLE;
    connection->free_ns = hr_load_now();
    return 0;
}

static void disconnect(hr_connection *connection)
{
    if (connection->fd >= 0)
        close(connection->fd);
    connection->fd = -1;
    connection->phase = HR_PHASE_CLOSED;
}

int hr_load_open(hr_load *load)
{
    uint32_t i, count = load->writers + load->readers;
    assert(load->ledger != NULL && load->digits != NULL);
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    for (i = 0; i < count; i++)
        load->connections[i].fd = -1;
    if (load->epoll < 0) {
        fail(load, "cannot make an epoll", errno);
        return -1;
    }
    for (i = 0; i < count; i++) {
        hr_connection *connection = &load->connections[i];
        connection->in = malloc(HR_LOAD_BUFFER_FIRST);
        connection->in_size = HR_LOAD_BUFFER_FIRST;
        connection->head = connection->reader ? malloc(HR_LOAD_HEAD_MAX + 2 * HR_LOAD_ITERATOR_MAX) : NULL;
        if (connection->in == NULL || (connection->reader && connection->head == NULL)) {
            fail(load, "no memory for a connection's buffers", ENOMEM);
            return -1;
        }
        if (connect_one(load, connection) != 0)
            return -1;
    }
    return 0;
}

void hr_load_close(hr_load *load)
{
    uint32_t i;
    for (i = 0; i < load->writers + load->readers; i++) {
        disconnect(&load->connections[i]);
        free(load->connections[i].in);
        free(load->connections[i].head);
        load->connections[i].in = load->connections[i].head = NULL;
    }
    if (load->epoll >= 0)
        close(load->epoll);
    load->epoll = -1;
}

void hr_load_begin(hr_load *load, double interval_ns, uint64_t duration_ns, uint64_t requests_max, uint64_t grace_ns)
{
    load->begin_ns = load->progress_ns = load->last_done_ns = hr_load_now();
    load->interval_ns = interval_ns;
    load->stop_ns = load->begin_ns + duration_ns;
    load->requests_max = requests_max;
    load->grace_ns = grace_ns;
    load->slots = load->late = load->skipped = 0;
    load->writing = load->writers > 0 && requests_max > 0;
    load->state = HR_LOAD_RUNNING;
}

/* --- sending --- */

/* Send as much as the kernel takes. -1: the connection broke. */
static int push(hr_load *load, hr_connection *connection)
{
    while (connection->out_sent < connection->out_size) {
        ssize_t sent = send(connection->fd, connection->out + connection->out_sent,
                            connection->out_size - connection->out_sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN ? 0 : -1;
        connection->out_sent += (size_t)sent;
        load->bytes_out += (uint64_t)sent;
    }
    connection->phase = HR_PHASE_WAITING;
    return 0;
}

static void start(hr_load *load, hr_connection *connection, const uint8_t *out, size_t size, uint64_t now)
{
    assert(connection->phase == HR_PHASE_IDLE);
    connection->out = out;
    connection->out_size = size;
    connection->out_sent = 0;
    connection->in_filled = 0;
    connection->sent_ns = now;
    connection->phase = HR_PHASE_SENDING;
    load->progress_ns = now;
    hr_answer_reset(&connection->answer);
}

static void broke(hr_load *load, hr_connection *connection);

/* Begin the next request of a writer, meant to start at `intended`. */
static void write_next(hr_load *load, hr_connection *connection, uint64_t intended, uint64_t now)
{
    const hr_plan *plan = load->ledger->plan;
    uint32_t index = connection->template_index;
    uint64_t request = hr_ledger_begin(load->ledger, index, connection->producer, intended);
    if (request == UINT64_MAX) {
        load->writing = 0;
        return;
    }
    hr_ledger_stamp(load->ledger, load->digits, request);
    connection->request = request;
    connection->intended_ns = intended;
    connection->template_index = index + load->writers < plan->count ? index + load->writers : connection->producer;
    load->writers_busy++;
    start(load, connection, plan->bytes + plan->start[index], (size_t)(plan->start[index + 1] - plan->start[index]), now);
    if (push(load, connection) != 0)
        broke(load, connection);
}

/* Ask for the next records of a reader's shard. */
static void read_next(hr_load *load, hr_connection *connection, uint64_t now)
{
    char body[HR_LOAD_ITERATOR_MAX + 64];
    int body_size, size;
    body_size = snprintf(body, sizeof body, "{\"ShardIterator\":\"%.*s\",\"Limit\":%u}",
                         (int)connection->iterator_size, (const char *)connection->iterator, load->read_limit);
    size = snprintf((char *)connection->head, HR_LOAD_HEAD_MAX + 2 * HR_LOAD_ITERATOR_MAX,
                    "%sContent-Length: %d\r\n\r\n%s", load->read_head, body_size, body);
    assert(size > 0 && size < (int)(HR_LOAD_HEAD_MAX + 2 * HR_LOAD_ITERATOR_MAX));
    connection->last_chance = !load->writing && load->writers_busy == 0;
    start(load, connection, connection->head, (size_t)size, now);
    if (push(load, connection) != 0)
        broke(load, connection);
}

/* The connection is gone: what was in flight is unanswered. Connect again, a bounded number of times. */
static void broke(hr_load *load, hr_connection *connection)
{
    int busy = connection->phase == HR_PHASE_SENDING || connection->phase == HR_PHASE_WAITING;
    if (busy && !connection->reader) {
        load->unanswered++;
        load->writers_busy--;
    }
    disconnect(connection);
    if (++load->breaks > HR_LOAD_BREAKS_MAX)
        fail(load, "connections keep breaking", 0);
    else
        connect_one(load, connection);
}

/* --- answers --- */

typedef struct outcomes {
    hr_ledger *ledger;
    uint64_t first; /* record of the request's first record */
    uint64_t refused;
} outcomes;

/* What became of one record of a PutRecords request: refused, or acknowledged with a sequence number. */
static void note_outcome(void *context, uint64_t position, const hr_scanned_record *record)
{
    outcomes *o = context;
    if (position >= o->ledger->plan->records)
        return;
    if (record->error_code.text == NULL) {
        hr_ledger_number(o->ledger, o->first + position, record->sequence_number.text, record->sequence_number.size);
        return;
    }
    o->refused++;
    o->ledger->seen[o->first + position] |= HR_SEEN_REFUSED;
}

/* What became of the records of a request that was answered with 200. 0, or -1 if the body makes no sense. */
static int note_records(hr_load *load, hr_connection *connection, hr_note *note)
{
    const uint8_t *body = connection->in + connection->answer.body_start;
    uint64_t records = load->ledger->plan->records;
    outcomes found = {load->ledger, connection->request * records, 0};
    hr_scanned scanned;
    /* Known servers say "0 failed" in plain sight. Every 16th answer is read whole all the same. */
    if (records > 1 && connection->request % HR_LEDGER_NUMBERED_EVERY != 0 &&
        hr_failed_count_fast(body, connection->answer.body_size) == 0) {
        note->outcome = HR_OUTCOME_DONE;
        load->records_done += records;
        return 0;
    }
    if (hr_scan_records(body, connection->answer.body_size, &scanned, note_outcome, &found) != 0)
        return -1;
    if (scanned.has_error_code || (records > 1 && scanned.records != records) ||
        (scanned.failed_count >= 0 && (uint64_t)scanned.failed_count != found.refused))
        return -1;
    if (records == 1)
        hr_ledger_number(load->ledger, connection->request, scanned.sequence_number.text, scanned.sequence_number.size);
    note->outcome = found.refused == 0 ? HR_OUTCOME_DONE : HR_OUTCOME_PART;
    load->part += found.refused != 0;
    load->records_done += records - found.refused;
    load->records_refused += found.refused;
    if (found.refused)
        keep_refusal(load, connection);
    return 0;
}

static void written(hr_load *load, hr_connection *connection, uint64_t now)
{
    hr_note *note = &load->ledger->notes[connection->request];
    load->writers_busy--;
    load->last_done_ns = now;
    hr_histogram_record_ns(load->latency, now - connection->intended_ns);
    hr_histogram_record_ns(load->service, now - connection->sent_ns);
    if (connection->answer.status != 200) {
        note->outcome = HR_OUTCOME_REFUSED;
        load->refused++;
        load->records_refused += load->ledger->plan->records;
        keep_refusal(load, connection);
        return;
    }
    load->done++;
    if (note_records(load, connection, note) != 0) {
        keep_refusal(load, connection);
        fail(load, "the answer to a put is not what the service answers", 0);
    }
}

typedef struct arrivals {
    hr_ledger *ledger;
    hr_shard_order *order;
    uint64_t now;
} arrivals;

static void see(void *context, uint64_t position, const hr_scanned_record *record)
{
    arrivals *a = context;
    uint64_t which = hr_ledger_see_text(a->ledger, a->order, record->data.text, record->data.size, a->now);
    (void)position;
    hr_ledger_see_key(a->ledger, a->order, which, record->partition_key.text, record->partition_key.size);
    hr_ledger_see_sequence(a->ledger, a->order, which, record->sequence_number.text, record->sequence_number.size);
}

static void was_read(hr_load *load, hr_connection *connection, uint64_t now)
{
    arrivals context = {load->ledger, &connection->order, now};
    hr_scanned found;
    hr_histogram_record_ns(load->read_service, now - connection->sent_ns);
    if (connection->answer.status != 200) {
        keep_refusal(load, connection);
        connection->poll_ns = now + RETRY_NS;
        if (++load->reads_refused > READS_REFUSED_MAX)
            fail(load, "reads keep being refused", 0);
        return;
    }
    load->reads++;
    if (hr_scan_records(connection->in + connection->answer.body_start, connection->answer.body_size, &found, see,
                        &context) != 0 || found.next_iterator.size > HR_LOAD_ITERATOR_MAX) {
        keep_refusal(load, connection);
        fail(load, "the answer to GetRecords is not what the service answers", 0);
        return;
    }
    connection->empties = found.records > 0 ? 0 : connection->empties + 1;
    if (connection->empties > EMPTIES_MAX && !load->writing)
        fail(load, "a reader gets only empty answers and never reaches the tip", 0);
    if (found.next_iterator.text == NULL ||
        (found.records == 0 && found.millis_behind <= 0 && connection->last_chance)) {
        connection->phase = HR_PHASE_FINISHED;
        return;
    }
    memcpy(connection->iterator, found.next_iterator.text, found.next_iterator.size);
    connection->iterator_size = found.next_iterator.size;
    connection->poll_ns = found.records == 0 && found.millis_behind <= 0 ? now + load->poll_interval_ns : 0;
}

/* A whole answer is there. */
static void answered(hr_load *load, hr_connection *connection)
{
    uint64_t now = hr_load_now();
    int unsent = connection->phase == HR_PHASE_SENDING; /* answered early: the connection is of no use any more */
    connection->phase = HR_PHASE_IDLE;
    connection->free_ns = load->progress_ns = now;
    if (connection->reader)
        was_read(load, connection, now);
    else
        written(load, connection, now);
    if ((connection->answer.closes || unsent) && load->state == HR_LOAD_RUNNING &&
        connection->phase != HR_PHASE_FINISHED) {
        disconnect(connection);
        connect_one(load, connection);
    }
}

static int grow(hr_load *load, hr_connection *connection)
{
    uint8_t *larger;
    if (connection->in_size >= HR_LOAD_BUFFER_MAX) {
        fail(load, "an answer is larger than 64 MiB", 0);
        return -1;
    }
    larger = realloc(connection->in, connection->in_size * 2);
    if (larger == NULL) {
        fail(load, "no memory for an answer", ENOMEM);
        return -1;
    }
    connection->in = larger;
    connection->in_size *= 2;
    return 0;
}

/* Take in what has come. Returns when there is no more or the answer is whole. */
static void pull(hr_load *load, hr_connection *connection)
{
    for (;;) {
        hr_answer_state state;
        ssize_t got;
        size_t room;
        if (connection->in_filled == connection->in_size && grow(load, connection) != 0)
            return;
        room = connection->in_size - connection->in_filled;
        got = recv(connection->fd, connection->in + connection->in_filled, room, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0 || connection->phase == HR_PHASE_IDLE) {
            broke(load, connection); /* closed, or an answer that nobody asked for */
            return;
        }
        load->bytes_in += (uint64_t)got;
        connection->in_filled += (size_t)got;
        state = hr_answer_feed(&connection->answer, connection->in, connection->in_filled);
        if (state == HR_ANSWER_BAD) {
            fail(load, "the target's answer is not HTTP/1.1", 0);
            return;
        }
        if (state == HR_ANSWER_DONE) {
            answered(load, connection);
            return;
        }
        if ((size_t)got < room)
            return;
    }
}

static void handle(hr_load *load, hr_connection *connection, uint32_t events)
{
    if (connection->phase == HR_PHASE_SENDING && (events & EPOLLOUT) && push(load, connection) != 0) {
        broke(load, connection);
        return;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) && connection->fd >= 0 &&
        connection->phase != HR_PHASE_FINISHED)
        pull(load, connection);
}

/* --- what to start --- */

static uint64_t slot_time(const hr_load *load, uint64_t slot)
{
    return load->begin_ns + (uint64_t)((double)slot * load->interval_ns);
}

/* Start writers. Returns when the next one is due: 0 if nothing waits for time. */
static uint64_t start_writers(hr_load *load, uint64_t now)
{
    uint32_t i;
    for (i = 0; i < load->writers && load->writing; i++) {
        hr_connection *connection = &load->connections[i];
        uint64_t due = load->interval_ns > 0 ? slot_time(load, load->slots) : now;
        if (load->slots >= load->requests_max || due >= load->stop_ns) {
            load->writing = 0;
            break;
        }
        if (due > now)
            return due;
        if (connection->phase != HR_PHASE_IDLE)
            continue;
        if (load->interval_ns > 0) {
            uint64_t could = due > connection->free_ns ? due : connection->free_ns;
            now = hr_load_now();
            hr_histogram_record_ns(load->slip, now - could);
            load->late += now - due > LATE_NS && could > due;
        }
        load->slots++;
        write_next(load, connection, due, now);
    }
    if (load->writing && load->interval_ns > 0 && slot_time(load, load->slots) > now)
        return slot_time(load, load->slots);
    return 0;
}

/* Start readers. Returns when the next one is due, or 0. */
static uint64_t start_readers(hr_load *load, uint64_t now)
{
    uint32_t i;
    uint64_t next = 0;
    for (i = load->writers; i < load->writers + load->readers; i++) {
        hr_connection *connection = &load->connections[i];
        if (connection->phase != HR_PHASE_IDLE)
            continue;
        if (connection->poll_ns <= now)
            read_next(load, connection, now);
        else if (next == 0 || connection->poll_ns < next)
            next = connection->poll_ns;
    }
    return next;
}

static int all_done(const hr_load *load)
{
    uint32_t i;
    if (load->writing || load->writers_busy > 0)
        return 0;
    for (i = load->writers; i < load->writers + load->readers; i++)
        if (load->connections[i].phase != HR_PHASE_FINISHED)
            return 0;
    return 1;
}

/* Count the slots that were due and never began (all connections busy at the end, or the ledger full). */
static void count_skipped(hr_load *load)
{
    uint64_t due;
    if (load->interval_ns <= 0)
        return;
    due = (uint64_t)((double)(load->stop_ns - load->begin_ns) / load->interval_ns + 0.5);
    if (due > load->requests_max)
        due = load->requests_max;
    load->skipped = due > load->slots ? due - load->slots : 0;
}

/* How long epoll may sleep, in ms, when something is due at `next` (0: nothing is). */
static int patience(uint64_t now, uint64_t next, uint64_t until)
{
    uint64_t limit = next != 0 && next < until ? next : until;
    if (limit <= now)
        return 0;
    if (limit == next && limit - now < SPIN_NS)
        return 0;
    limit = (limit - now) / 1000000;
    return limit > 1000 ? 1000 : limit == 0 ? 1 : (int)limit;
}

hr_load_state hr_load_turn(hr_load *load, uint64_t until_ns)
{
    struct epoll_event events[EVENTS];
    while (load->state == HR_LOAD_RUNNING) {
        uint64_t now = hr_load_now(), writer, reader, next;
        int count, i;
        if (now >= until_ns)
            return load->state;
        writer = start_writers(load, now);
        reader = start_readers(load, now);
        if (load->state != HR_LOAD_RUNNING)
            break;
        if (all_done(load)) {
            count_skipped(load);
            return load->state = HR_LOAD_DONE;
        }
        if (now > load->progress_ns + load->grace_ns && (writer == 0 || load->writers_busy > 0))
            return fail(load, "the target does not answer", 0);
        next = writer == 0 || (reader != 0 && reader < writer) ? reader : writer;
        count = epoll_wait(load->epoll, events, EVENTS, patience(now, next, until_ns));
        if (count < 0 && errno != EINTR)
            return fail(load, "cannot wait for the target", errno);
        for (i = 0; i < count && load->state == HR_LOAD_RUNNING; i++)
            handle(load, events[i].data.ptr, events[i].events);
    }
    return load->state;
}
