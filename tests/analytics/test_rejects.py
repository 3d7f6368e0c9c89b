# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: every row that is in no result is counted, the latest are shown, and a long one does not cost its length."""

from __future__ import annotations

import numpy as np

from headrace import limits
from headrace.analytics.rejects import Rejects
from headrace.core._batch import RecordBatch


def test_all_are_counted_and_the_latest_are_kept(monkeypatch):
    monkeypatch.setattr(limits, "sql_errors_kept_max", 3)
    rejects = Rejects()
    batch = RecordBatch.of([b"%d" % n for n in range(10)], shard=4, first_ordinal=100)
    rejects.add_errors(batch, np.arange(5), "bad", "c")
    rejects.add_group("sum", "window w")
    rejects.add_late(batch, np.array([7, 8]), np.array([1, 2]), np.array([3, 4]))
    assert (rejects.errors, rejects.late) == (6, 2)
    errors = rejects.error_columns()
    assert errors["index"].tolist() == [103, 104, -1]
    assert errors["row"].tolist() == ["3", "4", "window w"]
    late = rejects.late_columns()
    assert (late["shard"].tolist(), late["window_end"].view("int64").tolist()) == ([4, 4], [3, 4])
    other = Rejects()
    other.load(rejects.save())
    assert (other.errors, other.late, other.gaps, other.error_columns().rows) == (6, 2, 0, 0)


def test_of_a_long_record_its_beginning_is_kept():
    rejects = Rejects()
    rejects.add_errors(RecordBatch.of([b"\xff" + b"x" * 100_000]), np.array([0]), "bad", "")
    assert len(rejects.error_columns()["row"][0]) == 256
