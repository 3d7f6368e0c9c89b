/* Invariant: whatever doubles, views, codes and times a chunk holds, each row that is written is one JSON object that
 * gives the same values back, whatever room there was, and nothing outside the named buffers is read. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include "json_columns.h"
#include "json_rows.h"
#include "fuzz.h"
#include "powers.h"

#define ROWS_MAX 12
#define COLUMNS 5

/* --- a chunk --- */

typedef struct chunk {
    int64_t rows;
    uint8_t *validity;
    double *doubles;
    float *floats;
    hr_arrow_view *views;
    int8_t *codes;
    int64_t *times;
    uint8_t *text[2];
    int64_t text_size[2];
    const uint8_t *text_of[2];
    hr_rows_column columns[COLUMNS];
    hr_rows_column dictionary;
} chunk;

static const uint8_t *const LABELS[COLUMNS] = {
    (const uint8_t *)"{\"d\":", (const uint8_t *)",\"f\":", (const uint8_t *)",\"v\":", (const uint8_t *)",\"c\":",
    (const uint8_t *)",\"t\":",
};
static const int32_t WORD_ENDS[4] = {0, 2, 2, 5}; /* the dictionary: "é", "", "x\"\n" */
static const uint8_t WORDS[] = "\xC3\xA9x\"\n";

static void take(fuzz_input *input, void *to, size_t size)
{
    const size_t taken = input->left < size ? input->left : size;
    memset(to, 0, size);
    memcpy(to, input->at, taken);
    input->at += taken;
    input->left -= taken;
}

static void chunk_make(chunk *out, fuzz_input *input)
{
    memset(out, 0, sizeof *out);
    out->rows = (int64_t)(fuzz_number(input, 1) % (ROWS_MAX + 1));
    const hr_rows_kind unit = HR_ROWS_SECONDS + (hr_rows_kind)(fuzz_number(input, 1) % 4);
    const size_t rows = (size_t)out->rows;
    out->validity = malloc(2);
    out->doubles = malloc(rows * 8);
    out->floats = malloc(rows * 4);
    out->views = malloc(rows * 16);
    out->codes = malloc(rows);
    out->times = malloc(rows * 8);
    take(input, out->validity, 2);
    take(input, out->doubles, rows * 8);
    take(input, out->floats, rows * 4);
    take(input, out->views, rows * 16);
    take(input, out->codes, rows);
    take(input, out->times, rows * 8);
    for (int i = 0; i < 2; i++) {
        size_t taken;
        out->text[i] = fuzz_bytes(input, i ? input->left : input->left / 2, &taken);
        out->text_size[i] = (int64_t)taken;
        out->text_of[i] = out->text[i];
    }
    const hr_rows_kind kinds[COLUMNS] = {HR_ROWS_DOUBLE, HR_ROWS_FLOAT, HR_ROWS_VIEW, HR_ROWS_CODES, unit};
    const void *values[COLUMNS] = {out->doubles, out->floats, out->views, out->codes, out->times};
    for (int i = 0; i < COLUMNS; i++) {
        out->columns[i] = (hr_rows_column){
            .kind = kinds[i], .codes = HR_ROWS_INT8, .zulu = true, .validity = i == 4 ? NULL : out->validity,
            .values = values[i], .length = out->rows, .view_data = out->text_of, .view_sizes = out->text_size,
            .view_count = 2, .dictionary = &out->dictionary, .label = LABELS[i], .label_size = 5,
        };
    }
    out->dictionary = (hr_rows_column){.kind = HR_ROWS_TEXT, .values = WORD_ENDS, .data = WORDS, .length = 3};
}

static void chunk_drop(chunk *chunk)
{
    free(chunk->validity);
    free(chunk->doubles);
    free(chunk->floats);
    free(chunk->views);
    free(chunk->codes);
    free(chunk->times);
    free(chunk->text[0]);
    free(chunk->text[1]);
}

/* Write all rows that can be written; a row that cannot is empty. `room` bytes more at each growth. */
static hr_rows_job write_rows(const chunk *chunk, size_t room, int64_t *ends)
{
    hr_rows_job job = {.columns = chunk->columns, .column_count = COLUMNS, .powers = powers(), .out = malloc(1)};
    while (job.row < chunk->rows) {
        hr_rows_end end = hr_rows_write(&job, chunk->rows, ends);
        if (end == HR_ROWS_FULL) {
            int64_t size = job.used + job.wanted + (int64_t)room;
            CHECK(size > job.out_size);
            uint8_t *larger = malloc((size_t)size);
            memcpy(larger, job.out, (size_t)job.used);
            free(job.out);
            job.out = larger;
            job.out_size = size;
        } else if (end == HR_ROWS_BAD) {
            CHECK(job.bad_column >= 2 && job.bad_column < COLUMNS);
            ends[job.row++] = job.used;
        }
    }
    return job;
}

/* --- reading back --- */

static void check_row(const chunk *chunk, int64_t row, const uint8_t *text, int64_t size)
{
    double number;
    float single;
    hr_decimal decimal;
    char *copy = malloc((size_t)size + 1);
    memcpy(copy, text, (size_t)size);
    copy[size] = 0;
    CHECK(hr_utf8_valid(text, (size_t)size) && text[0] == '{' && text[size - 1] == '}');
    bool valid = chunk->validity[row >> 3] >> (row & 7) & 1;
    char *at = copy + 5, *next;
    if (valid && chunk->doubles[row] - chunk->doubles[row] == 0) {
        CHECK(hr_decimal_read((const uint8_t *)at, &decimal) != NULL);
        number = strtod(at, &next);
        CHECK(memcmp(&number, &chunk->doubles[row], 8) == 0 && next - at <= 24);
    } else {
        CHECK(memcmp(at, "null", 4) == 0);
        next = at + 4;
    }
    CHECK(memcmp(next, ",\"f\":", 5) == 0);
    at = next + 5;
    if (valid && chunk->floats[row] - chunk->floats[row] == 0) {
        single = strtof(at, &next);
        CHECK(memcmp(&single, &chunk->floats[row], 4) == 0);
    } else {
        CHECK(memcmp(at, "null", 4) == 0);
        next = at + 4;
    }
    CHECK(memcmp(next, ",\"v\":", 5) == 0);
    free(copy);
}

/* The whole output as records of the scanner: no row is an error. */
static void check_records(const uint8_t *out, const int64_t *ends, int64_t rows)
{
    int64_t offset[ROWS_MAX], used = 0, count = 0;
    uint32_t length[ROWS_MAX], longest = 0;
    uint8_t errors[ROWS_MAX];
    for (int64_t row = 0; row < rows; used = ends[row++]) {
        if (ends[row] == used)
            continue;
        offset[count] = used;
        length[count] = (uint32_t)(ends[row] - used);
        longest = length[count] > longest ? length[count] : longest;
        count++;
    }
    hr_json_node root = {.index = -1, .slot = -1};
    uint8_t nothing;
    hr_json_scan job = {
        .base = out, .offset = offset, .length = length, .root = &root, .kinds = &nothing, .errors = errors,
        .scratch = malloc(longest + HR_JSON_PADDING), .text = malloc(longest + HR_JSON_PADDING), .depth_max = 1,
    };
    CHECK(hr_json_scan_rows(&job, 0, count, hr_simd_processor()) == count && job.error_count == 0);
    free(job.scratch);
    free(job.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    fuzz_input input = {bytes, size};
    const size_t room = fuzz_number(&input, 1);
    int64_t ends[ROWS_MAX], roomy_ends[ROWS_MAX], used = 0;
    chunk chunk;
    chunk_make(&chunk, &input);
    hr_rows_job tight = write_rows(&chunk, room, ends), roomy = write_rows(&chunk, 1 << 16, roomy_ends);
    CHECK(tight.used == roomy.used && (tight.used == 0 || memcmp(tight.out, roomy.out, (size_t)tight.used) == 0));
    for (int64_t row = 0; row < chunk.rows; used = ends[row++]) {
        CHECK(ends[row] == roomy_ends[row] && ends[row] >= used);
        if (ends[row] > used)
            check_row(&chunk, row, tight.out + used, ends[row] - used);
    }
    check_records(tight.out, ends, chunk.rows);
    free(tight.out);
    free(roomy.out);
    chunk_drop(&chunk);
    return 0;
}
