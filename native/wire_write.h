/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * wire_write.h: the lists of records in JSON answers, written straight from entries and batches.
 *
 * Each list is written in two passes: one that computes its exact size, so that the answer is allocated once,
 * and one that writes exactly as many bytes. The enclosing object, which has a handful of members, is the
 * caller's. All texts are compact JSON; bytes beyond ASCII are passed through, so keys must be UTF-8.
 *
 * Cost (AVX-512): about 15 ns an entry of a put answer; 55 ns a record of 1 KiB of a get answer.
 */
#ifndef HR_WIRE_WRITE_H
#define HR_WIRE_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "entry.h"
#include "simd.h"

typedef enum hr_put_form {
    /* {"SequenceNumber":"<56 digits>","ShardId":"shardId-<12 digits>"} */
    HR_PUT_KINESIS = 0,
    /* {"RecordId":"<56 digits>"}: the record's sequence number, unique within the delivery stream */
    HR_PUT_FIREHOSE = 1
} hr_put_form;

typedef struct hr_write_text {
    const uint8_t *start;
    size_t size;
} hr_write_text;

/* What became of the entries of a put. */
typedef struct hr_put_outcome {
    const hr_entry *entry; /* slot, index and arrival_ms are set in those that were stored */
    size_t count;
    const uint32_t *shard; /* by slot: the shard's number */
    const uint64_t *created_s;
    size_t slots;
    const uint8_t *failure;      /* NULL if all were stored; else one byte an entry: 0 stored, k: reason[k - 1] */
    const hr_write_text *reason; /* a whole JSON object each */
    size_t reasons;
} hr_put_outcome;

/* Bytes of the list `[…]`; stores the number of entries that failed. 0 if the outcome cannot be written: a slot,
 * failure, arrival or creation time is out of range. */
size_t hr_write_put_size(hr_put_form form, const hr_put_outcome *outcome, size_t *failed);

/* Writes exactly that many bytes; call it only where hr_write_put_size was not 0. */
void hr_write_put(hr_put_form form, const hr_put_outcome *outcome, uint8_t *target, hr_simd simd);

/* Records of one shard, as a RecordBatch holds them. */
typedef struct hr_write_records_from {
    const uint8_t *base;
    size_t count;
    const int64_t *offset;
    const uint32_t *length;
    const int64_t *key_offset;
    const uint32_t *key_length;
    const uint64_t *ordinal;
    const int64_t *arrival_ms;
    uint32_t shard;
    uint64_t created_s;
    const char *encryption; /* EncryptionType of each record, plain ASCII, or NULL */
} hr_write_records_from;

/* Bytes of the list of records as GetRecords answers them:
 * [{"SequenceNumber":"…","ApproximateArrivalTimestamp":1700000000.123,"Data":"…","PartitionKey":"…"},…]
 * 0 if an arrival or the creation time is out of range (negative or beyond 36 bits of seconds). */
size_t hr_write_records_size(const hr_write_records_from *records, hr_simd simd);

/* Writes exactly that many bytes; call it only where hr_write_records_size was not 0. */
void hr_write_records(const hr_write_records_from *records, uint8_t *target, hr_simd simd);

/* Bytes of a text as the inside of a JSON string. */
size_t hr_write_escaped_size(const uint8_t *text, size_t size, hr_simd simd);

/* Writes exactly that many bytes: quote, backslash and control characters escaped. Returns the end. */
uint8_t *hr_write_escaped(uint8_t *target, const uint8_t *text, size_t size, hr_simd simd);

#endif
