/* Invariant: a look-up by index or time finds the row that a walk from the shard's first row finds, and the runs of a read hold just the frames that such a walk would read, in order. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include "frame_table.h"

#include "fuzz.h"

#include <stdlib.h>

enum { SHARDS = 5 };

static uint32_t walk(const hr_frame_table *table, uint32_t shard, uint64_t index, int64_t arrival_ms, int by_time)
{
    uint32_t at = shard < table->shard_capacity ? table->first[shard] : HR_NO_ROW;
    while (at != HR_NO_ROW) {
        const hr_frame_row *row = &table->rows[at];
        if (by_time ? row->arrival_ms >= arrival_ms : row->first_index + row->count > index)
            return at;
        at = row->next;
    }
    return HR_NO_ROW;
}

/* The runs against a walk, frame by frame. */
static void check_runs(const hr_frame_table *table, uint32_t shard, uint64_t index, int64_t max_records,
                       int64_t max_bytes, uint64_t end, uint64_t run_max)
{
    hr_frame_run *runs;
    const int64_t count = hr_frame_table_runs(table, shard, index, max_records, max_bytes, end, run_max, &runs);
    uint32_t at = walk(table, shard, index, 0, 0);
    int64_t records = 0;
    uint64_t target = 0;
    CHECK(count >= 0);
    for (int64_t i = 0; i < count; i++) {
        uint64_t size = 0, frames = 0;
        CHECK(runs[i].target == target);
        CHECK(i == 0 || runs[i].offset != runs[i - 1].offset + runs[i - 1].size ||
              runs[i - 1].size + table->rows[at].stride > run_max);
        while (size < runs[i].size) {
            CHECK(at != HR_NO_ROW && table->rows[at].offset == runs[i].offset + size);
            CHECK(records < max_records && runs[i].offset + size + table->rows[at].stride <= end);
            const uint64_t first = table->rows[at].first_index;
            records += table->rows[at].count - (int64_t)(index > first ? index - first : 0);
            size += table->rows[at].stride;
            frames++;
            at = table->rows[at].next;
        }
        CHECK(size == runs[i].size && frames > 0 && (frames == 1 || size <= run_max));
        target += size;
    }
    if (at != HR_NO_ROW) /* and it ended there for one of four reasons */
        CHECK(records >= max_records || (uint64_t)table->rows[at].offset + table->rows[at].stride > end ||
              (target > 0 && (int64_t)(target + table->rows[at].stride) > max_bytes));
    free(runs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    hr_frame_table table = {0};
    uint64_t next[SHARDS] = {0};
    int64_t arrival[SHARDS] = {0};
    uint32_t offset = 0;
    while (input.left > 0) {
        const uint8_t what = (uint8_t)fuzz_number(&input, 1);
        const uint32_t shard = what % SHARDS;
        const uint16_t number = (uint16_t)fuzz_number(&input, 2);
        if (what < 200) { /* a frame, sometimes with a step in the index */
            next[shard] += number % 7 == 0 ? number : 0;
            arrival[shard] += number % 5;
            CHECK(hr_frame_table_reserve(&table, 1, shard) == 0);
            hr_frame_table_add(&table, shard, next[shard], 1 + number % 9, arrival[shard], offset, 64 + number);
            next[shard] += 1 + number % 9;
            offset += 64 + number;
        } else if (what < 205) { /* a failed write */
            const uint32_t cut = offset ? number % offset : 0;
            hr_frame_table_cut(&table, cut);
            offset = table.count ? table.rows[table.count - 1].offset + table.rows[table.count - 1].stride : 0;
            for (uint32_t i = 0; i < SHARDS && i < table.shard_capacity; i++) {
                const uint32_t last = table.last[i];
                next[i] = last == HR_NO_ROW ? 0 : table.rows[last].first_index + table.rows[last].count;
                arrival[i] = last == HR_NO_ROW ? 0 : table.rows[last].arrival_ms;
            }
        } else if (what < 206) {
            hr_frame_table_clear(&table);
            offset = 0;
            memset(next, 0, sizeof next), memset(arrival, 0, sizeof arrival);
        }
        check_runs(&table, shard, number, 1 + number % 40, 1 + number * 3, offset - (number % 3) * 50, 1 + number * 2);
        for (uint32_t other = 0; other <= SHARDS; other++) {
            CHECK(hr_frame_table_find_index(&table, other, number) == walk(&table, other, number, 0, 0));
            CHECK(hr_frame_table_find_time(&table, other, number % 300) == walk(&table, other, 0, number % 300, 1));
        }
    }
    hr_frame_table_free(&table);
    return 0;
}
