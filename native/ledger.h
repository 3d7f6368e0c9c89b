/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * ledger.h: what a load sent and what came back: finds lost, doubled, changed and reordered records.
 *
 * Numbers. Requests are numbered from 0 in the order in which they are begun; record j of request r carries
 * the sequence number base + r * records + j, wherever it lands. The note of a request says when it was
 * meant to start, from which template it was made (so its bytes are known), which producer sent it, and what
 * became of it. One byte a record says what was seen of it when reading.
 *
 * The checks, all while reading:
 *   changed    the bytes are not those of the template, or the number was never sent
 *   doubled    the number was seen before
 *   reordered  within one shard, a record of a producer comes after a later one of the same producer
 *              (a producer sends one request at a time, so its records have an order everywhere)
 *   rekeyed    the partition key is not the one that it was sent with
 *   misplaced  it is in another shard than its partition key says
 *   renumbered its sequence number is not the one that was acknowledged (records of every 16th request, for
 *              which 64 bits of a hash of the number are kept: 8 bytes a record there)
 *   lost       at the end: acknowledged and never seen
 * Base64 is compared as text: what was sent is canonical, so an equal record has equal text.
 * Cost: about 30 ns a record of 1 KiB, most of it memcmp. Keys, shards and numbers are checked where they come
 * over HTTP; reading in process gives bytes only.
 */
#ifndef HR_LEDGER_H
#define HR_LEDGER_H

#include <stddef.h>
#include <stdint.h>

#include "corpus.h"
#include "histogram.h"

/* What became of a request. */
#define HR_OUTCOME_NONE 0u
#define HR_OUTCOME_SENT 1u    /* no answer: its records may be there or not */
#define HR_OUTCOME_DONE 2u    /* every record acknowledged */
#define HR_OUTCOME_PART 3u    /* some records refused: HR_SEEN_REFUSED says which */
#define HR_OUTCOME_REFUSED 4u /* an error for the whole request */

/* What is known of a record. */
#define HR_SEEN_ONCE 1u
#define HR_SEEN_REFUSED 2u

#define HR_LEDGER_NUMBERED_EVERY 16u /* the records of one request in so many have their numbers compared */

/* The distinct records of a load, in requests ready to be sent. Request i is bytes[start[i], start[i + 1]). */
typedef struct hr_plan {
    uint8_t *bytes;        /* requests, or NULL where records go another way than HTTP */
    const uint64_t *start; /* count + 1 */
    const uint32_t *text;  /* count * records: where in its request the base64 text of a record begins */
    const uint32_t *key;   /* count * records: the same of its partition key; NULL: keys are not compared */
    const uint8_t *raw;    /* count * records payloads of `size` bytes */
    uint32_t count;        /* templates */
    uint32_t records;      /* a request */
    uint32_t size;         /* bytes of a payload */
    uint32_t text_size;    /* base64 characters of a payload */
    uint32_t key_size;     /* bytes of a partition key */
} hr_plan;

typedef struct hr_note {
    uint64_t start_ns; /* when the request was meant to start */
    uint32_t template_index;
    uint16_t producer;
    uint8_t outcome;
    uint8_t unused;
} hr_note;

_Static_assert(sizeof(hr_note) == 16, "four notes a cache line");

typedef struct hr_ledger {
    const hr_plan *plan;
    hr_note *notes;
    uint8_t *seen;        /* notes_max * records */
    uint64_t *numbered;   /* of every 16th request, records hashes of sequence numbers; 0: none yet. Or NULL */
    const uint32_t *home; /* plan's count * records: the shard that a record belongs to; or NULL */
    uint64_t notes_max;
    uint64_t issued; /* requests begun */
    uint64_t base;   /* number of the first record */
    uint64_t read, changed, doubled, reordered, unsorted; /* unsorted: service sequence numbers not ascending */
    uint64_t rekeyed, misplaced, renumbered;
    hr_histogram *travel; /* from the intended start to being seen, or NULL */
} hr_ledger;

/* What was seen last in one shard. `last` has one number (plus 1; 0 is none) for each producer. */
typedef struct hr_shard_order {
    uint64_t *last;
    uint32_t producers;
    uint32_t shard; /* its number, as in `home` */
    uint32_t sequence_size;
    uint8_t sequence[160]; /* the service's sequence number of the last record */
} hr_shard_order;

/* Begin a request at the time `start_ns`; returns its number, or UINT64_MAX if the ledger is full. */
uint64_t hr_ledger_begin(hr_ledger *ledger, uint32_t template_index, uint16_t producer, uint64_t start_ns);

/* Rewrite the numbers in the base64 texts of a request's template. */
void hr_ledger_stamp(const hr_ledger *ledger, const hr_corpus_digits *digits, uint64_t request);

/* A record came back as base64 text, as plain bytes. `now_ns` may be 0 where no travel time is wanted. Returns
 * which record it is (its number less `base`), or HR_LEDGER_NONE if it is changed or doubled. */
#define HR_LEDGER_NONE UINT64_MAX
uint64_t hr_ledger_see_text(hr_ledger *ledger, hr_shard_order *order, const uint8_t *text, size_t size, uint64_t now_ns);
uint64_t hr_ledger_see_bytes(hr_ledger *ledger, hr_shard_order *order, const uint8_t *data, size_t size,
                             uint64_t now_ns);

/* The partition key of the record just seen, and the shard it was found in. */
void hr_ledger_see_key(hr_ledger *ledger, const hr_shard_order *order, uint64_t record, const uint8_t *key, size_t size);

/* The service's own sequence number of the record just seen (HR_LEDGER_NONE: it is not known which): decimal
 * digits, must ascend within the shard, and be the one that was acknowledged. */
void hr_ledger_see_sequence(hr_ledger *ledger, hr_shard_order *order, uint64_t record, const uint8_t *digits,
                            size_t size);

/* The sequence number with which a record was acknowledged. Reading may come before the answer: whichever is
 * second compares. */
void hr_ledger_number(hr_ledger *ledger, uint64_t record, const uint8_t *digits, size_t size);

typedef struct hr_tally {
    uint64_t requests, records;      /* begun */
    uint64_t acknowledged, refused, unknown;
    uint64_t lost;                   /* acknowledged, not seen */
    uint64_t refused_seen;           /* refused, and yet there */
    uint64_t unknown_seen;           /* never answered, and there */
    uint64_t first_lost;             /* number of the first lost record, or UINT64_MAX */
} hr_tally;

/* Count what became of everything begun. */
void hr_ledger_tally(const hr_ledger *ledger, hr_tally *tally);

#endif
