/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * json_values.h: the meaning of JSON scalars: decimals, text with escapes, times.
 *
 * Text comes in as [text, end) with at least one readable byte behind it that cannot continue a
 * number. Nothing here allocates; a result that does not exist (no integer, out of range, no such day)
 * is `false`, never a wrong value.
 */
#ifndef HR_JSON_VALUES_H
#define HR_JSON_VALUES_H

#include <locale.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#if defined(__APPLE__)
#include <xlocale.h>
#endif

#include "utf8.h"

#define HR_DECIMAL_DIGITS_MAX 19 /* every number of 19 digits is below 2^64 */

/* A JSON number as (-1)^negative * mantissa * 10^exponent, and a little more than that if `sticky`:
 * digits other than zero were cut behind the first 19 significant ones. */
typedef struct hr_decimal {
    uint64_t mantissa;
    int64_t exponent;
    uint8_t negative;
    uint8_t sticky;
} hr_decimal;

/* Read one JSON number, byte by byte. Returns its end, or NULL where the grammar is broken. */
const uint8_t *hr_decimal_read(const uint8_t *text, hr_decimal *out);

/* The nearest double (ties to even). `text` is the number's first byte, for the rare cases that go to
 * strtod_l; `c_locale` is the C locale. False where the number is beyond the largest double. */
bool hr_decimal_to_double(const hr_decimal *number, const uint8_t *text, locale_t c_locale, double *out);

/* The integer that the number is: 12, 2.0 and 1e3 are integers, 1.5 is not. False if none or too large. */
bool hr_decimal_to_int64(const hr_decimal *number, int64_t *out);

/* floor(number * 10^scale): with scale 6, 3, 0 the microseconds of an epoch in s, ms, us. Digits below
 * a microsecond are cut towards the past, so that no time moves into the next window. */
bool hr_decimal_to_micros(const hr_decimal *number, int scale, int64_t *out);

/* Microseconds since 1970 UTC of yyyy-MM-dd[(T| )HH:mm[:ss[.f…]][Z|±hh[[:]mm]]], years 0001 to 9999.
 * Text without a zone is UTC; digits below a microsecond are cut; second 60 is the next minute's first. */
bool hr_time_read(const uint8_t *text, size_t size, int64_t *out);

/* Resolve the escapes of a JSON string's inside whose grammar was checked. `out` has room for `size`
 * bytes and 8 more. Returns the bytes written, or -1 for half a surrogate pair, which is no text. */
int64_t hr_json_unescape(const uint8_t *text, size_t size, uint8_t *out);

#endif
