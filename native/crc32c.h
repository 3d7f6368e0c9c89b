/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * crc32c.h: the CRC-32C (Castagnoli) checksum, alone and while copying.
 *
 * Polynomial 0x1EDC6F41, reflected, initial value and final exclusive-or 0xFFFFFFFF (RFC 3720, B.4):
 * the checksum of "123456789" is 0xE3069283. `seed` is the checksum of what came before (0 at the
 * start), so that hr_crc32c(hr_crc32c(0, a), b) is the checksum of a followed by b.
 */
#ifndef HR_CRC32C_H
#define HR_CRC32C_H

#include <stddef.h>
#include <stdint.h>

#include "simd.h"

uint32_t hr_crc32c(uint32_t seed, const void *data, size_t size, hr_simd simd);

/* Copy `size` bytes from source to target (they must not overlap) and return the checksum of them. */
uint32_t hr_crc32c_copy(uint32_t seed, void *target, const void *source, size_t size, hr_simd simd);

#endif
