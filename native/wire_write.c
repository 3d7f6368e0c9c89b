/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * wire_write.c: see wire_write.h.
 */
#include "wire_write.h"

#include <assert.h>
#include <string.h>

#include "base64.h"
#include "sequence.h"

#if HR_X86
#include <emmintrin.h>
#endif

/* Copy a string literal, without its final zero; returns the place behind it. */
#define LITERAL(target, literal) \
    ((uint8_t *)memcpy((target), (literal), sizeof(literal) - 1) + sizeof(literal) - 1)
#define LITERAL_SIZE(literal) (sizeof(literal) - 1)

#define SEQUENCE_FIELD "{\"SequenceNumber\":\""
#define SHARD_FIELD "\",\"ShardId\":\"shardId-"
#define SHARD_DIGITS 12
#define RECORD_ID_FIELD "{\"RecordId\":\""
#define OBJECT_END "\"}"
#define ARRIVAL_FIELD "\",\"ApproximateArrivalTimestamp\":"
#define DATA_FIELD ",\"Data\":\""
#define KEY_FIELD "\",\"PartitionKey\":\""
#define ENCRYPTION_FIELD "\",\"EncryptionType\":\""

/* --- text --- */

static inline int is_special(uint8_t c)
{
    return c < ' ' || c == '"' || c == '\\';
}

/* The letter of a two-character escape, or 0 if the character needs \u00XX. */
static inline uint8_t short_escape(uint8_t c)
{
    switch (c) {
    case '"': return '"';
    case '\\': return '\\';
    case '\b': return 'b';
    case '\f': return 'f';
    case '\n': return 'n';
    case '\r': return 'r';
    case '\t': return 't';
    default: return 0;
    }
}

/* Characters at the front of the text that need no escape. */
static inline size_t plain_run(const uint8_t *text, size_t size, hr_simd simd)
{
    size_t run = 0;
#if HR_X86
    if (simd >= HR_SIMD_AVX2) {
        for (; size - run >= 16; run += 16) {
            __m128i block = _mm_loadu_si128((const __m128i *)(text + run));
            __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1F)), block);
            __m128i special = _mm_or_si128(control, _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8('"')),
                                                                 _mm_cmpeq_epi8(block, _mm_set1_epi8('\\'))));
            unsigned mask = (unsigned)_mm_movemask_epi8(special);
            if (mask != 0)
                return run + (unsigned)__builtin_ctz(mask);
        }
    }
#endif
    while (run < size && !is_special(text[run]))
        run++;
    return run;
}

size_t hr_write_escaped_size(const uint8_t *text, size_t size, hr_simd simd)
{
    size_t total = size;
    size_t at = plain_run(text, size, simd);
    while (at < size) {
        total += short_escape(text[at]) ? 1 : 5;
        at++;
        at += plain_run(text + at, size - at, simd);
    }
    return total;
}

uint8_t *hr_write_escaped(uint8_t *target, const uint8_t *text, size_t size, hr_simd simd)
{
    static const char HEX[16] = "0123456789abcdef";
    for (;;) {
        size_t run = plain_run(text, size, simd);
        memcpy(target, text, run);
        target += run;
        if (run == size)
            return target;
        uint8_t c = text[run], letter = short_escape(c);
        *target++ = '\\';
        if (letter) {
            *target++ = letter;
        } else {
            target = LITERAL(target, "u00");
            *target++ = (uint8_t)HEX[c >> 4];
            *target++ = (uint8_t)HEX[c & 15];
        }
        text += run + 1;
        size -= run + 1;
    }
}

/* Exactly `digits` decimal digits, zeros in front. */
static inline uint8_t *write_padded(uint8_t *target, uint64_t number, int digits)
{
    for (int i = digits - 1; i >= 0; i--) {
        target[i] = (uint8_t)('0' + number % 10);
        number /= 10;
    }
    return target + digits;
}

/* Arrivals outside of this cannot stand in a sequence number. */
static inline int is_arrival(int64_t arrival_ms)
{
    return arrival_ms >= 0 && (uint64_t)arrival_ms / 1000 <= HR_SEQUENCE_SECONDS_MAX;
}

/* --- put answers --- */

/* Entries of one request lie in few shards and share the second they arrived in, so the part of the number that
 * does not depend on the index, and the shard's digits, are kept for the slots seen last. */
#define CACHE_SLOTS 32

typedef struct slot_cache {
    struct {
        uint64_t slot; /* UINT64_MAX: empty */
        uint64_t arrival_s;
        hr_sequence base;
        uint8_t shard_digits[SHARD_DIGITS + 4];
    } line[CACHE_SLOTS];
} slot_cache;

size_t hr_write_put_size(hr_put_form form, const hr_put_outcome *outcome, size_t *failed)
{
    const size_t stored_size = form == HR_PUT_KINESIS
        ? LITERAL_SIZE(SEQUENCE_FIELD) + HR_SEQUENCE_DIGITS + LITERAL_SIZE(SHARD_FIELD) + SHARD_DIGITS + 2
        : LITERAL_SIZE(RECORD_ID_FIELD) + HR_SEQUENCE_DIGITS + 2;
    size_t size = 2 + (outcome->count > 0 ? outcome->count - 1 : 0);
    *failed = 0;
    for (size_t i = 0; i < outcome->slots; i++)
        if (outcome->created_s[i] > HR_SEQUENCE_SECONDS_MAX)
            return 0;
    for (size_t i = 0; i < outcome->count; i++) {
        unsigned failure = outcome->failure == NULL ? 0 : outcome->failure[i];
        if (failure > outcome->reasons)
            return 0;
        if (failure > 0) {
            size += outcome->reason[failure - 1].size;
            ++*failed;
            continue;
        }
        if (outcome->entry[i].slot >= outcome->slots || !is_arrival(outcome->entry[i].arrival_ms))
            return 0;
        size += stored_size;
    }
    return size;
}

void hr_write_put(hr_put_form form, const hr_put_outcome *outcome, uint8_t *target, hr_simd simd)
{
    slot_cache cache;
    for (size_t i = 0; i < CACHE_SLOTS; i++)
        cache.line[i].slot = UINT64_MAX;
    *target++ = '[';
    for (size_t i = 0; i < outcome->count; i++) {
        if (i > 0)
            *target++ = ',';
        if (outcome->failure != NULL && outcome->failure[i] != 0) {
            const hr_write_text *reason = &outcome->reason[outcome->failure[i] - 1];
            memcpy(target, reason->start, reason->size);
            target += reason->size;
            continue;
        }
        const hr_entry *entry = &outcome->entry[i];
        uint64_t arrival_s = (uint64_t)entry->arrival_ms / 1000;
        assert(entry->slot < outcome->slots && is_arrival(entry->arrival_ms));
        __typeof__(&cache.line[0]) line = &cache.line[entry->slot % CACHE_SLOTS];
        if (line->slot != entry->slot || line->arrival_s != arrival_s) {
            uint32_t shard = outcome->shard[entry->slot];
            line->slot = entry->slot;
            line->arrival_s = arrival_s;
            hr_sequence_base(&line->base, outcome->created_s[entry->slot], shard, arrival_s);
            write_padded(line->shard_digits, shard, SHARD_DIGITS);
        }
        if (form == HR_PUT_KINESIS) {
            target = LITERAL(target, SEQUENCE_FIELD);
            hr_sequence_write(target, &line->base, entry->index, simd);
            target = LITERAL(target + HR_SEQUENCE_DIGITS, SHARD_FIELD);
            memcpy(target, line->shard_digits, SHARD_DIGITS);
            target += SHARD_DIGITS;
        } else {
            target = LITERAL(target, RECORD_ID_FIELD);
            hr_sequence_write(target, &line->base, entry->index, simd);
            target += HR_SEQUENCE_DIGITS;
        }
        target = LITERAL(target, OBJECT_END);
    }
    *target++ = ']';
}

/* --- get answers --- */

#define SECONDS_DIGITS_MAX 11 /* of HR_SEQUENCE_SECONDS_MAX */

static inline size_t decimal_size(uint64_t number)
{
    size_t digits = 1;
    while (number >= 10) {
        number /= 10;
        digits++;
    }
    return digits;
}

size_t hr_write_records_size(const hr_write_records_from *records, hr_simd simd)
{
    size_t fixed = LITERAL_SIZE(SEQUENCE_FIELD) + HR_SEQUENCE_DIGITS + LITERAL_SIZE(ARRIVAL_FIELD) + 4 +
                   LITERAL_SIZE(DATA_FIELD) + LITERAL_SIZE(KEY_FIELD) + LITERAL_SIZE(OBJECT_END);
    if (records->encryption != NULL)
        fixed += LITERAL_SIZE(ENCRYPTION_FIELD) + strlen(records->encryption);
    size_t size = 2 + (records->count > 0 ? records->count - 1 : 0) + fixed * records->count;
    uint64_t second = 0;
    size_t second_size = 1;
    if (records->created_s > HR_SEQUENCE_SECONDS_MAX)
        return 0;
    for (size_t i = 0; i < records->count; i++) {
        if (!is_arrival(records->arrival_ms[i]))
            return 0;
        uint64_t arrival_s = (uint64_t)records->arrival_ms[i] / 1000;
        if (arrival_s != second) {
            second = arrival_s;
            second_size = decimal_size(arrival_s);
        }
        size += second_size + hr_base64_encoded_size(records->length[i]) +
                hr_write_escaped_size(records->base + records->key_offset[i], records->key_length[i], simd);
    }
    return size;
}

void hr_write_records(const hr_write_records_from *records, uint8_t *target, hr_simd simd)
{
    hr_sequence base;
    uint64_t second = UINT64_MAX;
    uint8_t second_text[SECONDS_DIGITS_MAX];
    size_t second_size = 0;
    *target++ = '[';
    for (size_t i = 0; i < records->count; i++) {
        uint64_t arrival_ms = (uint64_t)records->arrival_ms[i];
        uint64_t arrival_s = arrival_ms / 1000;
        assert(is_arrival(records->arrival_ms[i]));
        if (arrival_s != second) {
            second = arrival_s;
            second_size = decimal_size(arrival_s);
            write_padded(second_text, arrival_s, (int)second_size);
            hr_sequence_base(&base, records->created_s, records->shard, arrival_s);
        }
        if (i > 0)
            *target++ = ',';
        target = LITERAL(target, SEQUENCE_FIELD);
        hr_sequence_write(target, &base, records->ordinal[i], simd);
        target = LITERAL(target + HR_SEQUENCE_DIGITS, ARRIVAL_FIELD);
        memcpy(target, second_text, second_size);
        target += second_size;
        *target++ = '.';
        target = write_padded(target, arrival_ms - arrival_s * 1000, 3);
        target = LITERAL(target, DATA_FIELD);
        hr_base64_encode(target, records->base + records->offset[i], records->length[i], simd);
        target = LITERAL(target + hr_base64_encoded_size(records->length[i]), KEY_FIELD);
        target = hr_write_escaped(target, records->base + records->key_offset[i], records->key_length[i], simd);
        if (records->encryption != NULL) {
            size_t size = strlen(records->encryption);
            target = LITERAL(target, ENCRYPTION_FIELD);
            memcpy(target, records->encryption, size);
            target += size;
        }
        target = LITERAL(target, OBJECT_END);
    }
    *target++ = ']';
}
