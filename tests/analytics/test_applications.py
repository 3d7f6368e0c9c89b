# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a name stands for one query; damage in the catalogue is named; what was deleted is another one when it comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.analytics import applications
from headrace.analytics.discovery import discover
from headrace.core._batch import RecordBatch
from headrace.errors import Corrupt, InvalidArgument, NotFound, ResourceInUse
from headrace.log import Catalogue, Log

WANTED: dict[str, Any] = {
    "name": "q", "text": "SELECT a FROM s", "dialect": "flink", "source": "s", "target": "t", "start": "earliest",
    "idle_micros": None,
}  # fmt: skip


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    log = Log.open(tmp_path / "s")
    yield log.catalogue
    log.close()


def test_a_name_stands_for_one_query(catalogue):
    first = applications.register(catalogue, WANTED, None, 5)
    first.run = False
    applications.save(catalogue, first)
    again = applications.register(catalogue, WANTED, None, 9)
    assert (again.id, again.created_ms, again.run) == (first.id, 5, True)
    for member in ("text", "dialect", "source", "target"):
        with pytest.raises(ResourceInUse, match=member):
            applications.register(catalogue, {**WANTED, member: "other"}, None, 9)
    applications.delete(catalogue, "q")
    with pytest.raises(NotFound, match="none"):
        applications.delete(catalogue, "q")
    assert (
        applications.register(catalogue, WANTED, None, 9).owner != first.owner
    )  # its old positions are not its own


def test_discovered_columns_are_kept_as_they_were(catalogue):
    table = discover([RecordBatch.of([b'{"a":1,"t":1.7e9}'])], "t")
    assert table is not None
    applications.register(catalogue, WANTED, applications.columns_of(table), 5)
    kept = applications.load(catalogue, "q").table()
    assert kept is not None
    assert kept.fields == table.fields
    assert [known.name for known in applications.everything(catalogue)] == ["q"]


def test_damage_is_named(catalogue):
    catalogue.put(applications.KIND, "q", b"{", durable=True)
    with pytest.raises(Corrupt, match="query q"):
        applications.find(catalogue, "q")


@pytest.mark.parametrize("name", ["", "a b", "é", "x" * 129, "../x/"])
def test_names_are_like_those_of_streams(name):
    with pytest.raises(InvalidArgument):
        applications.check_name(name)
