/* Invariant: a look-up by index or time finds the row that a walk from the shard's first row finds. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include "frame_table.h"

#include "fuzz.h"

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
        for (uint32_t other = 0; other <= SHARDS; other++) {
            CHECK(hr_frame_table_find_index(&table, other, number) == walk(&table, other, number, 0, 0));
            CHECK(hr_frame_table_find_time(&table, other, number % 300) == walk(&table, other, 0, number % 300, 1));
        }
    }
    hr_frame_table_free(&table);
    return 0;
}
