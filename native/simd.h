/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * simd.h: which instruction sets a kernel may use, found once and passed in by the caller.
 *
 * Every kernel with a SIMD path takes an `hr_simd` as its last argument and has a plain C path beside
 * it that gives the same bytes. The level is passed, not stored: kernels have no globals, and a test
 * forces each level by passing it. A Cython module asks `hr_simd_detect` once, when it is imported;
 * the environment variable HEADRACE_SIMD (scalar, avx2, avx512) lowers what it finds.
 */
#ifndef HR_SIMD_H
#define HR_SIMD_H

#include <stdlib.h>
#include <string.h>

typedef enum hr_simd { HR_SIMD_SCALAR = 0, HR_SIMD_AVX2 = 1, HR_SIMD_AVX512 = 2 } hr_simd;

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define HR_X86 1
#define HR_TARGET(features) __attribute__((target(features)))
#else
#define HR_X86 0
#define HR_TARGET(features)
#endif

/* What this processor offers. AVX2 implies BMI2, SSE4.2 and PCLMUL here; AVX512 implies F, BW, VL, DQ. */
static inline hr_simd hr_simd_processor(void)
{
#if HR_X86
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2") ||
        !__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("pclmul"))
        return HR_SIMD_SCALAR;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return HR_SIMD_AVX512;
    return HR_SIMD_AVX2;
#else
    return HR_SIMD_SCALAR;
#endif
}

/* The processor's level, lowered by HEADRACE_SIMD if that is set. An unknown word changes nothing. */
static inline hr_simd hr_simd_detect(void)
{
    hr_simd found = hr_simd_processor();
    const char *wish = getenv("HEADRACE_SIMD");
    if (wish == NULL)
        return found;
    if (strcmp(wish, "scalar") == 0)
        return HR_SIMD_SCALAR;
    if (strcmp(wish, "avx2") == 0 && found > HR_SIMD_AVX2)
        return HR_SIMD_AVX2;
    return found;
}

#endif
