/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * arrow_abi.h: the structs of the Arrow C data and C stream interfaces. Layout only, no code.
 *
 * The layout is fixed by the Apache Arrow specification and never changes. Whoever takes a struct over
 * copies it and sets the source's `release` to NULL; whoever holds it calls `release` once. A child may
 * be taken away from its parent in the same way: its `release` is then NULL, and the parent's callback
 * passes it by.
 */
#ifndef HR_ARROW_ABI_H
#define HR_ARROW_ABI_H

#include <stdint.h>

#define HR_ARROW_NULLABLE 2

typedef struct ArrowSchema {
    const char *format;
    const char *name;
    const char *metadata;
    int64_t flags;
    int64_t n_children;
    struct ArrowSchema **children;
    struct ArrowSchema *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
} ArrowSchema;

typedef struct ArrowArray {
    int64_t length;
    int64_t null_count;
    int64_t offset;
    int64_t n_buffers;
    int64_t n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
} ArrowArray;

typedef struct ArrowArrayStream {
    int (*get_schema)(struct ArrowArrayStream *, ArrowSchema *out);
    int (*get_next)(struct ArrowArrayStream *, ArrowArray *out); /* the end: out->release is NULL */
    const char *(*get_last_error)(struct ArrowArrayStream *);
    void (*release)(struct ArrowArrayStream *);
    void *private_data;
} ArrowArrayStream;

/* A value of the utf8_view and binary_view layouts: short ones lie within, longer ones elsewhere. */
#define HR_ARROW_VIEW_INLINE 12
typedef struct hr_arrow_view {
    int32_t size;
    union {
        uint8_t inlined[HR_ARROW_VIEW_INLINE];
        struct {
            uint8_t prefix[4];
            int32_t buffer;
            int32_t offset;
        } away;
    } at;
} hr_arrow_view;

_Static_assert(sizeof(hr_arrow_view) == 16, "the specification says 16 bytes");
_Static_assert(sizeof(void *) != 8 || (sizeof(ArrowSchema) == 72 && sizeof(ArrowArray) == 80), "no padding");

#endif
