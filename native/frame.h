/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * frame.h: the frame, the unit in which records stand in a lane: how one is written, checked and read.
 *
 * A frame is a 64-byte header and a body, padded with zeroes to 8 bytes. All numbers are little-endian.
 *
 *   at  bytes  header field
 *    0    4    header_crc     CRC-32C of bytes 4 to 63, seeded with the salt of the segment
 *    4    4    previous_crc   header_crc of the frame before it (the first one: CRC of the segment header)
 *    8    4    body_crc       CRC-32C of the body without its padding
 *   12    4    body_size      bytes without padding
 *   16    8    first_index    running index, within its shard, of the first record
 *   24    8    arrival_ms     arrival time; never decreases within a shard
 *   32    4    shard          shard number
 *   36    2    count          records
 *   38    1    kind           HR_KIND_…
 *   39    1    flags          HR_FRAME_…
 *   40    8    producer       id (48 bits) << 16 | epoch (16 bits); 0: none
 *   48    8    producer_sequence  ordinal of the last record of the group in the producer's output
 *   56    8    synced_offset  lane offset known to be on the device when this was framed
 *
 * Body of a RECORDS frame: `count` rows of 8 bytes, then for each record its key and its data.
 *    0    4    end            end of the record's data, counted from the end of the rows
 *    4    2    key_size       bytes of the key
 *    6    2    flags          0
 * The body is at most HR_FRAME_BODY_SIZE_MAX, or one record of up to HR_FRAME_RECORD_SIZE_MAX. Bodies of
 * other kinds are bytes that `log` gives a meaning to.
 *
 * A frame is valid when its header CRC, its place in the chain (previous_crc), its sizes and its body CRC
 * hold. The salt is drawn anew for each use of a file and the chain joins each frame to the one before, so
 * that neither a frame left over from an earlier use nor one forged inside a record's data can be taken
 * for a frame of this segment. A group is a run of frames up to and including the first with
 * HR_FRAME_LAST; recovery takes whole groups only.
 */
#ifndef HR_FRAME_H
#define HR_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "entry.h"
#include "simd.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "headrace's formats are little-endian and this code writes them as they lie in memory"
#endif

#define HR_FRAME_HEADER_SIZE 64u
#define HR_FRAME_ROW_SIZE 8u
#define HR_FRAME_BODY_SIZE_MAX (256u << 10)
#define HR_FRAME_RECORD_SIZE_MAX (16u << 20)
#define HR_FRAME_COUNT_MAX 32767u

enum { HR_KIND_RECORDS = 1, HR_KIND_OPEN, HR_KIND_CLOSE, HR_KIND_POSITION, HR_KIND_SNAPSHOT, HR_KIND_GAP, HR_KIND_END };
enum { HR_FRAME_LAST = 1, HR_FRAME_ENCRYPTED = 2 };

typedef struct hr_frame_header {
    uint32_t header_crc;
    uint32_t previous_crc;
    uint32_t body_crc;
    uint32_t body_size;
    uint64_t first_index;
    int64_t arrival_ms;
    uint32_t shard;
    uint16_t count;
    uint8_t kind;
    uint8_t flags;
    uint64_t producer;
    uint64_t producer_sequence;
    uint64_t synced_offset;
} hr_frame_header;

_Static_assert(sizeof(hr_frame_header) == HR_FRAME_HEADER_SIZE, "the header's fields fill it exactly");

/* What a check found. Anything but HR_FRAME_OK leaves the header unusable. */
typedef enum hr_frame_state {
    HR_FRAME_OK = 0,
    HR_FRAME_SHORT,      /* fewer bytes than the frame needs */
    HR_FRAME_BAD_HEADER, /* header CRC */
    HR_FRAME_BAD_CHAIN,  /* a good header that does not follow the one before */
    HR_FRAME_BAD_FIELD,  /* kind, size or count that no writer makes */
    HR_FRAME_BAD_BODY    /* body CRC, or rows that do not fit the body */
} hr_frame_state;

/* Bytes that a frame with this body takes, padding included. */
static inline size_t hr_frame_stride(uint32_t body_size)
{
    return HR_FRAME_HEADER_SIZE + (((size_t)body_size + 7u) & ~(size_t)7u);
}

/* How many of the entries at order[0 … count) fit into one frame, all being of one shard; sets the body's size. */
size_t hr_frame_fit(const hr_entry *entries, const uint32_t *order, size_t count, uint32_t *body_size);

/* Write a RECORDS frame at `target`, which has room for hr_frame_stride(header->body_size).
 *
 * `header` comes with every field set but the three checksums; on return they are set and
 * header->header_crc is what the next frame takes as previous_crc. Writes index and arrival into the
 * entries. Cost: each payload byte is copied once and read once more for the CRC, while in cache. */
size_t hr_frame_write_records(uint8_t *target, hr_frame_header *header, uint32_t salt, hr_entry *entries,
                              const uint32_t *order, hr_simd simd);

/* Write a frame of another kind, whose body is header->body_size bytes at `body`. */
size_t hr_frame_write_body(uint8_t *target, hr_frame_header *header, uint32_t salt, const void *body, hr_simd simd);

/* Check the header at `source`. With `chained`, previous_crc must be `previous`. */
hr_frame_state hr_frame_check_header(const uint8_t *source, size_t available, uint32_t salt, int chained,
                                     uint32_t previous, hr_frame_header *header, hr_simd simd);

/* Check the body after a good header: its CRC and, for RECORDS, that the rows fit. */
hr_frame_state hr_frame_check_body(const uint8_t *source, const hr_frame_header *header, hr_simd simd);

/* Arrays that describe the records of frames, one element a record. */
typedef struct hr_frame_columns {
    int64_t *offset; /* of the data, from the start of the buffer */
    uint32_t *length;
    int64_t *key_offset;
    uint32_t *key_length;
    uint64_t *ordinal;
    int64_t *arrival_ms;
    uint32_t *shard;
} hr_frame_columns;

/* Append the records `skip` … `skip + take` of the checked frame at buffer + at to the columns, from element
 * `start` on. */
void hr_frame_columns_fill(const uint8_t *buffer, size_t at, const hr_frame_header *header, uint32_t skip,
                           uint32_t take, const hr_frame_columns *columns, size_t start);

/* Find the first offset ≥ from, a multiple of 8 below size, at which a valid header of this salt stands;
 * returns size where there is none. The chain is not asked: what was before it is what is in doubt. */
size_t hr_frame_search(const uint8_t *source, size_t from, size_t size, uint32_t salt, hr_simd simd);

#endif
