/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * json_rows.h: Arrow columns written out as one JSON object a row.
 *
 * The owner has looked at types, counts and pointers of each chunk; what can only be seen value by value
 * (offsets, dictionary codes, views, UTF-8, dates) is checked here before it is used. The C data
 * interface does not say how long the buffers of a plain utf8 column are: its last offset is trusted.
 */
#ifndef HR_JSON_ROWS_H
#define HR_JSON_ROWS_H

#include <stdbool.h>

#include "arrow_abi.h"
#include "double_text.h"

typedef enum hr_rows_kind {
    HR_ROWS_NULL,
    HR_ROWS_BOOL,
    HR_ROWS_INT8,
    HR_ROWS_UINT8,
    HR_ROWS_INT16,
    HR_ROWS_UINT16,
    HR_ROWS_INT32,
    HR_ROWS_UINT32,
    HR_ROWS_INT64,
    HR_ROWS_UINT64,
    HR_ROWS_FLOAT,
    HR_ROWS_DOUBLE,
    HR_ROWS_TEXT,       /* utf8: 32-bit offsets */
    HR_ROWS_LARGE_TEXT, /* 64-bit offsets */
    HR_ROWS_VIEW,
    HR_ROWS_SECONDS,    /* timestamps */
    HR_ROWS_MILLIS,
    HR_ROWS_MICROS,
    HR_ROWS_NANOS,
    HR_ROWS_DATE,       /* days */
    HR_ROWS_CODES       /* into `dictionary`; `codes` is the kind of the integers */
} hr_rows_kind;

typedef struct hr_rows_column {
    hr_rows_kind kind;
    hr_rows_kind codes;
    bool zulu;               /* the time is UTC: its text ends in Z */
    const uint8_t *validity; /* a bit a row, or NULL */
    const void *values;      /* by kind: numbers, bits, offsets, views or codes */
    const uint8_t *data;     /* of utf8 */
    const uint8_t *const *view_data;
    const int64_t *view_sizes;
    int64_t view_count;
    int64_t offset; /* of row 0 in the buffers */
    int64_t length;
    const struct hr_rows_column *dictionary;
    const uint8_t *label; /* `{"name":` of the first column, `,"name":` of the others */
    size_t label_size;
} hr_rows_column;

typedef enum hr_rows_end { HR_ROWS_DONE, HR_ROWS_FULL, HR_ROWS_BAD } hr_rows_end;

typedef struct hr_rows_job {
    const hr_rows_column *columns;
    int32_t column_count;
    const hr_power *powers;
    uint8_t *out;
    int64_t out_size;
    int64_t used;       /* in and out: bytes written */
    int64_t row;        /* in and out: the next row */
    int64_t wanted;     /* out, FULL: bytes that are missing at least */
    int32_t bad_column; /* out, BAD: the value at `row` cannot be read or written */
} hr_rows_job;

/* Write rows [job->row, end) and the offset behind each to ends[row]. FULL: enlarge `out`, call again. */
hr_rows_end hr_rows_write(hr_rows_job *job, int64_t end, int64_t *ends);

/* The plain text (no quotes, no escapes) of one column, for keys; a null row has none: nulls[row] = 1. */
hr_rows_end hr_rows_write_text(hr_rows_job *job, int64_t end, int64_t *ends, uint8_t *nulls);

#endif
