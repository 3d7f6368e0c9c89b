/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * json_values.c: see json_values.h.
 *
 * Doubles. m * 10^e with m below 2^53 and |e| <= 22 is one exact operation on two exact doubles. With
 * 16 to 19 digits and e from -19 to 19 the quotient or product is formed as an exact 128-bit integer
 * cut to 61 bits or more, with a sticky last bit for what was cut: converting that to double rounds
 * once, and correctly. Everything else (about one telemetry value in none) is left to strtod_l.
 */
#include "json_values.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t POWERS_OF_TEN[20] = {
    1ull, 10ull, 100ull, 1000ull, 10000ull, 100000ull, 1000000ull, 10000000ull, 100000000ull,
    1000000000ull, 10000000000ull, 100000000000ull, 1000000000000ull, 10000000000000ull,
    100000000000000ull, 1000000000000000ull, 10000000000000000ull, 100000000000000000ull,
    1000000000000000000ull, 10000000000000000000ull,
};

static const double DOUBLE_POWERS[23] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
};

#define EXPONENT_CLAMP 1000000000000ll /* beyond any text's digits, far from overflow */

static inline bool is_digit(uint8_t c)
{
    return (uint8_t)(c - '0') <= 9;
}

/* Take one digit into the number; digits behind the 19th significant one only count or stick. */
static inline void take_digit(hr_decimal *out, int *digits, uint8_t digit, int fraction)
{
    if (*digits < HR_DECIMAL_DIGITS_MAX) {
        out->mantissa = out->mantissa * 10 + digit;
        *digits += out->mantissa != 0; /* leading zeros are not significant */
        out->exponent -= fraction;
    } else {
        out->sticky |= digit != 0;
        out->exponent += 1 - fraction;
    }
}

static const uint8_t *read_exponent(const uint8_t *p, int64_t *exponent)
{
    bool negative = *p == '-';
    int64_t value = 0;
    if (*p == '-' || *p == '+')
        p++;
    if (!is_digit(*p))
        return NULL;
    for (; is_digit(*p); p++) {
        if (value < EXPONENT_CLAMP)
            value = value * 10 + (*p - '0');
    }
    *exponent += negative ? -value : value;
    return p;
}

const uint8_t *hr_decimal_read(const uint8_t *text, hr_decimal *out)
{
    const uint8_t *p = text;
    int digits = 0;
    *out = (hr_decimal){0, 0, *p == '-', 0};
    p += out->negative;
    if (!is_digit(*p))
        return NULL;
    if (*p == '0' && is_digit(p[1]))
        return NULL;
    for (; is_digit(*p); p++)
        take_digit(out, &digits, (uint8_t)(*p - '0'), 0);
    if (*p == '.') {
        p++;
        if (!is_digit(*p))
            return NULL;
        for (; is_digit(*p); p++)
            take_digit(out, &digits, (uint8_t)(*p - '0'), 1);
    }
    if ((*p | 0x20) == 'e')
        p = read_exponent(p + 1, &out->exponent);
    return p;
}

static inline double power_of_two(int exponent)
{
    uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double out;
    assert(exponent > -1022 && exponent < 1023);
    memcpy(&out, &bits, sizeof out);
    return out;
}

/* m / 10^power, correctly rounded, for 1 <= power <= 19. */
static double divided(uint64_t mantissa, int power)
{
    uint64_t divisor = POWERS_OF_TEN[power];
    int shift = 62 + __builtin_clzll(mantissa) - __builtin_clzll(divisor);
    unsigned __int128 dividend = (unsigned __int128)mantissa << shift;
    uint64_t quotient = (uint64_t)(dividend / divisor);
    uint64_t rest = (uint64_t)(dividend - (unsigned __int128)quotient * divisor);
    assert(quotient >> 60 != 0 && rest < divisor);
    return (double)(quotient | (rest != 0)) * power_of_two(-shift);
}

/* m * 10^power, correctly rounded, for 0 <= power <= 19. */
static double multiplied(uint64_t mantissa, int power)
{
    unsigned __int128 product = (unsigned __int128)mantissa * POWERS_OF_TEN[power];
    uint64_t high = (uint64_t)(product >> 64);
    if (high == 0)
        return (double)(uint64_t)product;
    int shift = 64 - __builtin_clzll(high);
    uint64_t top = (uint64_t)(product >> shift);
    bool rest = (product & (((unsigned __int128)1 << shift) - 1)) != 0;
    return (double)(top | rest) * power_of_two(shift);
}

bool hr_decimal_to_double(const hr_decimal *number, const uint8_t *text, locale_t c_locale, double *out)
{
    uint64_t mantissa = number->mantissa;
    int64_t exponent = number->exponent;
    double value;
    if (!number->sticky && mantissa <= (1ull << 53) && exponent >= -22 && exponent <= 22) {
        value = (double)mantissa;
        value = exponent < 0 ? value / DOUBLE_POWERS[-exponent] : value * DOUBLE_POWERS[exponent];
    } else if (mantissa == 0) {
        value = 0.0;
    } else if (!number->sticky && exponent >= -19 && exponent <= 19) {
        value = exponent < 0 ? divided(mantissa, (int)-exponent) : multiplied(mantissa, (int)exponent);
    } else {
        value = strtod_l((const char *)text, NULL, c_locale);
        *out = value;
        return value <= 1.7976931348623157e308 && value >= -1.7976931348623157e308;
    }
    *out = number->negative ? -value : value;
    return true;
}

/* The magnitude with a sign as int64; false where it does not fit. */
static bool signed_value(uint64_t magnitude, bool negative, int64_t *out)
{
    if (magnitude > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return false;
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

bool hr_decimal_to_int64(const hr_decimal *number, int64_t *out)
{
    uint64_t value = number->mantissa;
    int64_t exponent = number->exponent;
    if (value == 0 && !number->sticky) {
        *out = 0;
        return true;
    }
    if (number->sticky || exponent < -18 || exponent > 18)
        return false;
    if (exponent < 0) {
        uint64_t divisor = POWERS_OF_TEN[-exponent];
        if (value % divisor != 0)
            return false;
        value /= divisor;
    } else if (__builtin_mul_overflow(value, POWERS_OF_TEN[exponent], &value)) {
        return false;
    }
    return signed_value(value, number->negative, out);
}

bool hr_decimal_to_micros(const hr_decimal *number, int scale, int64_t *out)
{
    uint64_t value = number->mantissa;
    int64_t exponent = number->exponent + scale;
    bool rest = number->sticky;
    if (value == 0) {
        *out = 0;
        return true;
    }
    if (exponent < -19) {
        value = 0;
        rest = true;
    } else if (exponent < 0) {
        rest |= value % POWERS_OF_TEN[-exponent] != 0;
        value /= POWERS_OF_TEN[-exponent];
    } else if (exponent > 18 || (rest && exponent > 0) ||
               __builtin_mul_overflow(value, POWERS_OF_TEN[exponent], &value)) {
        return false;
    }
    if (value > INT64_MAX)
        return false;
    value += number->negative && rest;
    if (value > INT64_MAX) /* INT64_MIN is numpy's "not a time" */
        return false;
    return signed_value(value, number->negative, out);
}

/* `count` digits at p as a number, or -1. */
static inline int32_t digits_at(const uint8_t *p, int count)
{
    int32_t value = 0;
    for (int i = 0; i < count; i++) {
        if (!is_digit(p[i]))
            return -1;
        value = value * 10 + (p[i] - '0');
    }
    return value;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar. A year is counted from March, so that the
 * leap day is its last; 153 days make each five months from March on. */
static int64_t days_since_1970(int32_t year, int32_t month, int32_t day)
{
    int32_t y = month <= 2 ? year - 1 : year;
    int32_t m = month <= 2 ? month + 9 : month - 3;
    return 365ll * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

static int32_t days_in_month(int32_t year, int32_t month)
{
    if (month == 2)
        return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
    return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

/* Z, +hh, +hhmm or +hh:mm up to the end of the text: seconds east of UTC. */
static bool zone_read(const uint8_t *p, size_t size, int64_t *seconds)
{
    int32_t hours, minutes = 0;
    *seconds = 0;
    if (size == 0 || (size == 1 && (*p | 0x20) == 'z'))
        return true;
    if (size < 3 || (*p != '+' && *p != '-'))
        return false;
    hours = digits_at(p + 1, 2);
    if (size == 5)
        minutes = digits_at(p + 3, 2);
    else if (size == 6 && p[3] == ':')
        minutes = digits_at(p + 4, 2);
    else if (size != 3)
        return false;
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
        return false;
    *seconds = (*p == '-' ? -1 : 1) * (hours * 3600ll + minutes * 60ll);
    return true;
}

/* .f… at p: microseconds, and how many bytes it took (0: no fraction; -1: broken). */
static int64_t fraction_read(const uint8_t *p, size_t size, int32_t *micros)
{
    size_t i = 1;
    int32_t value = 0;
    *micros = 0;
    if (size == 0 || *p != '.')
        return 0;
    for (; i < size && is_digit(p[i]); i++) {
        if (i <= 6)
            value = value * 10 + (p[i] - '0');
    }
    if (i == 1)
        return -1;
    for (size_t k = i; k <= 6; k++)
        value *= 10;
    *micros = value;
    return (int64_t)i;
}

bool hr_time_read(const uint8_t *text, size_t size, int64_t *out)
{
    int32_t year, month, day, hour, minute, second = 0, micros = 0;
    int64_t zone = 0, used;
    size_t at = 16;
    if (size < 10 || text[4] != '-' || text[7] != '-')
        return false;
    year = digits_at(text, 4);
    month = digits_at(text + 5, 2);
    day = digits_at(text + 8, 2);
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return false;
    *out = days_since_1970(year, month, day) * 86400000000ll;
    if (size == 10)
        return true;
    if (size < 16 || (text[10] != ' ' && (text[10] | 0x20) != 't') || text[13] != ':')
        return false;
    hour = digits_at(text + 11, 2);
    minute = digits_at(text + 14, 2);
    if (size >= 19 && text[16] == ':') {
        second = digits_at(text + 17, 2);
        used = fraction_read(text + 19, size - 19, &micros);
        if (used < 0)
            return false;
        at = 19 + (size_t)used;
    }
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60)
        return false;
    if (!zone_read(text + at, size - at, &zone))
        return false;
    *out += (hour * 3600ll + minute * 60ll + second - zone) * 1000000ll + micros;
    return true;
}

static inline uint32_t hex_value(uint8_t c)
{
    return c <= '9' ? (uint32_t)(c - '0') : (uint32_t)((c | 0x20) - 'a' + 10);
}

static inline uint32_t hex4(const uint8_t *p)
{
    return hex_value(p[0]) << 12 | hex_value(p[1]) << 8 | hex_value(p[2]) << 4 | hex_value(p[3]);
}

static inline uint8_t *utf8_write(uint8_t *out, uint32_t c)
{
    if (c < 0x80) {
        *out++ = (uint8_t)c;
    } else if (c < 0x800) {
        *out++ = (uint8_t)(0xC0 | c >> 6);
        *out++ = (uint8_t)(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        *out++ = (uint8_t)(0xE0 | c >> 12);
        *out++ = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        *out++ = (uint8_t)(0x80 | (c & 0x3F));
    } else {
        *out++ = (uint8_t)(0xF0 | c >> 18);
        *out++ = (uint8_t)(0x80 | (c >> 12 & 0x3F));
        *out++ = (uint8_t)(0x80 | (c >> 6 & 0x3F));
        *out++ = (uint8_t)(0x80 | (c & 0x3F));
    }
    return out;
}

static inline uint8_t simple_escape(uint8_t c)
{
    switch (c) {
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    default: return c; /* quote, backslash, slash */
    }
}

int64_t hr_json_unescape(const uint8_t *text, size_t size, uint8_t *out)
{
    const uint8_t *p = text, *end = text + size;
    uint8_t *q = out;
    while (p < end) {
        const uint8_t *slash = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((slash ? slash : end) - p);
        memcpy(q, p, plain);
        p += plain;
        q += plain;
        if (p == end)
            break;
        assert(end - p >= 2);
        if (p[1] != 'u') {
            *q++ = simple_escape(p[1]);
            p += 2;
            continue;
        }
        assert(end - p >= 6);
        uint32_t c = hex4(p + 2);
        p += 6;
        if ((c & 0xFC00) == 0xD800) { /* the other half must follow at once */
            if (end - p < 6 || p[0] != '\\' || p[1] != 'u' || (hex4(p + 2) & 0xFC00) != 0xDC00)
                return -1;
            c = 0x10000 + ((c & 0x3FF) << 10) + (hex4(p + 2) & 0x3FF);
            p += 6;
        } else if ((c & 0xFC00) == 0xDC00) {
            return -1;
        }
        q = utf8_write(q, c);
    }
    return q - out;
}
