/* Invariant: a word holds what was stored last; a wait ends at once on a changed word, else at its
 * time-out or with a signal's handler. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include <errno.h>

#include "shared.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    _Alignas(8) uint64_t word = 0;
    uint32_t count = 0, model = 0;
    int waits = 4; /* each takes a twentieth of a millisecond */
    while (input.left > 0) {
        const uint8_t what = (uint8_t)fuzz_number(&input, 1);
        const uint64_t value = fuzz_number(&input, 8);
        hr_shared_store64(&word, value);
        CHECK(hr_shared_load64(&word) == value);
        CHECK(hr_shared_add32(&count, (uint32_t)value) == model);
        model += (uint32_t)value;
        CHECK(hr_shared_load32(&count) == model);
        CHECK(hr_shared_wait(&count, model + 1, 1000000000) == 0);
        if (what == 0 && waits-- > 0) {
            const int end = hr_shared_wait(&count, model, 1000);
            CHECK(end == 1 || end == -EINTR); /* libFuzzer's alarm is such a signal */
        }
        hr_shared_wake(&count);
    }
    return 0;
}
