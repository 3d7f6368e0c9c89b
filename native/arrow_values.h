/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * arrow_values.h: where the values of an Arrow array of binary or text lie, checked and not copied.
 *
 * The array comes from another library in this process. Everything that can be checked is; what the
 * interface does not say must be believed: that a buffer of offsets has length + offset + 1 of them, and
 * that the data of the layouts with offsets reaches to the last offset.
 */
#ifndef HR_ARROW_VALUES_H
#define HR_ARROW_VALUES_H

#include <stddef.h>
#include <stdint.h>

#include "arrow_abi.h"

typedef enum hr_arrow_layout {
    HR_ARROW_OTHER = 0, /* neither binary nor text */
    HR_ARROW_SHORT,     /* z, u: 32-bit offsets */
    HR_ARROW_LONG,      /* Z, U: 64-bit offsets */
    HR_ARROW_VIEW,      /* vz, vu: views */
    HR_ARROW_FIXED,     /* w:N */
} hr_arrow_layout;

typedef enum hr_arrow_fault {
    HR_ARROW_FINE = 0,
    HR_ARROW_BAD_COUNT,  /* a length, offset or number of buffers that no such array has */
    HR_ARROW_NO_BUFFER,  /* a buffer that must exist does not */
    HR_ARROW_BAD_OFFSET, /* offsets are negative or fall */
    HR_ARROW_BAD_VIEW,   /* a view has a negative size, or points outside its buffer */
} hr_arrow_fault;

/* The layout that a format string names; *width is set for HR_ARROW_FIXED. */
hr_arrow_layout hr_arrow_layout_of(const char *format, int64_t *width);

/* Write where each value lies: data[i], size[i] for i below array->length, both at `stride` bytes from one
 * to the next. A null value has data NULL; an empty one has not. A size beyond 32 bits becomes UINT32_MAX.
 * At a fault *position is the value where it was seen. */
hr_arrow_fault hr_arrow_values(const ArrowArray *array, hr_arrow_layout layout, int64_t width,
                               const uint8_t **data, uint32_t *size, size_t stride, int64_t *position);

#endif
