# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Verify names what is damaged, by file and byte, and calls a sound store sound.

Method: the store of conftest.py is damaged in one place of each kind. What one changed byte does to a reader is in
test_damage.py.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3

import pytest
from log_support import damage, read_shard

from headrace.disk import SystemDisk
from headrace.errors import LockedByOther, NotFound
from headrace.log import Log
from headrace.log.repair import repair
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
    (directory / "lanes" / "00000078").mkdir()
    (directory / "lanes" / "00000078" / "manifest").write_bytes(bytes(64))
    notes = verify(directory).notes
    for name, size in (("00000077", 0), ("00000078", 64)):
        assert any(
            f"{name} belongs to no lane of the catalogue; {size} bytes in it" in note for note in notes
        )


def test_a_catalogue_that_is_gone_is_damage(store):
    directory, _ = store
    (directory / "catalogue.sqlite").unlink()
    report = verify(directory)
    (finding,) = report.findings
    assert finding.path.name == "catalogue.sqlite" and "is missing or empty" in finding.message
    assert sum("belongs to no lane of the catalogue" in note for note in report.notes) == 2


def test_a_lane_that_lost_all_its_files_is_sound(store):
    """What a loss of power may leave of one that was just begun: its directory and its manifest."""
    directory, _ = store
    for path in files_of(directory):
        if path.parent.name == "00000001" and path.name != "manifest":
            path.unlink()
    (directory / "control").unlink()
    Log.open(directory, background=False).close()
    assert verify(directory).findings == []


@pytest.mark.parametrize("pattern", ["*.raw", "*.cold"])
def test_what_a_repair_left_out_is_listed_as_gaps_and_is_no_damage(store, pattern):
    directory, expected = store
    assert verify(directory).gap_count == 0
    path = files_of(directory, pattern)[0]
    damage(path, 4_600 if pattern == "*.cold" else 9_000, 64)
    assert verify(directory).findings and not verify(directory).gaps
    repair(directory, "skip")
    report = verify(directory)
    assert report.findings == [] and report.gap_count == len(report.gaps) > 0
    lane = int(path.parent.name)
    assert {gap.lane for gap in report.gaps} == {lane}
    log = Log.open(directory, background=False)
    for shard in (0, 1):
        listed = [gap for gap in report.gaps if gap.shard == shard]
        missing = {index for gap in listed if not gap.stepped for index in range(gap.first, gap.last + 1)}
        left = {index for index, _, _ in read_shard(log.lane(lane), shard)}
        assert {index for index, _, _ in expected[lane, shard]} - left == missing
        assert [gap.last - gap.first + 1 for gap in listed if gap.stepped] == [1 << 32]  # what comes next
    log.close()


def test_a_file_that_the_device_does_not_give_is_damage_and_the_others_are_read(store, monkeypatch):
    directory, _ = store
    bad = files_of(directory, "*.raw")[0]
    pread, opened = SystemDisk.pread, {}

    def open_it(self, path, flags):
        file = os.open(path, flags | os.O_CLOEXEC)
        opened[file] = path
        return file

    def refuse(self, file, size, position):
        if opened.get(file) == bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(self, file, size, position)

    records = verify(directory).records
    monkeypatch.setattr(SystemDisk, "open", open_it)
    monkeypatch.setattr(SystemDisk, "pread", refuse)
    report = verify(directory)
    (finding,) = [found for found in report.findings if found.path == bad]
    assert finding.message == "cannot be read: Input/output error"
    assert 0 < report.records < records
