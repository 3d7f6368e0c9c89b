/* Invariant: whatever comes back, the ledger touches only what it owns, and each thing read is exactly one of seen
 * for the first time, doubled or changed; only a record that was sent, with its own bytes, is ever seen, and its key,
 * shard and number are called wrong exactly if they are. */
/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 */
#include "fuzz.h"
#include "ledger.h"

#define RECORDS 3u
#define TEMPLATES 2u
#define NOTES 4u
#define SIZE 100u
#define TEXT 136u /* base64 of SIZE bytes */
#define PRODUCERS 2u
#define SHARDS 3u
#define SLOT (TEXT + HR_CORPUS_KEY_SIZE) /* a record in its request: text and key */

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void encode(const uint8_t *raw, uint8_t *text)
{
    uint8_t padded[SIZE + 2] = {0};
    size_t i;
    memcpy(padded, raw, SIZE);
    for (i = 0; i < TEXT / 4; i++) {
        uint32_t bits = (uint32_t)padded[3 * i] << 16 | (uint32_t)padded[3 * i + 1] << 8 | padded[3 * i + 2];
        text[4 * i] = (uint8_t)letters[bits >> 18];
        text[4 * i + 1] = (uint8_t)letters[bits >> 12 & 63];
        text[4 * i + 2] = (uint8_t)letters[bits >> 6 & 63];
        text[4 * i + 3] = (uint8_t)letters[bits & 63];
    }
    text[TEXT - 1] = text[TEXT - 2] = '='; /* 100 bytes: one byte in the last group */
}

typedef struct stage {
    hr_plan plan;
    hr_ledger ledger;
    hr_shard_order order;
    hr_corpus_digits digits;
    uint8_t raw[TEMPLATES * RECORDS * SIZE];
    uint64_t start[TEMPLATES + 1];
    uint32_t text[TEMPLATES * RECORDS], key[TEMPLATES * RECORDS], home[TEMPLATES * RECORDS];
    uint64_t numbers[RECORDS]; /* what the records of request 0 are known as, plus 1; 0: nothing yet */
    uint64_t rekeyed, misplaced, renumbered; /* the model's counts */
    uint64_t last[PRODUCERS];
} stage;

/* Memory of its own for everything that is indexed, so that the sanitizer sees a step outside. */
static stage *set_up(void)
{
    stage *s = calloc(1, sizeof *s);
    uint32_t i;
    s->plan = (hr_plan){malloc(TEMPLATES * RECORDS * SLOT), s->start, s->text, s->key, s->raw, TEMPLATES, RECORDS, SIZE,
                        TEXT, HR_CORPUS_KEY_SIZE};
    for (i = 0; i < TEMPLATES * RECORDS; i++) {
        hr_corpus_record(1, i, s->raw + i * SIZE, SIZE);
        s->text[i] = i % RECORDS * SLOT;
        s->key[i] = s->text[i] + TEXT;
        s->home[i] = i % SHARDS;
        encode(s->raw + i * SIZE, s->plan.bytes + i * SLOT);
        hr_corpus_key(1, i, s->plan.bytes + i * SLOT + TEXT);
    }
    for (i = 0; i <= TEMPLATES; i++)
        s->start[i] = i * RECORDS * SLOT;
    hr_corpus_digits_fill(&s->digits);
    s->ledger.plan = &s->plan;
    s->ledger.notes = calloc(NOTES, sizeof(hr_note));
    s->ledger.seen = calloc(NOTES * RECORDS, 1);
    s->ledger.numbered = calloc(RECORDS, sizeof(uint64_t)); /* NOTES are less than HR_LEDGER_NUMBERED_EVERY */
    s->ledger.home = s->home;
    s->ledger.notes_max = NOTES;
    s->order.last = s->last;
    s->order.producers = PRODUCERS;
    return s;
}

static void tear_down(stage *s)
{
    free(s->plan.bytes);
    free(s->ledger.notes);
    free(s->ledger.seen);
    free(s->ledger.numbered);
    free(s);
}

/* Its key, shard and number come back, right or not, and the model says which. */
static void identify(stage *s, fuzz_input *input, uint64_t record)
{
    uint32_t what = (uint32_t)fuzz_number(input, 1);
    uint8_t number = (uint8_t)('1' + what / 4 % 8), *key = malloc(HR_CORPUS_KEY_SIZE);
    uint64_t request = record / RECORDS, index, place;
    if (record == HR_LEDGER_NONE) {
        hr_ledger_see_key(&s->ledger, &s->order, record, key, HR_CORPUS_KEY_SIZE);
        hr_ledger_see_sequence(&s->ledger, &s->order, record, &number, 1);
        free(key);
        return;
    }
    CHECK(request < s->ledger.issued);
    index = s->ledger.notes[request].template_index;
    place = index * RECORDS + record % RECORDS;
    hr_corpus_key(1, place, key);
    key[what % HR_CORPUS_KEY_SIZE] ^= what & 1;
    s->order.shard = what / 2 % 2 ? s->home[place] : (uint32_t)fuzz_number(input, 1) % SHARDS;
    s->rekeyed += what & 1;
    s->misplaced += s->order.shard != s->home[place];
    hr_ledger_see_key(&s->ledger, &s->order, record, key, HR_CORPUS_KEY_SIZE);
    if (request == 0) {
        uint64_t *known = &s->numbers[record];
        s->renumbered += *known != 0 && *known != number;
        *known = *known != 0 ? *known : number;
    }
    if (what / 32 % 2)
        hr_ledger_number(&s->ledger, record, &number, 1);
    else
        hr_ledger_see_sequence(&s->ledger, &s->order, record, &number, 1);
    free(key);
}

/* Something comes back: a record that was sent, perhaps spoiled at one place, or anything at all. */
static void come_back(stage *s, fuzz_input *input)
{
    uint32_t which = (uint32_t)fuzz_number(input, 1), form = (uint32_t)fuzz_number(input, 1) % 4;
    size_t size = form % 2 == 0 ? TEXT : SIZE, place = fuzz_number(input, 1);
    uint8_t flip = (uint8_t)fuzz_number(input, 1), *exact;
    uint64_t before = s->ledger.changed, found;
    if (form >= 2 && place < size)
        size = place; /* cut short */
    exact = calloc(size ? size : 1, 1);
    if (form % 2 == 0) {
        uint64_t record = which % (NOTES * RECORDS), request = record / RECORDS;
        uint32_t index = (uint32_t)(request < s->ledger.issued ? s->ledger.notes[request].template_index : 0);
        memcpy(exact, s->plan.bytes + s->start[index] + record % RECORDS * SLOT, size);
        if (size == TEXT)
            hr_corpus_number_set_base64(&s->digits, exact + 12, s->ledger.base + record);
    } else {
        memcpy(exact, s->raw + which % (TEMPLATES * RECORDS) * SIZE, size);
        if (size == SIZE)
            hr_corpus_number_set(exact, which % 16);
    }
    if (size > 0)
        exact[place % size] ^= flip;
    if (form % 2 == 0)
        found = hr_ledger_see_text(&s->ledger, &s->order, exact, size, 0);
    else
        found = hr_ledger_see_bytes(&s->ledger, &s->order, exact, size, 0);
    CHECK(form < 2 || size == TEXT || size == SIZE || s->ledger.changed == before + 1);
    hr_ledger_see_sequence(&s->ledger, &s->order, HR_LEDGER_NONE, exact, size);
    free(exact);
    identify(s, input, found);
}

static void check_sums(const stage *s, uint64_t read)
{
    hr_tally tally;
    uint64_t i, once = 0;
    for (i = 0; i < NOTES * RECORDS; i++)
        once += s->ledger.seen[i] & HR_SEEN_ONCE;
    CHECK(s->ledger.read == read && once + s->ledger.doubled + s->ledger.changed == read);
    CHECK(s->ledger.reordered <= once && s->ledger.unsorted <= 2 * read);
    CHECK(s->ledger.rekeyed == s->rekeyed && s->ledger.misplaced == s->misplaced);
    CHECK(s->ledger.renumbered == s->renumbered);
    hr_ledger_tally(&s->ledger, &tally);
    CHECK(tally.records == s->ledger.issued * RECORDS && once <= tally.records);
    CHECK(tally.acknowledged + tally.refused + tally.unknown == tally.records);
    CHECK(tally.acknowledged - tally.lost + tally.refused_seen + tally.unknown_seen == once);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    stage *s = set_up();
    uint64_t read = 0;
    while (input.left > 0 && read < 64) {
        uint32_t step = (uint32_t)fuzz_number(&input, 1);
        if (step % 4 != 0) {
            come_back(s, &input);
            read++;
            continue;
        }
        uint64_t request = hr_ledger_begin(&s->ledger, step / 4 % TEMPLATES, step / 8 % PRODUCERS, 0);
        CHECK((request == UINT64_MAX) == (s->ledger.issued == NOTES && request != NOTES - 1));
        if (request != UINT64_MAX) {
            hr_ledger_stamp(&s->ledger, &s->digits, request);
            s->ledger.notes[request].outcome = (uint8_t)(HR_OUTCOME_SENT + step / 16 % 4);
            s->ledger.seen[request * RECORDS] |= step / 64 % 2 ? HR_SEEN_REFUSED : 0;
        }
    }
    check_sums(s, read);
    tear_down(s);
    return 0;
}
