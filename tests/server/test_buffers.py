# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The pool lends blocks that are large enough, keeps a bounded number, and never lends one that is looked at."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.server._buffers import SMALL_SIZE, Buffer, BufferPool

MIB = 1 << 20


@given(st.integers(1, 17 * MIB))
def test_a_lent_buffer_holds_the_size_and_wastes_at_most_a_quarter(size):
    pool = BufferPool(64 * MIB, 64 * MIB)
    buffer = pool.lend(size)
    assert size <= buffer.capacity <= max(SMALL_SIZE, size * 1.25 + SMALL_SIZE // 4)
    assert pool.lent_bytes == buffer.capacity and pool.lent_count == 1
    assert pool.lent_large_bytes == (buffer.capacity if buffer.capacity > SMALL_SIZE else 0)
    pool.give_back(buffer)
    assert pool.lent_bytes == pool.lent_large_bytes == pool.lent_count == 0
    assert pool.retained_bytes == buffer.capacity
    assert pool.lend(size) is buffer


def test_what_goes_beyond_the_bound_is_let_go():
    pool = BufferPool(64 * MIB, 2 * MIB)
    buffers = [pool.lend(MIB) for _ in range(5)]
    for buffer in buffers:
        pool.give_back(buffer)
    assert pool.retained_bytes == 2 * MIB and pool.lent_bytes == 0


def test_an_exported_buffer_is_never_lent_again():
    pool = BufferPool(MIB, MIB)
    buffer = pool.lend(10)
    view = memoryview(buffer)
    pool.give_back(buffer)
    assert pool.retained_bytes == 0 and pool.lend(10) is not buffer
    view.release()


def test_trimming_returns_what_one_period_did_not_need():
    pool = BufferPool(64 * MIB, 64 * MIB)
    buffers = [pool.lend(MIB) for _ in range(3)] + [pool.lend(1), pool.lend(1)]
    for buffer in buffers:
        pool.give_back(buffer)
    pool.trim()  # the period in which they were used
    assert pool.retained_bytes == 3 * MIB + 2 * SMALL_SIZE
    pool.give_back(pool.lend(MIB))
    pool.trim()
    assert pool.retained_bytes == MIB + SMALL_SIZE
    pool.trim()
    assert pool.retained_bytes == SMALL_SIZE
    pool.trim()
    assert pool.retained_bytes == SMALL_SIZE


@pytest.mark.parametrize("size", [0, -1, 1 << 40])
def test_sizes_that_make_no_sense_are_refused(size):
    with pytest.raises(ValueError, match="a receive buffer of"):
        Buffer(size)
    if size > 0:
        with pytest.raises(ValueError, match="no receive buffer holds"):
            BufferPool(MIB, MIB).lend(size)
