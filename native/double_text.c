/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * double_text.c: see double_text.h.
 */
#include "double_text.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

/* floor(log10(2^e)), floor(log10(3/4 * 2^e)) and floor(log2(10^e)), exact for every exponent in use. */
static inline int32_t floor_log10_of_power2(int32_t e)
{
    return (e * 1262611) >> 22;
}

static inline int32_t floor_log10_of_three_quarters(int32_t e)
{
    return (e * 1262611 - 524031) >> 22;
}

static inline int32_t floor_log2_of_power10(int32_t e)
{
    return (e * 1741647) >> 19;
}

typedef struct decimal {
    uint64_t digits;
    int32_t exponent;
} decimal;

/* floor(power * factor / 2^128), its last bit set if anything was cut: comparisons stay right. */
static inline uint64_t round_to_odd(hr_power power, uint64_t factor)
{
    unsigned __int128 low = (unsigned __int128)power.low * factor;
    unsigned __int128 high = (unsigned __int128)power.high * factor + (uint64_t)(low >> 64);
    return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

/* The shortest decimal that rounds to c * 2^q. `uneven`: c is the first of its power of two, so that the
 * interval below it is half as wide. */
static decimal shortest(uint64_t c, int32_t q, bool uneven, const hr_power *powers)
{
    const bool odd = c & 1;
    const int32_t k = uneven ? floor_log10_of_three_quarters(q) : floor_log10_of_power2(q);
    const int32_t shift = q + floor_log2_of_power10(-k) + 1;
    assert(-k >= HR_POWER_FIRST && -k <= HR_POWER_LAST && shift >= 1 && shift <= 4);
    const hr_power power = powers[-k - HR_POWER_FIRST];
    const uint64_t value = round_to_odd(power, 4 * c << shift);
    const uint64_t lower = round_to_odd(power, (4 * c - 2 + uneven) << shift) + odd;
    const uint64_t upper = round_to_odd(power, (4 * c + 2) << shift) - odd;
    const uint64_t s = value / 4;
    if (s >= 10) { /* one digit fewer, if just one such decimal lies within */
        const uint64_t tens = s / 10;
        const bool below = lower <= 40 * tens, above = 40 * tens + 40 <= upper;
        if (below != above)
            return (decimal){tens + above, k + 1};
    }
    const bool below = lower <= 4 * s, above = 4 * s + 4 <= upper;
    if (below != above)
        return (decimal){s + above, k};
    const uint64_t middle = 4 * s + 2;
    return (decimal){s + (value > middle || (value == middle && (s & 1))), k};
}

/* The decimal's digits at `out`; returns how many. */
static inline int32_t digits_write(uint64_t digits, uint8_t *out)
{
    uint8_t reversed[20];
    int32_t count = 0;
    do {
        reversed[count++] = (uint8_t)('0' + digits % 10);
        digits /= 10;
    } while (digits != 0);
    for (int32_t i = 0; i < count; i++)
        out[i] = reversed[count - 1 - i];
    return count;
}

static uint8_t *exponent_write(int32_t exponent, uint8_t *out)
{
    *out++ = 'e';
    *out++ = exponent < 0 ? '-' : '+';
    exponent = exponent < 0 ? -exponent : exponent;
    if (exponent >= 100)
        *out++ = (uint8_t)('0' + exponent / 100);
    *out++ = (uint8_t)('0' + exponent / 10 % 10);
    *out++ = (uint8_t)('0' + exponent % 10);
    return out;
}

/* Lay the digits out: fixed from 1e-4 up to 1e16, with an exponent beyond. */
static uint8_t *decimal_write(decimal number, uint8_t *out)
{
    uint8_t digits[20];
    while (number.digits % 10 == 0) {
        number.digits /= 10;
        number.exponent++;
    }
    const int32_t count = digits_write(number.digits, digits);
    const int32_t point = count + number.exponent; /* digits before the point */
    if (point <= -4 || point > 16) {
        *out++ = digits[0];
        if (count > 1)
            *out++ = '.';
        memcpy(out, digits + 1, (size_t)count - 1);
        return exponent_write(point - 1, out + count - 1);
    }
    if (point <= 0) {
        memcpy(out, "0.000", 5);
        memcpy(out + 2 - point, digits, (size_t)count);
        return out + 2 - point + count;
    }
    const int32_t whole = count < point ? count : point;
    memcpy(out, digits, (size_t)whole);
    memset(out + whole, '0', (size_t)(point - whole));
    out += point;
    *out++ = '.';
    if (count <= point) {
        *out++ = '0';
        return out;
    }
    memcpy(out, digits + point, (size_t)(count - point));
    return out + (count - point);
}

static size_t binary_write(bool negative, uint64_t fraction, int32_t exponent, int32_t fraction_bits, int32_t bias,
                           const hr_power *powers, uint8_t *out)
{
    uint8_t *at = out;
    if (negative)
        *at++ = '-';
    if (exponent == 0 && fraction == 0) {
        memcpy(at, "0.0", 3);
        return (size_t)(at + 3 - out);
    }
    const uint64_t c = exponent == 0 ? fraction : fraction | 1ull << fraction_bits;
    const int32_t q = (exponent == 0 ? 1 : exponent) - bias - fraction_bits;
    at = decimal_write(shortest(c, q, fraction == 0 && exponent > 1, powers), at);
    assert(at - out < HR_DOUBLE_TEXT_MAX);
    return (size_t)(at - out);
}

size_t hr_double_text(double value, const hr_power *powers, uint8_t *out)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    assert((bits >> 52 & 0x7FF) != 0x7FF);
    return binary_write(bits >> 63, bits & ((1ull << 52) - 1), (int32_t)(bits >> 52 & 0x7FF), 52, 1023, powers, out);
}

size_t hr_float_text(float value, const hr_power *powers, uint8_t *out)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    assert((bits >> 23 & 0xFF) != 0xFF);
    return binary_write(bits >> 31, bits & ((1u << 23) - 1), (int32_t)(bits >> 23 & 0xFF), 23, 127, powers, out);
}
