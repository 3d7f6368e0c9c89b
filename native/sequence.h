/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * sequence.h: sequence numbers, 188 bits printed as 56 decimal digits.
 *
 * As 47 hex digits, most significant first, with the bit each part starts at:
 *
 *   digits  bit  part
 *        1  184  2
 *        9  148  creation of the shard, epoch seconds
 *        1  144  shard number & 0xF
 *       16   80  running index within the shard
 *        2   72  00
 *        9   36  arrival, epoch seconds
 *        8    4  shard number
 *        1    0  2
 *
 * The leading 2 makes every number lie in [2 * 16^46, 3 * 16^46), so it always has 56 decimal digits. Numbers
 * of one shard increase with the index whatever the arrivals are. Example: shard 0 created at second 0, index 0,
 * arrival 0 is 49039857307708443467467104868809893875799651909875269634.
 *
 * All but the index is the same for most neighbours in an answer, so it is converted once (hr_sequence_base)
 * and only the index is multiplied in for each number. Cost: about 10 ns a number, 27 without SIMD.
 */
#ifndef HR_SEQUENCE_H
#define HR_SEQUENCE_H

#include <stdint.h>

#include "simd.h"

#define HR_SEQUENCE_DIGITS 56
#define HR_SEQUENCE_SECONDS_MAX 0xFFFFFFFFFull /* 36 bits: the year 4147 */

/* The number whose index is 0, in base 10^19, lowest part first. */
typedef struct hr_sequence {
    uint64_t part[3];
} hr_sequence;

/* Seconds beyond HR_SEQUENCE_SECONDS_MAX are the caller's error (asserted, then cut). */
void hr_sequence_base(hr_sequence *base, uint64_t created_s, uint32_t shard, uint64_t arrival_s);

/* Writes exactly HR_SEQUENCE_DIGITS characters. */
void hr_sequence_write(uint8_t *target, const hr_sequence *base, uint64_t index, hr_simd simd);

#endif
