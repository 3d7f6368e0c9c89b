/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * histogram.h: counts of latencies in the bucket layout of HdrHistogram(1, 3600000000, 3), in microseconds.
 *
 * Layout. Values below 2,048 have a counter each. Above that every power of two is cut into 1,024 equal
 * parts, so that a counter never stands for more than a thousandth of its value:
 *     bucket = max(0, floor(log2(value)) - 10)
 *     index  = (bucket + 1) * 1024 + (value >> bucket) - 1024
 * The layout is the one every HdrHistogram implementation uses, so counters can be handed over one to one.
 * Cost: one count-leading-zeros, two shifts and one increment, about 1 ns.
 */
#ifndef HR_HISTOGRAM_H
#define HR_HISTOGRAM_H

#include <stdint.h>

#define HR_HISTOGRAM_HALF 1024u                           /* counters a power of two */
#define HR_HISTOGRAM_BUCKETS 22u                          /* powers of two from 2,048 to one hour */
#define HR_HISTOGRAM_COUNTERS ((HR_HISTOGRAM_BUCKETS + 1u) * HR_HISTOGRAM_HALF)
#define HR_HISTOGRAM_HIGHEST UINT64_C(3600000000)         /* one hour; larger values are counted here */

typedef struct hr_histogram {
    uint64_t counts[HR_HISTOGRAM_COUNTERS];
    uint64_t total;
    uint64_t sum;  /* of values after the bound was applied */
    uint64_t low;  /* smallest value recorded; meaningless while total is 0 */
    uint64_t high; /* largest value recorded */
} hr_histogram;

/* The counter a value belongs to. */
uint32_t hr_histogram_index(uint64_t value);

/* The largest value that shares the counter `index`. */
uint64_t hr_histogram_highest_of(uint32_t index);

/* Count `value` (microseconds) `times` times. Values above one hour are counted as one hour. */
void hr_histogram_record(hr_histogram *histogram, uint64_t value, uint64_t times);

/* Count a duration given in nanoseconds, rounded to the nearest microsecond. */
void hr_histogram_record_ns(hr_histogram *histogram, uint64_t duration_ns);

/* The smallest recorded value that at least `rank` of the recorded values do not exceed (rank from 1 on),
 * as the upper end of its counter. 0 if nothing was recorded. */
uint64_t hr_histogram_at_rank(const hr_histogram *histogram, uint64_t rank);

#endif
