/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * json_columns.c: see json_columns.h. Here are the parts that need no vectors: small tokens, the keys
 * that were seen, and the way from slots into columns.
 */
#include "json_columns.h"

#if HR_X86
#include <immintrin.h>
#endif

#define NOT_A_TIME INT64_MIN /* as numpy has it */

/* The kind that a value's first byte announces. */
static inline hr_json_kind scalar_kind(uint8_t c)
{
    switch (c) {
    case '"': return HR_JSON_IS_STRING;
    case '-':
    case '0': case '1': case '2': case '3': case '4':
    case '5': case '6': case '7': case '8': case '9': return HR_JSON_IS_NUMBER;
    case 't': case 'f': return HR_JSON_IS_BOOL;
    case 'n': return HR_JSON_IS_NULL;
    case '{': case '[': return HR_JSON_IS_CONTAINER;
    default: return HR_JSON_MISSING;
    }
}

static inline const uint8_t *space_end(const uint8_t *p)
{
    while (*p <= 0x20 && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

static inline const uint8_t *literal_end(const uint8_t *p)
{
    if (memcmp(p, "true", 4) == 0 || memcmp(p, "null", 4) == 0)
        return p + 4;
    return memcmp(p, "false", 5) == 0 ? p + 5 : NULL;
}

static inline bool is_hex(uint8_t c)
{
    return (uint8_t)(c - '0') <= 9 || (uint8_t)((c | 0x20) - 'a') <= 5;
}

/* p is at a backslash within a string. */
static const uint8_t *escape_end(const uint8_t *p)
{
    switch (p[1]) {
    case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't': return p + 2;
    case 'u': return is_hex(p[2]) && is_hex(p[3]) && is_hex(p[4]) && is_hex(p[5]) ? p + 6 : NULL;
    default: return NULL;
    }
}

/* A wanted string with escapes or bytes beyond ASCII: check it, and decode it into `text` if somebody
 * wants more than it stands. The decoded strings of a record are never longer than the record. */
static bool settle_text(hr_json_scan *scan, const hr_json_node *node, hr_json_slot *slot, bool escapes)
{
    if (!(node->wants & (HR_JSON_WANTS_TEXT | HR_JSON_WANTS_RAW)))
        return true;
    if (!hr_utf8_valid(slot->text, slot->text_size))
        return false;
    if (!escapes || !(node->wants & HR_JSON_WANTS_TEXT))
        return true;
    int64_t size = hr_json_unescape(slot->text, slot->text_size, scan->text_end);
    if (size < 0)
        return false;
    slot->text = scan->text_end;
    slot->text_size = (size_t)size;
    scan->text_end += size;
    return true;
}

static hr_json_node *member_named(const hr_json_node *node, const uint8_t *name, size_t size)
{
    hr_json_node *child = node->members;
    while (child != NULL && (child->name_size != size || memcmp(child->name, name, size) != 0))
        child = child->next;
    return child;
}

/* The member whose name is written with escapes in the text. Half a surrogate pair names nobody. */
static hr_json_node *escaped_member(hr_json_scan *scan, const hr_json_node *node, const uint8_t *name, size_t size)
{
    int64_t decoded = hr_json_unescape(name, size, scan->text_end);
    return decoded < 0 ? NULL : member_named(node, scan->text_end, (size_t)decoded);
}

static inline uint32_t key_hash(const uint8_t *name, size_t size)
{
    uint64_t word = 0;
    memcpy(&word, name + (size > 8 ? size - 8 : 0), size > 8 ? 8 : size);
    return (uint32_t)((word + size + name[0]) * 0x9E3779B97F4A7C15ull >> 57);
}

/* The number of the key whose quoted name begins at `start`, with the text up to its value as it stands
 * here. -1 where it is too long to be predicted or the table is full of others. */
static int16_t key_remember(hr_json_node *node, const uint8_t *start, size_t name_size, size_t text_size)
{
    hr_json_keys *keys = node->keys;
    uint32_t at = key_hash(start + 1, name_size);
    hr_json_key *key = NULL;
    if (text_size > HR_JSON_KEY_TEXT)
        return -1;
    for (; keys->hash[at] != 0; at = (at + 1) % HR_JSON_KEY_SLOTS) {
        key = &keys->key[keys->hash[at] - 1];
        if (key->name_size == name_size && memcmp(key->text + 1, start + 1, name_size) == 0)
            break;
    }
    if (keys->hash[at] == 0) {
        if (keys->count == HR_JSON_KEYS_MAX)
            return -1;
        key = &keys->key[keys->count++];
        keys->hash[at] = (uint8_t)keys->count;
        key->name_size = (uint8_t)name_size;
        key->next = -1;
        key->child = member_named(node, start + 1, name_size);
    }
    memset(key->text, 0, sizeof key->text);
    memcpy(key->text, start, text_size);
    key->size = (uint8_t)text_size;
    key->mask = ~0ull >> (64 - text_size);
    return (int16_t)(key - keys->key);
}

void hr_json_keys_clear(hr_json_keys *keys)
{
    memset(keys, 0, sizeof *keys);
    keys->first = -1;
}

/* The text that a coded column keeps of a slot: NULL where there is none. */
static inline const uint8_t *coded_text(const hr_json_column *column, const hr_json_slot *slot, hr_json_kind kind,
                                        size_t *size)
{
    if (kind <= HR_JSON_IS_NULL)
        return NULL;
    if (kind == HR_JSON_IS_STRING && column->type != HR_JSON_RAW) {
        *size = slot->text_size;
        return slot->text;
    }
    if (column->type == HR_JSON_STRING || (column->type == HR_JSON_TEXT && kind == HR_JSON_IS_CONTAINER))
        return NULL;
    *size = slot->raw_size;
    return slot->raw;
}

/* One value into a column of fixed width; false where it has another type. */
static inline bool store_fixed(const hr_json_scan *scan, const hr_json_column *column, const hr_json_slot *slot,
                               hr_json_kind kind, int64_t row)
{
    int64_t *integer = (int64_t *)column->values + row;
    bool number = kind == HR_JSON_IS_NUMBER;
    switch (column->type) {
    case HR_JSON_INT64: return number && hr_decimal_to_int64(&slot->number, integer);
    case HR_JSON_DOUBLE:
        return number && hr_decimal_to_double(&slot->number, slot->raw, scan->c_locale, (double *)column->values + row);
    case HR_JSON_BOOL:
        ((uint8_t *)column->values)[row] = kind == HR_JSON_IS_BOOL && slot->number.mantissa == 1;
        return kind == HR_JSON_IS_BOOL;
    case HR_JSON_EPOCH_SECONDS: return number && hr_decimal_to_micros(&slot->number, 6, integer);
    case HR_JSON_EPOCH_MILLIS: return number && hr_decimal_to_micros(&slot->number, 3, integer);
    case HR_JSON_EPOCH_MICROS: return number && hr_decimal_to_micros(&slot->number, 0, integer);
    case HR_JSON_TIME: return kind == HR_JSON_IS_STRING && hr_time_read(slot->text, slot->text_size, integer);
    default: return false;
    }
}

/* What stands in a row without a value: 0, NaN, false, no time. */
static void store_nothing(const hr_json_column *column, int64_t row)
{
    switch (column->type) {
    case HR_JSON_INT64: ((int64_t *)column->values)[row] = 0; break;
    case HR_JSON_DOUBLE: ((double *)column->values)[row] = __builtin_nan(""); break;
    case HR_JSON_BOOL: ((uint8_t *)column->values)[row] = 0; break;
    default: ((int64_t *)column->values)[row] = NOT_A_TIME; break;
    }
}

static inline bool is_coded(hr_json_type type)
{
    return type == HR_JSON_STRING || type == HR_JSON_TEXT || type == HR_JSON_RAW;
}

/* The slots into row `row` of the columns. False: a string table is full; the row is to be done again. */
static inline bool store_row(hr_json_scan *scan, int64_t row)
{
    for (int32_t i = 0; i < scan->column_count; i++) {
        hr_json_column *column = &scan->columns[i];
        const hr_json_slot *slot = &scan->slots[column->slot];
        hr_json_kind kind = (hr_json_kind)scan->kinds[column->slot];
        uint8_t state;
        if (is_coded(column->type)) {
            size_t size = 0;
            const uint8_t *text = coded_text(column, slot, kind, &size);
            int32_t code = text ? hr_string_table_number(column->table, text, size) : -1;
            if (code == HR_STRING_TABLE_FULL) {
                scan->full_column = i;
                scan->full_bytes = (int64_t)size;
                return false;
            }
            ((int32_t *)column->values)[row] = code;
            state = text != NULL;
        } else {
            state = kind > HR_JSON_IS_NULL && store_fixed(scan, column, slot, kind, row);
            if (!state)
                store_nothing(column, row);
        }
        if (!state && kind > HR_JSON_IS_NULL)
            state = HR_JSON_ROW_MISMATCH;
        column->states[row] = state;
    }
    return true;
}

#define HR_WALK_LEVEL 0
#define HR_WALK_TARGET
#define HR_WALK(name) scalar_##name
#include "json_walk.h"
#undef HR_WALK_LEVEL
#undef HR_WALK_TARGET
#undef HR_WALK

#if HR_X86
#define HR_WALK_LEVEL 1
#define HR_WALK_TARGET HR_TARGET("avx2,bmi,bmi2,lzcnt,popcnt")
#define HR_WALK(name) avx2_##name
#include "json_walk.h"
#undef HR_WALK_LEVEL
#undef HR_WALK_TARGET
#undef HR_WALK
#endif

int64_t hr_json_scan_rows(hr_json_scan *scan, int64_t first, int64_t end, hr_simd simd)
{
    assert(first >= 0 && first <= end);
    assert(scan->depth_max > 0 && scan->depth_max <= HR_JSON_DEPTH_MAX);
#if HR_X86
    if (simd >= HR_SIMD_AVX2)
        return avx2_rows(scan, first, end);
#endif
    (void)simd;
    return scalar_rows(scan, first, end);
}
