/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * histogram.c: latency counters in HdrHistogram's layout; histogram.h has the theory.
 */
#include "histogram.h"

#include <assert.h>

_Static_assert((UINT64_C(2048) << (HR_HISTOGRAM_BUCKETS - 1)) > HR_HISTOGRAM_HIGHEST, "an hour has a counter");

uint32_t hr_histogram_index(uint64_t value)
{
    uint32_t bucket;
    if (value > HR_HISTOGRAM_HIGHEST)
        value = HR_HISTOGRAM_HIGHEST;
    bucket = 53u - (uint32_t)__builtin_clzll(value | (2u * HR_HISTOGRAM_HALF - 1u));
    assert(bucket < HR_HISTOGRAM_BUCKETS);
    return bucket * HR_HISTOGRAM_HALF + (uint32_t)(value >> bucket);
}

uint64_t hr_histogram_highest_of(uint32_t index)
{
    uint32_t bucket = index < 2u * HR_HISTOGRAM_HALF ? 0u : index / HR_HISTOGRAM_HALF - 1u;
    uint64_t part = index - bucket * HR_HISTOGRAM_HALF;
    assert(index < HR_HISTOGRAM_COUNTERS);
    return ((part + 1u) << bucket) - 1u;
}

void hr_histogram_record(hr_histogram *histogram, uint64_t value, uint64_t times)
{
    if (times == 0)
        return;
    if (value > HR_HISTOGRAM_HIGHEST)
        value = HR_HISTOGRAM_HIGHEST;
    histogram->counts[hr_histogram_index(value)] += times;
    if (histogram->total == 0 || value < histogram->low)
        histogram->low = value;
    if (value > histogram->high)
        histogram->high = value;
    histogram->total += times;
    histogram->sum += value * times;
}

void hr_histogram_record_ns(hr_histogram *histogram, uint64_t duration_ns)
{
    hr_histogram_record(histogram, (duration_ns + 500u) / 1000u, 1u);
}

uint64_t hr_histogram_at_rank(const hr_histogram *histogram, uint64_t rank)
{
    uint64_t seen = 0;
    uint32_t index, last;
    if (histogram->total == 0)
        return 0;
    if (rank == 0)
        rank = 1;
    last = hr_histogram_index(histogram->high);
    if (rank < histogram->total) {
        for (index = hr_histogram_index(histogram->low); index < last; index++) {
            seen += histogram->counts[index];
            if (seen >= rank)
                return hr_histogram_highest_of(index);
        }
    }
    return hr_histogram_highest_of(last);
}
