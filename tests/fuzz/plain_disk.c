/* Invariant: a file holds the numbered blocks one behind the other from the offset on, and nothing else. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include "plain_disk.h"

#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    const size_t block = 8 + fuzz_number(&input, 1);
    const uint64_t count = fuzz_number(&input, 1) % 20;
    const off_t offset = (off_t)(fuzz_number(&input, 2) % 5000);
    size_t taken;
    uint8_t *given = fuzz_bytes(&input, block, &taken), *bytes = calloc(1, block);
    memcpy(bytes, given, taken);
    hr_histogram *durations = calloc(1, sizeof *durations);
    const int file = memfd_create("fuzz", 0);
    CHECK(file >= 0);
    CHECK(hr_plain_disk(file, bytes, block, count, offset, (int)(block & 1), durations) == 0);
    const off_t end = lseek(file, 0, SEEK_END);
    CHECK(end == (count ? offset + (off_t)(count * block) : 0));
    uint8_t *found = malloc(block);
    for (uint64_t i = 0; i < count; i++) {
        CHECK(pread(file, found, block, offset + (off_t)(i * block)) == (ssize_t)block);
        CHECK(memcmp(found, &i, sizeof i) == 0);
        CHECK(memcmp(found + 8, bytes + 8, block - 8) == 0);
    }
    CHECK(pwrite(-1, bytes, 1, 0) < 0);
    CHECK(count == 0 || hr_plain_disk(-1, bytes, block, count, offset, 0, durations) < 0);
    close(file);
    free(found), free(durations), free(bytes), free(given);
    return 0;
}
