/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * json_columns.h: from JSON records to typed columns in one pass.
 *
 * The plan is a tree of nodes, one for each step of each wanted path. A record is first walked whole:
 * its grammar is checked, wanted values are noted in slots (a later duplicate simply overwrites), all
 * else is skipped. Only when the record proved to be one JSON object do its slots go into the columns,
 * so that a broken record leaves no trace but its row of nulls and its mark in `errors`.
 *
 * Consecutive records mostly have the same members in the same order. Each object node keeps the keys
 * it has seen as they stood in the text (`"host": `) with the one that followed last time: one
 * comparison then replaces finding, decoding and looking up the key.
 *
 * Not checked: UTF-8 in strings that nobody wants.
 */
#ifndef HR_JSON_COLUMNS_H
#define HR_JSON_COLUMNS_H

#include "json_values.h"
#include "simd.h"
#include "string_table.h"

#define HR_JSON_DEPTH_MAX 64   /* levels of objects and arrays; the bits of a word */
#define HR_JSON_KEY_TEXT 64    /* bytes of a key with quotes, colon and space that can be predicted */
#define HR_JSON_KEYS_MAX 64    /* predicted keys of one object node */
#define HR_JSON_KEY_SLOTS 128  /* hash slots over them */
#define HR_JSON_PADDING 128    /* bytes that `scratch` and `text` have beyond the longest record */

typedef enum hr_json_type {
    HR_JSON_INT64,
    HR_JSON_DOUBLE,
    HR_JSON_BOOL,
    HR_JSON_STRING,         /* strings only */
    HR_JSON_TEXT,           /* any scalar as its text */
    HR_JSON_RAW,            /* any value as it stands in the record */
    HR_JSON_EPOCH_SECONDS,  /* numbers to microseconds */
    HR_JSON_EPOCH_MILLIS,
    HR_JSON_EPOCH_MICROS,
    HR_JSON_TIME            /* text to microseconds */
} hr_json_type;

/* What was found at a path. The text of strings is decoded; `raw` is the value as it stands. */
typedef enum hr_json_kind {
    HR_JSON_MISSING = 0,
    HR_JSON_IS_NULL,
    HR_JSON_IS_STRING,
    HR_JSON_IS_NUMBER,
    HR_JSON_IS_BOOL,
    HR_JSON_IS_CONTAINER
} hr_json_kind;

typedef struct hr_json_slot {
    const uint8_t *raw;
    const uint8_t *text;
    size_t raw_size;
    size_t text_size;
    hr_decimal number; /* of a bool: mantissa 0 or 1 */
} hr_json_slot;

#define HR_JSON_WANTS_TEXT 1u /* strings are decoded and checked */
#define HR_JSON_WANTS_RAW 2u  /* the value's text is checked */

typedef struct hr_json_node hr_json_node;

/* A key as it stood in the text, up to the first byte of its value. */
typedef struct hr_json_key {
    uint8_t text[HR_JSON_KEY_TEXT];
    uint64_t mask;       /* as many low bits as text has bytes */
    hr_json_node *child; /* NULL: nobody wants it */
    int16_t next;        /* the key that followed it last time, or -1 */
    uint8_t size;        /* bytes of text */
    uint8_t name_size;   /* bytes between the quotes */
} hr_json_key;

typedef struct hr_json_keys {
    hr_json_key key[HR_JSON_KEYS_MAX];
    uint8_t hash[HR_JSON_KEY_SLOTS]; /* 1 + number of the key */
    int16_t first;                   /* the first key of the last record, or -1 */
    int16_t count;
} hr_json_keys;

struct hr_json_node {
    const uint8_t *name;   /* member of an object */
    size_t name_size;
    int64_t index;         /* element of an array, -1 for members */
    hr_json_node *members; /* first child by name; a chain by `next` */
    hr_json_node *elements; /* first child by index, ascending */
    hr_json_node *next;
    hr_json_keys *keys;    /* where `members` is not NULL */
    int32_t slot;          /* -1: only a step on the way */
    int32_t slot_first, slot_end; /* slots of everything below */
    uint32_t wants;
};

typedef struct hr_json_column {
    hr_json_type type;
    int32_t slot;
    void *values;           /* int64_t, double, uint8_t (bool) or int32_t (codes) for each row */
    uint8_t *states;        /* HR_JSON_ROW_… for each row */
    hr_string_table *table; /* of coded columns */
} hr_json_column;

#define HR_JSON_ROW_NULL 0
#define HR_JSON_ROW_VALID 1
#define HR_JSON_ROW_MISMATCH 2

typedef struct hr_json_scan {
    const uint8_t *base;
    const int64_t *offset;
    const uint32_t *length;
    hr_json_node *root;
    hr_json_slot *slots;
    uint8_t *kinds; /* hr_json_kind of each slot */
    int32_t slot_count;
    int32_t column_count;
    hr_json_column *columns;
    uint8_t *errors;     /* for each row: 1 where it is no JSON object */
    int64_t error_count; /* out */
    uint8_t *scratch;    /* longest record and HR_JSON_PADDING bytes */
    uint8_t *text;       /* the same: decoded strings of one record */
    uint8_t *text_end;   /* used so far */
    int32_t depth_max;   /* at most HR_JSON_DEPTH_MAX */
    int32_t full_column; /* out: whose table needs room */
    int64_t full_bytes;  /* out: for a string of so many bytes */
    locale_t c_locale;
} hr_json_scan;

/* Scan rows [first, end). Returns `end`, or the row at which columns[full_column].table has to grow:
 * give it room and call again from that row. Cost: about 100 ns for a record of 200 bytes and 3 columns. */
int64_t hr_json_scan_rows(hr_json_scan *scan, int64_t first, int64_t end, hr_simd simd);

/* No prediction yet. */
void hr_json_keys_clear(hr_json_keys *keys);

#endif
