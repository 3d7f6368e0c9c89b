/* Invariant: the text of any finite double or float reads back as the same bits, and no text of fewer digits does. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include "double_text.h"

#include "fuzz.h"
#include "powers.h"

/* Significant digits of a text, without zeroes at either end. */
static int digits_of(const char *text)
{
    char digits[HR_DOUBLE_TEXT_MAX];
    int count = 0, last = 0;
    for (const char *at = text; *at && *at != 'e'; at++)
        if (*at >= '0' && *at <= '9' && (count > 0 || *at != '0')) {
            digits[count++] = *at;
            if (digits[count - 1] != '0')
                last = count;
        }
    return last ? last : 1;
}

static void check_double(uint64_t bits)
{
    double value, again;
    uint8_t out[HR_DOUBLE_TEXT_MAX + 1];
    char shorter[64];
    memcpy(&value, &bits, sizeof value);
    if ((bits >> 52 & 0x7FF) == 0x7FF)
        return;
    uint8_t *exact = malloc(HR_DOUBLE_TEXT_MAX);
    const size_t size = hr_double_text(value, powers(), exact);
    CHECK(size > 0 && size < HR_DOUBLE_TEXT_MAX);
    memcpy(out, exact, size);
    free(exact);
    out[size] = 0;
    again = strtod((char *)out, NULL);
    CHECK(memcmp(&again, &value, sizeof value) == 0);
    const int digits = digits_of((char *)out);
    CHECK(digits <= 17);
    if (digits > 1) { /* the nearest decimal of one digit fewer is another double */
        snprintf(shorter, sizeof shorter, "%.*e", digits - 2, value);
        CHECK(strtod(shorter, NULL) != value);
    }
}

static void check_float(uint32_t bits)
{
    float value, again;
    uint8_t out[HR_DOUBLE_TEXT_MAX + 1];
    memcpy(&value, &bits, sizeof value);
    if ((bits >> 23 & 0xFF) == 0xFF)
        return;
    const size_t size = hr_float_text(value, powers(), out);
    CHECK(size > 0 && size < HR_DOUBLE_TEXT_MAX);
    out[size] = 0;
    again = strtof((char *)out, NULL);
    CHECK(memcmp(&again, &value, sizeof value) == 0);
    CHECK(digits_of((char *)out) <= 9);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    while (input.left > 0) {
        const uint64_t bits = fuzz_number(&input, 8);
        check_double(bits);
        check_float((uint32_t)bits);
    }
    return 0;
}
