/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * entry.h: one record on its way in, from a request or a Python call to the log. Layout only, no code.
 *
 * The scanner (or `put_many`) fills key, data, sizes and flags; the router fills hash and slot; the log
 * fills index and arrival_ms. The bytes pointed at must stay unchanged until the log has framed the entry.
 */
#ifndef HR_ENTRY_H
#define HR_ENTRY_H

#include <stdint.h>

#define HR_ENTRY_EXPLICIT_HASH 1u /* hash_high and hash_low were given by the caller: do not compute them */
#define HR_ENTRY_ANY_SHARD 2u     /* no key was given: the router spreads such entries evenly */
#define HR_ENTRY_HASHED 4u        /* hash_high and hash_low are the hash of `key` already */
/* any of these: there is nothing to hash */
#define HR_ENTRY_HASH_KNOWN (HR_ENTRY_EXPLICIT_HASH | HR_ENTRY_ANY_SHARD | HR_ENTRY_HASHED)

typedef struct hr_entry {
    const uint8_t *key;  /* partition key, UTF-8 */
    const uint8_t *data; /* payload, decoded */
    uint32_t key_size;   /* bytes, at most 1,024 (256 characters) */
    uint32_t data_size;  /* bytes */
    uint64_t hash_high;  /* the 128-bit hash key, MD5 of the key as a big-endian number */
    uint64_t hash_low;
    uint32_t slot;  /* position in the router's table of open shards */
    uint32_t flags; /* HR_ENTRY_… */
    uint64_t index;     /* out: the record's running index within its shard */
    int64_t arrival_ms; /* out: arrival time given to it; never decreases within a shard */
} hr_entry;

_Static_assert(sizeof(hr_entry) == 64, "hr_entry fills one cache line");

#endif
