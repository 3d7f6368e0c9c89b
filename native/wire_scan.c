/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * wire_scan.c: see wire_scan.h.
 *
 * Every function below takes the place to read from and returns the place after what it read, or NULL to
 * decline. Places lie in [body, end]; each read is preceded by a test against `end`.
 *
 * Why the arena cannot overflow: `free` starts at the arena's first byte as the place starts at the body's,
 * and each byte written stands for at least one byte read (base64: 3 for 4; an escape of 2 or 6 characters:
 * at most 3 bytes, a pair of 12: 4). Vector stores of n bytes happen only where n bytes of body are left.
 */
#include "wire_scan.h"

#include <assert.h>
#include <string.h>

#include "base64.h"

#if HR_X86
#include <emmintrin.h>
#endif

#define KEY_CHARACTERS_MAX 256 /* UTF-16 units: never more lenient than code points */
#define ARN_SIZE_MAX 2048
#define SEQUENCE_DIGITS_MAX 129

enum { /* members seen, one bit each; a second sight declines */
    SEEN_DATA = 1,
    SEEN_KEY = 2,
    SEEN_HASH_KEY = 4,
    SEEN_NAME = 8,
    SEEN_ARN = 16,
    SEEN_RECORDS = 32,
    SEEN_DRY_RUN = 64,
    SEEN_ORDERING = 128
};

typedef struct scanner {
    const uint8_t *end;
    uint8_t *free; /* next free byte of the arena */
    uint8_t *arena_end;
    hr_entry *entry; /* the one being filled */
    size_t count;
    const hr_scan_limits *limits;
    hr_scan_result *result;
    hr_simd simd;
} scanner;

static inline const uint8_t *skip_space(const uint8_t *at, const uint8_t *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    return at;
}

/* Skip space, then take this one character. */
static inline const uint8_t *take(const uint8_t *at, const uint8_t *end, uint8_t character)
{
    at = skip_space(at, end);
    return at < end && *at == character ? at + 1 : NULL;
}

/* Whether the literal stands here, quotes included; `at` stands on its first quote. */
#define STANDS(at, end, literal) \
    ((size_t)((end) - (at)) >= sizeof(literal) - 1 && memcmp((at), literal, sizeof(literal) - 1) == 0)

/* After a member's name: the colon and the space around it. */
static inline const uint8_t *take_colon(const uint8_t *at, const uint8_t *end)
{
    at = take(at, end, ':');
    return at == NULL ? NULL : skip_space(at, end);
}

int hr_scan_hash_key(const uint8_t *digits, size_t size, uint64_t *high, uint64_t *low)
{
    unsigned __int128 value = 0;
    if (size == 0 || size > 39 || (digits[0] == '0' && size > 1))
        return -1;
    for (size_t i = 0; i < size; i++) {
        uint8_t digit = (uint8_t)(digits[i] - '0');
        if (digit > 9)
            return -1;
        /* 38 digits always fit; only the last of 39 can go beyond. */
        if (i == 38 && (value > ~(unsigned __int128)0 / 10 || value * 10 > ~(unsigned __int128)0 - digit))
            return -1;
        value = value * 10 + digit;
    }
    *high = (uint64_t)(value >> 64);
    *low = (uint64_t)value;
    return 0;
}

/* --- strings --- */

/* Read the four hex digits after \u. Returns -1 if they are not there. */
static inline int32_t hex4(const uint8_t *at, const uint8_t *end)
{
    int32_t value = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        uint8_t c = at[i];
        int32_t digit;
        if (c >= '0' && c <= '9')
            digit = c - '0';
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (c | 0x20) - 'a' + 10;
        else
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static inline uint8_t *put_utf8(uint8_t *target, uint32_t point)
{
    if (point < 0x80) {
        *target++ = (uint8_t)point;
    } else if (point < 0x800) {
        *target++ = (uint8_t)(0xC0 | point >> 6);
        *target++ = (uint8_t)(0x80 | (point & 0x3F));
    } else if (point < 0x10000) {
        *target++ = (uint8_t)(0xE0 | point >> 12);
        *target++ = (uint8_t)(0x80 | (point >> 6 & 0x3F));
        *target++ = (uint8_t)(0x80 | (point & 0x3F));
    } else {
        *target++ = (uint8_t)(0xF0 | point >> 18);
        *target++ = (uint8_t)(0x80 | (point >> 12 & 0x3F));
        *target++ = (uint8_t)(0x80 | (point >> 6 & 0x3F));
        *target++ = (uint8_t)(0x80 | (point & 0x3F));
    }
    return target;
}

/* `at` stands behind a backslash. Writes what the escape means, counts its UTF-16 units. */
static const uint8_t *take_escape(const uint8_t *at, const uint8_t *end, uint8_t **target, size_t *units)
{
    if (at == end)
        return NULL;
    uint8_t plain;
    switch (*at++) {
    case '"': plain = '"'; break;
    case '\\': plain = '\\'; break;
    case '/': plain = '/'; break;
    case 'b': plain = '\b'; break;
    case 'f': plain = '\f'; break;
    case 'n': plain = '\n'; break;
    case 'r': plain = '\r'; break;
    case 't': plain = '\t'; break;
    case 'u': {
        int32_t unit = hex4(at, end);
        if (unit < 0 || (unit >= 0xDC00 && unit <= 0xDFFF))
            return NULL;
        at += 4;
        uint32_t point = (uint32_t)unit;
        *units += 1;
        if (unit >= 0xD800 && unit <= 0xDBFF) {
            if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
                return NULL;
            int32_t second = hex4(at + 2, end);
            if (second < 0xDC00 || second > 0xDFFF)
                return NULL;
            at += 6;
            point = 0x10000 + (((uint32_t)unit - 0xD800) << 10) + ((uint32_t)second - 0xDC00);
            *units += 1;
        }
        *target = put_utf8(*target, point);
        return at;
    }
    default:
        return NULL;
    }
    *(*target)++ = plain;
    *units += 1;
    return at;
}

/* Copy one character of two to four bytes, if it is well-formed UTF-8 (no overlong form, no surrogate, nothing
 * beyond U+10FFFF). */
static const uint8_t *take_utf8(const uint8_t *at, const uint8_t *end, uint8_t **target, size_t *units)
{
    uint8_t first = *at;
    int size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || end - at < size)
        return NULL;
    uint8_t second_min = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    uint8_t second_max = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (at[1] < second_min || at[1] > second_max)
        return NULL;
    for (int i = 2; i < size; i++)
        if ((at[i] & 0xC0) != 0x80)
            return NULL;
    for (int i = 0; i < size; i++)
        *(*target)++ = at[i];
    *units += size == 4 ? 2 : 1;
    return at + size;
}

/* Copy plain ASCII (no quote, backslash or control character) in blocks of 16 while it lasts; returns how many
 * characters were plain. Up to 16 bytes more may be overwritten in the target. */
static inline size_t copy_plain(const uint8_t *at, const uint8_t *end, uint8_t *target, hr_simd simd)
{
    size_t size = 0;
#if HR_X86
    if (simd >= HR_SIMD_AVX2) {
        while (end - at - (ptrdiff_t)size >= 16) {
            __m128i text = _mm_loadu_si128((const __m128i *)(at + size));
            _mm_storeu_si128((__m128i *)(target + size), text);
            /* As signed bytes, both control characters and those beyond ASCII are below a space. */
            __m128i special = _mm_or_si128(_mm_cmplt_epi8(text, _mm_set1_epi8(' ')),
                                           _mm_or_si128(_mm_cmpeq_epi8(text, _mm_set1_epi8('"')),
                                                        _mm_cmpeq_epi8(text, _mm_set1_epi8('\\'))));
            unsigned mask = (unsigned)_mm_movemask_epi8(special);
            if (mask != 0)
                return size + (unsigned)__builtin_ctz(mask);
            size += 16;
            if (size > KEY_CHARACTERS_MAX)
                return size;
        }
    }
#endif
    while (at + size < end && at[size] >= ' ' && at[size] < 0x80 && at[size] != '"' && at[size] != '\\') {
        target[size] = at[size];
        size++;
        if (size > KEY_CHARACTERS_MAX)
            break;
    }
    return size;
}

/* The partition key's value, into the arena. */
static inline const uint8_t *take_key(scanner *s, const uint8_t *at)
{
    const uint8_t *end = s->end;
    if (at == end || *at != '"')
        return NULL;
    at++;
    uint8_t *start = s->free, *target = start;
    size_t units = 0;
    for (;;) {
        size_t plain = copy_plain(at, end, target, s->simd);
        at += plain;
        target += plain;
        units += plain;
        if (at == end || units > KEY_CHARACTERS_MAX)
            return NULL;
        if (*at == '"')
            break;
        if (*at == '\\')
            at = take_escape(at + 1, end, &target, &units);
        else if (*at >= 0x80)
            at = take_utf8(at, end, &target, &units);
        else
            return NULL;
        if (at == NULL)
            return NULL;
    }
    if (units == 0)
        return NULL;
    s->entry->key = start;
    s->entry->key_size = (uint32_t)(target - start);
    s->free = target;
    return at + 1;
}

/* The data's value, decoded into the arena. */
static inline const uint8_t *take_data(scanner *s, const uint8_t *at)
{
    if (at == s->end || *at != '"')
        return NULL;
    at++;
    size_t written;
    ptrdiff_t read = hr_base64_decode_prefix(s->free, (size_t)(s->arena_end - s->free), at, (size_t)(s->end - at),
                                             &written, s->simd);
    if (read < 0 || written > s->limits->record_size_max)
        return NULL;
    at += read;
    if (at == s->end || *at != '"')
        return NULL;
    s->entry->data = s->free;
    s->entry->data_size = (uint32_t)written;
    s->free += written;
    return at + 1;
}

/* A string of printable ASCII without escapes, as a span of the body. */
static const uint8_t *take_span(const uint8_t *at, const uint8_t *end, size_t size_max, hr_scan_span *span)
{
    if (at == end || *at != '"')
        return NULL;
    const uint8_t *start = ++at;
    while (at < end && *at > ' ' && *at < 0x7F && *at != '"' && *at != '\\')
        at++;
    if (at == end || *at != '"' || at == start || (size_t)(at - start) > size_max)
        return NULL;
    span->start = start;
    span->size = (size_t)(at - start);
    return at + 1;
}

static inline int is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static inline int is_name_character(uint8_t c)
{
    return ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || is_digit(c) || c == '_' || c == '.' || c == '-';
}

static const uint8_t *take_name(const uint8_t *at, const uint8_t *end, size_t size_max, hr_scan_span *span)
{
    at = take_span(at, end, size_max, span);
    if (at == NULL)
        return NULL;
    for (size_t i = 0; i < span->size; i++)
        if (!is_name_character(span->start[i]))
            return NULL;
    return at;
}

/* arn:aws[a-z-]*:kinesis:[a-z0-9-]*:<12 digits>:stream/<name>: narrower than the model's pattern. */
static const uint8_t *take_arn(const uint8_t *at, const uint8_t *end, hr_scan_span *span)
{
    at = take_span(at, end, ARN_SIZE_MAX, span);
    if (at == NULL || span->size < 7 || memcmp(span->start, "arn:aws", 7) != 0)
        return NULL;
    const uint8_t *p = span->start + 7, *stop = span->start + span->size;
    while (p < stop && ((*p >= 'a' && *p <= 'z') || *p == '-'))
        p++;
    if (stop - p < 9 || memcmp(p, ":kinesis:", 9) != 0)
        return NULL;
    for (p += 9; p < stop && ((*p >= 'a' && *p <= 'z') || is_digit(*p) || *p == '-'); p++)
        ;
    if (stop - p < 22 || *p != ':' || memcmp(p + 13, ":stream/", 8) != 0)
        return NULL;
    for (int i = 1; i <= 12; i++)
        if (!is_digit(p[i]))
            return NULL;
    for (p += 21; p < stop; p++)
        if (!is_name_character(*p))
            return NULL;
    return at;
}

static const uint8_t *take_hash_key(scanner *s, const uint8_t *at)
{
    hr_scan_span digits;
    at = take_span(at, s->end, 39, &digits);
    if (at == NULL ||
        hr_scan_hash_key(digits.start, digits.size, &s->entry->hash_high, &s->entry->hash_low) != 0)
        return NULL;
    s->entry->flags |= HR_ENTRY_EXPLICIT_HASH;
    return at;
}

static const uint8_t *take_ordering(scanner *s, const uint8_t *at)
{
    hr_scan_span *span = &s->result->ordering;
    at = take_span(at, s->end, SEQUENCE_DIGITS_MAX, span);
    if (at == NULL || (span->size > 1 && span->start[0] == '0'))
        return NULL;
    for (size_t i = 0; i < span->size; i++)
        if (!is_digit(span->start[i]))
            return NULL;
    return at;
}

static const uint8_t *take_dry_run(scanner *s, const uint8_t *at)
{
    if (STANDS(at, s->end, "true")) {
        s->result->dry_run = 1;
        return at + 4;
    }
    return STANDS(at, s->end, "false") ? at + 5 : NULL;
}

/* --- records --- */

/* `at` stands on the quote of a member's name. If it is a member of a record of this kind, takes the member; sets
 * *known to 0 if it is not one. */
static inline __attribute__((always_inline)) const uint8_t *
take_record_member(scanner *s, const uint8_t *at, int keyed, unsigned *seen, int *known)
{
    const uint8_t *end = s->end;
    unsigned bit;
    *known = 1;
    if (STANDS(at, end, "\"Data\"")) {
        bit = SEEN_DATA;
        at = take_colon(at + 6, end);
        at = at == NULL ? NULL : take_data(s, at);
    } else if (keyed && STANDS(at, end, "\"PartitionKey\"")) {
        bit = SEEN_KEY;
        at = take_colon(at + 14, end);
        at = at == NULL ? NULL : take_key(s, at);
    } else if (keyed && STANDS(at, end, "\"ExplicitHashKey\"")) {
        bit = SEEN_HASH_KEY;
        at = take_colon(at + 17, end);
        at = at == NULL ? NULL : take_hash_key(s, at);
    } else {
        *known = 0;
        return at;
    }
    if (*seen & bit)
        return NULL;
    *seen |= bit;
    return at;
}

static inline void begin_record(scanner *s, int keyed)
{
    hr_entry *entry = s->entry;
    memset(entry, 0, sizeof *entry);
    entry->flags = keyed ? 0 : HR_ENTRY_ANY_SHARD;
    entry->key = s->free; /* an empty key still points into the arena */
}

/* The record is complete if what it must have was seen and its size is allowed. Returns 0 to decline. */
static inline int end_record(scanner *s, int keyed, unsigned seen)
{
    unsigned wanted = keyed ? SEEN_DATA | SEEN_KEY : SEEN_DATA;
    hr_scan_result *result = s->result;
    size_t size = (size_t)s->entry->data_size + s->entry->key_size;
    if ((seen & wanted) != wanted || size > s->limits->record_size_max)
        return 0;
    result->total_size += size;
    if (size > result->record_size_largest)
        result->record_size_largest = size;
    s->entry++;
    s->count++;
    return result->total_size <= s->limits->total_size_max;
}

/* {"Data": …, "PartitionKey": …}; `at` may stand on space before. */
static inline __attribute__((always_inline)) const uint8_t *take_record(scanner *s, const uint8_t *at, int keyed)
{
    const uint8_t *end = s->end;
    unsigned seen = 0;
    int known;
    at = take(at, end, '{');
    if (at == NULL || s->count == s->limits->count_max)
        return NULL;
    begin_record(s, keyed);
    for (;;) {
        at = skip_space(at, end);
        if (at == end || *at != '"')
            return NULL;
        at = take_record_member(s, at, keyed, &seen, &known);
        if (at == NULL || !known)
            return NULL;
        at = skip_space(at, end);
        if (at == end)
            return NULL;
        if (*at == '}')
            return end_record(s, keyed, seen) ? at + 1 : NULL;
        if (*at++ != ',')
            return NULL;
    }
}

static inline __attribute__((always_inline)) const uint8_t *take_records(scanner *s, const uint8_t *at, int keyed)
{
    const uint8_t *end = s->end;
    at = take(at, end, '[');
    while (at != NULL) {
        at = take_record(s, at, keyed);
        if (at == NULL)
            return NULL;
        at = skip_space(at, end);
        if (at == end)
            return NULL;
        if (*at == ']')
            return at + 1;
        if (*at++ != ',')
            return NULL;
    }
    return NULL;
}

/* --- bodies --- */

static const uint8_t *take_kinesis_member(scanner *s, const uint8_t *at, hr_scan_kind kind, unsigned *seen)
{
    const uint8_t *end = s->end;
    hr_scan_result *result = s->result;
    unsigned bit;
    if (STANDS(at, end, "\"StreamName\"")) {
        bit = SEEN_NAME;
        at = take_colon(at + 12, end);
        at = at == NULL ? NULL : take_name(at, end, 128, &result->stream_name);
    } else if (STANDS(at, end, "\"StreamARN\"")) {
        bit = SEEN_ARN;
        at = take_colon(at + 11, end);
        at = at == NULL ? NULL : take_arn(at, end, &result->stream_arn);
    } else if (STANDS(at, end, "\"DryRun\"")) {
        bit = SEEN_DRY_RUN;
        at = take_colon(at + 8, end);
        at = at == NULL ? NULL : take_dry_run(s, at);
    } else if (kind == HR_SCAN_PUT_RECORDS && STANDS(at, end, "\"Records\"")) {
        bit = SEEN_RECORDS;
        /* The count keeps a second list from overwriting the first; here it declines at once. */
        if (*seen & SEEN_RECORDS)
            return NULL;
        at = take_colon(at + 9, end);
        at = at == NULL ? NULL : take_records(s, at, 1);
    } else if (kind == HR_SCAN_PUT_RECORD && STANDS(at, end, "\"SequenceNumberForOrdering\"")) {
        bit = SEEN_ORDERING;
        at = take_colon(at + 27, end);
        at = at == NULL ? NULL : take_ordering(s, at);
    } else {
        return NULL;
    }
    if (*seen & bit)
        return NULL;
    *seen |= bit;
    return at;
}

static const uint8_t *take_firehose_member(scanner *s, const uint8_t *at, hr_scan_kind kind, unsigned *seen)
{
    const uint8_t *end = s->end;
    unsigned bit;
    if (STANDS(at, end, "\"DeliveryStreamName\"")) {
        bit = SEEN_NAME;
        at = take_colon(at + 20, end);
        at = at == NULL ? NULL : take_name(at, end, 64, &s->result->stream_name);
    } else if (kind == HR_SCAN_FIREHOSE_BATCH && STANDS(at, end, "\"Records\"")) {
        bit = SEEN_RECORDS;
        if (*seen & bit)
            return NULL;
        at = take_colon(at + 9, end);
        at = at == NULL ? NULL : take_records(s, at, 0);
    } else if (kind == HR_SCAN_FIREHOSE_RECORD && STANDS(at, end, "\"Record\"")) {
        bit = SEEN_RECORDS;
        if (*seen & bit)
            return NULL;
        at = take_colon(at + 8, end);
        at = at == NULL ? NULL : take_record(s, at, 0);
    } else {
        return NULL;
    }
    if (*seen & bit)
        return NULL;
    *seen |= bit;
    return at;
}

/* The members of the body's object, up to and with its closing brace. */
static const uint8_t *take_members(scanner *s, const uint8_t *at, hr_scan_kind kind, unsigned *seen)
{
    const uint8_t *end = s->end;
    int firehose = kind == HR_SCAN_FIREHOSE_BATCH || kind == HR_SCAN_FIREHOSE_RECORD;
    for (;;) {
        at = skip_space(at, end);
        if (at == end || *at != '"')
            return NULL;
        int known = 0;
        if (kind == HR_SCAN_PUT_RECORD)
            at = take_record_member(s, at, 1, seen, &known);
        if (at != NULL && !known)
            at = firehose ? take_firehose_member(s, at, kind, seen) : take_kinesis_member(s, at, kind, seen);
        if (at == NULL)
            return NULL;
        at = skip_space(at, end);
        if (at == end)
            return NULL;
        if (*at == '}')
            return at + 1;
        if (*at++ != ',')
            return NULL;
    }
}

ptrdiff_t hr_scan_put(hr_scan_kind kind, const uint8_t *body, size_t size, uint8_t *arena, hr_entry *entries,
                      const hr_scan_limits *limits, hr_scan_result *result, hr_simd simd)
{
    assert(size == 0 || (body != NULL && arena != NULL));
    assert(entries != NULL && limits->count_max > 0 && limits->record_size_max <= UINT32_MAX);
    scanner s = {
        .end = body + size,
        .free = arena,
        .arena_end = arena + hr_scan_arena_size(size),
        .entry = entries,
        .limits = limits,
        .result = result,
        .simd = simd,
    };
    unsigned seen = 0;
    memset(result, 0, sizeof *result);
    const uint8_t *at = take(body, s.end, '{');
    if (at == NULL)
        return HR_SCAN_DECLINED;
    if (kind == HR_SCAN_PUT_RECORD)
        begin_record(&s, 1);
    at = take_members(&s, at, kind, &seen);
    if (at == NULL || skip_space(at, s.end) != s.end || !(seen & (SEEN_NAME | SEEN_ARN)))
        return HR_SCAN_DECLINED;
    if (kind == HR_SCAN_PUT_RECORD && !end_record(&s, 1, seen))
        return HR_SCAN_DECLINED;
    if (s.count == 0)
        return HR_SCAN_DECLINED;
    assert(s.free <= s.arena_end && s.count <= limits->count_max);
    result->arena_used = (size_t)(s.free - arena);
    return (ptrdiff_t)s.count;
}
