/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * crc32c.c: the CRC-32C checksum by tables, by the crc32 instruction and by carry-less folding.
 *
 * In the reflected domain a checksum is a polynomial over GF(2) modulo P, so it is linear: the checksum
 * of a message followed by k zero bytes is the checksum times x^(8k) mod P, and the checksums of parts
 * that are xor-ed together xor together. Three consequences carry this file:
 *
 *   scalar   slicing by eight: T[k][b] is byte b followed by k zero bytes; each table follows from its
 *            eight single-bit entries (BASIS_k), so the compiler builds the tables from 64 numbers.
 *   avx2     the crc32 instruction has a latency of three cycles but may start every cycle, so three
 *            equal streams run side by side; SHIFT[n] = x^(64 n - 33) mod P moves a stream's checksum
 *            past n words with one carry-less multiplication (the crc32 of the 64-bit product reduces it).
 *   avx512   with VPCLMULQDQ, four accumulators of 64 bytes are folded forward 256 bytes at a time.
 *
 * Cost at 64 KiB on Zen 5 (4.1 GHz): scalar 2.3 GB/s, avx2 32 GB/s, avx512 67 GB/s, copying or not.
 */
#include "crc32c.h"

#include <assert.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "headrace's formats and kernels are little-endian"
#endif

#define HR_INLINE static inline __attribute__((always_inline))

/* clang-format off */
#define BASIS_0 \
    0xf26b8303u, 0xe13b70f7u, 0xc79a971fu, 0x8ad958cfu, 0x105ec76fu, 0x20bd8edeu, 0x417b1dbcu, 0x82f63b78u
#define BASIS_1 \
    0x13a29877u, 0x274530eeu, 0x4e8a61dcu, 0x9d14c3b8u, 0x3fc5f181u, 0x7f8be302u, 0xff17c604u, 0xfbc3faf9u
#define BASIS_2 \
    0xa541927eu, 0x4f6f520du, 0x9edea41au, 0x38513ec5u, 0x70a27d8au, 0xe144fb14u, 0xc76580d9u, 0x8b277743u
#define BASIS_3 \
    0xdd45aab8u, 0xbf672381u, 0x7b2231f3u, 0xf64463e6u, 0xe964b13du, 0xd725148bu, 0xaba65fe7u, 0x52a0c93fu
#define BASIS_4 \
    0x38116facu, 0x7022df58u, 0xe045beb0u, 0xc5670b91u, 0x8f2261d3u, 0x1ba8b557u, 0x37516aaeu, 0x6ea2d55cu
#define BASIS_5 \
    0xef306b19u, 0xdb8ca0c3u, 0xb2f53777u, 0x6006181fu, 0xc00c303eu, 0x85f4168du, 0x0e045bebu, 0x1c08b7d6u
#define BASIS_6 \
    0x68032cc8u, 0xd0065990u, 0xa5e0c5d1u, 0x4e2dfd53u, 0x9c5bfaa6u, 0x3d5b83bdu, 0x7ab7077au, 0xf56e0ef4u
#define BASIS_7 \
    0x493c7d27u, 0x9278fa4eu, 0x211d826du, 0x423b04dau, 0x847609b4u, 0x0d006599u, 0x1a00cb32u, 0x34019664u

/* One entry from its eight basis numbers, then rows of 4, 16, 64 and 256 entries. */
#define BIT(n, bit, value) (((n) >> (bit)) & 1u ? (value) : 0u)
#define ENTRY_(n, b0, b1, b2, b3, b4, b5, b6, b7) \
    (BIT(n, 0, b0) ^ BIT(n, 1, b1) ^ BIT(n, 2, b2) ^ BIT(n, 3, b3) ^ \
     BIT(n, 4, b4) ^ BIT(n, 5, b5) ^ BIT(n, 6, b6) ^ BIT(n, 7, b7))
#define ENTRY(n, ...) ENTRY_(n, __VA_ARGS__)
#define ROW4(n, ...) \
    ENTRY(n, __VA_ARGS__), ENTRY(n + 1, __VA_ARGS__), ENTRY(n + 2, __VA_ARGS__), ENTRY(n + 3, __VA_ARGS__)
#define ROW16(n, ...) \
    ROW4(n, __VA_ARGS__), ROW4(n + 4, __VA_ARGS__), ROW4(n + 8, __VA_ARGS__), ROW4(n + 12, __VA_ARGS__)
#define ROW64(n, ...) \
    ROW16(n, __VA_ARGS__), ROW16(n + 16, __VA_ARGS__), ROW16(n + 32, __VA_ARGS__), ROW16(n + 48, __VA_ARGS__)
#define TABLE(...) \
    {ROW64(0u, __VA_ARGS__), ROW64(64u, __VA_ARGS__), ROW64(128u, __VA_ARGS__), ROW64(192u, __VA_ARGS__)}
/* clang-format on */

static const uint32_t TABLES[8][256] = {TABLE(BASIS_0), TABLE(BASIS_1), TABLE(BASIS_2), TABLE(BASIS_3),
                                        TABLE(BASIS_4), TABLE(BASIS_5), TABLE(BASIS_6), TABLE(BASIS_7)};

HR_INLINE uint64_t load64(const uint8_t *source)
{
    uint64_t word;
    memcpy(&word, source, 8);
    return word;
}

/* `crc` is the bare remainder here and below: the inversions at both ends are the callers'. `target` is
 * NULL where nothing is copied; it is a constant at each call, so the tests on it vanish. */
HR_INLINE uint32_t scalar(uint32_t crc, uint8_t *target, const uint8_t *source, size_t size)
{
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
        uint64_t word = load64(source + at);
        if (target != NULL)
            memcpy(target + at, &word, 8);
        word ^= crc;
        crc = TABLES[7][word & 255] ^ TABLES[6][(word >> 8) & 255] ^ TABLES[5][(word >> 16) & 255] ^
              TABLES[4][(word >> 24) & 255] ^ TABLES[3][(word >> 32) & 255] ^ TABLES[2][(word >> 40) & 255] ^
              TABLES[1][(word >> 48) & 255] ^ TABLES[0][word >> 56];
    }
    for (; at < size; at++) {
        if (target != NULL)
            target[at] = source[at];
        crc = TABLES[0][(crc ^ source[at]) & 255] ^ (crc >> 8);
    }
    return crc;
}

#if HR_X86
#include <immintrin.h>

#define SHIFT_WORDS_MAX 256
#define STREAM_WORDS_MAX (SHIFT_WORDS_MAX / 2) /* stream 0 is moved past two others */
#define STREAMS_SIZE_MIN 96                    /* below, one stream is as quick as three and a combination */
#define FOLD_SIZE_MIN 512                      /* below, three streams are quicker */

static const uint32_t SHIFT[SHIFT_WORDS_MAX + 1] = {
    /* clang-format off */
    0x00000000u, 0x00000001u, 0x493c7d27u, 0xf20c0dfeu, 0xba4fc28eu, 0x3da6d0cbu, 0xddc0152bu, 0x1c291d04u,
    0x9e4addf8u, 0x740eef02u, 0x39d3b296u, 0x083a6eecu, 0x0715ce53u, 0xc49f4f67u, 0x47db8317u, 0x2ad91c30u,
    0x0d3b6092u, 0x6992cea2u, 0xc96cfdc0u, 0x7e908048u, 0x878a92a7u, 0x1b3d8f29u, 0xdaece73eu, 0xf1d0f55eu,
    0xab7aff2au, 0xa87ab8a8u, 0x2162d385u, 0x8462d800u, 0x83348832u, 0x71d111a8u, 0x299847d5u, 0xffd852c6u,
    0xb9e02b86u, 0xdcb17aa4u, 0x18b33a4eu, 0xf37c5aeeu, 0xb6dd949bu, 0x6051d5a2u, 0x78d9ccb7u, 0x18b0d4ffu,
    0xbac2fd7bu, 0x21f3d99cu, 0xa60ce07bu, 0x8f158014u, 0xce7f39f4u, 0xa00457f7u, 0x61d82e56u, 0x8d6d2c43u,
    0xd270f1a2u, 0x00ac29cfu, 0xc619809du, 0xe9adf796u, 0x2b3cac5du, 0x96638b34u, 0x65863b64u, 0xe0e9f351u,
    0x1b03397fu, 0x9af01f2du, 0xebb883bdu, 0x2cff42cfu, 0xb3e32c28u, 0x88f25a3au, 0x064f7f26u, 0x4e36f0b0u,
    0xdd7e3b0cu, 0xbd6f81f8u, 0xf285651cu, 0x91c9bd4bu, 0x10746f3cu, 0x885f087bu, 0xc7a68855u, 0x4c144932u,
    0x271d9844u, 0x52148f02u, 0x8e766a0cu, 0xa3c6f37au, 0x93a5f730u, 0xd7c0557fu, 0x6cb08e5cu, 0x63ded06au,
    0x6b749fb2u, 0x4d56973cu, 0x1393e203u, 0x9669c9dfu, 0xcec3662eu, 0xe417f38au, 0x96c515bbu, 0x4b9e0f71u,
    0xe6fc4e6au, 0xd104b8fcu, 0x8227bb8au, 0x5b397730u, 0xb0cd4768u, 0xe78eb416u, 0x39c7ff35u, 0x61ff0e01u,
    0xd7a4825cu, 0x8d96551cu, 0x0ab3844bu, 0x0bf80dd2u, 0x0167d312u, 0x8821abedu, 0xf6076544u, 0x6a45d2b2u,
    0x26f6a60au, 0xd8d26619u, 0xa741c1bfu, 0xde87806cu, 0x98d8d9cbu, 0x14338754u, 0x49c3cc9cu, 0x5bd2011fu,
    0x68bce87au, 0xdd07448eu, 0x57a3d037u, 0xdde8f5b9u, 0x6956fc3bu, 0xa3e3e02cu, 0x42d98888u, 0xd73c7beau,
    0x3771e98fu, 0x80ff0093u, 0xb42ae3d9u, 0x8fe4c34du, 0x2178513au, 0xdf99fc11u, 0xe0ac139eu, 0x6c23e841u,
    0x170076fau, 0xfe314258u, 0x444dd413u, 0x0d8373a0u, 0x6f345e45u, 0x19e3635eu, 0x41d17b64u, 0x29f268b4u,
    0xff0dba97u, 0x1dc0632au, 0xa2b73df1u, 0x1614f396u, 0xf872e54cu, 0x9e2993d3u, 0x1e41e9fcu, 0x6bebd73cu,
    0x86d8e4d2u, 0x63ae91e6u, 0x651bd98bu, 0xf8c9da7au, 0x5bb8f1bcu, 0x945a19c1u, 0xa90fd27au, 0xee8213b7u,
    0xb3af077au, 0x93781dc7u, 0x4984d782u, 0xccc4a1b9u, 0xca6ef3acu, 0xa2c2d971u, 0x234e0b26u, 0x1cad4452u,
    0xdd66cbbbu, 0x74922601u, 0x4597456au, 0xc55f7eabu, 0xe9e28eb4u, 0xa1962329u, 0x7b3ff57au, 0x2d370749u,
    0xc9c8b782u, 0x397d84a1u, 0x3f70cc6fu, 0x79113270u, 0x93e106a4u, 0xbc817803u, 0x62ec6c6du, 0x88eb3c07u,
    0xd813b325u, 0x6e4cb630u, 0x0df04680u, 0x71971d5cu, 0x2342001eu, 0xf33b8bc6u, 0x0a2a8d7eu, 0x9fb3bbc0u,
    0x6d9a4957u, 0x6ef22b23u, 0xe8b6368bu, 0xce2df768u, 0xd2c3ed1au, 0xe53a4fc7u, 0x995a5724u, 0xbe60a91au,
    0x9ef68d35u, 0x1dfa0a15u, 0x0c139b31u, 0x8ec52396u, 0xf2271e60u, 0x0e766b11u, 0x0b0bf8cau, 0x475846a4u,
    0x2664fd8bu, 0xb2a3dfa6u, 0xed64812du, 0xdc1a160cu, 0x02ee03b2u, 0x79afdf1cu, 0x8604ae0fu, 0x07ac6e46u,
    0x363bd6b3u, 0x15f85253u, 0x135c83fdu, 0x1bec24ddu, 0x5fabe670u, 0x4c36cd5bu, 0x35ec3279u, 0xe0a22e29u,
    0x00bcf5f6u, 0x7c2b6ed9u, 0x8ae00689u, 0x06ff88fdu, 0x17f27698u, 0xf7317cf0u, 0x58ca5f00u, 0x61b6e40bu,
    0xaa7c7ad5u, 0xde8a97f8u, 0xb5cfca28u, 0x88f61445u, 0xded288f8u, 0xd4520e9eu, 0x59f229bcu, 0x0c592bd5u,
    0x6d390decu, 0x38edfaf3u, 0x37170390u, 0x72cbfcdbu, 0x6353c1ccu, 0x348331a5u, 0xc4584f5cu, 0xc3977c19u,
    0xf48642e9u, 0xdafaea7cu, 0x531377e2u, 0x73db4c04u, 0xdd35bc8du, 0x72675ce8u, 0xb25b29f2u, 0x3ec2ff83u,
    0x9a5ede41u, 0xe8c7a017u, 0xa563905du, 0xcf4bfaefu, 0x45cddf4eu, 0x6bde1ac7u, 0xacfa3103u, 0xae1175c2u,
    0xa51b6135u
    /* clang-format on */
};

#define HR_CRC_TARGET HR_TARGET("sse4.2,pclmul")

/* Move a remainder past `words` words of zeros. */
HR_CRC_TARGET HR_INLINE uint32_t shift(uint32_t crc, size_t words)
{
    assert(words >= 1 && words <= SHIFT_WORDS_MAX);
    const __m128i factor = _mm_cvtsi32_si128((int)SHIFT[words]);
    const __m128i product = _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)crc), factor, 0);
    return (uint32_t)_mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

HR_CRC_TARGET HR_INLINE uint32_t single(uint32_t crc, uint8_t *target, const uint8_t *source, size_t size)
{
    uint64_t wide = crc;
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
        uint64_t word = load64(source + at);
        if (target != NULL)
            memcpy(target + at, &word, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    if (size & 4) {
        uint32_t word;
        memcpy(&word, source + at, 4);
        if (target != NULL)
            memcpy(target + at, &word, 4);
        crc = _mm_crc32_u32(crc, word);
        at += 4;
    }
    if (size & 2) {
        uint16_t word;
        memcpy(&word, source + at, 2);
        if (target != NULL)
            memcpy(target + at, &word, 2);
        crc = _mm_crc32_u16(crc, word);
        at += 2;
    }
    if (size & 1) {
        if (target != NULL)
            target[at] = source[at];
        crc = _mm_crc32_u8(crc, source[at]);
    }
    return crc;
}

HR_CRC_TARGET HR_INLINE uint32_t streams(uint32_t crc, uint8_t *target, const uint8_t *source, size_t size)
{
    size_t at = 0;
    while (size - at >= STREAMS_SIZE_MIN) {
        size_t words = (size - at) / 24;
        if (words > STREAM_WORDS_MAX)
            words = STREAM_WORDS_MAX;
        const size_t bytes = words * 8;
        uint64_t a = crc, b = 0, c = 0;
        const uint8_t *from = source + at;
        for (size_t i = 0; i < bytes; i += 8) {
            const uint64_t x = load64(from + i), y = load64(from + bytes + i);
            const uint64_t z = load64(from + 2 * bytes + i);
            if (target != NULL) {
                memcpy(target + at + i, &x, 8);
                memcpy(target + at + bytes + i, &y, 8);
                memcpy(target + at + 2 * bytes + i, &z, 8);
            }
            a = _mm_crc32_u64(a, x);
            b = _mm_crc32_u64(b, y);
            c = _mm_crc32_u64(c, z);
        }
        crc = shift((uint32_t)a, 2 * words) ^ shift((uint32_t)b, words) ^ (uint32_t)c;
        at += 3 * bytes;
    }
    return single(crc, target == NULL ? NULL : target + at, source + at, size - at);
}

HR_CRC_TARGET static uint32_t crc_avx2(uint32_t crc, const uint8_t *source, size_t size)
{
    return streams(crc, NULL, source, size);
}

HR_CRC_TARGET static uint32_t copy_avx2(uint32_t crc, uint8_t *target, const uint8_t *source, size_t size)
{
    return streams(crc, target, source, size);
}

#define HR_FOLD_TARGET HR_TARGET("avx512f,avx512bw,avx512vl,avx512dq,vpclmulqdq,pclmul,sse4.2")

/* Move `sum` forward by the distance that `keys` stands for and add the bytes met there. The keys of a
 * distance of d bytes are x^(8d + 32) mod P and x^(8d - 32) mod P, reflected and shifted left by one. */
HR_FOLD_TARGET HR_INLINE __m512i fold512(__m512i sum, __m512i keys, __m512i next)
{
    return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(sum, keys, 0x00),
                                     _mm512_clmulepi64_epi128(sum, keys, 0x11), next, 0x96);
}

HR_FOLD_TARGET HR_INLINE __m128i fold128(__m128i sum, uint64_t low, uint64_t high, __m128i next)
{
    const __m128i keys = _mm_set_epi64x((long long)high, (long long)low);
    const __m128i left = _mm_clmulepi64_si128(sum, keys, 0x00), right = _mm_clmulepi64_si128(sum, keys, 0x11);
    return _mm_xor_si128(_mm_xor_si128(left, right), next);
}

HR_FOLD_TARGET HR_INLINE __m512i take512(uint8_t *target, const uint8_t *source)
{
    const __m512i bytes = _mm512_loadu_si512(source);
    if (target != NULL)
        _mm512_storeu_si512(target, bytes);
    return bytes;
}

/* The remainder of a sum of 64 bytes: four quarters folded onto the last, then two crc32 steps. */
HR_FOLD_TARGET HR_INLINE uint32_t reduce512(__m512i sum)
{
    __m128i rest = _mm512_extracti32x4_epi32(sum, 3);
    rest = fold128(_mm512_extracti32x4_epi32(sum, 2), 0xf20c0dfeu, 0x14cd00bd6u, rest);
    rest = fold128(_mm512_extracti32x4_epi32(sum, 1), 0x1384aa63au, 0xba4fc28eu, rest);
    rest = fold128(_mm512_castsi512_si128(sum), 0x1c291d04u, 0x1d82c63dau, rest);
    const uint64_t crc = _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(rest));
    return (uint32_t)_mm_crc32_u64(crc, (uint64_t)_mm_extract_epi64(rest, 1));
}

HR_FOLD_TARGET HR_INLINE uint32_t fold(uint32_t crc, uint8_t *target, const uint8_t *source, size_t size)
{
    size_t at = 256;
    assert(size >= 256);
#define TARGET_AT(offset) (target == NULL ? NULL : target + (offset))
    __m512i a = take512(TARGET_AT(0), source), b = take512(TARGET_AT(64), source + 64);
    __m512i c = take512(TARGET_AT(128), source + 128), d = take512(TARGET_AT(192), source + 192);
    a = _mm512_xor_si512(a, _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)crc)));
    const __m512i far = _mm512_broadcast_i32x4(_mm_set_epi64x(0xb9e02b86, 0xdcb17aa4));
    for (; at + 256 <= size; at += 256) {
        a = fold512(a, far, take512(TARGET_AT(at), source + at));
        b = fold512(b, far, take512(TARGET_AT(at + 64), source + at + 64));
        c = fold512(c, far, take512(TARGET_AT(at + 128), source + at + 128));
        d = fold512(d, far, take512(TARGET_AT(at + 192), source + at + 192));
    }
    const __m512i near = _mm512_broadcast_i32x4(_mm_set_epi64x(0x9e4addf8, 0x740eef02));
    b = fold512(a, near, b);
    c = fold512(b, near, c);
    d = fold512(c, near, d);
    for (; at + 64 <= size; at += 64)
        d = fold512(d, near, take512(TARGET_AT(at), source + at));
    return single(reduce512(d), TARGET_AT(at), source + at, size - at);
#undef TARGET_AT
}

HR_FOLD_TARGET static uint32_t crc_avx512(uint32_t crc, const uint8_t *source, size_t size)
{
    return fold(crc, NULL, source, size);
}

HR_FOLD_TARGET static uint32_t copy_avx512(uint32_t crc, uint8_t *target, const uint8_t *source, size_t size)
{
    return fold(crc, target, source, size);
}

/* AVX-512 as simd.h means it does not imply VPCLMULQDQ (first AVX-512 servers lack it). */
HR_INLINE int can_fold(size_t size, hr_simd simd)
{
    return size >= FOLD_SIZE_MIN && simd >= HR_SIMD_AVX512 && __builtin_cpu_supports("vpclmulqdq");
}
#endif

uint32_t hr_crc32c(uint32_t seed, const void *data, size_t size, hr_simd simd)
{
    assert(data != NULL || size == 0);
#if HR_X86
    if (can_fold(size, simd))
        return ~crc_avx512(~seed, data, size);
    if (simd >= HR_SIMD_AVX2)
        return ~crc_avx2(~seed, data, size);
#endif
    return ~scalar(~seed, NULL, data, size);
}

uint32_t hr_crc32c_copy(uint32_t seed, void *target, const void *source, size_t size, hr_simd simd)
{
    assert((target != NULL && source != NULL) || size == 0);
    if (size == 0)
        return seed;
#if HR_X86
    if (can_fold(size, simd))
        return ~copy_avx512(~seed, target, source, size);
    if (simd >= HR_SIMD_AVX2)
        return ~copy_avx2(~seed, target, source, size);
#endif
    return ~scalar(~seed, target, source, size);
}
