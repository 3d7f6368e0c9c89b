/* Invariant: at every SIMD level, whole, in parts or copying, CRC-32C is the one taken a byte at a time, within bounds. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include "crc32c.h"
#include "fuzz.h"

static uint32_t eight_steps[256]; /* the bitwise rule, taken eight times, for each low byte */

static __attribute__((constructor)) void take_steps(void)
{
    for (uint32_t low = 0; low < 256; low++) {
        uint32_t crc = low;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0);
        eight_steps[low] = crc;
    }
}

FUZZ_MODEL static uint32_t model(uint32_t crc, const uint8_t *data, size_t size)
{
    crc = ~crc;
    for (size_t i = 0; i < size; i++)
        crc = (crc >> 8) ^ eight_steps[(crc ^ data[i]) & 0xff];
    return ~crc;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    fuzz_input input = {bytes, size};
    const uint32_t seed = (uint32_t)fuzz_number(&input, 4);
    const size_t repeat = 1 + fuzz_number(&input, 1) % 64; /* reach the long paths with short inputs */
    const size_t cut_wish = fuzz_number(&input, 2);
    const size_t total = input.left * repeat;
    uint8_t *data = malloc(total), *target = malloc(total);
    for (size_t i = 0; i < repeat; i++)
        if (input.left != 0)
            memcpy(data + i * input.left, input.at, input.left);
    const size_t cut = total == 0 ? 0 : cut_wish % (total + 1);
    const uint32_t expected = model(seed, data, total);
    for (int simd = 0; simd <= FUZZ_SIMD_MAX; simd++) {
        const hr_simd level = (hr_simd)simd;
        CHECK(hr_crc32c(seed, data, total, level) == expected);
        CHECK(hr_crc32c(hr_crc32c(seed, data, cut, level), data + cut, total - cut, level) == expected);
        if (total != 0)
            memset(target, 0x5a, total);
        CHECK(hr_crc32c_copy(seed, target, data, total, level) == expected);
        CHECK(total == 0 || memcmp(target, data, total) == 0);
    }
    free(data);
    free(target);
    return 0;
}
