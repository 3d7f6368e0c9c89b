# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The shards' states against a dictionary: what was set is got, dumped, loaded and copied alike."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core._states import ShardStates

steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("set"),
            st.integers(0, 40),
            st.integers(0, 1 << 60),
            st.integers(-5, 1 << 50),
            st.integers(0, 3),
        ),
        st.tuples(st.just("advance"), st.integers(0, 1 << 33)),
        st.tuples(st.just("start"), st.integers(0, 1 << 40)),
        st.tuples(st.just("copy")),
        st.tuples(st.just("dump")),
    ),
    max_size=20,
)


@given(steps)
def test_states_are_a_dictionary(steps):
    states, model, start = ShardStates(), {}, 0
    for what, *values in steps:
        if what == "set":
            shard, *state = values
            states.set(shard, *state)
            model[shard] = tuple(state)
        elif what == "advance":
            states.advance(*values)
            model = {
                shard: (index + values[0], arrival, flags) for shard, (index, arrival, flags) in model.items()
            }
        elif what == "start":
            (start,) = values
            states.start_at(start)
        elif what == "copy":
            copy = states.copy()
            states.set(0, 99, 99, 0)  # the copy is its own
            states = copy
        else:
            data = states.dump() + b"what follows"
            states = ShardStates()
            assert states.load(data) == len(data) - 12
            start = 0  # not part of a snapshot
        assert states.shards() == sorted(model)
        for shard in range(45):
            assert states.get(shard) == model.get(shard, (start, 0, 0))
    rows = [
        struct.pack("<IIQq", n, flags, index, arrival) for n, (index, arrival, flags) in sorted(model.items())
    ]
    assert states.dump() == struct.pack("<I", len(rows)) + b"".join(rows)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_snapshot_or_refused(data):
    states = ShardStates()
    try:
        used = states.load(data[:2] + b"\0\0" + data[4:] if len(data) > 4 else data)
    except ValueError as problem:
        assert "cut short" in str(problem) or "shard number" in str(problem)
    else:
        assert used <= len(data)


def test_numbers_that_no_shard_has_are_refused():
    with pytest.raises(ValueError, match="above"):
        ShardStates().set(1 << 31, 0, 0, 0)
    assert ShardStates().get(-1) == (0, 0, 0)
