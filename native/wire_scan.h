/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * wire_scan.h: one pass over the JSON body of a put request, from bytes to entries.
 *
 * The scan is a filter, not a judge. It understands the bodies that clients send: the known members in any
 * order, any whitespace, keys with any JSON escape or UTF-8. All else it declines without a word (unknown,
 * doubled or null members, escapes in names or base64, malformed JSON or base64, anything out of bounds);
 * then a slow reader finds out what the body means or which error it deserves. Hence the invariant: a body
 * that the scan accepts is valid JSON of exactly one meaning, and the entries carry that meaning.
 *
 * Decoded data and keys are copied into the caller's arena, so nothing points into the body afterwards but
 * the spans of `hr_scan_result`. Nothing is read outside of the body, nothing written outside of the arena.
 *
 * Cost (AVX-512, body in L2): about 45 ns a record of 1 KiB, 25 ns at 100 B, nearly all of the first being
 * base64. No byte is looked at twice.
 */
#ifndef HR_WIRE_SCAN_H
#define HR_WIRE_SCAN_H

#include <stddef.h>
#include <stdint.h>

#include "entry.h"
#include "simd.h"

typedef enum hr_scan_kind {
    /* Kinesis: StreamName, StreamARN or both; DryRun; Records [{Data, PartitionKey, ExplicitHashKey}] */
    HR_SCAN_PUT_RECORDS = 0,
    /* Kinesis: the same, with the one record's members beside the others, and SequenceNumberForOrdering */
    HR_SCAN_PUT_RECORD = 1,
    /* Firehose: DeliveryStreamName, Records [{Data}] */
    HR_SCAN_FIREHOSE_BATCH = 2,
    /* Firehose: DeliveryStreamName, Record {Data} */
    HR_SCAN_FIREHOSE_RECORD = 3
} hr_scan_kind;

#define HR_SCAN_DECLINED (-1)

typedef struct hr_scan_limits {
    size_t count_max;       /* records; the entries given must have room for as many */
    size_t record_size_max; /* bytes of data and key */
    size_t total_size_max;  /* bytes of data and keys of all records */
} hr_scan_limits;

/* Part of the body; size 0 where the member is absent. Always ASCII without escapes. */
typedef struct hr_scan_span {
    const uint8_t *start;
    size_t size;
} hr_scan_span;

typedef struct hr_scan_result {
    hr_scan_span stream_name; /* StreamName or DeliveryStreamName: 1 to 128 (64) of a-z A-Z 0-9 _ . - */
    hr_scan_span stream_arn;  /* arn:aws…:kinesis:…:<12 digits>:stream/<name> */
    hr_scan_span ordering;    /* SequenceNumberForOrdering: decimal digits */
    int dry_run;              /* 1 if DryRun was true */
    size_t total_size;        /* bytes of data and keys of all records */
    size_t record_size_largest;
    size_t arena_used;
} hr_scan_result;

/* Bytes of arena that a body of `size` bytes may need: decoding never lengthens. */
static inline size_t hr_scan_arena_size(size_t size)
{
    return size;
}

/* Scan a body. Returns the number of records, with that many entries filled (key, data, sizes, flags and, if
 * explicit, hash) and *result set; or HR_SCAN_DECLINED, with entries, arena and result unspecified. The arena
 * holds at least hr_scan_arena_size(size) bytes and does not overlap the body. */
ptrdiff_t hr_scan_put(hr_scan_kind kind, const uint8_t *body, size_t size, uint8_t *arena, hr_entry *entries,
                      const hr_scan_limits *limits, hr_scan_result *result, hr_simd simd);

/* Decimal digits without sign or leading zeros, at most 2^128 - 1, to a 128-bit number. Returns 0, or -1. */
int hr_scan_hash_key(const uint8_t *digits, size_t size, uint64_t *high, uint64_t *low);

#endif
