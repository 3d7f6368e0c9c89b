/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * answer.h: the load generator's reader of HTTP/1.1 answers and of the JSON of PutRecords and GetRecords.
 *
 * HTTP. `hr_answer_feed` is called with everything received so far of one answer; it goes on where it
 * stopped, so that bytes are looked at once. Bodies end by Content-Length or by chunks; chunks are joined
 * in place. Interim answers (1xx) are skipped. What is not one whole answer and nothing more is BAD.
 *
 * JSON. Peers differ in white space, in the order of members and in what they add; `hr_scan_records` takes
 * any well-formed object, calls back once for each object in its array "Records", and gives four
 * members of the object itself. Strings are handed over as they stand between their quotes. The nesting of
 * what is skipped is counted, not recursed into. Cost: one memchr a string; about 60 ns a record.
 */
#ifndef HR_ANSWER_H
#define HR_ANSWER_H

#include <stddef.h>
#include <stdint.h>

#define HR_ANSWER_HEAD_MAX 65536u
#define HR_ANSWER_BODY_MAX (UINT64_C(64) << 20)

typedef enum hr_answer_state { HR_ANSWER_MORE = 0, HR_ANSWER_DONE = 1, HR_ANSWER_BAD = 2 } hr_answer_state;

typedef enum hr_answer_part {
    HR_ANSWER_HEAD = 0,
    HR_ANSWER_BODY,        /* by Content-Length */
    HR_ANSWER_CHUNK_SIZE,  /* at a line with the size of a chunk */
    HR_ANSWER_CHUNK_DATA,
    HR_ANSWER_CHUNK_END,   /* at the line end behind a chunk */
    HR_ANSWER_TRAILER      /* at a line behind the last chunk */
} hr_answer_part;

typedef struct hr_answer {
    hr_answer_part part;
    uint32_t status;
    uint32_t closes;     /* the server will close the connection */
    size_t at;           /* bytes of the buffer dealt with (in HEAD: searched for its end) */
    size_t head_start;   /* where the final answer's head begins, behind interim ones */
    size_t body_start;
    size_t body_size;    /* joined so far; the whole size once DONE */
    uint64_t left;       /* bytes to come of the body or of the chunk */
} hr_answer;

/* Make ready for the next answer. */
void hr_answer_reset(hr_answer *answer);

/* Deal with buffer[0, filled), of which earlier calls saw a beginning. */
hr_answer_state hr_answer_feed(hr_answer *answer, uint8_t *buffer, size_t filled);

/* The inside of a JSON string as it stands in the body; text is NULL if there was none (or null). */
typedef struct hr_text {
    const uint8_t *text;
    size_t size;
} hr_text;

/* One object of "Records". */
typedef struct hr_scanned_record {
    hr_text data;
    hr_text partition_key;
    hr_text sequence_number;
    hr_text error_code;
    hr_text shard_id;
} hr_scanned_record;

/* Members of the answer itself. */
typedef struct hr_scanned {
    uint64_t records;        /* objects in "Records" */
    int64_t failed_count;    /* FailedRecordCount, or -1 */
    int64_t millis_behind;   /* MillisBehindLatest, or -1 */
    hr_text next_iterator;   /* NextShardIterator; text NULL if null or missing */
    hr_text sequence_number; /* SequenceNumber of the object itself (an answer to PutRecord), or NULL */
    uint32_t has_error_code; /* the object itself has ErrorCode, __type or code: it is an error's body */
} hr_scanned;

typedef void (*hr_record_callback)(void *context, uint64_t position, const hr_scanned_record *record);

/* Scan one JSON object; `callback` may be NULL. 0 if well formed (as far as looked at), -1 if not. */
int hr_scan_records(const uint8_t *body, size_t size, hr_scanned *out, hr_record_callback callback, void *context);

/* FailedRecordCount if it stands plainly at the beginning or the end of the body, as it does in the answers
 * of all known servers; -1 if it must be looked for. About 20 ns. */
int64_t hr_failed_count_fast(const uint8_t *body, size_t size);

#endif
