/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * string_table.h: distinct strings, numbered in the order in which they first appear.
 *
 * Open addressing over slots of {hash, number + 1}; the strings lie one behind the other in `bytes`.
 * The table never allocates: it answers HR_STRING_TABLE_FULL and the owner gives it more room. The
 * hash is seeded, so that nobody outside can choose strings that collide.
 */
#ifndef HR_STRING_TABLE_H
#define HR_STRING_TABLE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HR_STRING_TABLE_FULL (-2)

typedef struct hr_string_table {
    uint64_t *slots;    /* hash << 32 | number + 1; 0 is free; a power of two of them, twice count_max */
    uint64_t slot_mask;
    uint8_t *bytes;
    int64_t bytes_size; /* room */
    int64_t *ends;      /* count_max + 1 of them: string i is bytes[ends[i] … ends[i + 1]) */
    int32_t count;
    int32_t count_max;
    uint64_t seed[2];
} hr_string_table;

static inline uint64_t hr_string_mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t hr_string_load(const uint8_t *p, size_t size)
{
    uint64_t word = 0;
    memcpy(&word, p, size);
    return word;
}

/* 32 bits of hash; cost: one 128-bit multiplication for each 16 bytes and one more. */
static inline uint32_t hr_string_hash(const uint8_t *p, size_t size, const uint64_t seed[2])
{
    uint64_t a, b, state = seed[0];
    const uint8_t *q = p;
    for (size_t rest = size; rest > 16; rest -= 16, q += 16)
        state = hr_string_mix(hr_string_load(q, 8) ^ state, hr_string_load(q + 8, 8) ^ seed[1]);
    if (size >= 8) {
        a = hr_string_load(size > 16 ? p + size - 16 : p, 8);
        b = hr_string_load(p + size - 8, 8);
    } else if (size >= 4) {
        a = hr_string_load(p, 4);
        b = hr_string_load(p + size - 4, 4);
    } else {
        a = size ? (uint64_t)p[0] << 16 | (uint64_t)p[size >> 1] << 8 | p[size - 1] : 0;
        b = 0;
    }
    state = hr_string_mix(a ^ state, b ^ seed[1] ^ (uint64_t)size * 0x9E3779B97F4A7C15ull);
    return (uint32_t)(hr_string_mix(state, seed[0] | 1) >> 32);
}

/* The number of the string, new or known, or HR_STRING_TABLE_FULL. */
static inline int32_t hr_string_table_number(hr_string_table *table, const uint8_t *text, size_t size)
{
    uint32_t hash = hr_string_hash(text, size, table->seed);
    uint64_t at = hash & table->slot_mask;
    for (;; at = (at + 1) & table->slot_mask) {
        uint64_t slot = table->slots[at];
        if (slot == 0)
            break;
        if ((uint32_t)(slot >> 32) != hash)
            continue;
        int32_t number = (int32_t)((uint32_t)slot - 1);
        int64_t start = table->ends[number];
        if ((uint64_t)(table->ends[number + 1] - start) == size && memcmp(table->bytes + start, text, size) == 0)
            return number;
    }
    int64_t used = table->ends[table->count];
    if (table->count == table->count_max || (uint64_t)(table->bytes_size - used) < size)
        return HR_STRING_TABLE_FULL;
    memcpy(table->bytes + used, text, size);
    table->ends[table->count + 1] = used + (int64_t)size;
    table->slots[at] = (uint64_t)hash << 32 | (uint32_t)(table->count + 1);
    return table->count++;
}

/* Move to a larger array of slots, all zero, `slot_mask` + 1 of them. The old one stays the caller's. */
static inline void hr_string_table_rehash(hr_string_table *table, uint64_t *slots, uint64_t slot_mask)
{
    assert((slot_mask & (slot_mask + 1)) == 0 && slot_mask / 2 >= (uint64_t)table->count);
    for (uint64_t i = 0; table->slots != NULL && i <= table->slot_mask; i++) {
        uint64_t slot = table->slots[i];
        uint64_t at = slot >> 32 & slot_mask;
        if (slot == 0)
            continue;
        while (slots[at] != 0)
            at = (at + 1) & slot_mask;
        slots[at] = slot;
    }
    table->slots = slots;
    table->slot_mask = slot_mask;
}

#endif
