/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * answer.c: reading of HTTP answers and of the JSON in them; answer.h has the theory.
 */
#include "answer.h"

#include <assert.h>
#include <string.h>

/* --- HTTP --- */

void hr_answer_reset(hr_answer *answer)
{
    memset(answer, 0, sizeof *answer);
}

static int lower(int c)
{
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

/* Whether text[0, size) is `word` (given in lower case), whatever the case of its letters. */
static int same(const uint8_t *text, size_t size, const char *word)
{
    size_t i;
    if (size != strlen(word))
        return 0;
    for (i = 0; i < size; i++)
        if (lower(text[i]) != word[i])
            return 0;
    return 1;
}

static int contains(const uint8_t *text, size_t size, const char *word)
{
    size_t length = strlen(word), i;
    for (i = 0; i + length <= size; i++)
        if (same(text + i, length, word))
            return 1;
    return 0;
}

static int decimal(const uint8_t *text, size_t size, uint64_t *value)
{
    size_t i;
    *value = 0;
    if (size == 0 || size > 18)
        return -1;
    for (i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        *value = *value * 10 + (text[i] - '0');
    }
    return 0;
}

/* One header line without its line end. */
static int header(hr_answer *answer, const uint8_t *line, size_t size, int *chunked)
{
    const uint8_t *colon = memchr(line, ':', size);
    const uint8_t *value, *end = line + size;
    size_t name_size;
    if (colon == NULL || colon == line)
        return -1;
    name_size = (size_t)(colon - line);
    value = colon + 1;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    if (same(line, name_size, "content-length"))
        return decimal(value, (size_t)(end - value), &answer->left);
    if (same(line, name_size, "transfer-encoding"))
        *chunked = contains(value, (size_t)(end - value), "chunked");
    if (same(line, name_size, "connection"))
        answer->closes = contains(value, (size_t)(end - value), "close") ? 1 : 0;
    return 0;
}

/* The whole head, buffer[head_start, head_end), the last line end included but not the empty line. */
static int head(hr_answer *answer, const uint8_t *buffer, size_t head_end)
{
    const uint8_t *line = buffer + answer->head_start, *end = buffer + head_end;
    uint64_t status = 0;
    int chunked = 0, first = 1;
    answer->left = UINT64_MAX;
    while (line < end) {
        const uint8_t *stop = memchr(line, '\r', (size_t)(end - line));
        size_t size;
        if (stop == NULL || stop + 1 >= end || stop[1] != '\n')
            return -1;
        size = (size_t)(stop - line);
        if (first) {
            if (size < 12 || memcmp(line, "HTTP/1.", 7) != 0 || line[8] != ' ' || decimal(line + 9, 3, &status) != 0)
                return -1;
            answer->closes = line[7] == '0';
            first = 0;
        } else if (header(answer, line, size, &chunked) != 0) {
            return -1;
        }
        line = stop + 2;
    }
    answer->status = (uint32_t)status;
    if (chunked) {
        answer->part = HR_ANSWER_CHUNK_SIZE;
        answer->left = 0;
    } else if (status == 204 || status == 304) {
        answer->part = HR_ANSWER_BODY;
        answer->left = 0;
    } else {
        answer->part = HR_ANSWER_BODY;
        if (answer->left > HR_ANSWER_BODY_MAX)
            return -1; /* no length at all is UINT64_MAX */
    }
    return first ? -1 : 0;
}

/* Look for the end of the head. MORE: not there yet; DONE: parsed, go on with the body. */
static hr_answer_state feed_head(hr_answer *answer, const uint8_t *buffer, size_t filled)
{
    for (;;) {
        size_t from = answer->at < answer->head_start + 3 ? answer->head_start : answer->at - 3;
        const uint8_t *end = memmem(buffer + from, filled - from, "\r\n\r\n", 4);
        size_t head_end;
        if (end == NULL) {
            answer->at = filled;
            return filled - answer->head_start > HR_ANSWER_HEAD_MAX ? HR_ANSWER_BAD : HR_ANSWER_MORE;
        }
        head_end = (size_t)(end - buffer);
        if (head_end - answer->head_start >= 12 && memcmp(buffer + answer->head_start, "HTTP/1.1 1", 10) == 0) {
            answer->head_start = answer->at = head_end + 4; /* an interim answer: the real one follows */
            continue;
        }
        if (head(answer, buffer, head_end + 2) != 0)
            return HR_ANSWER_BAD;
        answer->at = answer->body_start = head_end + 4;
        return HR_ANSWER_DONE;
    }
}

/* A line that begins at `at`: its size without the line end, or SIZE_MAX if it is not whole yet. */
static size_t line_size(const uint8_t *buffer, size_t at, size_t filled)
{
    const uint8_t *end = memchr(buffer + at, '\n', filled - at);
    return end == NULL ? SIZE_MAX : (size_t)(end - (buffer + at));
}

/* The size line of a chunk, 1 to 8 hexadecimal digits and perhaps an extension. */
static int chunk_size(const uint8_t *line, size_t size, uint64_t *value)
{
    size_t i;
    *value = 0;
    for (i = 0; i < size && line[i] != ';' && line[i] != '\r' && line[i] != ' '; i++) {
        int c = lower(line[i]);
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0 || i >= 8)
            return -1;
        *value = *value << 4 | (uint64_t)digit;
    }
    return i == 0 ? -1 : 0;
}

/* Move what is there of a chunk's data down to the joined body. */
static void take_chunk(hr_answer *answer, uint8_t *buffer, size_t filled)
{
    size_t size = filled - answer->at;
    if (size > answer->left)
        size = (size_t)answer->left;
    memmove(buffer + answer->body_start + answer->body_size, buffer + answer->at, size);
    answer->body_size += size;
    answer->at += size;
    answer->left -= size;
    assert(answer->body_start + answer->body_size <= answer->at);
    if (answer->left == 0)
        answer->part = HR_ANSWER_CHUNK_END;
}

static hr_answer_state feed_chunks(hr_answer *answer, uint8_t *buffer, size_t filled)
{
    while (answer->at < filled) {
        size_t size;
        if (answer->part == HR_ANSWER_CHUNK_DATA) {
            take_chunk(answer, buffer, filled);
            continue;
        }
        size = line_size(buffer, answer->at, filled);
        if (size == SIZE_MAX)
            return filled - answer->at > HR_ANSWER_HEAD_MAX ? HR_ANSWER_BAD : HR_ANSWER_MORE;
        if (answer->part == HR_ANSWER_CHUNK_SIZE) {
            if (chunk_size(buffer + answer->at, size, &answer->left) != 0)
                return HR_ANSWER_BAD;
            if (answer->body_size + answer->left > HR_ANSWER_BODY_MAX)
                return HR_ANSWER_BAD;
            answer->part = answer->left == 0 ? HR_ANSWER_TRAILER : HR_ANSWER_CHUNK_DATA;
        } else {
            int empty = size == 0 || (size == 1 && buffer[answer->at] == '\r');
            if (answer->part == HR_ANSWER_CHUNK_END) {
                if (!empty)
                    return HR_ANSWER_BAD;
                answer->part = HR_ANSWER_CHUNK_SIZE;
            } else if (empty) {
                answer->at += size + 1;
                return answer->at == filled ? HR_ANSWER_DONE : HR_ANSWER_BAD;
            }
        }
        answer->at += size + 1;
    }
    return HR_ANSWER_MORE;
}

hr_answer_state hr_answer_feed(hr_answer *answer, uint8_t *buffer, size_t filled)
{
    assert(answer->at <= filled);
    if (answer->part == HR_ANSWER_HEAD) {
        hr_answer_state state = feed_head(answer, buffer, filled);
        if (state != HR_ANSWER_DONE)
            return state;
    }
    if (answer->part != HR_ANSWER_BODY)
        return feed_chunks(answer, buffer, filled);
    if (filled - answer->body_start < answer->left)
        return HR_ANSWER_MORE;
    answer->body_size = (size_t)answer->left;
    return filled - answer->body_start == answer->left ? HR_ANSWER_DONE : HR_ANSWER_BAD;
}

/* --- JSON --- */

typedef struct cursor {
    const uint8_t *at;
    const uint8_t *end;
} cursor;

static int peek(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\t' || *c->at == '\r'))
        c->at++;
    return c->at < c->end ? *c->at : -1;
}

static int expect(cursor *c, int what)
{
    if (peek(c) != what)
        return -1;
    c->at++;
    return 0;
}

/* A string; an even number of backslashes (none, mostly) before the closing quote. */
static int string(cursor *c, hr_text *out)
{
    const uint8_t *quote;
    if (expect(c, '"') != 0)
        return -1;
    out->text = quote = c->at;
    for (;;) {
        const uint8_t *back;
        quote = memchr(quote, '"', (size_t)(c->end - quote));
        if (quote == NULL)
            return -1;
        for (back = quote; back > out->text && back[-1] == '\\'; back--)
            ;
        if ((quote - back) % 2 == 0)
            break;
        quote++;
    }
    out->size = (size_t)(quote - out->text);
    c->at = quote + 1;
    return 0;
}

/* A number, true, false or null: everything up to what ends it. */
static int word(cursor *c, hr_text *out)
{
    out->text = c->at;
    while (c->at < c->end && *c->at != ',' && *c->at != '}' && *c->at != ']' && *c->at > ' ')
        c->at++;
    out->size = (size_t)(c->at - out->text);
    return out->size == 0 ? -1 : 0;
}

/* Skip a value of any kind. Brackets are counted, not matched by kind. */
static int skip(cursor *c)
{
    uint64_t depth = 0;
    hr_text ignored;
    do {
        int next = peek(c), failed = 0;
        if (next == '"')
            failed = string(c, &ignored);
        else if (next == '{' || next == '[') {
            depth++;
            c->at++;
        } else if (next == '}' || next == ']') {
            if (depth == 0)
                return -1;
            depth--;
            c->at++;
        } else if ((next == ',' || next == ':') && depth > 0)
            c->at++;
        else
            failed = next < 0 ? -1 : word(c, &ignored);
        if (failed)
            return -1;
    } while (depth > 0);
    return 0;
}

/* A string, or null (text NULL). Anything else is skipped and counts as null. */
static int text_or_null(cursor *c, hr_text *out)
{
    if (peek(c) == '"')
        return string(c, out);
    out->text = NULL;
    out->size = 0;
    return skip(c);
}

/* A whole number, or -1 for anything else. */
static int integer(cursor *c, int64_t *out)
{
    hr_text text;
    uint64_t value;
    *out = -1;
    if (peek(c) < '0' || peek(c) > '9')
        return skip(c);
    if (word(c, &text) != 0)
        return -1;
    if (decimal(text.text, text.size, &value) == 0)
        *out = (int64_t)value;
    return 0;
}

static int is(const hr_text *name, const char *word)
{
    return name->size == strlen(word) && memcmp(name->text, word, name->size) == 0;
}

/* Behind a member or element: 1 another follows, 0 the end, -1 neither. */
static int another(cursor *c, int close)
{
    int next = peek(c);
    if (next < 0)
        return -1;
    c->at++;
    return next == ',' ? 1 : next == close ? 0 : -1;
}

/* Before the first member or element: 1 there is one, 0 empty, -1 broken. */
static int opens(cursor *c, int open, int close)
{
    if (expect(c, open) != 0)
        return -1;
    if (peek(c) != close)
        return peek(c) < 0 ? -1 : 1;
    c->at++;
    return 0;
}

static int record(cursor *c, hr_scanned_record *out)
{
    int more = opens(c, '{', '}');
    memset(out, 0, sizeof *out);
    while (more > 0) {
        hr_text name;
        int failed;
        if (string(c, &name) != 0 || expect(c, ':') != 0)
            return -1;
        if (is(&name, "Data"))
            failed = text_or_null(c, &out->data);
        else if (is(&name, "PartitionKey"))
            failed = text_or_null(c, &out->partition_key);
        else if (is(&name, "SequenceNumber"))
            failed = text_or_null(c, &out->sequence_number);
        else if (is(&name, "ErrorCode"))
            failed = text_or_null(c, &out->error_code);
        else if (is(&name, "ShardId"))
            failed = text_or_null(c, &out->shard_id);
        else
            failed = skip(c);
        if (failed)
            return -1;
        more = another(c, '}');
    }
    return more;
}

static int records(cursor *c, hr_scanned *out, hr_record_callback callback, void *context)
{
    int more;
    if (peek(c) != '[')
        return skip(c);
    more = opens(c, '[', ']');
    while (more > 0) {
        hr_scanned_record found;
        if (record(c, &found) != 0)
            return -1;
        if (callback != NULL)
            callback(context, out->records, &found);
        out->records++;
        more = another(c, ']');
    }
    return more;
}

int hr_scan_records(const uint8_t *body, size_t size, hr_scanned *out, hr_record_callback callback, void *context)
{
    cursor c = {body, body + size};
    int more;
    memset(out, 0, sizeof *out);
    out->failed_count = out->millis_behind = -1;
    more = opens(&c, '{', '}');
    while (more > 0) {
        hr_text name;
        int failed;
        if (string(&c, &name) != 0 || expect(&c, ':') != 0)
            return -1;
        if (is(&name, "Records"))
            failed = records(&c, out, callback, context);
        else if (is(&name, "FailedRecordCount"))
            failed = integer(&c, &out->failed_count);
        else if (is(&name, "MillisBehindLatest"))
            failed = integer(&c, &out->millis_behind);
        else if (is(&name, "NextShardIterator"))
            failed = text_or_null(&c, &out->next_iterator);
        else if (is(&name, "SequenceNumber"))
            failed = text_or_null(&c, &out->sequence_number);
        else {
            if (is(&name, "__type") || is(&name, "ErrorCode") || is(&name, "code"))
                out->has_error_code = 1;
            failed = skip(&c);
        }
        if (failed)
            return -1;
        more = another(&c, '}');
    }
    return more == 0 && peek(&c) < 0 ? 0 : -1;
}

int64_t hr_failed_count_fast(const uint8_t *body, size_t size)
{
    static const char name[] = "\"FailedRecordCount\":";
    size_t window = size < 64 ? size : 64;
    const uint8_t *end = body + size;
    const uint8_t *at = memmem(body, window, name, sizeof name - 1);
    uint64_t value = 0;
    size_t digits = 0;
    if (at == NULL)
        at = memmem(end - window, window, name, sizeof name - 1);
    if (at == NULL)
        return -1;
    at += sizeof name - 1;
    while (at < end && *at == ' ')
        at++;
    for (; at < end && *at >= '0' && *at <= '9' && digits < 9; at++, digits++)
        value = value * 10 + (*at - '0');
    if (digits == 0 || at == end || (*at != ',' && *at != '}'))
        return -1;
    return (int64_t)value;
}
