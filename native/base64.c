/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * base64.c: see base64.h.
 *
 * The vector paths rest on three steps, each lane of 16 bytes on its own:
 *   - a character's class is looked up by its high nibble and, separately, by its low nibble; each class
 *     owns a bit, and a character is valid when the two bytes found share no bit;
 *   - the distance from a character to its value depends on the high nibble alone, but for '/';
 *   - 4 × 6 bits become 3 × 8 by two multiply-adds (decode) or two multiplications (encode).
 */
#include "base64.h"

#include <assert.h>
#include <string.h>

#if HR_X86
#include <immintrin.h>
#endif

static const uint8_t ALPHABET[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* The values of the characters from ' ' to DEL. */
#define XX 0xFF
static const uint8_t VALUES[96] = {
    XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, 62, XX, XX, XX, 63,
    52, 53, 54, 55, 56, 57, 58, 59, 60, 61, XX, XX, XX, XX, XX, XX,
    XX,  0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14,
    15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, XX, XX, XX, XX, XX,
    XX, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
    41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, XX, XX, XX, XX, XX};
#undef XX

/* The 6-bit value of a character, 0xFF outside of the alphabet. */
static inline uint8_t value_of(uint8_t character)
{
    unsigned place = character - 32u;
    return place < sizeof VALUES ? VALUES[place] : 0xFF;
}

static void encode_scalar(uint8_t *target, const uint8_t *source, size_t size)
{
    for (; size >= 3; size -= 3, source += 3, target += 4) {
        uint32_t group = (uint32_t)source[0] << 16 | (uint32_t)source[1] << 8 | source[2];
        target[0] = ALPHABET[group >> 18];
        target[1] = ALPHABET[group >> 12 & 63];
        target[2] = ALPHABET[group >> 6 & 63];
        target[3] = ALPHABET[group & 63];
    }
    if (size == 0)
        return;
    uint32_t group = (uint32_t)source[0] << 16 | (size == 2 ? (uint32_t)source[1] << 8 : 0);
    target[0] = ALPHABET[group >> 18];
    target[1] = ALPHABET[group >> 12 & 63];
    target[2] = size == 2 ? ALPHABET[group >> 6 & 63] : '=';
    target[3] = '=';
}

/* Take the padding that completes a run of `run` alphabet characters, the last of which may have no bits set
 * behind the last byte. Returns the characters of run and padding together, or -1. */
static inline ptrdiff_t finish(const uint8_t *source, size_t size, size_t run)
{
    switch (run & 3) {
    case 0:
        return (ptrdiff_t)run;
    case 2:
        if (size - run < 2 || source[run] != '=' || source[run + 1] != '=' || (value_of(source[run - 1]) & 15) != 0)
            return -1;
        return (ptrdiff_t)run + 2;
    case 3:
        if (size - run < 1 || source[run] != '=' || (value_of(source[run - 1]) & 3) != 0)
            return -1;
        return (ptrdiff_t)run + 1;
    default:
        return -1;
    }
}

/* Decode from character `run` (a multiple of 4) on. */
static ptrdiff_t decode_scalar(uint8_t *target, size_t room, const uint8_t *source, size_t size, size_t run,
                               size_t *written)
{
    size_t bytes = run / 4 * 3;
    assert(run % 4 == 0 && run <= size && bytes <= room);
    for (; size - run >= 4; run += 4, bytes += 3) {
        uint8_t a = value_of(source[run]), b = value_of(source[run + 1]);
        uint8_t c = value_of(source[run + 2]), d = value_of(source[run + 3]);
        if ((a | b | c | d) & 0x80)
            break;
        if (room - bytes < 3)
            return -1;
        uint32_t group = (uint32_t)a << 18 | (uint32_t)b << 12 | (uint32_t)c << 6 | d;
        target[bytes] = (uint8_t)(group >> 16);
        target[bytes + 1] = (uint8_t)(group >> 8);
        target[bytes + 2] = (uint8_t)group;
    }
    uint32_t group = 0, count = 0;
    while (count < 3 && run < size && value_of(source[run]) != 0xFF) {
        group |= (uint32_t)value_of(source[run++]) << (18 - 6 * count);
        count++;
    }
    for (uint32_t i = 1; i < count; i++) {
        if (bytes == room)
            return -1;
        target[bytes++] = (uint8_t)(group >> (24 - 8 * i));
    }
    *written = bytes;
    return finish(source, size, run);
}

#if HR_X86

/* Class bits: 1 for row 2 (+ /), 2 for row 3 (digits), 4 for rows 4 and 6 (the first letters), 8 for rows 5
 * and 7 (the rest), 16 for all other rows. LOW holds the classes a low nibble is invalid in. */
#define LOW_CLASSES 0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13, 0x1A, 0x1B, 0x1B, 0x1B, 0x1A
#define HIGH_CLASSES 0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10
/* What to add to a character of row h; entry 1 serves '/' (row 2, less one because it was found equal). */
#define DISTANCES 0, 16, 19, 4, -65, -65, -71, -71, 0, 0, 0, 0, 0, 0, 0, 0
/* After the multiply-adds each 32 bits hold three bytes, lowest last. */
#define PACKED 2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1
/* Each three bytes spread over 32 bits as b a c b, so that each half holds two whole 6-bit fields. */
#define SPREAD 1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10
/* What to add to a value, by max(value - 51, 0), or by 13 for values below 26. */
#define OFFSETS 'a' - 26, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, \
                '0' - 52, '+' - 62, '/' - 63, 'A', 0, 0

#define TWICE_256(...) _mm256_setr_epi8(__VA_ARGS__, __VA_ARGS__)
#define FOURFOLD_512(...) _mm512_broadcast_i32x4(_mm_setr_epi8(__VA_ARGS__))

/* Decode 32 characters into 24 bytes (in the low lanes of *bytes). Returns the number of valid characters
 * before the first invalid one; invalid characters count as value 0. */
HR_TARGET("avx2,bmi2")
static inline unsigned decode_block_avx2(__m256i text, __m256i *bytes)
{
    const __m256i nibble = _mm256_set1_epi8(0x0F);
    __m256i high = _mm256_and_si256(_mm256_srli_epi32(text, 4), nibble);
    __m256i low = _mm256_and_si256(text, nibble);
    __m256i clash = _mm256_and_si256(_mm256_shuffle_epi8(TWICE_256(LOW_CLASSES), low),
                                     _mm256_shuffle_epi8(TWICE_256(HIGH_CLASSES), high));
    __m256i slash = _mm256_cmpeq_epi8(text, _mm256_set1_epi8('/'));
    __m256i distance = _mm256_shuffle_epi8(TWICE_256(DISTANCES), _mm256_add_epi8(high, slash));
    __m256i value = _mm256_add_epi8(text, distance);
    unsigned valid = 32;
    if (!_mm256_testz_si256(clash, clash)) {
        __m256i good = _mm256_cmpeq_epi8(clash, _mm256_setzero_si256());
        value = _mm256_and_si256(value, good);
        valid = (unsigned)__builtin_ctz(~(unsigned)_mm256_movemask_epi8(good));
    }
    __m256i pairs = _mm256_maddubs_epi16(value, _mm256_set1_epi32(0x01400140));
    __m256i groups = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00011000));
    __m256i lanes = _mm256_shuffle_epi8(groups, TWICE_256(PACKED));
    *bytes = _mm256_permutevar8x32_epi32(lanes, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7));
    return valid;
}

HR_TARGET("avx2,bmi2")
static ptrdiff_t decode_avx2(uint8_t *target, size_t room, const uint8_t *source, size_t size, size_t *written)
{
    size_t run = 0, bytes = 0;
    __m256i block;
    while (size - run >= 32 && room - bytes >= 32) {
        unsigned valid = decode_block_avx2(_mm256_loadu_si256((const __m256i *)(source + run)), &block);
        _mm256_storeu_si256((__m256i *)(target + bytes), block);
        if (valid < 32) {
            run += valid;
            *written = bytes + valid * 3 / 4;
            return finish(source, size, run);
        }
        run += 32;
        bytes += 24;
    }
    while (size - run >= 32 && room - bytes >= 24) {
        if (decode_block_avx2(_mm256_loadu_si256((const __m256i *)(source + run)), &block) < 32)
            break;
        _mm_storeu_si128((__m128i *)(target + bytes), _mm256_castsi256_si128(block));
        _mm_storel_epi64((__m128i *)(target + bytes + 16), _mm256_extracti128_si256(block, 1));
        run += 32;
        bytes += 24;
    }
    return decode_scalar(target, room, source, size, run, written);
}

HR_TARGET("avx512f,avx512bw,avx512vl,avx512dq,bmi2")
static ptrdiff_t decode_avx512(uint8_t *target, size_t room, const uint8_t *source, size_t size, size_t *written)
{
    const __m512i nibble = _mm512_set1_epi8(0x0F);
    const __m512i low_classes = FOURFOLD_512(LOW_CLASSES), high_classes = FOURFOLD_512(HIGH_CLASSES);
    const __m512i distances = FOURFOLD_512(DISTANCES), packed = FOURFOLD_512(PACKED);
    const __m512i gather = _mm512_setr_epi32(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 7, 11, 15);
    size_t run = 0, bytes = 0;
    for (;;) {
        size_t left = size - run;
        /* Bytes beyond the source read as 0, which is not in the alphabet and so ends the run. */
        __m512i text = left >= 64 ? _mm512_loadu_si512(source + run)
                                  : _mm512_maskz_loadu_epi8(_bzhi_u64(~0ull, (unsigned)left), source + run);
        __m512i high = _mm512_and_si512(_mm512_srli_epi32(text, 4), nibble);
        __m512i low = _mm512_and_si512(text, nibble);
        __mmask64 clash = _mm512_test_epi8_mask(_mm512_shuffle_epi8(low_classes, low),
                                                _mm512_shuffle_epi8(high_classes, high));
        __mmask64 slash = _mm512_cmpeq_epi8_mask(text, _mm512_set1_epi8('/'));
        __m512i row = _mm512_mask_sub_epi8(high, slash, high, _mm512_set1_epi8(1));
        __m512i value = _mm512_maskz_add_epi8(~clash, text, _mm512_shuffle_epi8(distances, row));
        __m512i pairs = _mm512_maddubs_epi16(value, _mm512_set1_epi32(0x01400140));
        __m512i groups = _mm512_madd_epi16(pairs, _mm512_set1_epi32(0x00011000));
        __m512i block = _mm512_permutexvar_epi32(gather, _mm512_shuffle_epi8(groups, packed));
        unsigned valid = clash ? (unsigned)__builtin_ctzll(clash) : 64;
        unsigned taken = valid * 3 / 4;
        if (room - bytes >= 64) {
            _mm512_storeu_si512(target + bytes, block);
        } else {
            if (room - bytes < taken)
                return -1;
            _mm512_mask_storeu_epi8(target + bytes, _bzhi_u64(~0ull, taken), block);
        }
        run += valid;
        bytes += taken;
        if (valid < 64) {
            *written = bytes;
            return finish(source, size, run);
        }
    }
}

HR_TARGET("avx2,bmi2")
static void encode_avx2(uint8_t *target, const uint8_t *source, size_t size)
{
    const __m256i spread = TWICE_256(SPREAD), offsets = TWICE_256(OFFSETS);
    /* Two loads of 16 bytes, of which 12 are used: the second ends 28 bytes from the start. */
    for (; size >= 28; size -= 24, source += 24, target += 32) {
        __m256i bytes = _mm256_inserti128_si256(
            _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)source)),
            _mm_loadu_si128((const __m128i *)(source + 12)), 1);
        __m256i groups = _mm256_shuffle_epi8(bytes, spread);
        __m256i outer = _mm256_mulhi_epu16(_mm256_and_si256(groups, _mm256_set1_epi32(0x0FC0FC00)),
                                           _mm256_set1_epi32(0x04000040));
        __m256i inner = _mm256_mullo_epi16(_mm256_and_si256(groups, _mm256_set1_epi32(0x003F03F0)),
                                           _mm256_set1_epi32(0x01000010));
        __m256i value = _mm256_or_si256(outer, inner);
        __m256i kind = _mm256_subs_epu8(value, _mm256_set1_epi8(51));
        __m256i capital = _mm256_cmpgt_epi8(_mm256_set1_epi8(26), value);
        kind = _mm256_or_si256(kind, _mm256_and_si256(capital, _mm256_set1_epi8(13)));
        _mm256_storeu_si256((__m256i *)target, _mm256_add_epi8(value, _mm256_shuffle_epi8(offsets, kind)));
    }
    encode_scalar(target, source, size);
}

HR_TARGET("avx512f,avx512bw,avx512vl,avx512dq,bmi2")
static void encode_avx512(uint8_t *target, const uint8_t *source, size_t size)
{
    const __m512i spread = FOURFOLD_512(SPREAD), offsets = FOURFOLD_512(OFFSETS);
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11);
    while (size > 0) {
        unsigned taken = size >= 48 ? 48 : (unsigned)size;
        /* A full load where 64 bytes are there is cheaper than a masked one. */
        __m512i bytes = size >= 64 ? _mm512_loadu_si512(source)
                                   : _mm512_maskz_loadu_epi8(_bzhi_u64(~0ull, taken), source);
        __m512i groups = _mm512_shuffle_epi8(_mm512_permutexvar_epi32(lanes, bytes), spread);
        __m512i outer = _mm512_mulhi_epu16(_mm512_and_si512(groups, _mm512_set1_epi32(0x0FC0FC00)),
                                           _mm512_set1_epi32(0x04000040));
        __m512i inner = _mm512_mullo_epi16(_mm512_and_si512(groups, _mm512_set1_epi32(0x003F03F0)),
                                           _mm512_set1_epi32(0x01000010));
        __m512i value = _mm512_or_si512(outer, inner);
        __m512i kind = _mm512_subs_epu8(value, _mm512_set1_epi8(51));
        __mmask64 capital = _mm512_cmplt_epu8_mask(value, _mm512_set1_epi8(26));
        kind = _mm512_mask_mov_epi8(kind, capital, _mm512_set1_epi8(13));
        __m512i text = _mm512_add_epi8(value, _mm512_shuffle_epi8(offsets, kind));
        if (taken == 48) {
            _mm512_storeu_si512(target, text);
        } else {
            unsigned characters = (unsigned)hr_base64_encoded_size(taken);
            unsigned padding = (3 - taken % 3) % 3;
            __mmask64 equals = _bzhi_u64(~0ull, padding) << (characters - padding);
            text = _mm512_mask_mov_epi8(text, equals, _mm512_set1_epi8('='));
            _mm512_mask_storeu_epi8(target, _bzhi_u64(~0ull, characters), text);
        }
        size -= taken;
        source += taken;
        target += 64;
    }
}

#endif

void hr_base64_encode(uint8_t *target, const uint8_t *source, size_t size, hr_simd simd)
{
    assert(size == 0 || (target != NULL && source != NULL));
#if HR_X86
    if (simd >= HR_SIMD_AVX512) {
        encode_avx512(target, source, size);
        return;
    }
    if (simd >= HR_SIMD_AVX2) {
        encode_avx2(target, source, size);
        return;
    }
#endif
    encode_scalar(target, source, size);
}

ptrdiff_t hr_base64_decode_prefix(uint8_t *target, size_t room, const uint8_t *source, size_t size,
                                  size_t *written, hr_simd simd)
{
    assert(written != NULL && (size == 0 || source != NULL));
#if HR_X86
    if (simd >= HR_SIMD_AVX512)
        return decode_avx512(target, room, source, size, written);
    if (simd >= HR_SIMD_AVX2)
        return decode_avx2(target, room, source, size, written);
#endif
    return decode_scalar(target, room, source, size, 0, written);
}

ptrdiff_t hr_base64_decode(uint8_t *target, size_t room, const uint8_t *source, size_t size, hr_simd simd)
{
    size_t written = 0;
    ptrdiff_t read = hr_base64_decode_prefix(target, room, source, size, &written, simd);
    if (read < 0 || (size_t)read != size)
        return -1;
    assert(written <= room);
    return (ptrdiff_t)written;
}
