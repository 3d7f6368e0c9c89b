/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * frame.c: writing, checking and reading frames. The format stands in frame.h.
 */
#include "frame.h"

#include <assert.h>
#include <string.h>

#include "crc32c.h"

typedef struct row {
    uint32_t end;
    uint16_t key_size;
    uint16_t flags;
} row;

_Static_assert(sizeof(row) == HR_FRAME_ROW_SIZE, "a row has no padding");

static inline uint32_t header_crc(const hr_frame_header *header, uint32_t salt, hr_simd simd)
{
    return hr_crc32c(salt, (const uint8_t *)header + 4, HR_FRAME_HEADER_SIZE - 4, simd);
}

size_t hr_frame_fit(const hr_entry *entries, const uint32_t *order, size_t count, uint32_t *body_size)
{
    uint64_t size = 0;
    size_t fitting = 0;
    assert(count > 0 && entries != NULL);
    if (count > HR_FRAME_COUNT_MAX)
        count = HR_FRAME_COUNT_MAX;
    for (; fitting < count; fitting++) {
        const hr_entry *entry = &entries[order[fitting]];
        uint64_t more = (uint64_t)HR_FRAME_ROW_SIZE + entry->key_size + entry->data_size;
        if (fitting > 0 && size + more > HR_FRAME_BODY_SIZE_MAX)
            break;
        size += more;
        if (size > HR_FRAME_BODY_SIZE_MAX) {
            fitting++;
            break;
        }
    }
    assert(size <= HR_FRAME_RECORD_SIZE_MAX);
    *body_size = (uint32_t)size;
    return fitting;
}

static size_t finish(uint8_t *target, hr_frame_header *header, uint32_t salt, hr_simd simd)
{
    uint8_t *body = target + HR_FRAME_HEADER_SIZE;
    size_t stride = hr_frame_stride(header->body_size);
    memset(body + header->body_size, 0, stride - HR_FRAME_HEADER_SIZE - header->body_size);
    header->body_crc = hr_crc32c(0, body, header->body_size, simd);
    header->header_crc = header_crc(header, salt, simd);
    memcpy(target, header, HR_FRAME_HEADER_SIZE);
    return stride;
}

size_t hr_frame_write_records(uint8_t *target, hr_frame_header *header, uint32_t salt, hr_entry *entries,
                              const uint32_t *order, hr_simd simd)
{
    uint8_t *rows = target + HR_FRAME_HEADER_SIZE;
    uint8_t *payload = rows + (size_t)header->count * HR_FRAME_ROW_SIZE;
    uint32_t end = 0;
    assert(header->count > 0 && header->kind == HR_KIND_RECORDS);
    for (uint32_t i = 0; i < header->count; i++) {
        hr_entry *entry = &entries[order[i]];
        row line;
        memcpy(payload + end, entry->key, entry->key_size);
        memcpy(payload + end + entry->key_size, entry->data, entry->data_size);
        end += entry->key_size + entry->data_size;
        line.end = end;
        line.key_size = (uint16_t)entry->key_size;
        line.flags = 0;
        memcpy(rows + (size_t)i * HR_FRAME_ROW_SIZE, &line, sizeof line);
        entry->index = header->first_index + i;
        entry->arrival_ms = header->arrival_ms;
    }
    assert((size_t)header->count * HR_FRAME_ROW_SIZE + end == header->body_size);
    return finish(target, header, salt, simd);
}

size_t hr_frame_write_body(uint8_t *target, hr_frame_header *header, uint32_t salt, const void *body, hr_simd simd)
{
    assert(header->kind != HR_KIND_RECORDS && header->body_size <= HR_FRAME_RECORD_SIZE_MAX);
    if (header->body_size > 0)
        memcpy(target + HR_FRAME_HEADER_SIZE, body, header->body_size);
    return finish(target, header, salt, simd);
}

static int fields_possible(const hr_frame_header *header)
{
    if (header->kind < HR_KIND_RECORDS || header->kind > HR_KIND_END)
        return 0;
    if (header->body_size > HR_FRAME_RECORD_SIZE_MAX)
        return 0;
    if (header->kind != HR_KIND_RECORDS)
        return header->count == 0;
    return header->count > 0 && (uint64_t)header->count * HR_FRAME_ROW_SIZE <= header->body_size &&
           (header->count == 1 || header->body_size <= HR_FRAME_BODY_SIZE_MAX);
}

hr_frame_state hr_frame_check_header(const uint8_t *source, size_t available, uint32_t salt, int chained,
                                     uint32_t previous, hr_frame_header *header, hr_simd simd)
{
    if (available < HR_FRAME_HEADER_SIZE)
        return HR_FRAME_SHORT;
    memcpy(header, source, HR_FRAME_HEADER_SIZE);
    if (header->header_crc != header_crc(header, salt, simd))
        return HR_FRAME_BAD_HEADER;
    if (chained && header->previous_crc != previous)
        return HR_FRAME_BAD_CHAIN;
    if (!fields_possible(header))
        return HR_FRAME_BAD_FIELD;
    if (available < hr_frame_stride(header->body_size))
        return HR_FRAME_SHORT;
    return HR_FRAME_OK;
}

static int rows_fit(const uint8_t *rows, const hr_frame_header *header)
{
    uint32_t room = header->body_size - (uint32_t)header->count * HR_FRAME_ROW_SIZE;
    uint32_t start = 0;
    for (uint32_t i = 0; i < header->count; i++) {
        row line;
        memcpy(&line, rows + (size_t)i * HR_FRAME_ROW_SIZE, sizeof line);
        if (line.end < start || line.end > room || line.end - start < line.key_size)
            return 0;
        start = line.end;
    }
    return start == room;
}

hr_frame_state hr_frame_check_body(const uint8_t *source, const hr_frame_header *header, hr_simd simd)
{
    const uint8_t *body = source + HR_FRAME_HEADER_SIZE;
    if (hr_crc32c(0, body, header->body_size, simd) != header->body_crc)
        return HR_FRAME_BAD_BODY;
    if (header->kind == HR_KIND_RECORDS && !rows_fit(body, header))
        return HR_FRAME_BAD_BODY;
    return HR_FRAME_OK;
}

void hr_frame_columns_fill(const uint8_t *buffer, size_t at, const hr_frame_header *header, uint32_t skip,
                           uint32_t take, const hr_frame_columns *columns, size_t start)
{
    const uint8_t *rows = buffer + at + HR_FRAME_HEADER_SIZE;
    int64_t payload = (int64_t)(at + HR_FRAME_HEADER_SIZE + (size_t)header->count * HR_FRAME_ROW_SIZE);
    uint32_t from = 0;
    assert(header->kind == HR_KIND_RECORDS && skip + take <= header->count);
    if (skip > 0)
        memcpy(&from, rows + (size_t)(skip - 1) * HR_FRAME_ROW_SIZE, sizeof from);
    for (uint32_t i = 0; i < take; i++) {
        row line;
        size_t to = start + i;
        memcpy(&line, rows + (size_t)(skip + i) * HR_FRAME_ROW_SIZE, sizeof line);
        columns->key_offset[to] = payload + from;
        columns->key_length[to] = line.key_size;
        columns->offset[to] = payload + from + line.key_size;
        columns->length[to] = line.end - from - line.key_size;
        columns->ordinal[to] = header->first_index + skip + i;
        columns->arrival_ms[to] = header->arrival_ms;
        columns->shard[to] = header->shard;
        from = line.end;
    }
}

size_t hr_frame_search(const uint8_t *source, size_t from, size_t size, uint32_t salt, hr_simd simd)
{
    hr_frame_header header;
    for (size_t at = (from + 7u) & ~(size_t)7u; at + HR_FRAME_HEADER_SIZE <= size; at += 8) {
        uint8_t kind = source[at + 38];
        if (kind < HR_KIND_RECORDS || kind > HR_KIND_END)
            continue; /* spares the CRC at most places */
        hr_frame_state state = hr_frame_check_header(source + at, size - at, salt, 0, 0, &header, simd);
        if (state == HR_FRAME_OK || state == HR_FRAME_SHORT)
            return at;
    }
    return size;
}
