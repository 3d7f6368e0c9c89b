/* Invariant: at every SIMD level, base64 encodes and decodes as one character at a time does, within bounds. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include "base64.h"
#include "fuzz.h"

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int value_of[256]; /* of each character; -1: not of the alphabet */

static __attribute__((constructor)) void take_alphabet(void)
{
    for (int c = 0; c < 256; c++)
        value_of[c] = -1;
    for (int value = 0; value < 64; value++)
        value_of[(uint8_t)ALPHABET[value]] = value;
}

/* Bit by bit: the bytes of the text at the front, its length in *read; -1 as the kernel has it. */
FUZZ_MODEL static ptrdiff_t model(uint8_t *target, size_t room, const uint8_t *text, size_t size, size_t *written)
{
    size_t run = 0, bits = 0;
    uint32_t held = 0;
    *written = 0;
    for (; run < size && value_of[text[run]] >= 0; run++) {
        held = held << 6 | (uint32_t)value_of[text[run]];
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            if (*written == room)
                return -1;
            target[(*written)++] = (uint8_t)(held >> bits);
        }
    }
    if (run % 4 == 1)
        return -1;
    for (size_t i = run; i % 4 != 0; i++)
        if (i >= size || text[i] != '=')
            return -1;
    if ((held & ((1u << bits) - 1)) != 0)
        return -1; /* bits that belong to no byte */
    return (ptrdiff_t)((run + 3) / 4 * 4);
}

static void check_decode(const uint8_t *text, size_t size, size_t room)
{
    uint8_t *expected = malloc(room + 1);
    size_t expected_written = 0;
    const ptrdiff_t expected_read = model(expected, room, text, size, &expected_written);
    for (int simd = 0; simd <= FUZZ_SIMD_MAX; simd++) {
        uint8_t *target = malloc(room);
        size_t written = 0;
        const ptrdiff_t read = hr_base64_decode_prefix(target, room, text, size, &written, (hr_simd)simd);
        CHECK(read == expected_read);
        if (read >= 0) {
            CHECK(written == expected_written);
            CHECK(written == 0 || memcmp(target, expected, written) == 0);
        }
        const ptrdiff_t whole = hr_base64_decode(target, room, text, size, (hr_simd)simd);
        CHECK(whole == (expected_read == (ptrdiff_t)size ? (ptrdiff_t)expected_written : -1));
        free(target);
    }
    free(expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    fuzz_input input = {bytes, size};
    const size_t less = fuzz_number(&input, 1), place = fuzz_number(&input, 2), repeat = fuzz_number(&input, 1) % 8;
    const uint8_t other = (uint8_t)fuzz_number(&input, 1);
    const size_t total = input.left * (repeat + 1);
    uint8_t *data = malloc(total);
    for (size_t i = 0; i <= repeat; i++)
        if (input.left != 0)
            memcpy(data + i * input.left, input.at, input.left);
    /* As text: mostly refused. */
    check_decode(data, total, total / 4 * 3);
    /* As data: encoded, decoded, and decoded again with one character changed and with less room. */
    const size_t text_size = hr_base64_encoded_size(total);
    uint8_t *first = malloc(text_size);
    hr_base64_encode(first, data, total, HR_SIMD_SCALAR);
    for (int simd = 1; simd <= FUZZ_SIMD_MAX; simd++) {
        uint8_t *text = malloc(text_size);
        hr_base64_encode(text, data, total, (hr_simd)simd);
        CHECK(text_size == 0 || memcmp(text, first, text_size) == 0);
        free(text);
    }
    uint8_t *back = malloc(total);
    CHECK(hr_base64_decode(back, total, first, text_size, HR_SIMD_SCALAR) == (ptrdiff_t)total);
    CHECK(total == 0 || memcmp(back, data, total) == 0);
    check_decode(first, text_size, total);
    check_decode(first, text_size, total - (less < total ? less : total));
    if (text_size != 0) {
        first[place % text_size] = other;
        check_decode(first, text_size, total);
    }
    free(back);
    free(first);
    free(data);
    return 0;
}
