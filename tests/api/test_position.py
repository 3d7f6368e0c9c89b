# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Positions: they name a record, survive pickling, and start a read."""

from __future__ import annotations

import pickle


def test_a_position_names_the_record(store):
    stream = store.stream("s", shards=2)
    position = stream.put(b"a", hash_key=2**128 - 1)
    assert (position.shard, position.ordinal, position.shard_id) == (1, 0, "shardId-000000000001")
    stream.put(b"b", hash_key=2**128 - 1)
    assert stream.read(position).data == [b"a", b"b"]
    assert stream.read(position.sequence_number, shard=1).data == [b"a", b"b"]
    assert pickle.loads(pickle.dumps(position)) == position
