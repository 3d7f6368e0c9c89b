/* Invariant: however an answer is cut, the load reads the same status and body from it, touches nothing outside what
 * has come, and what it finds in the JSON lies inside the body. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include "answer.h"
#include "corpus.h"
#include "fuzz.h"

typedef struct result {
    hr_answer_state state;
    hr_answer answer;
    uint8_t *buffer;
} result;

/* Feed data[0, size) in pieces whose sizes come from `seed`; every piece stands in memory that ends with it. */
static result feed(const uint8_t *data, size_t size, uint32_t seed)
{
    result r = {HR_ANSWER_MORE, {0}, NULL};
    size_t filled = 0;
    hr_answer_reset(&r.answer);
    while (filled < size && r.state == HR_ANSWER_MORE) {
        size_t piece = seed == 0 ? size : 1 + (seed = seed * 1664525u + 1013904223u) % 37;
        uint8_t *exact;
        if (piece > size - filled)
            piece = size - filled;
        exact = malloc(filled + piece);
        if (filled)
            memcpy(exact, r.buffer, filled);
        memcpy(exact + filled, data + filled, piece);
        free(r.buffer);
        r.buffer = exact;
        filled += piece;
        r.state = hr_answer_feed(&r.answer, r.buffer, filled);
        CHECK(r.answer.at <= filled);
        CHECK(r.state != HR_ANSWER_DONE || r.answer.body_start + r.answer.body_size <= filled);
    }
    if (r.state == HR_ANSWER_DONE && filled < size)
        r.state = HR_ANSWER_BAD; /* more follows: the load would notice with its next receive */
    return r;
}

typedef struct bounds {
    const uint8_t *start;
    size_t size;
    uint64_t records;
} bounds;

static void check_text(const bounds *b, const hr_text *text)
{
    if (text->text == NULL) {
        CHECK(text->size == 0);
        return;
    }
    CHECK(text->text >= b->start && text->text + text->size <= b->start + b->size);
}

static void check_record(void *context, uint64_t position, const hr_scanned_record *record)
{
    bounds *b = context;
    CHECK(position == b->records);
    b->records++;
    check_text(b, &record->data);
    check_text(b, &record->partition_key);
    check_text(b, &record->sequence_number);
    check_text(b, &record->error_code);
    check_text(b, &record->shard_id);
}

static void scan(const uint8_t *body, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1);
    bounds b = {exact, size, 0};
    hr_scanned found;
    if (size)
        memcpy(exact, body, size);
    if (hr_scan_records(exact, size, &found, check_record, &b) == 0) {
        CHECK(found.failed_count >= -1 && found.millis_behind >= -1);
        check_text(&b, &found.next_iterator);
        check_text(&b, &found.sequence_number);
    }
    CHECK(hr_failed_count_fast(exact, size) >= -1);
    if (size >= 28)
        CHECK(hr_corpus_number_get_base64(exact + 12) == UINT64_MAX ||
              hr_corpus_number_get_base64(exact + 12) < HR_CORPUS_NUMBERS_MAX);
    (void)hr_corpus_number_get(exact, size);
    free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    result whole, pieces;
    uint32_t seed;
    if (size < 4)
        return 0;
    memcpy(&seed, data, 4);
    data += 4;
    size -= 4;
    whole = feed(data, size, 0);
    pieces = feed(data, size, seed | 1);
    CHECK(whole.state == pieces.state);
    if (whole.state == HR_ANSWER_DONE) {
        CHECK(whole.answer.status == pieces.answer.status && whole.answer.closes == pieces.answer.closes);
        CHECK(whole.answer.body_size == pieces.answer.body_size);
        CHECK(memcmp(whole.buffer + whole.answer.body_start, pieces.buffer + pieces.answer.body_start,
                     whole.answer.body_size) == 0);
        scan(whole.buffer + whole.answer.body_start, whole.answer.body_size);
    }
    scan(data, size);
    free(whole.buffer);
    free(pieces.buffer);
    return 0;
}
