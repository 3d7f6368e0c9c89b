/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * json_rows.c: see json_rows.h.
 */
#include "json_rows.h"

#include <assert.h>
#include <string.h>

#include "utf8.h"

#define SCALAR_TEXT_MAX 40 /* the longest number, date or literal */

/* What writing one value came to: bytes written, or one of these. */
#define VALUE_FULL (-1)
#define VALUE_BAD (-2)

static inline bool is_null(const hr_rows_column *column, int64_t row)
{
    int64_t at = row + column->offset;
    return column->kind == HR_ROWS_NULL ||
           (column->validity != NULL && !(column->validity[at >> 3] >> (at & 7) & 1));
}

static size_t unsigned_write(uint64_t value, uint8_t *out)
{
    uint8_t reversed[20];
    size_t count = 0;
    do {
        reversed[count++] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    for (size_t i = 0; i < count; i++)
        out[i] = reversed[count - 1 - i];
    return count;
}

static size_t signed_write(int64_t value, uint8_t *out)
{
    if (value >= 0)
        return unsigned_write((uint64_t)value, out);
    *out = '-';
    return 1 + unsigned_write(0 - (uint64_t)value, out + 1);
}

/* An integer of any width; UINT64 beyond INT64_MAX does not come here. */
static inline int64_t integer_at(const void *values, hr_rows_kind kind, int64_t at)
{
    switch (kind) {
    case HR_ROWS_INT8: return ((const int8_t *)values)[at];
    case HR_ROWS_UINT8: return ((const uint8_t *)values)[at];
    case HR_ROWS_INT16: return ((const int16_t *)values)[at];
    case HR_ROWS_UINT16: return ((const uint16_t *)values)[at];
    case HR_ROWS_INT32: case HR_ROWS_DATE: return ((const int32_t *)values)[at];
    case HR_ROWS_UINT32: return ((const uint32_t *)values)[at];
    default: return ((const int64_t *)values)[at];
    }
}

/* `count` digits of value, with zeros in front. */
static inline uint8_t *padded_write(int64_t value, int count, uint8_t *out)
{
    for (int i = count - 1; i >= 0; i--, value /= 10)
        out[i] = (uint8_t)('0' + value % 10);
    return out + count;
}

/* yyyy-MM-dd of the days since 1970-01-01, or NULL outside the years 1 to 9999. Years are counted from
 * March in cycles of 400, which have 146,097 days. */
static uint8_t *date_write(int64_t days, uint8_t *out)
{
    if (days < -719162 || days > 2932896)
        return NULL;
    int64_t shifted = days + 719468; /* days since 0000-03-01 */
    int64_t cycle = shifted / 146097, of_cycle = shifted % 146097;
    int64_t year = (of_cycle - of_cycle / 1460 + of_cycle / 36524 - of_cycle / 146096) / 365;
    int64_t of_year = of_cycle - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153; /* 0 is March */
    int64_t day = of_year - (153 * month + 2) / 5 + 1;
    out = padded_write(cycle * 400 + year + (month >= 10), 4, out);
    *out++ = '-';
    out = padded_write(month < 10 ? month + 3 : month - 9, 2, out);
    *out++ = '-';
    return padded_write(day, 2, out);
}

static inline int64_t floor_divide(int64_t value, int64_t by, int64_t *rest)
{
    int64_t quotient = value / by;
    *rest = value % by;
    if (*rest < 0) {
        *rest += by;
        quotient--;
    }
    return quotient;
}

/* yyyy-MM-ddTHH:mm:ss[.f…][Z]: the fraction has as many digits as the unit, or none if it is zero. */
static int64_t time_write(int64_t value, hr_rows_kind unit, bool zulu, uint8_t *out)
{
    static const int64_t PER_SECOND[] = {1, 1000, 1000000, 1000000000};
    const int places = 3 * (int)(unit - HR_ROWS_SECONDS);
    int64_t fraction, second;
    int64_t seconds = floor_divide(value, PER_SECOND[unit - HR_ROWS_SECONDS], &fraction);
    int64_t days = floor_divide(seconds, 86400, &second);
    uint8_t *at = date_write(days, out);
    if (at == NULL)
        return VALUE_BAD;
    *at++ = 'T';
    at = padded_write(second / 3600, 2, at);
    *at++ = ':';
    at = padded_write(second / 60 % 60, 2, at);
    *at++ = ':';
    at = padded_write(second % 60, 2, at);
    if (fraction != 0) {
        *at++ = '.';
        at = padded_write(fraction, places, at);
    }
    if (zulu)
        *at++ = 'Z';
    return at - out;
}

/* The bytes of a text value; false where offsets, view or UTF-8 are wrong. */
static bool text_at(const hr_rows_column *column, int64_t row, const uint8_t **text, int64_t *size)
{
    int64_t at = row + column->offset, start, end;
    if (column->kind == HR_ROWS_VIEW) {
        const hr_arrow_view *view = (const hr_arrow_view *)column->values + at;
        *size = view->size;
        if (view->size < 0)
            return false;
        if (view->size <= HR_ARROW_VIEW_INLINE) {
            *text = view->at.inlined;
        } else {
            int32_t buffer = view->at.away.buffer, offset = view->at.away.offset;
            if (buffer < 0 || buffer >= column->view_count || offset < 0 ||
                offset > column->view_sizes[buffer] - view->size)
                return false;
            *text = column->view_data[buffer] + offset;
        }
        return hr_utf8_valid(*text, (size_t)*size);
    }
    if (column->kind == HR_ROWS_TEXT) {
        start = ((const int32_t *)column->values)[at];
        end = ((const int32_t *)column->values)[at + 1];
    } else {
        start = ((const int64_t *)column->values)[at];
        end = ((const int64_t *)column->values)[at + 1];
    }
    if (start < 0 || end < start || (end > start && column->data == NULL))
        return false;
    *text = end > start ? column->data + start : (const uint8_t *)"";
    *size = end - start;
    return hr_utf8_valid(*text, (size_t)*size);
}

static inline bool needs_escape(uint8_t c)
{
    return c < 0x20 || c == '"' || c == '\\';
}

static uint8_t *escape_write(uint8_t c, uint8_t *out)
{
    static const char HEX[] = "0123456789abcdef";
    static const char SHORT[] = {'b', 't', 'n', 0, 'f', 'r'}; /* 8 to 13 */
    *out++ = '\\';
    if (c == '"' || c == '\\') {
        *out++ = c;
    } else if (c >= 8 && c <= 13 && SHORT[c - 8] != 0) {
        *out++ = (uint8_t)SHORT[c - 8];
    } else {
        memcpy(out, "u00", 3);
        out[3] = (uint8_t)HEX[c >> 4];
        out[4] = (uint8_t)HEX[c & 15];
        out += 5;
    }
    return out;
}

/* Text within quotes; `out` has room for 6 bytes each and 2. Eight bytes at a time where none is special. */
static int64_t quoted_write(const uint8_t *text, int64_t size, uint8_t *out)
{
    const uint64_t ones = 0x0101010101010101ull;
    uint8_t *at = out;
    int64_t i = 0;
    *at++ = '"';
    while (i < size) {
        if (size - i >= 8) {
            uint64_t word, quote, slash;
            memcpy(&word, text + i, 8);
            quote = word ^ ones * '"';
            slash = word ^ ones * '\\';
            if (!((((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((word - ones * 0x20) & ~word)) &
                  ones << 7)) {
                memcpy(at, &word, 8);
                at += 8;
                i += 8;
                continue;
            }
        }
        if (needs_escape(text[i]))
            at = escape_write(text[i], at);
        else
            *at++ = text[i];
        i++;
    }
    *at++ = '"';
    return at - out;
}

/* One value that is not text, not null; `out` has room for SCALAR_TEXT_MAX. */
static int64_t scalar_write(const hr_rows_column *column, const hr_power *powers, int64_t row, uint8_t *out)
{
    const int64_t at = row + column->offset;
    switch (column->kind) {
    case HR_ROWS_BOOL: {
        bool yes = ((const uint8_t *)column->values)[at >> 3] >> (at & 7) & 1;
        memcpy(out, yes ? "true" : "false", 5);
        return yes ? 4 : 5;
    }
    case HR_ROWS_UINT64: return (int64_t)unsigned_write(((const uint64_t *)column->values)[at], out);
    case HR_ROWS_FLOAT: {
        float value = ((const float *)column->values)[at];
        if (value - value == 0)
            return (int64_t)hr_float_text(value, powers, out);
        break;
    }
    case HR_ROWS_DOUBLE: {
        double value = ((const double *)column->values)[at];
        if (value - value == 0)
            return (int64_t)hr_double_text(value, powers, out);
        break;
    }
    case HR_ROWS_SECONDS: case HR_ROWS_MILLIS: case HR_ROWS_MICROS: case HR_ROWS_NANOS:
        return time_write(((const int64_t *)column->values)[at], column->kind, column->zulu, out);
    case HR_ROWS_DATE: {
        uint8_t *end = date_write(((const int32_t *)column->values)[at], out);
        return end ? end - out : VALUE_BAD;
    }
    default: return (int64_t)signed_write(integer_at(column->values, column->kind, at), out);
    }
    memcpy(out, "null", 4); /* not a number, infinite */
    return 4;
}

/* Follow a dictionary: the column that holds the value, and its row there. False: no such code. */
static inline bool resolve(const hr_rows_column **column, int64_t *row)
{
    const hr_rows_column *coded = *column;
    if (coded->kind != HR_ROWS_CODES)
        return true;
    int64_t code = integer_at(coded->values, coded->codes, *row + coded->offset);
    if (code < 0 || code >= coded->dictionary->length)
        return false;
    *column = coded->dictionary;
    *row = code;
    return true;
}

static inline bool is_text(hr_rows_kind kind)
{
    return kind == HR_ROWS_TEXT || kind == HR_ROWS_LARGE_TEXT || kind == HR_ROWS_VIEW;
}

static inline bool is_moment(hr_rows_kind kind)
{
    return kind >= HR_ROWS_SECONDS && kind <= HR_ROWS_DATE;
}

/* One value as JSON. */
static int64_t value_write(hr_rows_job *job, const hr_rows_column *column, int64_t row, uint8_t *out, int64_t room)
{
    const uint8_t *text;
    int64_t size;
    job->wanted = SCALAR_TEXT_MAX;
    if (room < job->wanted)
        return VALUE_FULL;
    if (is_null(column, row) || (column->kind == HR_ROWS_CODES && resolve(&column, &row) && is_null(column, row))) {
        memcpy(out, "null", 4);
        return 4;
    }
    if (column->kind == HR_ROWS_CODES)
        return VALUE_BAD;
    if (is_text(column->kind)) {
        if (!text_at(column, row, &text, &size))
            return VALUE_BAD;
        job->wanted = 6 * size + 2;
        return room < job->wanted ? VALUE_FULL : quoted_write(text, size, out);
    }
    if (!is_moment(column->kind))
        return scalar_write(column, job->powers, row, out);
    size = scalar_write(column, job->powers, row, out + 1);
    if (size < 0)
        return size;
    out[0] = out[size + 1] = '"';
    return size + 2;
}

hr_rows_end hr_rows_write(hr_rows_job *job, int64_t end, int64_t *ends)
{
    assert(job->used <= job->out_size && job->row <= end);
    for (; job->row < end; job->row++) {
        uint8_t *at = job->out + job->used, *limit = job->out + job->out_size;
        for (int32_t i = 0; i < job->column_count; i++) {
            const hr_rows_column *column = &job->columns[i];
            int64_t room = limit - at - (int64_t)column->label_size - 2; /* 2: an end or an empty object */
            int64_t size = room < 0 ? VALUE_FULL : 0;
            job->wanted = SCALAR_TEXT_MAX;
            if (size == 0) {
                memcpy(at, column->label, column->label_size);
                at += column->label_size;
                size = value_write(job, column, job->row, at, room);
            }
            if (size < 0) {
                job->bad_column = i;
                job->wanted += (at - job->out - job->used) + (int64_t)column->label_size + 2;
                return size == VALUE_FULL ? HR_ROWS_FULL : HR_ROWS_BAD;
            }
            at += size;
        }
        if (limit - at < 2) {
            job->wanted = 2;
            return HR_ROWS_FULL;
        }
        if (job->column_count == 0)
            *at++ = '{';
        *at++ = '}';
        job->used = at - job->out;
        ends[job->row] = job->used;
    }
    return HR_ROWS_DONE;
}

hr_rows_end hr_rows_write_text(hr_rows_job *job, int64_t end, int64_t *ends, uint8_t *nulls)
{
    assert(job->used <= job->out_size && job->row <= end && job->column_count == 1);
    for (; job->row < end; job->row++) {
        const hr_rows_column *column = job->columns;
        int64_t row = job->row, room = job->out_size - job->used, size = 0;
        const uint8_t *text;
        uint8_t *out = job->out + job->used;
        bool nothing = is_null(column, row);
        if (!nothing && !resolve(&column, &row))
            return HR_ROWS_BAD;
        nothing = nothing || is_null(column, row);
        job->wanted = SCALAR_TEXT_MAX;
        if (!nothing && is_text(column->kind)) {
            if (!text_at(column, row, &text, &size))
                return HR_ROWS_BAD;
            job->wanted = size;
        }
        if (room < job->wanted)
            return HR_ROWS_FULL;
        if (!nothing && is_text(column->kind))
            memcpy(out, text, (size_t)size);
        else if (!nothing)
            size = scalar_write(column, job->powers, row, out);
        if (size < 0)
            return HR_ROWS_BAD;
        nulls[job->row] = nothing;
        job->used += size;
        ends[job->row] = job->used;
    }
    return HR_ROWS_DONE;
}
