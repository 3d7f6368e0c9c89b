/* Invariant: any body is declined or read within its bounds, the same at every SIMD level, and what was read, written
 * out in the plainest form, reads the same again. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include "base64.h"
#include "fuzz.h"
#include "wire_scan.h"
#include "wire_write.h"

#define COUNT_MAX 8

typedef struct scanned {
    ptrdiff_t count;
    hr_entry entry[COUNT_MAX];
    hr_scan_result result;
    uint8_t *arena;
} scanned;

static void scan(scanned *s, hr_scan_kind kind, const uint8_t *body, size_t size, const hr_scan_limits *limits,
                 hr_simd simd)
{
    s->arena = malloc(hr_scan_arena_size(size));
    s->count = hr_scan_put(kind, body, size, s->arena, s->entry, limits, &s->result, simd);
    CHECK(s->count == HR_SCAN_DECLINED || (s->count >= 1 && (size_t)s->count <= limits->count_max));
}

static void check_within(const scanned *s, size_t size, const hr_scan_limits *limits)
{
    size_t total = 0;
    CHECK(s->result.arena_used <= hr_scan_arena_size(size));
    for (ptrdiff_t i = 0; i < s->count; i++) {
        const hr_entry *e = &s->entry[i];
        CHECK(e->data >= s->arena && e->data + e->data_size <= s->arena + s->result.arena_used);
        CHECK(e->key >= s->arena && e->key + e->key_size <= s->arena + s->result.arena_used);
        CHECK((size_t)e->data_size + e->key_size <= limits->record_size_max);
        total += (size_t)e->data_size + e->key_size;
    }
    CHECK(total == s->result.total_size && total <= limits->total_size_max);
}

static int same_bytes(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size)
{
    return a_size == b_size && (a_size == 0 || memcmp(a, b, a_size) == 0);
}

static void check_same(const scanned *a, const scanned *b)
{
    CHECK(a->count == b->count);
    if (a->count == HR_SCAN_DECLINED)
        return;
    CHECK(a->result.dry_run == b->result.dry_run && a->result.total_size == b->result.total_size);
    CHECK(a->result.record_size_largest == b->result.record_size_largest);
#define SAME(member) same_bytes(a->result.member.start, a->result.member.size, b->result.member.start, b->result.member.size)
    CHECK(SAME(stream_name) && SAME(stream_arn) && SAME(ordering));
    for (ptrdiff_t i = 0; i < a->count; i++) {
        const hr_entry *x = &a->entry[i], *y = &b->entry[i];
        CHECK(same_bytes(x->data, x->data_size, y->data, y->data_size));
        CHECK(same_bytes(x->key, x->key_size, y->key, y->key_size));
        CHECK(x->flags == y->flags && x->hash_high == y->hash_high && x->hash_low == y->hash_low);
    }
}

static uint8_t *put_text(uint8_t *at, const char *text)
{
    return (uint8_t *)memcpy(at, text, strlen(text)) + strlen(text);
}

static uint8_t *put_string(uint8_t *at, const char *name, hr_scan_span span)
{
    if (span.size == 0)
        return at;
    at = put_text(at, name);
    memcpy(at, span.start, span.size);
    return put_text(at + span.size, "\",");
}

static uint8_t *put_record(uint8_t *at, const hr_entry *e)
{
    at = put_text(at, "\"Data\":\"");
    hr_base64_encode(at, e->data, e->data_size, HR_SIMD_SCALAR);
    at = put_text(at + hr_base64_encoded_size(e->data_size), "\"");
    if (!(e->flags & HR_ENTRY_ANY_SHARD)) {
        at = put_text(at, ",\"PartitionKey\":\"");
        at = put_text(hr_write_escaped(at, e->key, e->key_size, HR_SIMD_SCALAR), "\"");
    }
    if (e->flags & HR_ENTRY_EXPLICIT_HASH) {
        unsigned __int128 value = (unsigned __int128)e->hash_high << 64 | e->hash_low;
        char digits[48];
        int place = 47;
        digits[place] = 0;
        do {
            digits[--place] = (char)('0' + (int)(value % 10));
            value /= 10;
        } while (value != 0);
        at = put_text(at, ",\"ExplicitHashKey\":\"");
        at = put_text(put_text(at, digits + place), "\"");
    }
    return at;
}

/* Write what was read in the plainest form; returns its size. */
static size_t rewrite(uint8_t *body, hr_scan_kind kind, const scanned *s)
{
    const int firehose = kind == HR_SCAN_FIREHOSE_BATCH || kind == HR_SCAN_FIREHOSE_RECORD;
    const int many = kind == HR_SCAN_PUT_RECORDS || kind == HR_SCAN_FIREHOSE_BATCH;
    uint8_t *at = put_text(body, "{");
    at = put_string(at, firehose ? "\"DeliveryStreamName\":\"" : "\"StreamName\":\"", s->result.stream_name);
    at = put_string(at, "\"StreamARN\":\"", s->result.stream_arn);
    at = put_string(at, "\"SequenceNumberForOrdering\":\"", s->result.ordering);
    if (s->result.dry_run)
        at = put_text(at, "\"DryRun\":true,");
    if (kind == HR_SCAN_PUT_RECORD) {
        at = put_record(at, &s->entry[0]);
        return (size_t)(put_text(at, "}") - body);
    }
    at = put_text(at, many ? "\"Records\":[" : "\"Record\":");
    for (ptrdiff_t i = 0; i < s->count; i++)
        at = put_text(put_record(put_text(at, i > 0 ? ",{" : "{"), &s->entry[i]), "}");
    return (size_t)(put_text(at, many ? "]}" : "}") - body);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    fuzz_input input = {bytes, size};
    const uint64_t choice = fuzz_number(&input, 1);
    const hr_scan_kind kind = (hr_scan_kind)(choice & 3);
    const hr_scan_limits tight = {3, 40, 60}, wide = {COUNT_MAX, 1 << 20, 1 << 20};
    const hr_scan_limits *limits = choice & 4 ? &tight : &wide;
    size_t body_size;
    uint8_t *body = fuzz_bytes(&input, SIZE_MAX, &body_size);
    scanned first;
    scan(&first, kind, body, body_size, limits, HR_SIMD_SCALAR);
    for (int simd = 1; simd <= FUZZ_SIMD_MAX; simd++) {
        scanned other;
        scan(&other, kind, body, body_size, limits, (hr_simd)simd);
        check_same(&first, &other);
        free(other.arena);
    }
    if (first.count != HR_SCAN_DECLINED) {
        check_within(&first, body_size, limits);
        uint8_t *plain = malloc(8 * body_size + 1024);
        const size_t plain_size = rewrite(plain, kind, &first);
        uint8_t *exact = fuzz_copy(plain, plain_size);
        scanned again;
        scan(&again, kind, exact, plain_size, limits, (hr_simd)FUZZ_SIMD_MAX);
        check_same(&first, &again);
        /* A body cut short is never understood. */
        const size_t cut = plain_size > 0 ? (size_t)(choice * 131) % plain_size : 0;
        uint8_t *part = fuzz_copy(exact, cut);
        scanned none;
        scan(&none, kind, part, cut, limits, (hr_simd)FUZZ_SIMD_MAX);
        CHECK(none.count == HR_SCAN_DECLINED);
        free(none.arena);
        free(part);
        free(again.arena);
        free(exact);
        free(plain);
    }
    free(first.arena);
    free(body);
    return 0;
}
