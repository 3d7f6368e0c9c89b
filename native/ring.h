/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * ring.h: a ring of bytes in memory that is mapped twice, end to end, so that no run ever wraps.
 *
 * Byte number n of the lane stands at base + (n & (capacity − 1)), and the capacity bytes after any such
 * place are contiguous in the address space: a frame is written, and a run of frames handed to one
 * pwrite, without a seam. The capacity is a power of two and a multiple of the page size. Pages are
 * taken from the system only when first touched. A ring of HR_RING_HUGE bytes or more is aligned to them.
 */
#ifndef HR_RING_H
#define HR_RING_H

#include <stddef.h>
#include <stdint.h>

#define HR_RING_HUGE ((size_t)2 << 20) /* of the pages that hr_ring_collapse asks for */

typedef struct hr_ring {
    uint8_t *base;
    size_t capacity;
} hr_ring;

/* Map a ring of at least `capacity` bytes. Returns 0, or an errno. */
int hr_ring_open(hr_ring *ring, size_t capacity);

/* Have the system put a ring that is in use all round on huge pages, if it can: fewer misses of the address
 * cache while frames are written, and runs that are one piece for the device. Takes some milliseconds, once.
 * Returns 0, or an errno where everything stays as it was. */
int hr_ring_collapse(const hr_ring *ring);

/* Unmap it; a ring that was never opened (all zero) is left alone. */
void hr_ring_close(hr_ring *ring);

/* The address of byte number `offset`. */
static inline uint8_t *hr_ring_at(const hr_ring *ring, uint64_t offset)
{
    return ring->base + (size_t)(offset & (ring->capacity - 1));
}

#endif
