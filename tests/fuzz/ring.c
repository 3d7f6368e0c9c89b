/* Invariant: bytes written at any offset are read back there and one capacity further, and nowhere wrap. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include "ring.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    hr_ring ring = {0};
    hr_ring_close(&ring);
    CHECK(hr_ring_open(&ring, fuzz_number(&input, 2)) == 0);
    CHECK((ring.capacity & (ring.capacity - 1)) == 0);
    uint8_t *model = calloc(1, ring.capacity);
    while (input.left > 0) {
        const uint64_t offset = fuzz_number(&input, 8);
        size_t taken;
        uint8_t *bytes = fuzz_bytes(&input, fuzz_number(&input, 1), &taken);
        uint8_t *at = hr_ring_at(&ring, offset);
        CHECK(at >= ring.base && at < ring.base + ring.capacity);
        memcpy(at, bytes, taken);
        for (size_t i = 0; i < taken; i++)
            model[(offset + i) % ring.capacity] = bytes[i];
        free(bytes);
        CHECK(memcmp(ring.base, model, ring.capacity) == 0);
        CHECK(memcmp(ring.base + ring.capacity, model, ring.capacity) == 0);
    }
    free(model);
    hr_ring_close(&ring);
    CHECK(ring.base == NULL);
    return 0;
}
