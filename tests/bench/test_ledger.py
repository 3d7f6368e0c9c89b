# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: the ledger finds what was lost, doubled, changed, reordered, and nothing else. Method: a plain model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bench._load import Ledger, Plan, ShardOrder, corpus
from headrace.bench.report import failures_of

SIZE, RECORDS, TEMPLATES = 100, 5, 3


def plan() -> Plan:
    return Plan(corpus(1, 0, TEMPLATES * RECORDS, SIZE), SIZE, RECORDS)


def sent(count: int) -> tuple[Ledger, list[bytes]]:
    """A ledger in which `count` requests were sent and acknowledged, and the records as they were sent."""
    ledger = Ledger(plan(), 100)
    records = []
    for number in range(count):
        request, first = ledger.begin(number % TEMPLATES, producer=0)
        ledger.plan.stamp(number % TEMPLATES, first)
        records += [row.tobytes() for row in ledger.plan.payloads(number % TEMPLATES)]
        ledger.done(request)
    return ledger, records


def see(ledger: Ledger, records: list[bytes], order: ShardOrder | None = None) -> None:
    lengths = np.array([len(record) for record in records], dtype=np.uint32)
    offsets = (
        np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64) if records else np.zeros(0, np.int64)
    )
    ledger.see(b"".join(records), offsets, lengths, order or ShardOrder())


def test_what_comes_back_as_it_was_sent_is_right() -> None:
    ledger, records = sent(7)
    see(ledger, records)
    tally = ledger.tally()
    assert failures_of(tally) == []
    assert tally["acknowledged"] == tally["read"] == 35


@given(st.integers(1, 6), st.data())
def test_the_counts_equal_those_of_a_plain_model(count: int, data: st.DataObject) -> None:
    ledger, records = sent(count)
    arrived = data.draw(st.lists(st.integers(0, len(records) - 1), max_size=40))
    spoiled = data.draw(st.sets(st.integers(0, 39), max_size=4))
    see(ledger, [records[i][:-3] + b"!!}" if at in spoiled else records[i] for at, i in enumerate(arrived)])
    seen: set[int] = set()
    doubled = reordered = 0
    last = -1
    for at, i in enumerate(arrived):
        if at in spoiled:
            continue
        if i in seen:
            doubled += 1
        elif i < last:
            reordered += 1
        seen.add(i)
        last = max(last, i)
    tally = ledger.tally()
    assert tally["changed"] == len([at for at in spoiled if at < len(arrived)])
    assert (tally["doubled"], tally["reordered"]) == (doubled, reordered)
    assert tally["lost"] == len(records) - len(seen)
    assert tally["first_lost"] == min(set(range(len(records))) - seen, default=None)


def test_each_kind_of_damage_is_named() -> None:
    ledger, records = sent(2)
    other = records[0].replace(b"1000000000", b"1000009999", 1)  # a number that was never sent
    see(ledger, [records[1], records[0], *records[2:9], records[8], records[9][:-1], other])
    found = " | ".join(failures_of(ledger.tally()))
    for word in (
        "1 records acknowledged and not there",
        "(the first is number 9)",
        "twice",
        "2 records not the bytes",
    ):
        assert word in found
    assert "1 records out of order" in found


def test_producers_may_overtake_each_other_but_not_themselves() -> None:
    ledger = Ledger(plan(), 10)
    batches = []
    for producer in (0, 1, 0):
        request, first = ledger.begin(producer, producer)
        ledger.plan.stamp(producer, first)
        batches.append([row.tobytes() for row in ledger.plan.payloads(producer)])
        ledger.done(request)
    see(ledger, batches[1] + batches[0] + batches[2], ShardOrder(2))
    assert failures_of(ledger.tally()) == []
    ledger.forget_reading()
    see(ledger, batches[1] + batches[2] + batches[0], ShardOrder(2))
    assert ledger.tally()["reordered"] == 5


def test_a_request_without_an_answer_may_be_there_or_not() -> None:
    ledger = Ledger(plan(), 10)
    _, first = ledger.begin(0)
    ledger.plan.stamp(0, first)
    see(ledger, [row.tobytes() for row in ledger.plan.payloads(0)][:2])
    tally = ledger.tally()
    assert failures_of(tally) == []
    assert (tally["unknown"], tally["unknown_seen"], tally["lost"]) == (5, 2, 0)


def test_what_does_not_fit_is_refused() -> None:
    ledger, records = sent(1)
    with pytest.raises(ValueError, match="outside"):
        ledger.see(records[0], np.array([1]), np.array([100], dtype=np.uint32), ShardOrder())
    with pytest.raises(ValueError, match="lengths"):
        ledger.see(records[0], np.array([0, 0]), np.array([100], dtype=np.uint32), ShardOrder())
    with pytest.raises(IndexError):
        ledger.begin(TEMPLATES)
    with pytest.raises(IndexError):
        ledger.done(1)
    full = Ledger(plan(), 1)
    full.begin(0)
    with pytest.raises(ValueError, match="holds 1 requests"):
        full.begin(0)
    with pytest.raises(ValueError, match="at most"):
        Ledger(plan(), 10, base=900_000_000_000)


def test_a_plan_whose_offsets_point_outside_is_refused() -> None:
    raw = corpus(1, 0, 2, SIZE)
    request = b"x" * 200
    with pytest.raises(ValueError, match="whole requests"):
        Plan(raw[:-1], SIZE, 2)
    for starts, texts, match in (
        ([0, 200], [0], "as many"),
        ([0, 199], [0, 10], "divide"),
        ([0, 200], [0, 65], "outside"),
    ):
        with pytest.raises(ValueError, match=match):
            Plan(raw, SIZE, 2, request, np.array(starts, dtype=np.uint64), np.array(texts, dtype=np.uint32))
    with pytest.raises(IndexError):
        plan().stamp(TEMPLATES, 0)
    with pytest.raises(IndexError):
        plan().payloads(TEMPLATES)
