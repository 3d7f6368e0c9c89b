/* Invariant: at every SIMD level a sequence number is its 188 bits in 56 decimal digits, within bounds. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include "sequence.h"

#include "fuzz.h"

/* `count` hex digits of `value` to the right of those in `digits`. */
static void push(uint8_t *digits, int *at, uint64_t value, int count)
{
    for (int shift = 4 * (count - 1); shift >= 0; shift -= 4)
        digits[(*at)++] = value >> shift & 0xF;
}

/* The number as the table in sequence.h has it, divided by ten again and again. */
static void model(uint8_t *text, uint64_t created_s, uint32_t shard, uint64_t index, uint64_t arrival_s)
{
    uint8_t hex[47];
    int at = 0;
    push(hex, &at, 2, 1), push(hex, &at, created_s, 9), push(hex, &at, shard & 0xF, 1), push(hex, &at, index, 16);
    push(hex, &at, 0, 2), push(hex, &at, arrival_s, 9), push(hex, &at, shard, 8), push(hex, &at, 2, 1);
    CHECK(at == 47);
    for (int place = HR_SEQUENCE_DIGITS - 1; place >= 0; place--) {
        unsigned rest = 0;
        for (int i = 0; i < 47; i++) {
            rest = rest * 16 + hex[i];
            hex[i] = (uint8_t)(rest / 10);
            rest %= 10;
        }
        text[place] = (uint8_t)('0' + rest);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    const uint64_t created_s = fuzz_number(&input, 8) & HR_SEQUENCE_SECONDS_MAX;
    const uint64_t arrival_s = fuzz_number(&input, 8) & HR_SEQUENCE_SECONDS_MAX;
    const uint32_t shard = (uint32_t)fuzz_number(&input, 4);
    hr_sequence base;
    hr_sequence_base(&base, created_s, shard, arrival_s);
    do {
        const uint64_t index = fuzz_number(&input, 8);
        uint8_t expected[HR_SEQUENCE_DIGITS];
        model(expected, created_s, shard, index, arrival_s);
        for (int simd = 0; simd <= FUZZ_SIMD_MAX; simd++) {
            uint8_t *text = malloc(HR_SEQUENCE_DIGITS);
            hr_sequence_write(text, &base, index, (hr_simd)simd);
            CHECK(memcmp(text, expected, HR_SEQUENCE_DIGITS) == 0);
            free(text);
        }
    } while (input.left > 0);
    return 0;
}
