/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * shared.c: sleeping on a shared word: futex on Linux, a short poll elsewhere.
 */
#include "shared.h"

#include <errno.h>
#include <limits.h>
#include <time.h>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

int hr_shared_wait(uint32_t *word, uint32_t seen, int64_t timeout_ns)
{
    struct timespec time = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    if (syscall(SYS_futex, word, FUTEX_WAIT, seen, &time, NULL, 0) == 0 || errno == EAGAIN)
        return 0;
    return errno == ETIMEDOUT ? 1 : -errno;
}

void hr_shared_wake(uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
#else
int hr_shared_wait(uint32_t *word, uint32_t seen, int64_t timeout_ns)
{
    const int64_t step_ns = 500000;
    while (hr_shared_load32(word) == seen) {
        if (timeout_ns <= 0)
            return 1;
        int64_t sleep_ns = timeout_ns < step_ns ? timeout_ns : step_ns;
        struct timespec time = {0, sleep_ns};
        if (nanosleep(&time, NULL) != 0)
            return -errno;
        timeout_ns -= sleep_ns;
    }
    return 0;
}

void hr_shared_wake(uint32_t *word)
{
    (void)word;
}
#endif
