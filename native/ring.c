/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * ring.c: mapping and unmapping the doubled ring.
 */
#include "ring.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* A nameless file in memory, `size` bytes of it. Returns a descriptor or −1 with errno. */
static int nameless_file(size_t size)
{
#if defined(__linux__)
    int file = memfd_create("headrace-ring", MFD_CLOEXEC);
#else
    char name[64];
    snprintf(name, sizeof name, "/headrace-ring-%ld", (long)getpid());
    int file = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (file >= 0)
        shm_unlink(name);
#endif
    if (file < 0)
        return -1;
    if (ftruncate(file, (off_t)size) != 0) {
        int problem = errno;
        close(file);
        errno = problem;
        return -1;
    }
    return file;
}

/* Addresses for a ring of `size` bytes, twice; nothing stands there yet. Returns NULL with errno. */
static uint8_t *reserve(size_t size)
{
    size_t spare = size < HR_RING_HUGE ? 0 : HR_RING_HUGE;
    uint8_t *found = mmap(NULL, 2 * size + spare, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (found == MAP_FAILED)
        return NULL;
    if (spare == 0)
        return found;
    size_t before = (size_t)(-(uintptr_t)found & (HR_RING_HUGE - 1));
    if (before != 0)
        munmap(found, before);
    if (before != spare)
        munmap(found + before + 2 * size, spare - before);
    return found + before;
}

int hr_ring_open(hr_ring *ring, size_t capacity)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    while (size < capacity)
        size *= 2;
    int file = nameless_file(size);
    if (file < 0)
        return errno;
    uint8_t *base = reserve(size);
    if (base == NULL) {
        int problem = errno;
        close(file);
        return problem;
    }
    for (int half = 0; half < 2; half++) {
        void *at = base + (size_t)half * size;
        if (mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED) {
            int problem = errno;
            munmap(base, 2 * size);
            close(file);
            return problem;
        }
#if defined(__linux__)
        madvise(at, size, MADV_DONTFORK); /* a forked child must not write into the parent's ring */
#endif
    }
    close(file);
    ring->base = base;
    ring->capacity = size;
    assert((size & (size - 1)) == 0);
    return 0;
}

int hr_ring_collapse(const hr_ring *ring)
{
#if defined(__linux__)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1; asks at once, whatever the machine's settings for shared memory are */
#endif
    if (ring->capacity < HR_RING_HUGE)
        return EINVAL;
    return madvise(ring->base, 2 * ring->capacity, MADV_COLLAPSE) == 0 ? 0 : errno;
#else
    return ENOTSUP;
#endif
}

void hr_ring_close(hr_ring *ring)
{
    if (ring->base != NULL)
        munmap(ring->base, 2 * ring->capacity);
    ring->base = NULL;
    ring->capacity = 0;
}
