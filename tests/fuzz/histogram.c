/* Invariant: every value has one counter, whose highest value is the largest with that counter and at most a
 * thousandth off; the counts add up, and a higher rank never gives a lower value. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include "fuzz.h"
#include "histogram.h"

static void check_value(uint64_t value)
{
    uint64_t bound = value > HR_HISTOGRAM_HIGHEST ? HR_HISTOGRAM_HIGHEST : value;
    uint32_t index = hr_histogram_index(value);
    uint64_t highest;
    CHECK(index < HR_HISTOGRAM_COUNTERS);
    highest = hr_histogram_highest_of(index);
    CHECK(highest >= bound && highest - bound <= bound / 1000);
    if (highest < HR_HISTOGRAM_HIGHEST)
        CHECK(hr_histogram_index(highest) == index && hr_histogram_index(highest + 1) == index + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static hr_histogram cleared_each_time, *const histogram = &cleared_each_time;
    fuzz_input input = {data, size};
    uint64_t total = 0, rank, before = 0;
    memset(histogram, 0, sizeof *histogram);
    while (input.left > 0 && total < 4096) {
        size_t width = fuzz_number(&input, 1) % 8 + 1;
        uint64_t value = fuzz_number(&input, width), times = fuzz_number(&input, 1) % 4;
        check_value(value);
        if (times == 3)
            hr_histogram_record_ns(histogram, value);
        else
            hr_histogram_record(histogram, value, times);
        total += times == 3 ? 1 : times;
    }
    CHECK(histogram->total == total);
    for (rank = 0; rank <= total; rank += 1 + total / 16) {
        uint64_t at = hr_histogram_at_rank(histogram, rank);
        CHECK(at >= before && (total == 0 ? at == 0 : at >= histogram->low));
        before = at;
    }
    if (total > 0)
        CHECK(hr_histogram_index(hr_histogram_at_rank(histogram, total)) == hr_histogram_index(histogram->high));
    return 0;
}
