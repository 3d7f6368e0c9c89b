/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * route.h: from hash keys to open shards, and the order in which a batch goes into the lanes.
 */
#ifndef HR_ROUTE_H
#define HR_ROUTE_H

#include <stddef.h>
#include <stdint.h>

#include "entry.h"

/* The open shards of a stream in the order of their hash ranges. The ranges are adjacent and cover all of
 * 0 … 2^128 − 1, so their inclusive ends say everything: ends rise and the last is 2^128 − 1. */
typedef struct hr_routes {
    const uint64_t *end_high;
    const uint64_t *end_low;
    const uint32_t *lane; /* of each slot, below lane_count */
    const uint32_t *rank; /* of each slot: its place among all slots ordered by lane, then by slot */
    uint32_t count;       /* slots, at least 1 */
    uint32_t lane_count;  /* at least 1 */
} hr_routes;

/* The most shards that entries without a key are spread over in one call: more would make frames of few
 * records, and the next call goes on where this one stopped. */
#define HR_ROUTE_SPREAD_MAX 64

/* The slot whose range holds a hash key. */
uint32_t hr_route_locate(const hr_routes *routes, uint64_t high, uint64_t low);

/* Set `slot` of each entry: by its hash, or, for HR_ENTRY_ANY_SHARD, in contiguous blocks of equal size
 * over the slots from *turn on; *turn moves on. Requires the hashes. */
void hr_route_slots(hr_entry *entry, size_t count, const hr_routes *routes, uint64_t *turn);

/* Write the positions of all entries into `order`, by lane, then by slot, then as they came, and where
 * each lane begins into lane_start[0 … lane_count]. `scratch` has room for 2 · count numbers. Requires
 * the slots. */
void hr_route_group(const hr_entry *entry, size_t count, const hr_routes *routes, uint32_t *order,
                    uint32_t *scratch, uint32_t *lane_start);

#endif
