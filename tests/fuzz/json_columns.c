/* Invariant: any bytes give the same columns at every SIMD level, an error exactly where a plain parser sees none
 * or several JSON objects (or wanted text is no text), doubles as strtod reads them, and only valid UTF-8 as strings. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * Input: a byte for the depth, then records divided by byte 0xFE, which no JSON text needs.
 */
#include "json_columns.h"
#include "fuzz.h"

#define ROWS_MAX 16
#define COLUMNS 10
#define NODES 7
#define SLOTS 5

/* --- the plain parser --- */

typedef struct plain {
    const uint8_t *at, *end;
    int depth;
} plain;

static int peek(plain *text)
{
    return text->at < text->end ? *text->at : -1;
}

static void spaces(plain *text)
{
    while (peek(text) == ' ' || peek(text) == '\n' || peek(text) == '\r' || peek(text) == '\t')
        text->at++;
}

static int digits(plain *text)
{
    int count = 0;
    for (; peek(text) >= '0' && peek(text) <= '9'; count++)
        text->at++;
    return count;
}

static int word(plain *text, const char *word)
{
    size_t size = strlen(word);
    if ((size_t)(text->end - text->at) < size || memcmp(text->at, word, size) != 0)
        return 0;
    text->at += size;
    return 1;
}

static int string(plain *text)
{
    if (peek(text) != '"')
        return 0;
    for (text->at++; peek(text) != '"'; text->at++) {
        if (peek(text) < 0x20)
            return 0;
        if (peek(text) != '\\')
            continue;
        text->at++;
        if (peek(text) < 0 || strchr("\"\\/bfnrtu", peek(text)) == NULL || peek(text) == 0)
            return 0;
        for (int i = 0, hex = peek(text) == 'u' ? 4 : 0; i < hex; i++) {
            text->at++;
            if (peek(text) <= 0 || strchr("0123456789abcdefABCDEF", peek(text)) == NULL)
                return 0;
        }
    }
    text->at++;
    return 1;
}

static int number(plain *text)
{
    if (peek(text) == '-')
        text->at++;
    const uint8_t *first = text->at;
    int whole = digits(text);
    if (whole == 0 || (whole > 1 && *first == '0'))
        return 0;
    if (peek(text) == '.') {
        text->at++;
        if (digits(text) == 0)
            return 0;
    }
    if (peek(text) == 'e' || peek(text) == 'E') {
        text->at++;
        if (peek(text) == '+' || peek(text) == '-')
            text->at++;
        if (digits(text) == 0)
            return 0;
    }
    return 1;
}

static int value(plain *text)
{
    const int open = peek(text), close = open == '{' ? '}' : ']';
    if (open == '"')
        return string(text);
    if (open != '{' && open != '[')
        return word(text, "true") || word(text, "false") || word(text, "null") || number(text);
    if (text->depth-- <= 0)
        return 0;
    text->at++;
    spaces(text);
    for (int first = 1; first || peek(text) != close; first = 0) {
        if (first && peek(text) == close)
            break;
        if (!first) {
            if (peek(text) != ',')
                return 0;
            text->at++;
            spaces(text);
        }
        if (open == '{') {
            if (!string(text))
                return 0;
            spaces(text);
            if (peek(text) != ':')
                return 0;
            text->at++;
            spaces(text);
        }
        if (!value(text))
            return 0;
        spaces(text);
    }
    text->at++;
    text->depth++;
    return 1;
}

static int is_object(const uint8_t *record, size_t size, int depth)
{
    plain text = {record, record + size, depth};
    spaces(&text);
    if (peek(&text) != '{' || !value(&text))
        return 0;
    spaces(&text);
    return text.at == text.end;
}

/* --- the scan --- */

typedef struct results {
    int64_t values[COLUMNS][ROWS_MAX];
    uint8_t states[COLUMNS][ROWS_MAX];
    uint8_t errors[ROWS_MAX];
    hr_string_table tables[COLUMNS];
} results;

/* columns: a as i8, f8, text, json; a.b as str and bool; b[1] as json; t as time and as epoch; c as str */
static const hr_json_type TYPES[COLUMNS] = {
    HR_JSON_INT64, HR_JSON_DOUBLE, HR_JSON_TEXT, HR_JSON_RAW,           HR_JSON_STRING,
    HR_JSON_BOOL,  HR_JSON_RAW,    HR_JSON_TIME, HR_JSON_EPOCH_SECONDS, HR_JSON_STRING,
};
static const int32_t SLOT_OF[COLUMNS] = {0, 0, 0, 0, 1, 1, 2, 3, 3, 4};

static int is_coded_type(hr_json_type type)
{
    return type == HR_JSON_STRING || type == HR_JSON_TEXT || type == HR_JSON_RAW;
}

static void grow(hr_string_table *table, int64_t bytes)
{
    int64_t used = table->ends ? table->ends[table->count] : 0;
    if (table->bytes_size - used < bytes) {
        table->bytes_size = used + bytes;
        table->bytes = realloc(table->bytes, (size_t)table->bytes_size + 1);
    }
    if (table->count == table->count_max) {
        uint64_t *old = table->slots;
        int32_t count_max = table->count_max ? table->count_max * 2 : 1;
        uint64_t *slots = calloc((size_t)count_max * 2, sizeof *slots);
        table->ends = realloc(table->ends, ((size_t)count_max + 1) * sizeof *table->ends);
        if (old == NULL)
            table->ends[0] = 0;
        hr_string_table_rehash(table, slots, (uint64_t)count_max * 2 - 1);
        table->count_max = count_max;
        free(old);
    }
}

static void plan(hr_json_node *nodes, hr_json_keys *keys)
{
    static const char *const NAMES[NODES] = {NULL, "a", "b", "b", NULL, "t", "c"};
    static const int32_t SLOT[NODES] = {-1, 0, 1, -1, 2, 3, 4};
    static const int32_t FIRST[NODES] = {0, 0, 1, 2, 2, 3, 4}, END[NODES] = {5, 2, 2, 3, 3, 4, 5};
    memset(nodes, 0, NODES * sizeof *nodes);
    for (int i = 0; i < NODES; i++) {
        nodes[i].name = (const uint8_t *)NAMES[i];
        nodes[i].name_size = NAMES[i] ? 1 : 0;
        nodes[i].index = i == 4 ? 1 : -1;
        nodes[i].slot = SLOT[i];
        nodes[i].slot_first = FIRST[i];
        nodes[i].slot_end = END[i];
        nodes[i].wants = i == 4 ? HR_JSON_WANTS_RAW : HR_JSON_WANTS_TEXT | (i == 1 ? HR_JSON_WANTS_RAW : 0);
    }
    nodes[0].members = &nodes[1];
    nodes[1].next = &nodes[3];
    nodes[3].next = &nodes[5];
    nodes[5].next = &nodes[6];
    nodes[1].members = &nodes[2];
    nodes[3].elements = &nodes[4];
    for (int i = 0; i < 2; i++) {
        hr_json_keys_clear(&keys[i]);
        nodes[i].keys = &keys[i];
    }
}

static void scan(const uint8_t *base, const int64_t *offset, const uint32_t *length, int64_t rows, int32_t depth,
                 hr_simd simd, results *out)
{
    hr_json_node nodes[NODES];
    hr_json_keys *keys = malloc(2 * sizeof *keys);
    hr_json_slot slots[SLOTS];
    hr_json_column columns[COLUMNS];
    uint8_t kinds[SLOTS];
    uint32_t longest = 0;
    memset(out, 0, sizeof *out);
    plan(nodes, keys);
    for (int64_t i = 0; i < rows; i++)
        longest = length[i] > longest ? length[i] : longest;
    for (int i = 0; i < COLUMNS; i++) {
        columns[i] = (hr_json_column){TYPES[i], SLOT_OF[i], out->values[i], out->states[i], &out->tables[i]};
        grow(&out->tables[i], 1);
    }
    hr_json_scan job = {
        .base = base, .offset = offset, .length = length, .root = nodes, .slots = slots, .kinds = kinds,
        .slot_count = SLOTS, .column_count = COLUMNS, .columns = columns, .errors = out->errors,
        .scratch = malloc(longest + HR_JSON_PADDING), .text = malloc(longest + HR_JSON_PADDING), .depth_max = depth,
        .c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0),
    };
    for (int64_t row = 0; row < rows;) {
        row = hr_json_scan_rows(&job, row, rows, simd);
        if (row < rows)
            grow(&out->tables[job.full_column], job.full_bytes);
    }
    freelocale(job.c_locale);
    free(job.scratch);
    free(job.text);
    free(keys);
}

static void drop(results *out)
{
    for (int i = 0; i < COLUMNS; i++) {
        free(out->tables[i].slots);
        free(out->tables[i].bytes);
        free(out->tables[i].ends);
    }
}

static int32_t code_of(const results *out, int column, int64_t row)
{
    return ((const int32_t *)out->values[column])[row];
}

static void check_strings(const results *out, int column, int64_t rows)
{
    const hr_string_table *table = &out->tables[column];
    for (int32_t i = 0; i < table->count; i++)
        CHECK(hr_utf8_valid(table->bytes + table->ends[i], (size_t)(table->ends[i + 1] - table->ends[i])));
    for (int64_t row = 0; row < rows; row++) {
        int32_t code = code_of(out, column, row);
        CHECK(code >= -1 && code < table->count);
        CHECK((code >= 0) == (out->states[column][row] == HR_JSON_ROW_VALID));
    }
}

/* The double of row is what strtod makes of the text that the json column kept. */
static void check_double(const results *out, int64_t row)
{
    if (out->states[1][row] != HR_JSON_ROW_VALID)
        return;
    const hr_string_table *table = &out->tables[3];
    int32_t code = code_of(out, 3, row);
    CHECK(code >= 0);
    size_t size = (size_t)(table->ends[code + 1] - table->ends[code]);
    char *text = malloc(size + 1);
    memcpy(text, table->bytes + table->ends[code], size);
    text[size] = 0;
    double expected = strtod(text, NULL);
    CHECK(memcmp(&expected, &out->values[1][row], 8) == 0);
    if (out->states[0][row] == HR_JSON_ROW_VALID)
        CHECK((double)out->values[0][row] == expected);
    free(text);
}

static void compare(const results *left, const results *right, int64_t rows)
{
    CHECK(memcmp(left->errors, right->errors, sizeof left->errors) == 0);
    CHECK(memcmp(left->states, right->states, sizeof left->states) == 0);
    CHECK(memcmp(left->values, right->values, sizeof left->values) == 0);
    for (int i = 0; i < COLUMNS; i++) {
        const hr_string_table *a = &left->tables[i], *b = &right->tables[i];
        CHECK(a->count == b->count);
        CHECK(memcmp(a->ends, b->ends, ((size_t)a->count + 1) * sizeof *a->ends) == 0);
        CHECK(memcmp(a->bytes, b->bytes, (size_t)a->ends[a->count]) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    fuzz_input input = {bytes, size};
    const int32_t depth = 1 + (int32_t)(fuzz_number(&input, 1) % HR_JSON_DEPTH_MAX);
    int64_t offset[ROWS_MAX], rows = 0;
    uint32_t length[ROWS_MAX];
    uint8_t *data = fuzz_copy(input.at, input.left);
    for (size_t start = 0; rows < ROWS_MAX && start <= input.left; rows++) {
        const uint8_t *stop = input.left > start ? memchr(data + start, 0xFE, input.left - start) : NULL;
        size_t end = stop ? (size_t)(stop - data) : input.left;
        offset[rows] = (int64_t)start;
        length[rows] = (uint32_t)(end - start);
        start = end + 1;
    }
    results *first = malloc(sizeof *first), *other = malloc(sizeof *other);
    scan(data, offset, length, rows, depth, HR_SIMD_SCALAR, first);
    for (int64_t row = 0; row < rows; row++) {
        const uint8_t *record = data + offset[row];
        int good = is_object(record, length[row], depth);
        int suspect = !hr_utf8_valid(record, length[row]) || memmem(record, length[row], "\\u", 2) != NULL;
        CHECK(good ? !first->errors[row] || suspect : first->errors[row]);
        check_double(first, row);
    }
    for (int i = 0; i < COLUMNS; i++)
        if (is_coded_type(TYPES[i]))
            check_strings(first, i, rows);
    for (int simd = 1; simd <= FUZZ_SIMD_MAX; simd++) {
        scan(data, offset, length, rows, depth, (hr_simd)simd, other);
        compare(first, other, rows);
        drop(other);
    }
    drop(first);
    free(first);
    free(other);
    free(data);
    return 0;
}
