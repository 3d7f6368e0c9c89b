# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: rows carry the keys under which they go on, and error rows the reason and place of what was wrong."""

from __future__ import annotations

import pytest
from analytics_support import rows_of

from headrace import limits
from headrace.analytics import planner
from headrace.analytics.engine import Engine
from headrace.analytics.text import parse
from headrace.core._batch import RecordBatch
from headrace.errors import LimitExceeded

TABLE = "CREATE TABLE t (ms BIGINT, at AS TO_TIMESTAMP_LTZ(ms, 3), k VARCHAR, g DOUBLE, x BIGINT);"
EACH_SECOND = (
    "FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(at), INTERVAL '1' SECOND)) GROUP BY window_start, window_end"
)


def engine_of(text: str, **options: bool) -> Engine:
    return Engine(planner.plan(planner.outline(parse(TABLE + text))), **options)


def test_rows_go_on_under_the_keys_of_their_records_and_one_without_a_key_under_its_place():
    engine = engine_of("SELECT x FROM t WHERE x > 1")
    data = [b'{"x":%d}' % x for x in (1, 2, 3)]
    result = engine.take(RecordBatch.of(data, keys=["a", "b", ""], shard=7, first_ordinal=40))
    assert result is not None
    assert (rows_of(result.columns), result.partition_keys()) == ([(2,), (3,)], ["b", "7-42"])


def test_groups_go_on_under_their_keys():
    engine = engine_of(f"SELECT k, COUNT(*) AS n {EACH_SECOND}, k, g, at", patient=True)
    rows = [b'{"ms":5,"k":"a","g":1.5}', b'{"ms":5,"k":"%s"}' % (b"x" * 300), b'{"ms":5,"g":-0.0}']
    engine.take(RecordBatch.of(rows))
    result = engine.close(everything=True)
    assert result is not None
    keys = result.partition_keys()
    assert keys[0] == "null,0.0,1970-01-01 00:00:00.005"
    assert keys[1] == "a,1.5,1970-01-01 00:00:00.005"
    assert keys[2] == "x" * 256
    alone = engine_of(f"SELECT COUNT(*) AS n {EACH_SECOND}", patient=True)
    alone.take(RecordBatch.of([b'{"ms":1500}']))
    result = alone.close(everything=True)
    assert result is not None
    assert result.partition_keys() == ["1970-01-01 00:00:01.000"]


def test_a_row_with_several_faults_is_one_error_row_with_the_first():
    engine = engine_of(f"SELECT SUM(x + 1) AS s {EACH_SECOND}, k", patient=True)
    engine.take(
        RecordBatch.of([b'{"ms":"a","k":5,"x":1.5}', b'{"ms":1,"x":9223372036854775807}', b"{}", b"["])
    )
    assert dict(engine.rejects.reasons) == {
        "the record is not a JSON object": 1, "the value is not TIMESTAMP": 1, "the time is NULL": 1, "a BIGINT overflowed": 1,
    }  # fmt: skip


def test_memory_is_bounded_by_groups_and_by_texts(monkeypatch):
    monkeypatch.setattr(limits, "sql_groups_max", 10)
    engine = engine_of(f"SELECT COUNT(*) AS n {EACH_SECOND}, k", patient=True)
    with pytest.raises(LimitExceeded, match="more than 10 open groups"):
        engine.take(RecordBatch.of([b'{"ms":1,"k":"%d"}' % n for n in range(11)]))
    monkeypatch.setattr(limits, "sql_texts_size_max", 1000)
    for text in (f"SELECT COUNT(*) AS n {EACH_SECOND}, k", f"SELECT MAX(k) AS m {EACH_SECOND}"):
        engine = engine_of(text, patient=True)
        with pytest.raises(LimitExceeded, match="bytes of text"):
            engine.take(RecordBatch.of([b'{"ms":1,"k":"%s"}' % (b"x" * 1001)]))
    engine = engine_of(f"SELECT MAX(k) AS m {EACH_SECOND}", patient=True)
    for n in range(20):  # what is closed does not count
        engine.take(RecordBatch.of([b'{"ms":%d,"k":"%s"}' % (n * 1000, b"x" * 400)]))
        assert engine.close(everything=True) is not None


def test_many_windows_with_keys_of_their_own_take_memory_for_their_groups_only():
    """4,000 windows and as many keys: an array of all keys in each window would be 64 MB."""
    import tracemalloc

    engine = engine_of(f"SELECT COUNT(*) AS n {EACH_SECOND}, k", patient=True)
    tracemalloc.start()
    for start in range(0, 4000, 1000):
        engine.take(
            RecordBatch.of([b'{"ms":%d,"k":"%d"}' % (n * 1000, n) for n in range(start, start + 1000)])
        )
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert engine.windows is not None
    assert (len(engine.windows), size < 16_000_000) == (4000, True)
