/* Invariant: each entry's hash is MD5 of its key at every SIMD level, for any mix of sizes, within bounds. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include <math.h>

#include "fuzz.h"
#include "md5.h"

#define ENTRIES_MAX 70

/* MD5 as RFC 1321 writes it: constants from the sine, message padded in memory. */
static void model(const uint8_t *key, size_t size, uint64_t hash[2])
{
    static const int bits[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
    const size_t padded = (size + 8) / 64 * 64 + 64;
    uint8_t *message = calloc(padded, 1), digest[16];
    if (size != 0)
        memcpy(message, key, size);
    message[size] = 0x80;
    const uint64_t length = size * 8;
    memcpy(message + padded - 8, &length, 8);
    uint32_t state[4] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u};
    for (size_t at = 0; at < padded; at += 64) {
        uint32_t word[16], a = state[0], b = state[1], c = state[2], d = state[3];
        memcpy(word, message + at, 64);
        for (unsigned i = 0; i < 64; i++) {
            const uint32_t mix[4] = {(b & c) | (~b & d), (b & d) | (c & ~d), b ^ c ^ d, c ^ (b | ~d)};
            const unsigned from[4] = {i, (5 * i + 1) % 16, (3 * i + 5) % 16, (7 * i) % 16};
            const uint32_t constant = (uint32_t)(fabs(sin((double)i + 1)) * 4294967296.0);
            const uint32_t sum = a + mix[i / 16] + constant + word[from[i / 16]];
            const int turn = bits[i / 16][i % 4];
            a = d;
            d = c;
            c = b;
            b += (sum << turn) | (sum >> (32 - turn));
        }
        state[0] += a;
        state[1] += b;
        state[2] += c;
        state[3] += d;
    }
    memcpy(digest, state, 16);
    hash[0] = hash[1] = 0;
    for (int i = 0; i < 16; i++)
        hash[i / 8] = hash[i / 8] << 8 | digest[i];
    free(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    fuzz_input input = {bytes, size};
    hr_entry entry[ENTRIES_MAX];
    uint8_t *key[ENTRIES_MAX];
    size_t count = 0;
    while (input.left != 0 && count < ENTRIES_MAX) {
        const uint64_t head = fuzz_number(&input, 1);
        const size_t wish = head < 0xf0 ? head % 0x60 : 16 * fuzz_number(&input, 1);
        size_t taken;
        key[count] = fuzz_bytes(&input, wish, &taken);
        entry[count] = (hr_entry){.key = key[count], .key_size = (uint32_t)taken};
        entry[count].hash_high = 1;
        entry[count].hash_low = 2;
        entry[count].flags = head % 16 == 7 ? HR_ENTRY_EXPLICIT_HASH : 0;
        count++;
    }
    for (int simd = 0; simd <= FUZZ_SIMD_MAX; simd++) {
        hr_entry work[ENTRIES_MAX];
        memcpy(work, entry, count * sizeof *work);
        hr_md5_entries(work, count, (hr_simd)simd);
        for (size_t i = 0; i < count; i++) {
            uint64_t hash[2] = {1, 2};
            const int given = (entry[i].flags & HR_ENTRY_EXPLICIT_HASH) != 0;
            if (!given)
                model(entry[i].key, entry[i].key_size, hash);
            CHECK(work[i].hash_high == hash[0] && work[i].hash_low == hash[1]);
            CHECK(work[i].flags == (given ? HR_ENTRY_EXPLICIT_HASH : HR_ENTRY_HASHED));
        }
    }
    for (size_t i = 0; i < count; i++)
        free(key[i]);
    return 0;
}
