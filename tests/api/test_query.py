# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""SQL from the library: over streams of a store, batches, and rows, into whatever the caller works with."""

from __future__ import annotations

import pyarrow as pa
import pytest

import headrace

COUNT = "SELECT host, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE {}, DESCRIPTOR(ts), INTERVAL '1' HOUR)) GROUP BY host, window_start, window_end"  # noqa: E501


@pytest.fixture
def metrics(store):
    stream = store.stream("metrics", shards=2)
    stream.put_many([{"host": f"h{i % 3}", "cpu": i, "ts": 1_700_000_000 + i} for i in range(30)])
    return stream


def rows(table) -> list[tuple[str, int]]:
    return sorted(zip(table["host"].to_pylist(), table["n"].to_pylist(), strict=True))


def test_a_store_a_stream_a_batch_and_rows_give_the_same(store, metrics):
    want = [("h0", 10), ("h1", 10), ("h2", 10)]
    text = COUNT.format("metrics")
    assert rows(store.sql(text, until="latest").to_arrow()) == want
    assert rows(headrace.sql(text, metrics=metrics).to_arrow()) == want
    assert rows(headrace.sql(text, metrics=metrics.read()).to_arrow()) == want
    dicts = [{"host": f"h{i % 3}", "ts": 1_700_000_000 + i} for i in range(30)]
    assert rows(pa.table(headrace.sql(text, metrics=dicts))) == want


def test_a_mistake_shows_its_place_and_a_table_that_is_not_there_its_neighbour(store, metrics):
    with pytest.raises(headrace.SQLError) as caught:
        store.sql("SELECT host,\n  FROM metrics", until="latest").to_arrow()
    assert caught.value.line > 0
    with pytest.raises(headrace.Error, match="metrics"):
        store.sql("SELECT host FROM metrisc", until="latest").to_arrow()
