/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * arrow_values.c: one pass over the offsets or views of an Arrow array, a few nanoseconds a value.
 */
#include "arrow_values.h"

#include <assert.h>
#include <string.h>

#define HR_INLINE static inline __attribute__((always_inline))

/* No array in memory has more values than this; it keeps all products below 2^63. */
#define COUNT_MAX ((int64_t)1 << 48)

hr_arrow_layout hr_arrow_layout_of(const char *format, int64_t *width)
{
    assert(format != NULL);
    *width = 0;
    if (strcmp(format, "z") == 0 || strcmp(format, "u") == 0)
        return HR_ARROW_SHORT;
    if (strcmp(format, "Z") == 0 || strcmp(format, "U") == 0)
        return HR_ARROW_LONG;
    if (strcmp(format, "vz") == 0 || strcmp(format, "vu") == 0)
        return HR_ARROW_VIEW;
    if (strncmp(format, "w:", 2) != 0 || format[2] == '\0')
        return HR_ARROW_OTHER;
    for (const char *digit = format + 2; *digit != '\0'; digit++) {
        if (*digit < '0' || *digit > '9' || *width > INT32_MAX / 10)
            return HR_ARROW_OTHER;
        *width = *width * 10 + (*digit - '0');
    }
    return *width <= INT32_MAX ? HR_ARROW_FIXED : HR_ARROW_OTHER;
}

/* What is being read, and where the results go. */
typedef struct walk {
    const ArrowArray *array;
    const uint8_t *valid; /* NULL: all are */
    uint8_t *data_at;     /* results, as bytes because of the stride */
    uint8_t *size_at;
    size_t stride;
} walk;

HR_INLINE int is_valid(const walk *w, int64_t i)
{
    const uint64_t bit = (uint64_t)(w->array->offset + i);
    return w->valid == NULL || (w->valid[bit / 8] >> (bit % 8) & 1);
}

/* Deliver one value. The address of the array stands for the data of an empty value that has none. */
HR_INLINE void put(const walk *w, int64_t i, const uint8_t *data, uint64_t size)
{
    const uint8_t *value = size != 0 ? data : (const uint8_t *)w->array;
    uint32_t bytes = size > UINT32_MAX ? UINT32_MAX : (uint32_t)size;
    if (!is_valid(w, i)) {
        value = NULL;
        bytes = 0;
    }
    memcpy(w->data_at + (size_t)i * w->stride, &value, sizeof value);
    memcpy(w->size_at + (size_t)i * w->stride, &bytes, sizeof bytes);
}

/* An offset of 4 or 8 bytes; foreign buffers need not be aligned. */
HR_INLINE int64_t offset_at(const uint8_t *offsets, int64_t i, int is_long)
{
    int32_t brief;
    int64_t lengthy;
    if (is_long) {
        memcpy(&lengthy, offsets + 8 * i, 8);
        return lengthy;
    }
    memcpy(&brief, offsets + 4 * i, 4);
    return brief;
}

HR_INLINE hr_arrow_fault with_offsets(const walk *w, int is_long, int64_t *position)
{
    const uint8_t *offsets = w->array->buffers[1], *data = w->array->buffers[2];
    if (offsets == NULL)
        return HR_ARROW_NO_BUFFER;
    int64_t start = offset_at(offsets, w->array->offset, is_long);
    if (start < 0)
        return HR_ARROW_BAD_OFFSET;
    for (int64_t i = 0; i < w->array->length; i++) {
        const int64_t end = offset_at(offsets, w->array->offset + i + 1, is_long);
        *position = i;
        if (end < start)
            return HR_ARROW_BAD_OFFSET;
        if (data == NULL && end != start)
            return HR_ARROW_NO_BUFFER;
        put(w, i, data == NULL ? NULL : data + start, (uint64_t)(end - start));
        start = end;
    }
    return HR_ARROW_FINE;
}

static hr_arrow_fault with_views(const walk *w, int64_t *position)
{
    const uint8_t *views = w->array->buffers[1];
    const int64_t buffer_count = w->array->n_buffers - 3; /* all but validity, views, and sizes at the end */
    const uint8_t *sizes = w->array->buffers[w->array->n_buffers - 1];
    if (views == NULL || (buffer_count > 0 && sizes == NULL))
        return HR_ARROW_NO_BUFFER;
    for (int64_t i = 0; i < w->array->length; i++) {
        const uint8_t *place = views + (size_t)(w->array->offset + i) * sizeof(hr_arrow_view);
        hr_arrow_view view;
        *position = i;
        if (!is_valid(w, i)) { /* the view of a null value may hold anything */
            put(w, i, NULL, 0);
            continue;
        }
        memcpy(&view, place, sizeof view);
        if (view.size < 0)
            return HR_ARROW_BAD_VIEW;
        if (view.size <= HR_ARROW_VIEW_INLINE) {
            put(w, i, place + offsetof(hr_arrow_view, at), (uint64_t)view.size);
            continue;
        }
        const int64_t buffer = view.at.away.buffer, offset = view.at.away.offset;
        if (buffer < 0 || buffer >= buffer_count || offset < 0)
            return HR_ARROW_BAD_VIEW;
        if (offset_at(sizes, buffer, 1) < offset + view.size)
            return HR_ARROW_BAD_VIEW;
        const uint8_t *data = w->array->buffers[2 + buffer];
        if (data == NULL)
            return HR_ARROW_NO_BUFFER;
        put(w, i, data + offset, (uint64_t)view.size);
    }
    return HR_ARROW_FINE;
}

static hr_arrow_fault with_width(const walk *w, int64_t width, int64_t *position)
{
    const uint8_t *data = w->array->buffers[1];
    if (data == NULL && width != 0)
        return HR_ARROW_NO_BUFFER;
    for (int64_t i = 0; i < w->array->length; i++)
        put(w, i, data == NULL ? NULL : data + (w->array->offset + i) * width, (uint64_t)width);
    *position = w->array->length;
    return HR_ARROW_FINE;
}

hr_arrow_fault hr_arrow_values(const ArrowArray *array, hr_arrow_layout layout, int64_t width,
                               const uint8_t **data, uint32_t *size, size_t stride, int64_t *position)
{
    assert(array != NULL && layout != HR_ARROW_OTHER);
    assert(width >= 0 && width <= INT32_MAX);
    const int64_t expected = layout == HR_ARROW_FIXED ? 2 : 3;
    *position = 0;
    if (array->length < 0 || array->length > COUNT_MAX || array->offset < 0 || array->offset > COUNT_MAX)
        return HR_ARROW_BAD_COUNT;
    if (array->n_buffers < expected || (array->n_buffers > expected && layout != HR_ARROW_VIEW))
        return HR_ARROW_BAD_COUNT;
    if (array->length == 0)
        return HR_ARROW_FINE;
    if (array->buffers == NULL || (array->buffers[0] == NULL && array->null_count > 0))
        return HR_ARROW_NO_BUFFER;
    const uint8_t *valid = array->null_count == 0 ? NULL : array->buffers[0];
    const walk w = {array, valid, (uint8_t *)data, (uint8_t *)size, stride};
    if (layout == HR_ARROW_SHORT)
        return with_offsets(&w, 0, position);
    if (layout == HR_ARROW_LONG)
        return with_offsets(&w, 1, position);
    return layout == HR_ARROW_VIEW ? with_views(&w, position) : with_width(&w, width, position);
}
