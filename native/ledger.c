/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * ledger.c: what a load sent and what came back; ledger.h has the theory.
 */
#include "ledger.h"

#include <assert.h>
#include <string.h>

/* The number's base64 characters within a record's text. */
#define TEXT_BEFORE (HR_CORPUS_NUMBER_OFFSET / 3 * 4)
#define TEXT_NUMBER (HR_CORPUS_NUMBER_DIGITS / 3 * 4)
#define BYTES_NUMBER_END (HR_CORPUS_NUMBER_OFFSET + HR_CORPUS_NUMBER_DIGITS)

_Static_assert(HR_CORPUS_NUMBER_OFFSET % 3 == 0 && HR_CORPUS_NUMBER_DIGITS % 3 == 0, "whole base64 groups");

uint64_t hr_ledger_begin(hr_ledger *ledger, uint32_t template_index, uint16_t producer, uint64_t start_ns)
{
    hr_note *note;
    assert(template_index < ledger->plan->count);
    if (ledger->issued == ledger->notes_max)
        return UINT64_MAX;
    note = &ledger->notes[ledger->issued];
    note->start_ns = start_ns;
    note->template_index = template_index;
    note->producer = producer;
    note->outcome = HR_OUTCOME_SENT;
    return ledger->issued++;
}

void hr_ledger_stamp(const hr_ledger *ledger, const hr_corpus_digits *digits, uint64_t request)
{
    const hr_plan *plan = ledger->plan;
    uint32_t index = ledger->notes[request].template_index, j;
    uint8_t *bytes = plan->bytes + plan->start[index];
    const uint32_t *text = plan->text + (size_t)index * plan->records;
    uint64_t number = ledger->base + request * plan->records;
    for (j = 0; j < plan->records; j++)
        hr_corpus_number_set_base64(digits, bytes + text[j] + TEXT_BEFORE, number + j);
}

/* The note and position of the record with this number; NULL if it was never sent. */
static const hr_note *find(const hr_ledger *ledger, uint64_t number, uint64_t *record)
{
    uint64_t request;
    if (number == UINT64_MAX || number < ledger->base)
        return NULL;
    *record = number - ledger->base;
    request = *record / ledger->plan->records;
    return request < ledger->issued ? &ledger->notes[request] : NULL;
}

/* Its bytes are right: was it seen before, is it in order, how long did it travel? */
static uint64_t seen(hr_ledger *ledger, hr_shard_order *order, const hr_note *note, uint64_t record, uint64_t now_ns)
{
    uint8_t *flags = &ledger->seen[record];
    uint64_t *last;
    if (*flags & HR_SEEN_ONCE) {
        ledger->doubled++;
        return HR_LEDGER_NONE;
    }
    *flags |= HR_SEEN_ONCE;
    assert(note->producer < order->producers);
    last = &order->last[note->producer];
    if (record + 1 <= *last)
        ledger->reordered++;
    else
        *last = record + 1;
    if (ledger->travel != NULL && now_ns > note->start_ns)
        hr_histogram_record_ns(ledger->travel, now_ns - note->start_ns);
    return record;
}

uint64_t hr_ledger_see_text(hr_ledger *ledger, hr_shard_order *order, const uint8_t *text, size_t size, uint64_t now_ns)
{
    const hr_plan *plan = ledger->plan;
    const size_t behind = TEXT_BEFORE + TEXT_NUMBER;
    const hr_note *note;
    const uint8_t *sent;
    uint64_t record = 0;
    ledger->read++;
    note = size == plan->text_size ? find(ledger, hr_corpus_number_get_base64(text + TEXT_BEFORE), &record) : NULL;
    if (note == NULL) {
        ledger->changed++;
        return HR_LEDGER_NONE;
    }
    sent = plan->bytes + plan->start[note->template_index] +
           plan->text[(size_t)note->template_index * plan->records + record % plan->records];
    if (memcmp(text, sent, TEXT_BEFORE) != 0 || memcmp(text + behind, sent + behind, size - behind) != 0) {
        ledger->changed++;
        return HR_LEDGER_NONE;
    }
    return seen(ledger, order, note, record, now_ns);
}

uint64_t hr_ledger_see_bytes(hr_ledger *ledger, hr_shard_order *order, const uint8_t *data, size_t size,
                             uint64_t now_ns)
{
    const hr_plan *plan = ledger->plan;
    const hr_note *note;
    const uint8_t *sent;
    uint64_t record = 0;
    ledger->read++;
    note = size == plan->size ? find(ledger, hr_corpus_number_get(data, size), &record) : NULL;
    if (note == NULL) {
        ledger->changed++;
        return HR_LEDGER_NONE;
    }
    sent = plan->raw + ((size_t)note->template_index * plan->records + record % plan->records) * plan->size;
    if (memcmp(data, sent, HR_CORPUS_NUMBER_OFFSET) != 0 ||
        memcmp(data + BYTES_NUMBER_END, sent + BYTES_NUMBER_END, size - BYTES_NUMBER_END) != 0) {
        ledger->changed++;
        return HR_LEDGER_NONE;
    }
    return seen(ledger, order, note, record, now_ns);
}

void hr_ledger_see_key(hr_ledger *ledger, const hr_shard_order *order, uint64_t record, const uint8_t *key, size_t size)
{
    const hr_plan *plan = ledger->plan;
    uint32_t index;
    size_t place;
    if (record == HR_LEDGER_NONE)
        return;
    index = ledger->notes[record / plan->records].template_index;
    place = (size_t)index * plan->records + record % plan->records;
    if (plan->key != NULL &&
        (size != plan->key_size || memcmp(key, plan->bytes + plan->start[index] + plan->key[place], size) != 0))
        ledger->rekeyed++;
    if (ledger->home != NULL && ledger->home[place] != order->shard)
        ledger->misplaced++;
}

/* Decimal digits without the zeros before them. */
static const uint8_t *trim(const uint8_t *digits, size_t *size)
{
    while (*size > 0 && *digits == '0') {
        digits++;
        (*size)--;
    }
    return digits;
}

/* FNV-1a, 64 bits; never 0. http://www.isthe.com/chongo/tech/comp/fnv/ */
static uint64_t hash(const uint8_t *text, size_t size)
{
    uint64_t value = UINT64_C(0xcbf29ce484222325);
    size_t i;
    for (i = 0; i < size; i++)
        value = (value ^ text[i]) * UINT64_C(0x100000001b3);
    return value != 0 ? value : 1;
}

void hr_ledger_number(hr_ledger *ledger, uint64_t record, const uint8_t *digits, size_t size)
{
    uint64_t request = record / ledger->plan->records, *kept, value;
    if (ledger->numbered == NULL || record == HR_LEDGER_NONE || request % HR_LEDGER_NUMBERED_EVERY != 0)
        return;
    kept = &ledger->numbered[request / HR_LEDGER_NUMBERED_EVERY * ledger->plan->records + record % ledger->plan->records];
    digits = trim(digits, &size);
    value = hash(digits, size);
    if (*kept == 0)
        *kept = value;
    else if (*kept != value)
        ledger->renumbered++;
}

void hr_ledger_see_sequence(hr_ledger *ledger, hr_shard_order *order, uint64_t record, const uint8_t *digits,
                            size_t size)
{
    digits = trim(digits, &size);
    if (size == 0 || size > sizeof order->sequence) {
        ledger->unsorted++;
        return;
    }
    if (size < order->sequence_size ||
        (size == order->sequence_size && memcmp(digits, order->sequence, size) <= 0))
        ledger->unsorted++;
    memcpy(order->sequence, digits, size);
    order->sequence_size = (uint32_t)size;
    hr_ledger_number(ledger, record, digits, size);
}

void hr_ledger_tally(const hr_ledger *ledger, hr_tally *tally)
{
    uint64_t records = ledger->plan->records, request, j;
    memset(tally, 0, sizeof *tally);
    tally->first_lost = UINT64_MAX;
    tally->requests = ledger->issued;
    tally->records = ledger->issued * records;
    for (request = 0; request < ledger->issued; request++) {
        uint8_t outcome = ledger->notes[request].outcome;
        for (j = 0; j < records; j++) {
            uint8_t flags = ledger->seen[request * records + j];
            uint64_t there = flags & HR_SEEN_ONCE;
            if (outcome == HR_OUTCOME_SENT) {
                tally->unknown++;
                tally->unknown_seen += there;
            } else if (outcome == HR_OUTCOME_REFUSED || (outcome == HR_OUTCOME_PART && (flags & HR_SEEN_REFUSED))) {
                tally->refused++;
                tally->refused_seen += there;
            } else {
                tally->acknowledged++;
                tally->lost += !there;
                if (!there && tally->first_lost == UINT64_MAX)
                    tally->first_lost = ledger->base + request * records + j;
            }
        }
    }
}
