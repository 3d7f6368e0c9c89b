# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Verify names what is damaged, by file and byte, and calls a sound store sound.

Method: the store of conftest.py is damaged in one place of each kind. What one changed byte does to a reader is in
test_damage.py.
"""

from __future__ import annotations

import re
import sqlite3

import pytest
from log_support import damage

from headrace.errors import LockedByOther, NotFound
from headrace.log import Log
from headrace.log.verify import verify


def files_of(directory, pattern="*"):
    return sorted(path for path in (directory / "lanes").glob(f"*/{pattern}") if path.is_file())


def test_a_sound_store_is_sound(store):
    directory, expected = store
    steps = []
    report = verify(directory, advance=steps.append)
    assert report.findings == []
    assert report.records == sum(len(rows) for rows in expected.values())
    assert sum(steps) == report.bytes
    assert len(files_of(directory, "*.cold")) >= 6
    assert len(files_of(directory, "*.raw")) >= 4


def test_a_store_in_use_or_none_is_refused(store, tmp_path):
    directory, _ = store
    log = Log.open(directory, background=False)
    with pytest.raises(LockedByOther):
        verify(directory)
    log.close()
    with pytest.raises(NotFound):
        verify(tmp_path / "nowhere")


def test_a_look_changes_nothing(store):
    directory, _ = store
    damage(files_of(directory, "*.raw")[0], 6000)
    before = {path: path.read_bytes() for path in files_of(directory)}
    assert verify(directory).findings
    assert {path: path.read_bytes() for path in files_of(directory)} == before


@pytest.mark.parametrize(
    ("pattern", "at", "byte", "words"),
    [
        ("*.raw", 6000, 5000, "bad body checksum|bad header checksum"),
        ("*.raw", 0, 0, "magic|header checksum"),  # with the second copy, below
        ("*.raw", 4096, 4096, "bad header checksum|does not begin with a SNAPSHOT"),
        ("*.cold", 10, 0, "damaged header"),
        ("*.cold", 4200, -1, "checksum of block 0"),
        ("*.cold", -40, -1, "footer"),
        ("manifest", 20, 0, "manifest is damaged"),
    ],
)
def test_damage_is_named_by_file_and_byte(store, pattern, at, byte, words):
    directory, _ = store
    path = files_of(directory, pattern)[0]
    size = path.stat().st_size
    damage(path, at % size, 30)
    if pattern == "*.raw" and at == 0:
        assert verify(directory).findings == []  # one copy of the header is enough
        damage(path, 2048, 30)
    findings = verify(directory).findings
    assert {finding.path for finding in findings} == {path}
    assert any(re.search(words, finding.message) for finding in findings), findings
    assert findings[0].byte == byte or findings[0].byte > 4096


def test_a_missing_file_and_one_that_is_cut_short_are_named(store):
    directory, _ = store
    raw = files_of(directory, "*.raw")
    data = raw[0].read_bytes()
    raw[0].write_bytes(data[:6000])
    assert [finding.path for finding in verify(directory).findings] == [raw[0]]
    raw[0].write_bytes(data)
    cold = files_of(directory, "*.cold")[0]
    cold.unlink()
    (finding,) = verify(directory).findings
    assert finding.path == cold.parent and "are missing, from 0 on" in finding.message


def test_damage_in_control_file_and_catalogue_is_named(store):
    directory, _ = store
    with sqlite3.connect(directory / "catalogue.sqlite") as connection:
        connection.execute("UPDATE lanes SET crc = 1 WHERE id = 1")
    connection.close()
    damage(directory / "control", 0, 12)
    findings = {finding.path.name: finding.message for finding in verify(directory).findings}
    assert "checksum of lane 1" in findings["catalogue.sqlite"]
    assert "this headrace reads" in findings["control"]
    (directory / "catalogue.sqlite").write_bytes(b"nothing of the kind" * 300)
    findings = {finding.path.name: finding.message for finding in verify(directory).findings}
    assert "not a database" in findings["catalogue.sqlite"]


def test_a_lane_that_the_catalogue_does_not_know_is_noted(store):
    directory, _ = store
    (directory / "lanes" / "00000077").mkdir()
    assert any("00000077 belongs to no lane" in note for note in verify(directory).notes)
