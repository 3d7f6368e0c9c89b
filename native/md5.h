/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * md5.h: the hash keys of entries: MD5 of the partition key, read as a 128-bit big-endian number.
 */
#ifndef HR_MD5_H
#define HR_MD5_H

#include <stddef.h>
#include <stdint.h>

#include "entry.h"
#include "simd.h"

/* Fill hash_high and hash_low of every entry that has none of HR_ENTRY_HASH_KNOWN, and set HR_ENTRY_HASHED.
 * Reads nothing but the keys. */
void hr_md5_entries(hr_entry *entry, size_t count, hr_simd simd);

/* The hash of one message of any size: hash[0] is the upper half. */
void hr_md5(const uint8_t *data, size_t size, uint64_t hash[2]);

#endif
