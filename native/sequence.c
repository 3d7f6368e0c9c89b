/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * sequence.c: see sequence.h.
 *
 * A number is kept in three parts to the base 10^19, the largest power of ten that fits 64 bits. It has its top
 * bit set, so that a 128-bit product divides by it with a fixed reciprocal: two multiplications and at most two
 * corrections (Möller and Granlund, "Improved division by invariant integers", algorithm 4).
 */
#include "sequence.h"

#include <assert.h>
#include <string.h>

#define BASE 10000000000000000000ull       /* 10^19 */
#define RECIPROCAL 15581492618384294730ull /* (2^128 - 1) / 10^19 - 2^64 */

/* 2^80 and 2^144 to the base 10^19 */
static const uint64_t TWO_80[2] = {5819614629174706176ull, 120892ull};
static const uint64_t TWO_144[3] = {8272648361505980416ull, 4519853062314153571ull, 223007ull};

/* Divide by BASE; the quotient fits 64 bits because high < BASE. */
static inline uint64_t divide(uint64_t high, uint64_t low, uint64_t *remainder)
{
    assert(high < BASE);
    unsigned __int128 product = (unsigned __int128)RECIPROCAL * high + ((unsigned __int128)high << 64 | low);
    uint64_t quotient = (uint64_t)(product >> 64) + 1;
    uint64_t rest = low - quotient * BASE;
    if (rest > (uint64_t)product) {
        quotient--;
        rest += BASE;
    }
    if (rest >= BASE) {
        quotient++;
        rest -= BASE;
    }
    *remainder = rest;
    return quotient;
}

/* *part += value, both below BASE; returns the carry. The sum itself may not fit 64 bits. */
static inline uint64_t add(uint64_t *part, uint64_t value)
{
    uint64_t gap = BASE - value;
    uint64_t carry = *part >= gap;
    *part = carry ? *part - gap : *part + value;
    return carry;
}

/* number += factor * value, where value is two parts; what is carried goes into the third. */
static inline void add_product(hr_sequence *number, const uint64_t *value, uint64_t factor)
{
    uint64_t rest;
    unsigned __int128 product = (unsigned __int128)value[0] * factor;
    uint64_t over = divide((uint64_t)(product >> 64), (uint64_t)product, &rest);
    uint64_t carry = add(&number->part[0], rest);
    product = (unsigned __int128)value[1] * factor + over + carry;
    over = divide((uint64_t)(product >> 64), (uint64_t)product, &rest);
    number->part[2] += over + add(&number->part[1], rest);
}

void hr_sequence_base(hr_sequence *base, uint64_t created_s, uint32_t shard, uint64_t arrival_s)
{
    assert(created_s <= HR_SEQUENCE_SECONDS_MAX && arrival_s <= HR_SEQUENCE_SECONDS_MAX);
    created_s &= HR_SEQUENCE_SECONDS_MAX;
    arrival_s &= HR_SEQUENCE_SECONDS_MAX;
    uint64_t high = 2ull << 40 | created_s << 4 | (shard & 0xF); /* bits from 144 up */
    unsigned __int128 low = (unsigned __int128)arrival_s << 36 | (uint64_t)shard << 4 | 2;
    base->part[1] = divide((uint64_t)(low >> 64), (uint64_t)low, &base->part[0]);
    base->part[2] = high * TWO_144[2];
    add_product(base, TWO_144, high);
}

/* Eight decimal digits of a number below 10^8, as eight bytes, first digit lowest. Each step halves the numbers:
 * one of 8 digits, two of 4, four of 2, eight of 1. The multipliers are reciprocals exact in their ranges. */
static inline uint64_t eight_digits(uint64_t number)
{
    uint64_t fours = number / 10000;
    fours |= (number - fours * 10000) << 32;
    uint64_t twos = (fours * 10486 >> 20) & 0x0000007F0000007Full;
    twos |= (fours - twos * 100) << 16;
    uint64_t ones = (twos * 103 >> 10) & 0x000F000F000F000Full;
    ones |= (twos - ones * 10) << 8;
    return ones | 0x3030303030303030ull;
}

static inline void write_eight(uint8_t *target, uint64_t number)
{
    uint64_t digits = eight_digits(number);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    digits = __builtin_bswap64(digits);
#endif
    memcpy(target, &digits, 8);
}

/* The last 16 digits of a part behind its first ones, which the caller has written. Returns those. */
static inline uint64_t write_sixteen(uint8_t *target, uint64_t part)
{
    uint64_t upper = part / 100000000;
    uint64_t first = upper / 100000000;
    write_eight(target, upper - first * 100000000);
    write_eight(target + 8, part - upper * 100000000);
    return first;
}

void hr_sequence_write(uint8_t *target, const hr_sequence *base, uint64_t index)
{
    hr_sequence number = *base;
    add_product(&number, TWO_80, index);
    assert(number.part[2] < 1000000000000000000ull);
    uint64_t first = write_sixteen(target + 2, number.part[2]);
    target[0] = (uint8_t)('0' + first / 10);
    target[1] = (uint8_t)('0' + first % 10);
    for (int i = 1; i >= 0; i--) {
        uint8_t *start = target + 18 + 19 * (1 - i);
        first = write_sixteen(start + 3, number.part[i]);
        start[0] = (uint8_t)('0' + first / 100);
        start[1] = (uint8_t)('0' + first / 10 % 10);
        start[2] = (uint8_t)('0' + first % 10);
    }
}
