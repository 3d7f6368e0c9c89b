/* Invariant: what was framed is read back unchanged, and any bytes at all are judged without a read outside them. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include "frame.h"

#include "crc32c.h"
#include "fuzz.h"

enum { ENTRIES_MAX = 12 };

/* Read every record of a frame that passed both checks, and touch each byte of it. */
static uint64_t read_all(const uint8_t *bytes, const hr_frame_header *header)
{
    const uint32_t count = header->count;
    int64_t *offset = malloc(count * sizeof *offset), *key_offset = malloc(count * sizeof *key_offset);
    int64_t *arrival = malloc(count * sizeof *arrival);
    uint32_t *length = malloc(count * sizeof *length), *key_length = malloc(count * sizeof *key_length);
    uint32_t *shard = malloc(count * sizeof *shard);
    uint64_t *ordinal = malloc(count * sizeof *ordinal), sum = 0;
    hr_frame_columns columns = {offset, length, key_offset, key_length, ordinal, arrival, shard};
    hr_frame_columns_fill(bytes, 0, header, 0, count, &columns, 0);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(ordinal[i] == header->first_index + i && shard[i] == header->shard);
        for (uint32_t j = 0; j < length[i]; j++)
            sum += bytes[offset[i] + j];
        for (uint32_t j = 0; j < key_length[i]; j++)
            sum += bytes[key_offset[i] + j];
    }
    free(offset), free(key_offset), free(arrival), free(length), free(key_length), free(shard), free(ordinal);
    return sum;
}

static void judge(const uint8_t *bytes, size_t size, uint32_t salt)
{
    hr_frame_header header;
    for (int simd = 0; simd <= FUZZ_SIMD_MAX; simd++) {
        if (hr_frame_check_header(bytes, size, salt, 0, 0, &header, (hr_simd)simd) != HR_FRAME_OK)
            continue;
        CHECK(hr_frame_stride(header.body_size) <= size);
        if (hr_frame_check_body(bytes, &header, (hr_simd)simd) == HR_FRAME_OK && header.kind == HR_KIND_RECORDS)
            read_all(bytes, &header);
    }
    CHECK(hr_frame_search(bytes, 0, size, salt, HR_SIMD_SCALAR) <= size);
}

/* Frame entries made from the input and read them back. */
static uint8_t *frame(fuzz_input *input, uint32_t salt, size_t *stride)
{
    hr_entry entries[ENTRIES_MAX];
    uint32_t order[ENTRIES_MAX], body;
    const size_t wish = 1 + fuzz_number(input, 1) % ENTRIES_MAX;
    memset(entries, 0, sizeof entries);
    for (size_t i = 0; i < wish; i++) {
        size_t taken;
        order[i] = (uint32_t)(wish - 1 - i);
        entries[i].key = fuzz_bytes(input, fuzz_number(input, 1) % 64, &taken);
        entries[i].key_size = (uint32_t)taken;
        entries[i].data = fuzz_bytes(input, fuzz_number(input, 2) % 300, &taken);
        entries[i].data_size = (uint32_t)taken;
    }
    const size_t count = hr_frame_fit(entries, order, wish, &body);
    CHECK(count >= 1 && count <= wish);
    hr_frame_header header = {0}, found;
    header.body_size = body;
    header.first_index = fuzz_number(input, 8) >> 1;
    header.count = (uint16_t)count;
    header.kind = HR_KIND_RECORDS;
    *stride = hr_frame_stride(body);
    uint8_t *bytes = malloc(*stride);
    CHECK(hr_frame_write_records(bytes, &header, salt, entries, order, HR_SIMD_SCALAR) == *stride);
    CHECK(hr_frame_check_header(bytes, *stride, salt, 1, 0, &found, HR_SIMD_SCALAR) == HR_FRAME_OK);
    CHECK(hr_frame_check_body(bytes, &found, HR_SIMD_SCALAR) == HR_FRAME_OK);
    const uint8_t *at = bytes + HR_FRAME_HEADER_SIZE + count * HR_FRAME_ROW_SIZE;
    for (size_t i = 0; i < count; i++) {
        const hr_entry *entry = &entries[order[i]];
        CHECK(entry->index == header.first_index + i);
        CHECK(memcmp(at, entry->key, entry->key_size) == 0);
        CHECK(memcmp(at + entry->key_size, entry->data, entry->data_size) == 0);
        at += entry->key_size + entry->data_size;
    }
    for (size_t i = 0; i < wish; i++)
        free((void *)entries[i].key), free((void *)entries[i].data);
    return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    const uint32_t salt = (uint32_t)fuzz_number(&input, 4);
    size_t stride;
    uint8_t *bytes = frame(&input, salt, &stride);
    /* Change bytes, then make the checksums right again, so that the fields behind them are judged too. */
    while (input.left > 0) {
        const size_t at = fuzz_number(&input, 2) % stride;
        bytes[at] = (uint8_t)fuzz_number(&input, 1);
    }
    judge(bytes, stride, salt);
    hr_frame_header header;
    memcpy(&header, bytes, sizeof header);
    if (header.body_size <= stride - HR_FRAME_HEADER_SIZE)
        header.body_crc = hr_crc32c(0, bytes + HR_FRAME_HEADER_SIZE, header.body_size, HR_SIMD_SCALAR);
    header.header_crc = hr_crc32c(salt, (uint8_t *)&header + 4, sizeof header - 4, HR_SIMD_SCALAR);
    memcpy(bytes, &header, sizeof header);
    judge(bytes, stride, salt);
    free(bytes);
    return 0;
}
