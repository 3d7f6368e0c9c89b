# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Parts of entries: those of one lane, a slice, a choice, without what a lane already holds."""

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy

import numpy as np

from headrace.core._entries cimport Entries, hr_entry


def lane_entries(Entries entries, uint32_t ordinal):
    """How many of routed entries belong to a lane."""
    if ordinal >= entries.lane_count:
        raise ValueError(f"lane {ordinal} of entries that were routed to {entries.lane_count} lanes")
    return entries.lane_start[ordinal + 1] - entries.lane_start[ordinal]


def without_first(Entries entries, uint32_t ordinal, Py_ssize_t skip):
    """Routed entries that are those of one lane without the first `skip` of them in the order of the request.

    The bytes belong to `entries`, which must outlive the result. Indexes are set in the result only.
    """
    cdef Py_ssize_t start = entries.lane_start[ordinal]
    cdef Py_ssize_t total = lane_entries(entries, ordinal)
    cdef Entries rest = Entries()
    cdef Py_ssize_t i
    cdef Py_ssize_t at = 0
    threshold = sorted([entries.order[start + i] for i in range(total)])[skip] if skip < total else entries.count
    rest.reserve(max(total - skip, 1))
    rest.count = max(total - skip, 0)
    rest.order_reserve(entries.lane_count)
    for i in range(total):
        if entries.order[start + i] >= threshold:
            rest.entry[at] = entries.entry[entries.order[start + i]]
            rest.order[at] = <uint32_t>at
            at += 1
    rest.lane_count = entries.lane_count
    for i in range(entries.lane_count + 1):
        rest.lane_start[i] = <uint32_t>at if i > <Py_ssize_t>ordinal else 0
    rest.owners.append(entries)
    return rest


def entries_slice(Entries entries, Py_ssize_t start, Py_ssize_t stop):
    """The entries from `start` to `stop` as entries of their own, not routed; the bytes are shared.

    Cost: 64 bytes copied an entry.
    """
    cdef Entries part = Entries()
    if not 0 <= start <= stop <= entries.count:
        raise ValueError(f"slice {start} … {stop} of {entries.count} entries")
    part.reserve(max(stop - start, 1))
    memcpy(part.entry, entries.entry + start, (stop - start) * sizeof(hr_entry))
    part.count = stop - start
    part.owners.append(entries)
    return part


def entries_at(Entries entries, uint32_t[::1] positions):
    """The entries at some positions as entries of their own, not routed; the bytes are shared.

    Cost: 64 bytes copied an entry.
    """
    cdef Entries part = Entries()
    cdef Py_ssize_t i
    cdef Py_ssize_t count = positions.shape[0]
    part.reserve(max(count, 1))
    for i in range(count):
        if positions[i] >= entries.count:
            raise ValueError(f"entry {positions[i]} of {entries.count}")
        part.entry[i] = entries.entry[positions[i]]
    part.count = count
    part.owners.append(entries)
    return part


def entry_sizes(Entries entries):
    """Bytes of data and key of each entry, int64."""
    cdef Py_ssize_t i
    sizes = np.empty(entries.count, np.int64)
    cdef int64_t[::1] view = sizes
    for i in range(entries.count):
        view[i] = <int64_t>entries.entry[i].data_size + entries.entry[i].key_size
    return sizes
