/* Invariant: each hash lands in the one range that holds it; the order is a permutation by lane and slot. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include "fuzz.h"
#include "route.h"

#define SLOTS_MAX 700
#define ENTRIES_MAX 300

typedef unsigned __int128 u128;

static u128 end_of(const hr_routes *routes, uint32_t slot)
{
    return (u128)routes->end_high[slot] << 64 | routes->end_low[slot];
}

/* Even ranges, or ends taken from the input (made to rise), with lanes in turn or scattered. */
static void make_routes(fuzz_input *input, hr_routes *routes, uint64_t *high, uint64_t *low, uint32_t *lane,
                        uint32_t *rank)
{
    const uint64_t kind = fuzz_number(input, 1);
    const uint32_t count = 1 + (uint32_t)(fuzz_number(input, 2) % SLOTS_MAX);
    const uint32_t lane_count = 1 + (uint32_t)(fuzz_number(input, 1) % 9);
    const u128 all = ~(u128)0;
    u128 last = 0;
    for (uint32_t slot = 0; slot < count; slot++) {
        u128 end = all / count * (slot + 1);
        if (kind & 1) {
            u128 step = (u128)fuzz_number(input, 1) << (fuzz_number(input, 1) % 122);
            const u128 room = all - last - (count - slot); /* each later slot needs one value */
            step = step < room ? step : room;
            end = last + 1 + step;
        }
        if (slot == count - 1)
            end = all;
        high[slot] = (uint64_t)(end >> 64);
        low[slot] = (uint64_t)end;
        last = end;
        lane[slot] = kind & 2 ? slot % lane_count : (uint32_t)((slot * 2654435761u) >> 7) % lane_count;
    }
    uint32_t next = 0;
    for (uint32_t l = 0; l < lane_count; l++)
        for (uint32_t slot = 0; slot < count; slot++)
            if (lane[slot] == l)
                rank[slot] = next++;
    *routes = (hr_routes){high, low, lane, rank, count, lane_count};
}

static void check_spread(const hr_entry *entry, size_t count, const hr_routes *routes)
{
    size_t given[SLOTS_MAX] = {0}, most = 0, least = SIZE_MAX, blocks = 0, keyless = 0;
    uint32_t before = UINT32_MAX;
    for (size_t i = 0; i < count; i++) {
        if (!(entry[i].flags & HR_ENTRY_ANY_SHARD))
            continue;
        blocks += entry[i].slot != before;
        before = entry[i].slot;
        given[before]++;
        keyless++;
    }
    for (uint32_t slot = 0; slot < routes->count; slot++) {
        most = given[slot] > most ? given[slot] : most;
        least = given[slot] != 0 && given[slot] < least ? given[slot] : least;
    }
    CHECK(blocks <= routes->count && blocks <= HR_ROUTE_SPREAD_MAX);
    CHECK(keyless == 0 || most - least <= 1);
    CHECK(blocks == routes->count || blocks == HR_ROUTE_SPREAD_MAX || blocks == keyless);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static uint64_t high[SLOTS_MAX], low[SLOTS_MAX];
    static uint32_t lane[SLOTS_MAX], rank[SLOTS_MAX];
    static hr_entry entry[ENTRIES_MAX];
    fuzz_input input = {bytes, size};
    hr_routes routes;
    size_t count = 0;
    make_routes(&input, &routes, high, low, lane, rank);
    uint64_t turn = fuzz_number(&input, 2), spin = 88172645463325252ull ^ fuzz_number(&input, 4);
    while (input.left != 0 && count < ENTRIES_MAX) {
        const uint64_t kind = fuzz_number(&input, 1);
        hr_entry one = {.slot = 0xdeadbeef};
        spin ^= spin << 13, spin ^= spin >> 7, spin ^= spin << 17;
        const u128 edge = end_of(&routes, (uint32_t)(spin % routes.count)) + kind / 64; /* or after it */
        one.hash_high = kind % 4 == 0 ? spin : (uint64_t)(edge >> 64);
        one.hash_low = kind % 4 == 0 ? spin * 31 : (uint64_t)edge;
        one.flags = kind % 4 == 3 ? HR_ENTRY_ANY_SHARD : 0;
        entry[count++] = one;
    }
    hr_route_slots(entry, count, &routes, &turn);
    for (size_t i = 0; i < count; i++) {
        CHECK(entry[i].slot < routes.count);
        if (routes.count == 1 || entry[i].flags & HR_ENTRY_ANY_SHARD)
            continue;
        const u128 hash = (u128)entry[i].hash_high << 64 | entry[i].hash_low;
        CHECK(hash <= end_of(&routes, entry[i].slot));
        CHECK(entry[i].slot == 0 || hash > end_of(&routes, entry[i].slot - 1));
        CHECK(hr_route_locate(&routes, entry[i].hash_high, entry[i].hash_low) == entry[i].slot);
    }
    check_spread(entry, count, &routes);
    uint32_t *order = malloc(count * 4), *scratch = malloc(count * 8);
    uint32_t *start = malloc((routes.lane_count + 1) * 4);
    hr_route_group(entry, count, &routes, order, scratch, start);
    CHECK(start[0] == 0 && start[routes.lane_count] == count);
    for (uint32_t l = 0; l < routes.lane_count; l++)
        for (uint32_t i = start[l]; i < start[l + 1]; i++) {
            CHECK(order[i] < count && lane[entry[order[i]].slot] == l);
            if (i == start[l])
                continue;
            const uint32_t left = entry[order[i - 1]].slot, right = entry[order[i]].slot;
            CHECK(left < right || (left == right && order[i - 1] < order[i]));
        }
    free(order);
    free(scratch);
    free(start);
    return 0;
}
