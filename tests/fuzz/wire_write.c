/* Invariant: answers fill exactly the size computed for them, the same at every SIMD level; keys, data and sequence
 * numbers in them mean what was given. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include "base64.h"
#include "fuzz.h"
#include "sequence.h"
#include "wire_scan.h"
#include "wire_write.h"

#define COUNT_MAX 8
#define EDGE 0x5A

/* The 188 bits of a sequence number as 6 words to decimal by long division. */
FUZZ_MODEL static void model_sequence(char digits[HR_SEQUENCE_DIGITS], uint64_t created_s, uint32_t shard,
                                      uint64_t index, uint64_t arrival_s)
{
    char hex[48];
    snprintf(hex, sizeof hex, "2%09llx%01x%016llx00%09llx%08x2", (unsigned long long)created_s, shard & 0xF,
             (unsigned long long)index, (unsigned long long)arrival_s, shard);
    CHECK(strlen(hex) == 47);
    uint32_t word[6] = {0}; /* highest first */
    for (int i = 0; i < 47; i++) {
        const uint32_t nibble = (uint32_t)(hex[i] <= '9' ? hex[i] - '0' : hex[i] - 'a' + 10);
        word[(i + 1) / 8] = word[(i + 1) / 8] << 4 | nibble;
    }
    for (int place = HR_SEQUENCE_DIGITS - 1; place >= 0; place--) {
        uint64_t rest = 0;
        for (int i = 0; i < 6; i++) {
            rest = rest << 32 | word[i];
            word[i] = (uint32_t)(rest / 10);
            rest %= 10;
        }
        digits[place] = (char)('0' + rest);
    }
    for (int i = 0; i < 6; i++)
        CHECK(word[i] == 0);
}

/* Find a literal in [*at, end) and stand behind it; what lies before is given as a span. */
static hr_write_text until(const uint8_t **at, const uint8_t *end, const char *literal)
{
    const uint8_t *found = memmem(*at, (size_t)(end - *at), literal, strlen(literal));
    CHECK(found != NULL);
    hr_write_text before = {*at, (size_t)(found - *at)};
    *at = found + strlen(literal);
    return before;
}

static int is_text(hr_write_text text, const void *expected, size_t size)
{
    return text.size == size && (size == 0 || memcmp(text.start, expected, size) == 0);
}

/* Read the list back field by field. Keys hold no quote outside of an escape, so the fields stand out. */
static void check_records(const hr_write_records_from *records, const uint8_t *list, size_t size)
{
    const uint8_t *at = list, *end = list + size;
    until(&at, end, "[");
    for (size_t i = 0; i < records->count; i++) {
        char digits[HR_SEQUENCE_DIGITS], stamp[32];
        const uint64_t arrival = (uint64_t)records->arrival_ms[i];
        CHECK(until(&at, end, "{\"SequenceNumber\":\"").size == (i > 0 ? 1 : 0));
        model_sequence(digits, records->created_s, records->shard, records->ordinal[i], arrival / 1000);
        CHECK(is_text(until(&at, end, "\",\"ApproximateArrivalTimestamp\":"), digits, sizeof digits));
        const int stamp_size = snprintf(stamp, sizeof stamp, "%llu.%03llu", (unsigned long long)(arrival / 1000),
                                        (unsigned long long)(arrival % 1000));
        CHECK(is_text(until(&at, end, ",\"Data\":\""), stamp, (size_t)stamp_size));
        const size_t room = records->length[i] + 3;
        uint8_t *data = malloc(room);
        size_t written;
        const ptrdiff_t read = hr_base64_decode_prefix(data, room, at, (size_t)(end - at), &written, HR_SIMD_SCALAR);
        CHECK(read >= 0 && written == records->length[i]);
        CHECK(written == 0 || memcmp(data, records->base + records->offset[i], written) == 0);
        free(data);
        at += read;
        CHECK(until(&at, end, "\",\"PartitionKey\":\"").size == 0);
        const size_t key_size = records->key_length[i];
        const uint8_t *key = records->base + records->key_offset[i];
        const size_t escaped_size = hr_write_escaped_size(key, key_size, HR_SIMD_SCALAR);
        uint8_t *escaped = malloc(escaped_size);
        CHECK(hr_write_escaped(escaped, key, key_size, HR_SIMD_SCALAR) == escaped + escaped_size);
        CHECK((size_t)(end - at) >= escaped_size && is_text((hr_write_text){at, escaped_size}, escaped, escaped_size));
        at += escaped_size;
        free(escaped);
        CHECK(until(&at, end, records->encryption ? "\",\"EncryptionType\":\"KMS\"}" : "\"}").size == 0);
    }
    CHECK(end - at == 1 && *at == ']');
}

/* An escaped key that the scanner takes for a key reads back as itself. */
static void check_key(const uint8_t *key, size_t size)
{
    const size_t escaped_size = hr_write_escaped_size(key, size, (hr_simd)FUZZ_SIMD_MAX);
    uint8_t *body = malloc(escaped_size + 64), *at = body;
    const char before[] = "{\"StreamName\":\"s\",\"Data\":\"\",\"PartitionKey\":\"";
    at = (uint8_t *)memcpy(at, before, sizeof before - 1) + sizeof before - 1;
    at = hr_write_escaped(at, key, size, (hr_simd)FUZZ_SIMD_MAX);
    for (const uint8_t *c = body + sizeof before - 1; c < at; c++)
        CHECK(*c >= ' ');
    memcpy(at, "\"}", 2);
    const size_t body_size = (size_t)(at + 2 - body);
    uint8_t *arena = malloc(hr_scan_arena_size(body_size));
    const hr_scan_limits limits = {1, 1 << 20, 1 << 20};
    hr_entry entry;
    hr_scan_result result;
    if (hr_scan_put(HR_SCAN_PUT_RECORD, body, body_size, arena, &entry, &limits, &result, HR_SIMD_SCALAR) == 1)
        CHECK(entry.key_size == size && memcmp(entry.key, key, size) == 0);
    free(arena);
    free(body);
}

static void check_puts(fuzz_input *input, size_t count, hr_simd simd)
{
    hr_entry entry[COUNT_MAX];
    uint8_t failure[COUNT_MAX];
    uint32_t shard[3];
    uint64_t created[3];
    const hr_write_text reason[2] = {{(const uint8_t *)"{}", 2}, {(const uint8_t *)"{\"ErrorCode\":\"X\"}", 17}};
    memset(entry, 0, sizeof entry);
    for (int i = 0; i < 3; i++) {
        shard[i] = (uint32_t)fuzz_number(input, 4);
        created[i] = fuzz_number(input, 5) % (HR_SEQUENCE_SECONDS_MAX + 1);
    }
    for (size_t i = 0; i < count; i++) {
        entry[i].slot = (uint32_t)fuzz_number(input, 1) % 4; /* 3 is out of range */
        entry[i].index = fuzz_number(input, 8);
        entry[i].arrival_ms = (int64_t)fuzz_number(input, 6);
        failure[i] = (uint8_t)fuzz_number(input, 1) % 4; /* 3 has no reason */
    }
    const hr_put_outcome outcome = {entry, count, shard, created, 3, failure[0] & 1 ? failure : NULL, reason, 2};
    for (int form = 0; form < 2; form++) {
        size_t failed;
        const size_t size = hr_write_put_size((hr_put_form)form, &outcome, &failed);
        if (size == 0)
            continue;
        uint8_t *list = malloc(size);
        memset(list, 0, size);
        hr_write_put((hr_put_form)form, &outcome, list, simd);
        const uint8_t *at = list, *end = list + size;
        until(&at, end, "[");
        for (size_t i = 0; i < count; i++) {
            if (outcome.failure != NULL && failure[i] != 0) {
                CHECK(failed-- > 0);
                continue;
            }
            char digits[HR_SEQUENCE_DIGITS], id[32];
            model_sequence(digits, created[entry[i].slot], shard[entry[i].slot], entry[i].index,
                           (uint64_t)entry[i].arrival_ms / 1000);
            until(&at, end, form == HR_PUT_KINESIS ? "{\"SequenceNumber\":\"" : "{\"RecordId\":\"");
            CHECK(is_text((hr_write_text){at, sizeof digits}, digits, sizeof digits));
            at += sizeof digits;
            if (form == HR_PUT_FIREHOSE)
                continue;
            snprintf(id, sizeof id, "\",\"ShardId\":\"shardId-%012u\"}", (unsigned)shard[entry[i].slot]);
            CHECK(until(&at, end, id).size == 0);
        }
        CHECK(failed == 0 && end[-1] == ']');
        free(list);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    fuzz_input input = {bytes, size};
    int64_t offset[COUNT_MAX], key_offset[COUNT_MAX], arrival[COUNT_MAX];
    uint32_t length[COUNT_MAX], key_length[COUNT_MAX];
    uint64_t ordinal[COUNT_MAX];
    hr_write_records_from records = {NULL, fuzz_number(&input, 1) % (COUNT_MAX + 1), offset, length, key_offset,
                                     key_length, ordinal, arrival, (uint32_t)fuzz_number(&input, 4),
                                     fuzz_number(&input, 5) % (HR_SEQUENCE_SECONDS_MAX + 2), NULL};
    if (fuzz_number(&input, 1) & 1)
        records.encryption = "KMS";
    const fuzz_input puts = input;
    for (int simd = 0; simd <= FUZZ_SIMD_MAX; simd++) {
        input = puts;
        check_puts(&input, records.count, (hr_simd)simd);
    }
    uint64_t cut[2 * COUNT_MAX];
    for (size_t i = 0; i < records.count; i++) {
        ordinal[i] = fuzz_number(&input, 8);
        arrival[i] = (int64_t)fuzz_number(&input, 6);
        cut[2 * i] = fuzz_number(&input, 2);
        cut[2 * i + 1] = fuzz_number(&input, 2);
    }
    size_t left, place = 0;
    uint8_t *base = fuzz_bytes(&input, SIZE_MAX, &left);
    records.base = base;
    for (size_t i = 0; i < records.count; i++) {
        offset[i] = (int64_t)place;
        length[i] = (uint32_t)(cut[2 * i] % (left - place + 1));
        place += length[i];
        key_offset[i] = (int64_t)place;
        key_length[i] = (uint32_t)(cut[2 * i + 1] % (left - place + 1));
        check_key(base + place, key_length[i]);
        place += key_length[i];
    }
    const size_t list_size = hr_write_records_size(&records, HR_SIMD_SCALAR);
    for (int simd = 0; simd <= FUZZ_SIMD_MAX; simd++) {
        CHECK(hr_write_records_size(&records, (hr_simd)simd) == list_size);
        if (list_size == 0)
            continue;
        uint8_t *list = malloc(list_size + 1);
        list[list_size] = EDGE;
        hr_write_records(&records, list, (hr_simd)simd);
        CHECK(list[list_size] == EDGE);
        check_records(&records, list, list_size);
        free(list);
    }
    free(base);
    return 0;
}
