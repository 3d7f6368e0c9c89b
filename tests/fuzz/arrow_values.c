/* Invariant: an Arrow array of any content is refused, or each value is the model's and inside its buffer. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * Buffers are exact heap copies. What the interface leaves to trust is kept: enough offsets, and data up
 * to the last offset (which is made small).
 */
#include "arrow_values.h"
#include "fuzz.h"

#define LENGTH_MAX 40
#define BUFFERS_MAX 3
#define DATA_MAX 4096

typedef struct out {
    const uint8_t *data;
    uint32_t size;
    uint32_t pad;
} out;

static volatile uint8_t sink;

static void touch(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        sink ^= data[i];
}

/* `size` bytes on the heap, from the input as far as it goes. */
static uint8_t *filled(fuzz_input *input, size_t size)
{
    uint8_t *buffer = calloc(size == 0 ? 1 : size, 1);
    const size_t taken = input->left < size ? input->left : size;
    uint8_t *exact = realloc(buffer, size == 0 ? 1 : size);
    if (taken != 0)
        memcpy(exact, input->at, taken);
    input->at += taken;
    input->left -= taken;
    return exact;
}

static int64_t number_at(const uint8_t *buffer, size_t i, int is_long)
{
    int64_t lengthy = 0;
    int32_t brief;
    memcpy(&brief, buffer + 4 * (is_long ? 0 : i), 4);
    if (is_long)
        memcpy(&lengthy, buffer + 8 * i, 8);
    return is_long ? lengthy : brief;
}

static void try_offsets(fuzz_input *input, ArrowArray *array, int is_long, int has_data, out *results)
{
    const size_t width = is_long ? 8 : 4, all = (size_t)(array->offset + array->length);
    uint8_t *offsets = filled(input, (all + 1) * width);
    int64_t last = number_at(offsets, all, is_long), position;
    last = last < 0 || last > DATA_MAX ? DATA_MAX : last;
    memcpy(offsets + all * width, &last, width);
    uint8_t *data = filled(input, (size_t)last);
    array->buffers[1] = offsets;
    array->buffers[2] = has_data ? data : NULL;
    array->n_buffers = 3;
    const hr_arrow_layout layout = is_long ? HR_ARROW_LONG : HR_ARROW_SHORT;
    const hr_arrow_fault fault =
        hr_arrow_values(array, layout, 0, &results->data, &results->size, sizeof *results, &position);
    int rising = array->length == 0 || number_at(offsets, (size_t)array->offset, is_long) >= 0;
    for (size_t i = (size_t)array->offset; i < all; i++)
        rising = rising && number_at(offsets, i, is_long) <= number_at(offsets, i + 1, is_long);
    if (has_data)
        CHECK((fault == HR_ARROW_FINE) == rising);
    else /* only empty values need no data */
        CHECK((fault == HR_ARROW_FINE) ==
              (array->length == 0 || (rising && number_at(offsets, (size_t)array->offset, is_long) == last)));
    for (int64_t i = 0; i < array->length && fault == HR_ARROW_FINE; i++) {
        const int64_t start = number_at(offsets, (size_t)(array->offset + i), is_long);
        const int64_t end = number_at(offsets, (size_t)(array->offset + i + 1), is_long);
        if (results[i].data == NULL)
            continue;
        CHECK(results[i].size == (uint64_t)(end - start));
        CHECK(end == start || results[i].data == data + start);
        touch(results[i].data, results[i].size);
    }
    free(offsets);
    free(data);
}

static void try_views(fuzz_input *input, ArrowArray *array, out *results)
{
    const size_t count = fuzz_number(input, 1) % (BUFFERS_MAX + 1);
    int64_t *sizes = malloc((count + 1) * 8), position;
    for (size_t i = 0; i < count; i++) {
        sizes[i] = (int64_t)(fuzz_number(input, 1) * 2);
        array->buffers[2 + i] = filled(input, (size_t)sizes[i]);
    }
    uint8_t *views = filled(input, (size_t)(array->offset + array->length) * 16);
    array->buffers[1] = views;
    array->n_buffers = 3 + (int64_t)count;
    array->buffers[2 + count] = count == 0 ? NULL : sizes;
    const hr_arrow_fault fault =
        hr_arrow_values(array, HR_ARROW_VIEW, 0, &results->data, &results->size, sizeof *results, &position);
    for (int64_t i = 0; i < array->length && fault == HR_ARROW_FINE; i++) {
        if (results[i].data == NULL)
            continue;
        int32_t size;
        memcpy(&size, views + (array->offset + i) * 16, 4);
        CHECK(size >= 0 && results[i].size == (uint32_t)size);
        touch(results[i].data, results[i].size);
    }
    for (size_t i = 0; i < count; i++)
        free((void *)(uintptr_t)array->buffers[2 + i]);
    free(views);
    free(sizes);
}

static void try_fixed(fuzz_input *input, ArrowArray *array, out *results)
{
    int64_t width, position;
    char format[8] = {'w', ':'};
    for (size_t i = 2, end = 2 + fuzz_number(input, 1) % 5; i < end; i++)
        format[i] = (char)fuzz_number(input, 1);
    if (hr_arrow_layout_of(format, &width) != HR_ARROW_FIXED || width > 200)
        return;
    uint8_t *data = filled(input, (size_t)((array->offset + array->length) * width));
    array->buffers[1] = data;
    array->n_buffers = 2;
    const hr_arrow_fault fault =
        hr_arrow_values(array, HR_ARROW_FIXED, width, &results->data, &results->size, sizeof *results, &position);
    CHECK(fault == HR_ARROW_FINE);
    for (int64_t i = 0; i < array->length; i++) {
        CHECK(results[i].data == NULL || width == 0 || results[i].data == data + (array->offset + i) * width);
        touch(results[i].data, results[i].size);
    }
    free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    fuzz_input input = {bytes, size};
    const uint64_t kind = fuzz_number(&input, 1);
    const void *buffers[BUFFERS_MAX + 3] = {NULL};
    ArrowArray array = {.buffers = buffers, .null_count = -1};
    array.length = (int64_t)(fuzz_number(&input, 1) % LENGTH_MAX);
    array.offset = (int64_t)(fuzz_number(&input, 1) % 20);
    out *results = calloc((size_t)array.length + 1, sizeof *results);
    uint8_t *valid = NULL;
    if (kind & 4)
        buffers[0] = valid = filled(&input, (size_t)(array.offset + array.length + 7) / 8);
    if (kind % 4 < 2)
        try_offsets(&input, &array, kind % 4 == 1, !(kind & 8), results);
    else if (kind % 4 == 2)
        try_views(&input, &array, results);
    else
        try_fixed(&input, &array, results);
    free(valid);
    free(results);
    return 0;
}
