/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * double_text.h: the shortest decimal text that reads back as the same double or float.
 *
 * The method is Schubfach (Raffaello Giulietti, "The Schubfach way to render doubles"): scale the value
 * and the two ends of the interval that rounds to it by a power of ten, as integers with two more bits,
 * and take the shortest decimal within; of two, the nearer. It needs the powers of ten as 128-bit
 * numbers; a kernel has no tables of its own to fill, so the owner computes them once (617 entries, see
 * headrace/core/_rows.pyx) and passes them in.
 */
#ifndef HR_DOUBLE_TEXT_H
#define HR_DOUBLE_TEXT_H

#include <stddef.h>
#include <stdint.h>

#define HR_POWER_FIRST (-292)
#define HR_POWER_LAST 324
#define HR_POWER_COUNT (HR_POWER_LAST - HR_POWER_FIRST + 1)
#define HR_DOUBLE_TEXT_MAX 32 /* the longest is 24: -1.2345678901234567e-308 */

/* 10^e as high * 2^64 + low, rounded up, with the highest bit set. */
typedef struct hr_power {
    uint64_t high;
    uint64_t low;
} hr_power;

/* Write the text of a finite number, as Python's repr has it (1.0, 1e-05, 1e+16); returns its bytes.
 * `out` has room for HR_DOUBLE_TEXT_MAX. Cost: about 25 ns. */
size_t hr_double_text(double value, const hr_power *powers, uint8_t *out);
size_t hr_float_text(float value, const hr_power *powers, uint8_t *out);

#endif
