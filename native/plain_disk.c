/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * plain_disk.c: pwrite and fdatasync without anything around them; plain_disk.h says what for.
 */
#include "plain_disk.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* One whole write; short ones are continued. */
static int write_all(int fd, const uint8_t *bytes, size_t size, off_t offset)
{
    while (size > 0) {
        ssize_t written = pwrite(fd, bytes, size, offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? -errno : -EIO;
        bytes += written;
        size -= (size_t)written;
        offset += written;
    }
    return 0;
}

int hr_plain_disk(int fd, uint8_t *bytes, size_t size, uint64_t count, off_t offset, int sync,
                  hr_histogram *durations)
{
    uint64_t i, begin, end = now_ns();
    assert(size >= sizeof i);
    for (i = 0; i < count; i++) {
        int failed;
        memcpy(bytes, &i, sizeof i);
        begin = end;
        failed = write_all(fd, bytes, size, offset + (off_t)(i * size));
        if (failed)
            return failed;
        if (sync && fdatasync(fd) != 0)
            return -errno;
        end = now_ns();
        hr_histogram_record_ns(durations, end - begin);
    }
    return 0;
}
