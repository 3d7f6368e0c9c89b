# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""CRC-32C for other native modules, at the level this process detected."""

from libc.stdint cimport uint32_t


cdef uint32_t checksum(uint32_t seed, const void *data, size_t size) noexcept nogil
cdef uint32_t checksum_copy(uint32_t seed, void *target, const void *source, size_t size) noexcept nogil
