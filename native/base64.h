/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * base64.h: base64 in both directions, as JSON requests and answers carry binary data.
 *
 * The form is RFC 4648, section 4: the alphabet A-Z a-z 0-9 + /, no line breaks, padding written and
 * demanded. The decoder accepts the canonical text of some bytes and nothing else: bits behind the last byte
 * in a padded group must be zero (RFC 4648, 3.5 leaves this open; Kinesis refuses other texts).
 *
 * No function reads beyond source + size or writes beyond what is stated, whatever the SIMD level.
 *
 * Cost, AVX-512 or AVX2, warm cache: encode about 25 ns and decode about 40 ns for 1 KiB of data.
 */
#ifndef HR_BASE64_H
#define HR_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "simd.h"

/* Characters that `size` bytes become, padding included. */
static inline size_t hr_base64_encoded_size(size_t size)
{
    return (size + 2) / 3 * 4;
}

/* Encode; writes exactly hr_base64_encoded_size(size) characters. target and source must not overlap. */
void hr_base64_encode(uint8_t *target, const uint8_t *source, size_t size, hr_simd simd);

/* Decode the base64 text that stands at the front of `source`: the longest run of alphabet characters
 * and the padding that must complete its last group. Returns how many characters that text has and
 * stores the bytes it stands for; -1 if the padding is missing or wrong or the bytes do not fit into
 * `room`. Any bytes of target up to target + room may be overwritten; target and source must not overlap.
 *
 * "QUI=\"…" gives 4 with *written 2; "\"…" gives 0 with *written 0; "QUI\"" gives -1. */
ptrdiff_t hr_base64_decode_prefix(uint8_t *target, size_t room, const uint8_t *source, size_t size,
                                  size_t *written, hr_simd simd);

/* Decode a whole text. Returns the number of bytes, or -1 if any of the text is not base64 or the bytes
 * do not fit into `room`; size / 4 * 3 bytes of room are always enough. */
ptrdiff_t hr_base64_decode(uint8_t *target, size_t room, const uint8_t *source, size_t size, hr_simd simd);

#endif
