/* Invariant: any bytes, cut anywhere, give the same verdict as the whole, and no span leaves the head. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http_head.h"

static void require(int truth)
{
    if (!truth)
        abort();
}

static void check_span(const hr_http_head *head, hr_http_span span)
{
    require((uint64_t)span.start + span.size <= head->head_size);
}

/* The bytes stand in a block of exactly their size, so that the sanitizer sees a read beyond them. */
static uint8_t *exact(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    require(copy != NULL);
    memcpy(copy, data, size);
    return copy;
}

static void check_head(const uint8_t *data, size_t size)
{
    hr_http_head whole, part;
    size_t scanned = 0;
    uint8_t *copy = exact(data, size);
    int verdict = hr_http_head_parse(copy, size, &scanned, &whole);
    free(copy);
    if (verdict == HR_HTTP_COMPLETE) {
        require(whole.head_size <= size && whole.head_size <= HR_HTTP_HEAD_SIZE_MAX);
        require(memcmp(data + whole.head_size - 4, "\r\n\r\n", 4) == 0);
        require(!((whole.flags & HR_HTTP_CHUNKED) && (whole.flags & HR_HTTP_HAS_LENGTH)));
        check_span(&whole, whole.path);
        check_span(&whole, whole.host);
        check_span(&whole, whole.origin);
        check_span(&whole, whole.content_type);
        check_span(&whole, whole.amz_target);
    }
    /* The same bytes in growing pieces: PARTIAL until the verdict, and then the same verdict. */
    size_t step = size / 16 + 1, cut = 0;
    int stepped = HR_HTTP_PARTIAL;
    scanned = 0;
    while (cut < size && stepped == HR_HTTP_PARTIAL) {
        cut = cut + step > size ? size : cut + step;
        copy = exact(data, cut);
        stepped = hr_http_head_parse(copy, cut, &scanned, &part);
        free(copy);
    }
    if (size > 0)
        require(stepped == verdict);
    if (verdict == HR_HTTP_COMPLETE)
        require(memcmp(&whole, &part, sizeof whole) == 0);
    if (verdict == HR_HTTP_BAD)
        require(whole.error != HR_HTTP_OK && hr_http_error_status(whole.error) >= 400 &&
                hr_http_error_text(whole.error)[0] != '\0');
}

static void check_lines(const uint8_t *data, size_t size)
{
    uint64_t chunk;
    size_t line;
    uint8_t *copy = exact(data, size);
    if (hr_http_chunk_line(copy, size, &chunk, &line) == HR_HTTP_COMPLETE)
        require(line >= 3 && line <= size && line <= HR_HTTP_CHUNK_LINE_MAX);
    if (hr_http_trailer_line(copy, size, &line) == HR_HTTP_COMPLETE)
        require(line >= 2 && line <= size);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_head(data, size);
    check_lines(data, size);
    return 0;
}
