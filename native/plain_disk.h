/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * plain_disk.h: the yardstick for durable writes: pwrite and fdatasync of the same block, again and again.
 */
#ifndef HR_PLAIN_DISK_H
#define HR_PLAIN_DISK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "histogram.h"

/* Write bytes[0, size) `count` times, one behind the other from `offset`, each followed by fdatasync if
 * `sync`. Each write's duration goes into `durations`. The block's first eight bytes change with every write,
 * so that no layer below can tell a repeat. Returns 0 or -errno. */
int hr_plain_disk(int fd, uint8_t *bytes, size_t size, uint64_t count, off_t offset, int sync,
                  hr_histogram *durations);

#endif
