/* Invariant: equal strings, and only these, share a number, numbers count up, and UTF-8 is what a plain decoder takes. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include "string_table.h"

#include "fuzz.h"
#include "utf8.h"

enum { STRINGS_MAX = 64, BYTES_MAX = 600 };

/* One code point at a time, by arithmetic: no surrogates, nothing longer than need be, nothing above 0x10FFFF. */
static bool plain_utf8(const uint8_t *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        const uint8_t lead = text[at];
        const int more = lead < 0x80 ? 0 : lead >> 5 == 6 ? 1 : lead >> 4 == 14 ? 2 : lead >> 3 == 30 ? 3 : -1;
        if (more < 0 || at + (size_t)more >= size)
            return false;
        uint32_t point = more == 0 ? lead : lead & (0x3Fu >> more);
        for (int i = 1; i <= more; i++) {
            if (text[at + i] >> 6 != 2)
                return false;
            point = point << 6 | (text[at + i] & 0x3F);
        }
        const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
        if (point < least[more] || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000))
            return false;
        at += (size_t)more + 1;
    }
    return true;
}

static void rehash(hr_string_table *table, uint64_t slots)
{
    uint64_t *old = table->slots;
    hr_string_table_rehash(table, calloc(slots, sizeof(uint64_t)), slots - 1);
    free(old);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    hr_string_table table = {0};
    table.seed[0] = fuzz_number(&input, 8), table.seed[1] = fuzz_number(&input, 8);
    table.bytes = malloc(BYTES_MAX), table.bytes_size = BYTES_MAX;
    table.count_max = STRINGS_MAX;
    table.ends = calloc(STRINGS_MAX + 1, sizeof *table.ends);
    rehash(&table, 2 * STRINGS_MAX);
    int64_t used = 0;
    while (input.left > 0) {
        size_t taken;
        uint8_t *text = fuzz_bytes(&input, fuzz_number(&input, 1) % 40, &taken);
        CHECK(hr_utf8_valid(text, taken) == plain_utf8(text, taken));
        int32_t known = -1;
        for (int32_t i = 0; i < table.count; i++)
            if ((size_t)(table.ends[i + 1] - table.ends[i]) == taken &&
                (taken == 0 || memcmp(table.bytes + table.ends[i], text, taken) == 0))
                known = i;
        const int32_t count = table.count;
        const bool room = count < STRINGS_MAX && used + (int64_t)taken <= BYTES_MAX;
        const int32_t number = hr_string_table_number(&table, text, taken);
        CHECK(number == (known >= 0 ? known : room ? count : HR_STRING_TABLE_FULL));
        used += table.count > count ? (int64_t)taken : 0;
        CHECK(table.ends[table.count] == used);
        if (taken == 7) /* now and then, with what is there */
            rehash(&table, 4 * STRINGS_MAX);
        CHECK(hr_string_table_number(&table, text, taken) == number);
        free(text);
    }
    free(table.slots), free(table.bytes), free(table.ends);
    return 0;
}
