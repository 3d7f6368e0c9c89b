# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: the keeper starts what is to run, again after a pause if it fails, and stops what was stopped or deleted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import headrace
from headrace.analytics import applications
from headrace.analytics.keeper import SqlKeeper
from headrace.analytics.query import Query


@pytest.fixture
def store(tmp_path: Path) -> Iterator[headrace.Store]:
    with headrace.open(tmp_path / "store") as opened:
        opened.stream("s").put(b'{"a":1}')
        opened.stream("t")
        yield opened


def register(store: headrace.Store, name: str, text: str = "SELECT a FROM s") -> applications.Application:
    wanted = {
        "name": name,
        "text": text,
        "dialect": "flink",
        "source": "s",
        "target": "t",
        "start": "earliest",
        "idle_micros": None,
    }
    return applications.register(store.inner.log.catalogue, wanted, None, 0)


def test_what_is_to_run_runs_and_what_is_stopped_or_deleted_stops(store):
    keeper, catalogue = SqlKeeper(store.inner), store.inner.log.catalogue
    first, _ = register(store, "one"), register(store, "two")
    keeper._look()
    assert sorted(keeper.queries) == ["one", "two"]
    first.run = False
    applications.save(catalogue, first)
    applications.delete(catalogue, "two")
    keeper._look()
    assert keeper.queries == {}


def test_another_query_of_the_same_name_takes_the_place_of_one_that_was_deleted(store):
    keeper, catalogue = SqlKeeper(store.inner), store.inner.log.catalogue
    register(store, "one")
    keeper._look()
    before = keeper.queries["one"]
    keeper._look()
    assert keeper.queries["one"] is before
    applications.delete(catalogue, "one")
    register(store, "one", "SELECT a AS b FROM s")
    keeper._look()
    assert not before.running
    assert keeper.queries["one"].text == "SELECT a AS b FROM s" and keeper.queries["one"].running


@pytest.fixture
def held(monkeypatch) -> threading.Event:
    """Queries stop just before they look at their entry in the catalogue, until this is set."""
    go, inner = threading.Event(), Query._register

    def wait_first(query: Query, name: str, stream: object) -> applications.Application:
        assert go.wait(30)
        return inner(query, name, stream)

    monkeypatch.setattr(Query, "_register", wait_first)
    return go


def test_a_query_that_is_deleted_while_it_starts_does_not_come_back(store, held):
    keeper, catalogue = SqlKeeper(store.inner), store.inner.log.catalogue
    register(store, "one")
    keeper._look()
    applications.delete(catalogue, "one")
    held.set()
    keeper._look()
    assert keeper.queries == {}
    assert applications.find(catalogue, "one") is None


def test_a_query_that_is_stopped_while_it_starts_is_not_marked_to_run(store, held):
    catalogue = store.inner.log.catalogue
    query = store.sql("SELECT a FROM s", name="new").into(store.stream("t")).start()
    stopping = threading.Thread(target=query.stop)
    stopping.start()
    while not query._stopping.is_set():
        time.sleep(0.001)
    held.set()
    stopping.join(30)
    assert not stopping.is_alive()
    assert applications.load(catalogue, "new").run is False


def test_a_query_that_fails_is_started_again_after_a_pause_that_doubles(store, monkeypatch):
    keeper = SqlKeeper(store.inner)
    register(store, "bad", "SELECT a FROM s WHERE a > 'x'")
    now = [100.0]
    monkeypatch.setattr(type(store.inner.clock), "monotonic_ns", lambda self: int(now[0] * 1e9))
    pauses = []
    for _ in range(9):
        keeper._look()
        not_before, pause = keeper._pauses["bad"]
        pauses.append(pause)
        keeper._look()  # not yet
        assert keeper._pauses["bad"] == (not_before, pause)
        now[0] = not_before
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert keeper.queries == {}
