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
#include <stddef.h>
#include <string.h>

#if HR_X86
#include <immintrin.h>
#endif

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

/* The number as nine groups of digits. Printed one after the other, in the order of PLACE, they are the number:
 * each part has 19 digits (the highest 18), which are a head of 3 (2) and two groups of 8. */
typedef struct groups {
    uint64_t eight[8]; /* 8 digits each: of the highest part, the middle one, the lowest; then their two heads */
    uint64_t first;    /* 2 digits: the head of the highest part */
} groups;

static const uint8_t PLACE[8] = {2, 10, 21, 29, 40, 48, 18 - 5, 37 - 5};

static inline uint64_t split(uint64_t part, uint64_t *eight)
{
    uint64_t upper = part / 100000000, head = upper / 100000000;
    eight[0] = upper - head * 100000000;
    eight[1] = part - upper * 100000000;
    return head;
}

static inline void split_number(groups *found, const hr_sequence *base, uint64_t index)
{
    hr_sequence number = *base;
    add_product(&number, TWO_80, index);
    assert(number.part[2] < 1000000000000000000ull);
    found->first = split(number.part[2], found->eight);
    found->eight[6] = split(number.part[1], found->eight + 2);
    found->eight[7] = split(number.part[0], found->eight + 4);
}

/* Put the groups, as 8 digits each, where they belong. Heads are written with 5 zeros before them, which the groups
 * before them then cover. */
static inline void place_groups(uint8_t *target, const uint8_t *digits, uint64_t first)
{
    for (int i = 7; i >= 0; i--)
        memcpy(target + PLACE[i], digits + 8 * i, 8);
    target[0] = (uint8_t)('0' + first / 10);
    target[1] = (uint8_t)('0' + first % 10);
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

static void write_scalar(uint8_t *target, const hr_sequence *base, uint64_t index)
{
    groups found;
    uint8_t digits[64];
    split_number(&found, base, index);
    for (int i = 0; i < 8; i++) {
        uint64_t eight = eight_digits(found.eight[i]);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        eight = __builtin_bswap64(eight);
#endif
        memcpy(digits + 8 * i, &eight, 8);
    }
    place_groups(target, digits, found.first);
}

#if HR_X86

/* eight_digits of four numbers at once: n / 10000 as n * 3518437209 / 2^45, then 16-bit reciprocals. */
HR_TARGET("avx2,bmi2")
static inline __m256i four_by_eight_digits(__m256i number)
{
    __m256i upper = _mm256_srli_epi64(_mm256_mul_epu32(number, _mm256_set1_epi64x(3518437209)), 45);
    __m256i lower = _mm256_sub_epi64(number, _mm256_mul_epu32(upper, _mm256_set1_epi64x(10000)));
    __m256i fours = _mm256_or_si256(upper, _mm256_slli_epi64(lower, 32));
    upper = _mm256_srli_epi16(_mm256_mulhi_epu16(fours, _mm256_set1_epi32(10486)), 4);
    lower = _mm256_sub_epi32(fours, _mm256_mullo_epi16(upper, _mm256_set1_epi32(100)));
    __m256i twos = _mm256_or_si256(upper, _mm256_slli_epi32(lower, 16));
    upper = _mm256_mulhi_epu16(twos, _mm256_set1_epi16(6554));
    lower = _mm256_sub_epi16(twos, _mm256_mullo_epi16(upper, _mm256_set1_epi16(10)));
    __m256i ones = _mm256_or_si256(upper, _mm256_slli_epi16(lower, 8));
    return _mm256_or_si256(ones, _mm256_set1_epi8('0'));
}

HR_TARGET("avx2,bmi2")
static void write_avx2(uint8_t *target, const hr_sequence *base, uint64_t index)
{
    groups found;
    uint8_t digits[64];
    split_number(&found, base, index);
    /* From registers: loading 32 bytes that were just stored 8 at a time would wait for the stores. */
    __m256i one = _mm256_setr_epi64x((long long)found.eight[0], (long long)found.eight[1],
                                     (long long)found.eight[2], (long long)found.eight[3]);
    __m256i two = _mm256_setr_epi64x((long long)found.eight[4], (long long)found.eight[5],
                                     (long long)found.eight[6], (long long)found.eight[7]);
    _mm256_storeu_si256((__m256i *)(void *)digits, four_by_eight_digits(one));
    _mm256_storeu_si256((__m256i *)(void *)(digits + 32), four_by_eight_digits(two));
    place_groups(target, digits, found.first);
}

#endif

void hr_sequence_write(uint8_t *target, const hr_sequence *base, uint64_t index, hr_simd simd)
{
    assert(target != NULL && base->part[0] < BASE && base->part[1] < BASE);
#if HR_X86
    if (simd >= HR_SIMD_AVX2) {
        write_avx2(target, base, index);
        return;
    }
#endif
    write_scalar(target, base, index);
}
