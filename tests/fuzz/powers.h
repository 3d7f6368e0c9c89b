/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * powers.h: the powers of ten that double_text.c wants, by long arithmetic.
 */
#ifndef HR_FUZZ_POWERS_H
#define HR_FUZZ_POWERS_H

#include <stdbool.h>

#include "double_text.h"

#define LIMBS 24 /* 64-bit digits of the largest number while the powers are computed */

static hr_power top_bits(const uint64_t *limbs, bool rest)
{
    int high = LIMBS - 1;
    while (limbs[high] == 0)
        high--;
    const int shift = __builtin_clzll(limbs[high]);
    uint64_t parts[3];
    for (int i = 0; i < 3; i++)
        parts[i] = high >= i ? limbs[high - i] : 0;
    uint64_t above = shift ? parts[0] << shift | parts[1] >> (64 - shift) : parts[0];
    uint64_t below = shift ? parts[1] << shift | parts[2] >> (64 - shift) : parts[1];
    rest = rest || (parts[2] << shift) != 0;
    for (int i = high - 3; i >= 0; i--)
        rest = rest || limbs[i] != 0;
    if (rest)
        above += ++below == 0;
    return (hr_power){above, below};
}

static const hr_power *powers(void)
{
    static hr_power table[HR_POWER_COUNT];
    if (table[0].high != 0)
        return table;
    for (int e = HR_POWER_FIRST; e <= HR_POWER_LAST; e++) {
        uint64_t limbs[LIMBS] = {1};
        bool rest = false;
        for (int i = 0; i < e; i++) {
            unsigned __int128 carry = 0;
            for (int k = 0; k < LIMBS; k++) {
                carry += (unsigned __int128)limbs[k] * 10;
                limbs[k] = (uint64_t)carry;
                carry >>= 64;
            }
        }
        if (e < 0) {
            limbs[0] = 0;
            limbs[LIMBS - 1] = 1ull << 62;
        }
        for (int i = 0; i > e; i--) {
            unsigned __int128 left = 0;
            for (int k = LIMBS - 1; k >= 0; k--) {
                left = left << 64 | limbs[k];
                limbs[k] = (uint64_t)(left / 10);
                left %= 10;
            }
            rest = rest || left != 0;
        }
        table[e - HR_POWER_FIRST] = top_bits(limbs, rest);
    }
    return table;
}

#endif
