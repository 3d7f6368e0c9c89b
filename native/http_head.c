/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * http_head.c: see http_head.h. The order of work: find the end of the head line by line, then read the
 * request line, then each header. Nothing is read beyond `size`, nothing is written but the struct.
 */
#include "http_head.h"

#include <assert.h>
#include <string.h>

/* Sets of ASCII characters, one bit each. tests/core/test_http.py holds them against the grammars. */
typedef struct ascii_set {
    uint64_t bits[2];
} ascii_set;

/* RFC 9110 5.6.2: letters, digits and !#$%&'*+-.^_`|~ */
static const ascii_set token_set = {{0x03ff6cfa00000000u, 0x57ffffffc7fffffeu}};
/* What a host and port may hold: letters, digits and -._~:[]% */
static const ascii_set host_set = {{0x07ff602000000000u, 0x47fffffeaffffffeu}};
/* Visible characters but the fragment sign, which never goes over the wire. */
static const ascii_set target_set = {{0xfffffff600000000u, 0x7fffffffffffffffu}};

static inline int is_in(const ascii_set *set, uint8_t c)
{
    return c < 128 && (set->bits[c >> 6] >> (c & 63) & 1);
}

static inline int is_token(uint8_t c)
{
    return is_in(&token_set, c);
}

static int all_in(const ascii_set *set, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (!is_in(set, data[i]))
            return 0;
    return 1;
}

static int bad(hr_http_head *head, hr_http_error error)
{
    assert(error != HR_HTTP_OK && error < HR_HTTP_ERRORS);
    head->error = (uint8_t)error;
    return HR_HTTP_BAD;
}

/* Is there a control character other than tab? Eight bytes at a time: a byte is below 0x20 or equal to
 * 0x7f exactly where the borrow tricks below set its high bit (false alarms are settled byte by byte). */
static int has_control(const uint8_t *data, size_t size)
{
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, data + i, 8);
        uint64_t low = (word - ones * 0x20) & ~word;
        uint64_t del = word ^ (ones * 0x7f);
        del = (del - ones) & ~del;
        if (((low | del) & highs) == 0)
            continue;
        for (size_t j = i; j < i + 8; j++)
            if ((data[j] < 0x20 && data[j] != '\t') || data[j] == 0x7f)
                return 1;
    }
    for (; i < size; i++)
        if ((data[i] < 0x20 && data[i] != '\t') || data[i] == 0x7f)
            return 1;
    return 0;
}

/* Does `data` equal the lower-case `word` when ASCII letters are taken as lower case? */
static int equals(const uint8_t *data, size_t size, const char *word)
{
    for (size_t i = 0; i < size; i++) {
        uint8_t c = data[i];
        if (c >= 'A' && c <= 'Z')
            c = (uint8_t)(c | 0x20);
        if (c != (uint8_t)word[i])
            return 0;
    }
    return word[size] == '\0';
}

/* Find the empty line that ends the head. Sets head_size. */
static int find_end(const uint8_t *data, size_t size, size_t *scanned, hr_http_head *head)
{
    size_t at = *scanned;
    assert(at <= size);
    for (;;) {
        const uint8_t *newline = size > at ? memchr(data + at, '\n', size - at) : NULL;
        if (newline == NULL) {
            *scanned = size;
            return size >= HR_HTTP_HEAD_SIZE_MAX ? bad(head, HR_HTTP_HEAD_TOO_LARGE) : HR_HTTP_PARTIAL;
        }
        size_t line_end = (size_t)(newline - data);
        if (line_end >= HR_HTTP_HEAD_SIZE_MAX)
            return bad(head, HR_HTTP_HEAD_TOO_LARGE);
        if (line_end == 0 || data[line_end - 1] != '\r')
            return bad(head, HR_HTTP_BARE_LF);
        at = line_end + 1;
        if (line_end >= 3 && data[line_end - 2] == '\n') {
            head->head_size = (uint32_t)at;
            return HR_HTTP_COMPLETE;
        }
    }
}

static uint8_t method_of(const uint8_t *data, size_t size)
{
    if (size == 4 && memcmp(data, "POST", 4) == 0)
        return HR_HTTP_POST;
    if (size == 3 && memcmp(data, "GET", 3) == 0)
        return HR_HTTP_GET;
    if (size == 4 && memcmp(data, "HEAD", 4) == 0)
        return HR_HTTP_HEAD;
    return HR_HTTP_OTHER;
}

/* The request target: "/path?query", "http://host/path?query" or "*". Sets path, and host of the second. */
static int parse_target(const uint8_t *data, size_t start, size_t end, hr_http_head *head)
{
    if (start == end || !all_in(&target_set, data + start, end - start))
        return bad(head, HR_HTTP_BAD_TARGET);
    size_t path = start;
    if (end - start > 7 && equals(data + start, 7, "http://")) {
        size_t host = start + 7;
        path = host;
        while (path < end && data[path] != '/' && data[path] != '?')
            path++;
        if (path == host || !all_in(&host_set, data + host, path - host))
            return bad(head, HR_HTTP_BAD_TARGET);
        head->host.start = (uint32_t)host;
        head->host.size = (uint32_t)(path - host);
    } else if (data[start] != '/' && !(data[start] == '*' && end - start == 1)) {
        return bad(head, HR_HTTP_BAD_TARGET);
    }
    const uint8_t *query = memchr(data + path, '?', end - path);
    head->path.start = (uint32_t)path;
    head->path.size = (uint32_t)((query == NULL ? end : (size_t)(query - data)) - path);
    return HR_HTTP_COMPLETE;
}

/* "METHOD target HTTP/1.x" in [start, end). */
static int parse_request_line(const uint8_t *data, size_t start, size_t end, hr_http_head *head)
{
    size_t at = start;
    while (at < end && is_token(data[at]))
        at++;
    if (at == start || at == end || data[at] != ' ')
        return bad(head, HR_HTTP_BAD_METHOD);
    head->method = method_of(data + start, at - start);
    size_t target = at + 1;
    if (end < target + 9 || data[end - 9] != ' ')
        return bad(head, HR_HTTP_BAD_REQUEST_LINE);
    const uint8_t *version = data + end - 8;
    if (memcmp(version, "HTTP/", 5) != 0 || version[6] != '.')
        return bad(head, HR_HTTP_BAD_REQUEST_LINE);
    if (version[5] != '1' || version[7] < '0' || version[7] > '1') {
        int preface = at - start == 3 && memcmp(data + start, "PRI * HTTP/2.0", 14) == 0;
        return bad(head, preface ? HR_HTTP_PREFACE_2 : HR_HTTP_BAD_VERSION);
    }
    head->minor = (uint8_t)(version[7] - '0');
    return parse_target(data, target, end - 9, head);
}

static int take_length(const uint8_t *data, size_t size, hr_http_head *head)
{
    if (head->flags & HR_HTTP_HAS_LENGTH)
        return bad(head, HR_HTTP_TWO_LENGTHS);
    if (size == 0)
        return bad(head, HR_HTTP_BAD_LENGTH);
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        if (data[i] < '0' || data[i] > '9')
            return bad(head, HR_HTTP_BAD_LENGTH);
        uint64_t digit = (uint64_t)(data[i] - '0');
        value = value > (UINT64_MAX - digit) / 10 ? UINT64_MAX : value * 10 + digit;
    }
    head->content_length = value;
    head->flags |= HR_HTTP_HAS_LENGTH;
    return HR_HTTP_COMPLETE;
}

/* The words of a Connection header: close and keep-alive are told apart, others skipped. */
static void take_connection(const uint8_t *data, size_t size, uint32_t *seen)
{
    size_t at = 0;
    while (at < size) {
        size_t start = at;
        while (at < size && data[at] != ',')
            at++;
        size_t end = at++;
        while (start < end && (data[start] == ' ' || data[start] == '\t'))
            start++;
        while (end > start && (data[end - 1] == ' ' || data[end - 1] == '\t'))
            end--;
        if (end - start == 5 && equals(data + start, 5, "close"))
            *seen |= 1u;
        else if (end - start == 10 && equals(data + start, 10, "keep-alive"))
            *seen |= 2u;
    }
}

static int take_once(hr_http_span *span, size_t start, size_t end, uint32_t *once, uint32_t bit, hr_http_head *head)
{
    if (*once & bit)
        return bad(head, HR_HTTP_REPEATED);
    *once |= bit;
    span->start = (uint32_t)start;
    span->size = (uint32_t)(end - start);
    return HR_HTTP_COMPLETE;
}

/* Marks of `once`: headers seen, and what Connection said (bits 0 and 1). */
enum { ONCE_HOST = 4, ONCE_ORIGIN = 8, ONCE_TYPE = 16, ONCE_TARGET = 32, ONCE_EXPECT = 64, ONCE_CODING = 128 };

static int take_host(const uint8_t *data, size_t start, size_t end, uint32_t *once, hr_http_head *head)
{
    hr_http_span in_target = head->host;
    if (take_once(&head->host, start, end, once, ONCE_HOST, head) == HR_HTTP_BAD)
        return HR_HTTP_BAD;
    if (!all_in(&host_set, data + start, end - start))
        return bad(head, HR_HTTP_BAD_HOST);
    if (in_target.size != 0)
        head->host = in_target; /* RFC 9112 3.2.2: the absolute form wins */
    return HR_HTTP_COMPLETE;
}

static int take_coding(const uint8_t *data, size_t size, uint32_t *once, hr_http_head *head)
{
    if (*once & ONCE_CODING)
        return bad(head, HR_HTTP_REPEATED);
    *once |= ONCE_CODING;
    if (size != 7 || !equals(data, 7, "chunked"))
        return bad(head, HR_HTTP_BAD_CODING);
    head->flags |= HR_HTTP_CHUNKED;
    return HR_HTTP_COMPLETE;
}

static int take_expect(const uint8_t *data, size_t start, size_t end, uint32_t *once, hr_http_head *head)
{
    if (take_once(&head->expect, start, end, once, ONCE_EXPECT, head) == HR_HTTP_BAD)
        return HR_HTTP_BAD;
    if (end - start != 12 || !equals(data + start, 12, "100-continue"))
        return bad(head, HR_HTTP_BAD_EXPECT);
    head->flags |= HR_HTTP_CONTINUE;
    return HR_HTTP_COMPLETE;
}

/* Keep what the server decides on; the name is [name, name + size), the value [start, end). */
static int take_header(const uint8_t *data, size_t name, size_t size, size_t start, size_t end, uint32_t *once,
                       hr_http_head *head)
{
    const uint8_t *word = data + name;
    switch (size) {
    case 4:
        if (equals(word, 4, "host"))
            return take_host(data, start, end, once, head);
        break;
    case 6:
        if (equals(word, 6, "origin"))
            return take_once(&head->origin, start, end, once, ONCE_ORIGIN, head);
        if (equals(word, 6, "expect"))
            return take_expect(data, start, end, once, head);
        break;
    case 10:
        if (equals(word, 10, "connection"))
            take_connection(data + start, end - start, once);
        break;
    case 12:
        if (equals(word, 12, "content-type"))
            return take_once(&head->content_type, start, end, once, ONCE_TYPE, head);
        if (equals(word, 12, "x-amz-target"))
            return take_once(&head->amz_target, start, end, once, ONCE_TARGET, head);
        break;
    case 13:
        if (equals(word, 13, "authorization"))
            head->flags |= HR_HTTP_AUTHORIZATION;
        break;
    case 14:
        if (equals(word, 14, "content-length"))
            return take_length(data + start, end - start, head);
        break;
    case 17:
        if (equals(word, 17, "transfer-encoding"))
            return take_coding(data + start, end - start, once, head);
        break;
    default:
        break;
    }
    return HR_HTTP_COMPLETE;
}

/* One header line in [start, end), without its CR LF. */
static int parse_header(const uint8_t *data, size_t start, size_t end, uint32_t *once, hr_http_head *head)
{
    if (data[start] == ' ' || data[start] == '\t')
        return bad(head, HR_HTTP_FOLDED);
    size_t colon = start;
    while (colon < end && is_token(data[colon]))
        colon++;
    if (colon == start || colon == end || data[colon] != ':')
        return bad(head, HR_HTTP_BAD_NAME);
    size_t value = colon + 1;
    while (value < end && (data[value] == ' ' || data[value] == '\t'))
        value++;
    while (end > value && (data[end - 1] == ' ' || data[end - 1] == '\t'))
        end--;
    if (has_control(data + value, end - value))
        return bad(head, HR_HTTP_BAD_VALUE);
    return take_header(data, start, colon - start, value, end, once, head);
}

/* What holds for the headers together. */
static int conclude(uint32_t once, hr_http_head *head)
{
    if (once & ONCE_CODING) {
        if (head->flags & HR_HTTP_HAS_LENGTH)
            return bad(head, HR_HTTP_LENGTH_AND_CODING);
        if (head->minor == 0)
            return bad(head, HR_HTTP_CODING_IN_1_0);
    }
    if (head->minor == 1 && !(once & ONCE_HOST))
        return bad(head, HR_HTTP_NO_HOST);
    if (head->minor == 0)
        head->flags &= ~HR_HTTP_CONTINUE; /* an HTTP/1.0 client cannot take an interim answer */
    if (!(once & 1u) && (head->minor == 1 || (once & 2u)))
        head->flags |= HR_HTTP_KEEP_ALIVE;
    return HR_HTTP_COMPLETE;
}

int hr_http_head_parse(const uint8_t *data, size_t size, size_t *scanned, hr_http_head *head)
{
    assert(data != NULL || size == 0);
    memset(head, 0, sizeof *head);
    /* One empty line before a request is a known slip of old clients (RFC 9112 2.2). */
    size_t start = size >= 2 && data[0] == '\r' && data[1] == '\n' ? 2 : 0;
    /* What does not begin like a method (TLS, binary) is refused at once, not at the time limit. */
    if (size > start && !is_token(data[start]) && !(start == 0 && size == 1 && data[0] == '\r'))
        return bad(head, HR_HTTP_BAD_METHOD);
    if (*scanned < start)
        *scanned = start;
    int found = find_end(data, size, scanned, head);
    if (found != HR_HTTP_COMPLETE)
        return found;
    const uint8_t *newline = memchr(data + start, '\n', head->head_size - start);
    size_t line = (size_t)(newline - data) + 1;
    if (parse_request_line(data, start, line - 2, head) == HR_HTTP_BAD)
        return HR_HTTP_BAD;
    uint32_t once = 0;
    size_t last = head->head_size - 2; /* where the empty line begins */
    while (line < last) {
        newline = memchr(data + line, '\n', last - line);
        assert(newline != NULL);
        size_t next = (size_t)(newline - data) + 1;
        if (++head->header_count > HR_HTTP_HEADERS_MAX)
            return bad(head, HR_HTTP_TOO_MANY_HEADERS);
        if (parse_header(data, line, next - 2, &once, head) == HR_HTTP_BAD)
            return HR_HTTP_BAD;
        line = next;
    }
    assert(line == last);
    return conclude(once, head);
}

int hr_http_error_status(int error)
{
    switch (error) {
    case HR_HTTP_OK:
        return 200;
    case HR_HTTP_BAD_VERSION:
        return 505;
    case HR_HTTP_HEAD_TOO_LARGE:
    case HR_HTTP_TOO_MANY_HEADERS:
        return 431;
    case HR_HTTP_BAD_CODING:
        return 501;
    case HR_HTTP_BAD_EXPECT:
        return 417;
    default:
        return 400;
    }
}

const char *hr_http_error_text(int error)
{
    static const char *const texts[HR_HTTP_ERRORS] = {
        [HR_HTTP_OK] = "",
        [HR_HTTP_BAD_REQUEST_LINE] = "the request line is not 'METHOD target HTTP/1.1'",
        [HR_HTTP_BAD_METHOD] = "the request does not begin with an HTTP method",
        [HR_HTTP_BAD_TARGET] = "the request target is not a path",
        [HR_HTTP_BAD_VERSION] = "the HTTP version is not 1.0 or 1.1",
        [HR_HTTP_PREFACE_2] = "HTTP/2 is not spoken here",
        [HR_HTTP_BARE_LF] = "a line of the head ends in LF without CR",
        [HR_HTTP_BAD_NAME] = "a header name is empty or has a character that is not allowed in it",
        [HR_HTTP_FOLDED] = "a header line begins with a space (folded lines are obsolete)",
        [HR_HTTP_BAD_VALUE] = "a header value has a control character",
        [HR_HTTP_HEAD_TOO_LARGE] = "the head of the request is larger than 16384 bytes",
        [HR_HTTP_TOO_MANY_HEADERS] = "the request has more than 100 headers",
        [HR_HTTP_BAD_LENGTH] = "Content-Length is not a decimal number",
        [HR_HTTP_TWO_LENGTHS] = "Content-Length stands more than once",
        [HR_HTTP_LENGTH_AND_CODING] = "Content-Length and Transfer-Encoding stand together",
        [HR_HTTP_BAD_CODING] = "Transfer-Encoding is not 'chunked'",
        [HR_HTTP_CODING_IN_1_0] = "Transfer-Encoding in an HTTP/1.0 request",
        [HR_HTTP_BAD_HOST] = "Host has a character that is not allowed in it",
        [HR_HTTP_NO_HOST] = "the Host header is missing",
        [HR_HTTP_REPEATED] = "a header that may stand once only is repeated",
        [HR_HTTP_BAD_EXPECT] = "Expect is not '100-continue'",
        [HR_HTTP_BAD_CHUNK] = "the chunked body is not well formed",
    };
    return error >= 0 && error < HR_HTTP_ERRORS ? texts[error] : "";
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (uint8_t)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The end of a line that must end in CR LF and be at most `most` bytes with it. */
static int line_of(const uint8_t *data, size_t size, size_t most, size_t *line_size)
{
    const uint8_t *newline = size ? memchr(data, '\n', size < most ? size : most) : NULL;
    if (newline == NULL)
        return size >= most ? HR_HTTP_BAD : HR_HTTP_PARTIAL;
    size_t end = (size_t)(newline - data);
    if (end == 0 || data[end - 1] != '\r')
        return HR_HTTP_BAD;
    *line_size = end + 1;
    return HR_HTTP_COMPLETE;
}

int hr_http_chunk_line(const uint8_t *data, size_t size, uint64_t *chunk_size, size_t *line_size)
{
    if (size > 0 && hex_digit(data[0]) < 0)
        return HR_HTTP_BAD;
    int found = line_of(data, size, HR_HTTP_CHUNK_LINE_MAX, line_size);
    if (found != HR_HTTP_COMPLETE)
        return found;
    size_t end = *line_size - 2, at = 0;
    uint64_t value = 0;
    for (; at < end && hex_digit(data[at]) >= 0; at++)
        value = value >> 60 ? UINT64_MAX : value << 4 | (uint64_t)hex_digit(data[at]);
    if (at == 0 || (at < end && data[at] != ';') || has_control(data + at, end - at))
        return HR_HTTP_BAD;
    *chunk_size = value;
    return HR_HTTP_COMPLETE;
}

int hr_http_trailer_line(const uint8_t *data, size_t size, size_t *line_size)
{
    int found = line_of(data, size, HR_HTTP_HEAD_SIZE_MAX, line_size);
    if (found == HR_HTTP_COMPLETE && has_control(data, *line_size - 2))
        return HR_HTTP_BAD;
    return found;
}
