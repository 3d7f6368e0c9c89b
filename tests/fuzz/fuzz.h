/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * fuzz.h: what every fuzz target needs: reading numbers off the input, exact copies, and a check.
 */
#ifndef HR_FUZZ_H
#define HR_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simd.h"

/* Stop with the words of the broken condition; libFuzzer then keeps the input. */
#define CHECK(condition)                                                                       \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "%s:%d: broken invariant: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                           \
        }                                                                                      \
    } while (0)

/* Before a model: its branches are not worth an input of the corpus. */
#define FUZZ_MODEL __attribute__((no_sanitize("coverage")))

/* The levels this processor has: for (int simd = 0; simd <= FUZZ_SIMD_MAX; simd++). */
#define FUZZ_SIMD_MAX ((int)hr_simd_processor())

typedef struct fuzz_input {
    const uint8_t *at;
    size_t left;
} fuzz_input;

/* Take a number of `size` bytes (1 to 8) off the input; missing bytes are zero. */
static inline uint64_t fuzz_number(fuzz_input *input, size_t size)
{
    uint64_t value = 0;
    const size_t taken = input->left < size ? input->left : size;
    memcpy(&value, input->at, taken);
    input->at += taken;
    input->left -= taken;
    return value;
}

/* A heap copy of exactly `size` bytes, so that the address sanitizer sees a read one byte beyond. */
static inline uint8_t *fuzz_copy(const void *source, size_t size)
{
    uint8_t *copy = malloc(size);
    CHECK(copy != NULL || size == 0);
    if (size != 0)
        memcpy(copy, source, size);
    return copy;
}

/* Take `size` bytes (or what is left) off the input as an exact heap copy; *taken says how many. */
static inline uint8_t *fuzz_bytes(fuzz_input *input, size_t size, size_t *taken)
{
    *taken = input->left < size ? input->left : size;
    uint8_t *copy = fuzz_copy(input->at, *taken);
    input->at += *taken;
    input->left -= *taken;
    return copy;
}

#endif
