# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The catalogue against a dictionary, over every statement that fails, on a disk that is full, and when damaged.

Method: SQLite itself is made to fail: a connection whose n-th statement raises what SQLite raises, a bound on the
file's pages (a true "full"), and a bound on file sizes in a process of its own (a true error of a write).
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import Corrupt, StorageError
from headrace.log.catalogue import Catalogue


@pytest.fixture
def catalogue(tmp_path):
    found = Catalogue(tmp_path / "c.sqlite", writer=True)
    yield found
    found.close()


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
steps = st.lists(
    st.tuples(st.sampled_from(["put", "delete"]), names, names, st.binary(max_size=9), st.booleans()),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(steps)
def test_documents_are_a_dictionary(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("c") / "c.sqlite"
    catalogue, model = Catalogue(path, writer=True), {}
    for what, kind, name, value, durable in steps:
        if what == "put":
            catalogue.put(kind, name, value, durable=durable)
            model[kind, name] = value
        else:
            assert catalogue.delete(kind, name) == (model.pop((kind, name), None) is not None)
        assert catalogue.get(kind, name) == model.get((kind, name))
    catalogue.close()
    reader = Catalogue(path, writer=False)
    for kind in {kind for _, kind, *_ in steps}:
        assert dict(reader.items(kind)) == {n: value for (k, n), value in model.items() if k == kind}
    reader.close()


def test_a_lane_s_id_is_never_given_twice(catalogue):
    first, second = catalogue.add_lane("process"), catalogue.add_lane("disk")
    assert catalogue.lanes() == {first: "process", second: "disk"}
    catalogue.remove_lane(second)
    assert catalogue.lane_durability(second) is None
    assert catalogue.add_lane("disk") > second
    assert catalogue.lane_durability(first) == "process"


def test_a_transaction_is_whole_or_nothing_and_others_see_it_when_it_is_over(catalogue):
    reader = Catalogue(catalogue.path, writer=False)
    with catalogue.transaction(durable=True):
        catalogue.put("k", "a", b"1")
        with catalogue.transaction():
            catalogue.put("k", "b", b"2")
        assert reader.items("k") == []
    assert reader.items("k") == [("a", b"1"), ("b", b"2")]
    with pytest.raises(KeyError), catalogue.transaction():
        catalogue.put("k", "a", b"changed")
        raise KeyError
    assert reader.get("k", "a") == catalogue.get("k", "a") == b"1"
    reader.close()


class Failing(sqlite3.Connection):
    """Raises at the statement whose turn it is."""

    fail_at = -1
    calls = 0
    code = sqlite3.SQLITE_IOERR

    def execute(self, *arguments):
        Failing.calls += 1
        if Failing.calls == Failing.fail_at:
            problem = sqlite3.OperationalError("told to fail")
            problem.sqlite_errorcode = Failing.code
            raise problem
        return super().execute(*arguments)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL])
def test_whichever_statement_fails_nothing_is_half_done_and_a_retry_leaves_one_copy(
    tmp_path, monkeypatch, code
):
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Failing, **k))
    monkeypatch.setattr(Failing, "code", code)
    monkeypatch.setattr(Failing, "calls", 0)
    monkeypatch.setattr(Failing, "fail_at", -1)
    catalogue = Catalogue(tmp_path / "c.sqlite", writer=True)

    def work(turn):
        with catalogue.transaction(durable=True):
            catalogue.put("k", "first", b"%d" % turn)
            catalogue.put("k", "second", b"%d" % turn)
            lane = catalogue.add_lane("disk")
        catalogue.delete("k", "gone")
        assert catalogue.get("k", "first") == b"%d" % turn
        return lane

    Failing.calls = 0
    lanes = [work(0)]
    statements, failed = Failing.calls, 0
    for number in range(1, statements + 1):
        before = len(catalogue.lanes())
        Failing.calls, Failing.fail_at = 0, number
        try:
            work(number)
        except StorageError as problem:
            failed += 1
            assert "told to fail" in problem.message and "catalogue" in problem.message
        Failing.fail_at = -1
        first, second = catalogue.get("k", "first"), catalogue.get("k", "second")
        assert first == second in (b"%d" % number, b"%d" % (number - 1))
        assert len(catalogue.lanes()) - before == (first == b"%d" % number)
        lanes.append(work(number))
        assert catalogue.items("k") == [("first", b"%d" % number), ("second", b"%d" % number)]
    assert failed >= statements - 2  # a failed ROLLBACK hides behind what led to it
    assert len(set(lanes)) == len(lanes)
    catalogue.close()


def test_a_full_database_is_a_named_error_and_takes_more_when_it_may_grow(catalogue):
    catalogue.put("k", "kept", b"1")
    pages = catalogue._connection.execute("PRAGMA page_count").fetchone()[0]
    catalogue._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StorageError, match="full"):
        catalogue.put("k", "large", bytes(100_000))
    assert catalogue.items("k") == [("kept", b"1")]
    catalogue._connection.execute("PRAGMA max_page_count = 100000")
    catalogue.put("k", "large", bytes(100_000))
    assert catalogue.get("k", "large") == bytes(100_000)


WITHIN = """
import resource, signal, sys
from pathlib import Path
from headrace.errors import StorageError
from headrace.log.catalogue import Catalogue
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
catalogue = Catalogue(Path(sys.argv[1]), writer=True)
catalogue.put("k", "kept", b"1")
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
try:
    catalogue.put("k", "large", bytes(200_000), durable=True)
except StorageError as problem:
    print(problem.message)
assert catalogue.items("k") == [("kept", b"1")]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
catalogue.put("k", "large", bytes(200_000), durable=True)
assert len(catalogue.get("k", "large")) == 200_000
catalogue.close()
"""


def test_a_write_that_the_system_refuses_is_a_named_error_and_a_retry_succeeds(tmp_path):
    path = tmp_path / "c.sqlite"
    done = subprocess.run([sys.executable, "-c", WITHIN, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "disk I/O error" in done.stdout or "full" in done.stdout
    found = Catalogue(path, writer=False)
    assert [name for name, _ in found.items("k")] == ["kept", "large"]
    found.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE documents SET value = x'00' WHERE name = 'a'", "checksum of document k a"),
        ("UPDATE documents SET name = 'b'", "checksum of document k b"),
        ("UPDATE documents SET value = 'text'", "checksum of document k a"),
        ("UPDATE lanes SET durability = 'disk'", "checksum of lane 1"),
        ("UPDATE lanes SET id = 2", "checksum of lane 2"),
        ("ALTER TABLE lanes RENAME COLUMN crc TO sum", "the schema is not CREATE TABLE lanes"),
        ("PRAGMA user_version = 9", "version 9; this headrace reads version 1"),
    ],
)
def test_what_sqlite_does_not_notice_is_refused_by_name(catalogue, statement, words):
    catalogue.put("k", "a", b"1")
    catalogue.add_lane("process")
    catalogue.close()
    connection = sqlite3.connect(catalogue.path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    for writer in (True, False):
        with pytest.raises(Corrupt, match=words):
            Catalogue(catalogue.path, writer=writer)


def test_damage_met_later_is_named_too(catalogue):
    catalogue.put("k", "a", b"1")
    lane = catalogue.add_lane("process")
    catalogue._connection.execute("UPDATE documents SET value = x'00'")
    catalogue._connection.execute("UPDATE lanes SET durability = 'disk'")
    for look in (lambda: catalogue.get("k", "a"), lambda: catalogue.items("k"), catalogue.lanes,
                 lambda: catalogue.lane_durability(lane)):  # fmt: skip
        with pytest.raises(Corrupt, match="checksum"):
            look()


def test_what_is_no_database_is_refused_by_name(tmp_path):
    path = tmp_path / "c.sqlite"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(Corrupt, match="not a database"):
        Catalogue(path, writer=True)
    with pytest.raises(StorageError, match="unable to open"):
        Catalogue(tmp_path / "nowhere" / "c.sqlite", writer=False)
