/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * corpus.h: the benchmark's records: telemetry-like JSON made from a seed, the same bytes for the same seed.
 *
 * Record `number` of a corpus is a function of (seed, number, size) alone, so that any part can be made
 * without the parts before it. It is one JSON object of exactly `size` bytes:
 *     {"seqno":100000000042,"ts":1767225600002,"host":"web-0017",…}
 * `seqno` stands at byte 9 and has 12 digits (10^11 plus the number): nine bytes are three base64 groups,
 * so the digits are exactly the base64 characters 12 to 27 and can be rewritten in an encoded request by
 * four table look-ups. Three layouts: under 192 bytes one metric; under 704 a request; above, a nested document.
 * Hosts, metrics, statuses and messages are drawn from fixed tables, values drift and jitter; zstd level 1
 * over 64 KiB blocks shrinks each layout about 4 to 5 times (a test holds it between 3.5 and 5.5).
 * Only integer arithmetic: the same bytes on every machine.
 */
#ifndef HR_CORPUS_H
#define HR_CORPUS_H

#include <stddef.h>
#include <stdint.h>

#define HR_CORPUS_SIZE_MIN 100u
#define HR_CORPUS_SIZE_MAX 65536u
#define HR_CORPUS_NUMBER_OFFSET 9u  /* first byte of the sequence number in the record */
#define HR_CORPUS_NUMBER_DIGITS 12u
#define HR_CORPUS_NUMBER_BASE UINT64_C(100000000000)
#define HR_CORPUS_NUMBERS_MAX UINT64_C(900000000000)
#define HR_CORPUS_KEY_SIZE 8u       /* the partition key is the host, as in "web-0017" */

/* Write record `number` as exactly `size` bytes. `size` is between the two bounds above. */
void hr_corpus_record(uint64_t seed, uint64_t number, uint8_t *out, size_t size);

/* Write the partition key of record `number`: its host, HR_CORPUS_KEY_SIZE bytes. */
void hr_corpus_key(uint64_t seed, uint64_t number, uint8_t *out);

/* Rewrite the sequence number of a record in place (plain bytes). */
void hr_corpus_number_set(uint8_t *record, uint64_t number);

/* Read the sequence number of a record (plain bytes); UINT64_MAX if there are no 12 digits. */
uint64_t hr_corpus_number_get(const uint8_t *record, size_t size);

/* Base64 forms of the thousand three-digit groups, filled once by the owner: 4,000 bytes. */
typedef struct hr_corpus_digits {
    uint8_t text[1000][4];
} hr_corpus_digits;

void hr_corpus_digits_fill(hr_corpus_digits *digits);

/* Rewrite the 16 base64 characters at `text` to stand for the sequence number `number`. About 3 ns. */
void hr_corpus_number_set_base64(const hr_corpus_digits *digits, uint8_t *text, uint64_t number);

/* Read the 16 base64 characters at `text`; UINT64_MAX if they do not stand for 12 digits. */
uint64_t hr_corpus_number_get_base64(const uint8_t *text);

#endif
