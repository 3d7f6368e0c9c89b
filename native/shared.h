/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * shared.h: words in memory that several processes map: atomic loads and stores, and sleeping on one.
 *
 * Only fixed-width atomics and futexes are used, never pthread objects: those differ between C libraries,
 * and a process that dies while holding one takes it along.
 */
#ifndef HR_SHARED_H
#define HR_SHARED_H

#include <stdint.h>

/* Store so that whoever loads the value sees everything written before it. */
static inline void hr_shared_store64(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static inline uint64_t hr_shared_load64(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline uint32_t hr_shared_load32(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static inline uint32_t hr_shared_add32(uint32_t *word, uint32_t value)
{
    return __atomic_fetch_add(word, value, __ATOMIC_SEQ_CST);
}

/* Sleep until the word is no longer `seen`, somebody wakes it, or the time is over.
 * Returns 0 when woken or changed, 1 at the time-out, or −errno. */
int hr_shared_wait(uint32_t *word, uint32_t seen, int64_t timeout_ns);

/* Wake everybody who sleeps on the word. Costs one system call. */
void hr_shared_wake(uint32_t *word);

#endif
