/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * frame_table.h: where each shard's frames stand in one segment, so that a shard is read without walking
 * past the others.
 *
 * One row a frame, in the order of the segment, appended by the writer as it frames and by a reader as it
 * passes once over a segment's headers for all shards. The rows of one shard are linked forwards, and
 * backwards by one skewed jump link each (Myers 1983, "An applicative random-access stack"), so that the
 * frame that holds a given index, or the first one after a given time, is found from the shard's last
 * row in O(log n) steps without a second array.
 *
 * Cost: 48 bytes a frame and 8 bytes a shard number; an append touches one new row and its predecessor.
 */
#ifndef HR_FRAME_TABLE_H
#define HR_FRAME_TABLE_H

#include <stddef.h>
#include <stdint.h>

#define HR_NO_ROW UINT32_MAX

typedef struct hr_frame_row {
    uint64_t first_index;
    int64_t arrival_ms;
    uint32_t offset; /* of the frame, from the segment's base offset */
    uint32_t stride; /* bytes of the frame */
    uint32_t shard;
    uint32_t count;    /* records */
    uint32_t previous; /* row of the same shard, or HR_NO_ROW */
    uint32_t jump;     /* a row further back of the same shard; its own number for the first */
    uint32_t next;     /* row of the same shard, or HR_NO_ROW */
    uint32_t depth;    /* rows of the shard before this one */
} hr_frame_row;

_Static_assert(sizeof(hr_frame_row) == 48, "a row is three quarters of a cache line");

typedef struct hr_frame_table {
    hr_frame_row *rows;
    uint32_t count;
    uint32_t capacity;
    uint32_t *first; /* by shard number */
    uint32_t *last;
    uint32_t shard_capacity;
} hr_frame_table;

void hr_frame_table_free(hr_frame_table *table);

/* Forget all rows but keep the memory. */
void hr_frame_table_clear(hr_frame_table *table);

/* Make room for `rows` more rows and for shard numbers up to `shard`. Returns 0 or ENOMEM. */
int hr_frame_table_reserve(hr_frame_table *table, uint32_t rows, uint32_t shard);

/* Append a row; room must have been reserved. */
void hr_frame_table_add(hr_frame_table *table, uint32_t shard, uint64_t first_index, uint32_t count,
                        int64_t arrival_ms, uint32_t offset, uint32_t stride);

/* Forget the rows from segment offset `offset` on. */
void hr_frame_table_cut(hr_frame_table *table, uint32_t offset);

/* The first row of the shard that holds a record with index ≥ `index`, or HR_NO_ROW. */
uint32_t hr_frame_table_find_index(const hr_frame_table *table, uint32_t shard, uint64_t index);

/* The first row of the shard with arrival_ms ≥ `arrival_ms`, or HR_NO_ROW. */
uint32_t hr_frame_table_find_time(const hr_frame_table *table, uint32_t shard, int64_t arrival_ms);

/* Adjoining frames of one shard, at most the caller's bound of them (one where it is larger). */
typedef struct hr_frame_run {
    uint64_t offset; /* from the segment's base offset */
    uint64_t size;
    uint64_t target; /* bytes of the runs before it */
} hr_frame_run;

/* Where the shard's frames from `index` on stand, as far as they end at or before segment offset `end`: enough
 * for max_records or max_bytes, and at least one frame if there is one; no run of several frames is larger than
 * run_max. Sets *runs to memory that the caller frees; returns how many runs, or −1 without memory. Cost: O(log frames), then one step a frame. */
int64_t hr_frame_table_runs(const hr_frame_table *table, uint32_t shard, uint64_t index, int64_t max_records,
                            int64_t max_bytes, uint64_t end, uint64_t run_max, hr_frame_run **runs);

#endif
