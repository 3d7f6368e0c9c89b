/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * frame_table.c: the per-segment table of frames. Meaning and cost stand in frame_table.h.
 */
#include "frame_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void hr_frame_table_free(hr_frame_table *table)
{
    free(table->rows);
    free(table->first);
    free(table->last);
    memset(table, 0, sizeof *table);
}

void hr_frame_table_clear(hr_frame_table *table)
{
    table->count = 0;
    for (uint32_t i = 0; i < table->shard_capacity; i++)
        table->first[i] = table->last[i] = HR_NO_ROW;
}

static int reserve_shards(hr_frame_table *table, uint32_t shard)
{
    uint64_t wanted = table->shard_capacity ? table->shard_capacity : 16;
    while (wanted <= shard)
        wanted *= 2;
    uint32_t *first = realloc(table->first, (size_t)wanted * sizeof *first);
    if (first == NULL)
        return ENOMEM;
    table->first = first;
    uint32_t *last = realloc(table->last, (size_t)wanted * sizeof *last);
    if (last == NULL)
        return ENOMEM;
    table->last = last;
    for (uint64_t i = table->shard_capacity; i < wanted; i++)
        first[i] = last[i] = HR_NO_ROW;
    table->shard_capacity = (uint32_t)wanted;
    return 0;
}

int hr_frame_table_reserve(hr_frame_table *table, uint32_t rows, uint32_t shard)
{
    uint64_t needed = (uint64_t)table->count + rows;
    if (needed >= HR_NO_ROW || shard >= (1u << 31))
        return ENOMEM;
    if (needed > table->capacity) {
        uint64_t wanted = table->capacity ? table->capacity : 64;
        while (wanted < needed)
            wanted *= 2;
        hr_frame_row *grown = realloc(table->rows, (size_t)wanted * sizeof *grown);
        if (grown == NULL)
            return ENOMEM;
        table->rows = grown;
        table->capacity = (uint32_t)wanted;
    }
    return shard < table->shard_capacity ? 0 : reserve_shards(table, shard);
}

/* The jump link of a row that follows `previous`: two equal jumps are joined to one twice as long. */
static uint32_t jump_after(const hr_frame_row *rows, uint32_t previous)
{
    uint32_t jump = rows[previous].jump;
    uint32_t further = rows[jump].jump;
    if (rows[previous].depth - rows[jump].depth == rows[jump].depth - rows[further].depth)
        return further;
    return previous;
}

void hr_frame_table_add(hr_frame_table *table, uint32_t shard, uint64_t first_index, uint32_t count,
                        int64_t arrival_ms, uint32_t offset, uint32_t stride)
{
    assert(table->count < table->capacity && shard < table->shard_capacity);
    uint32_t number = table->count++;
    uint32_t previous = table->last[shard];
    hr_frame_row *row = &table->rows[number];
    *row = (hr_frame_row){first_index, arrival_ms, offset, stride, shard, count, previous, number, HR_NO_ROW, 0};
    if (previous == HR_NO_ROW) {
        table->first[shard] = number;
    } else {
        assert(table->rows[previous].first_index + table->rows[previous].count <= first_index);
        table->rows[previous].next = number;
        row->depth = table->rows[previous].depth + 1;
        row->jump = jump_after(table->rows, previous);
    }
    table->last[shard] = number;
}

void hr_frame_table_cut(hr_frame_table *table, uint32_t offset)
{
    while (table->count > 0 && table->rows[table->count - 1].offset >= offset) {
        const hr_frame_row *row = &table->rows[--table->count];
        table->last[row->shard] = row->previous;
        if (row->previous == HR_NO_ROW)
            table->first[row->shard] = HR_NO_ROW;
        else
            table->rows[row->previous].next = HR_NO_ROW;
    }
}

uint32_t hr_frame_table_find_index(const hr_frame_table *table, uint32_t shard, uint64_t index)
{
    if (shard >= table->shard_capacity || table->last[shard] == HR_NO_ROW)
        return HR_NO_ROW;
    const hr_frame_row *rows = table->rows;
    uint32_t at = table->last[shard];
    if (rows[at].first_index + rows[at].count <= index)
        return HR_NO_ROW;
    /* Invariant: row `at` ends after `index`. Go back while the row before it does too. */
    for (;;) {
        uint32_t jump = rows[at].jump, previous = rows[at].previous;
        if (jump != at && rows[jump].first_index + rows[jump].count > index)
            at = jump;
        else if (previous != HR_NO_ROW && rows[previous].first_index + rows[previous].count > index)
            at = previous;
        else
            return at;
    }
}

uint32_t hr_frame_table_find_time(const hr_frame_table *table, uint32_t shard, int64_t arrival_ms)
{
    if (shard >= table->shard_capacity || table->last[shard] == HR_NO_ROW)
        return HR_NO_ROW;
    const hr_frame_row *rows = table->rows;
    uint32_t at = table->last[shard];
    if (rows[at].arrival_ms < arrival_ms)
        return HR_NO_ROW;
    for (;;) {
        uint32_t jump = rows[at].jump, previous = rows[at].previous;
        if (jump != at && rows[jump].arrival_ms >= arrival_ms)
            at = jump;
        else if (previous != HR_NO_ROW && rows[previous].arrival_ms >= arrival_ms)
            at = previous;
        else
            return at;
    }
}

int64_t hr_frame_table_runs(const hr_frame_table *table, uint32_t shard, uint64_t index, int64_t max_records,
                            int64_t max_bytes, uint64_t end, uint64_t run_max, hr_frame_run **runs)
{
    uint32_t at = hr_frame_table_find_index(table, shard, index);
    int64_t records = 0, size = 0, count = 0, room = 0;
    *runs = NULL;
    for (; at != HR_NO_ROW; at = table->rows[at].next) {
        const hr_frame_row *row = &table->rows[at];
        if ((uint64_t)row->offset + row->stride > end || records >= max_records)
            break;
        if (size > 0 && size + row->stride > max_bytes)
            break;
        hr_frame_run *last = count > 0 ? *runs + count - 1 : NULL;
        if (last != NULL && last->offset + last->size == row->offset && last->size + row->stride <= run_max) {
            last->size += row->stride;
        } else {
            if (count == room) {
                room = room > 0 ? 2 * room : 16;
                hr_frame_run *grown = realloc(*runs, (size_t)room * sizeof *grown);
                if (grown == NULL) {
                    free(*runs);
                    *runs = NULL;
                    return -1;
                }
                *runs = grown;
            }
            (*runs)[count++] = (hr_frame_run){row->offset, row->stride, (uint64_t)size};
        }
        records += row->count - (index > row->first_index ? (int64_t)(index - row->first_index) : 0);
        size += row->stride;
    }
    return count;
}
