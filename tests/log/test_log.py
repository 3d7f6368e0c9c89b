# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A store's directory: who may open it, what it remembers of its last writer, its bounds, and its end."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys

import pytest
from log_support import put, read_shard, router_of

from headrace import limits
from headrace.clock import FrozenClock
from headrace.disk import SystemDisk
from headrace.errors import (
    Backpressure,
    Closed,
    Corrupt,
    InvalidArgument,
    NotFound,
    StorageError,
    Unsupported,
)
from headrace.log import Catalogue, Log
from headrace.log import log as logs

ROUTER = router_of(1)


class Booting(SystemDisk):
    """A machine that was started anew."""

    def __init__(self, boot: bytes) -> None:
        self.boot = boot

    def boot_id(self) -> bytes:
        return self.boot


def open_log(tmp_path, **options):
    return Log.open(tmp_path / "s", background=False, **options)


def drop(log) -> None:
    """End as a killed process does."""
    os.close(log._lock_file)
    log.catalogue.close()
    log.control.close()


def test_one_process_writes_and_the_other_is_told_which(tmp_path):
    log = open_log(tmp_path)
    program = "import sys; from headrace.log import Log; Log.open(sys.argv[1], background=False)"
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "s"], capture_output=True, text=True, check=False
    )
    assert f"LockedByOther: {tmp_path / 's'} is open for writing in process {os.getpid()}" in done.stderr
    log.close()
    open_log(tmp_path).close()


def test_a_store_that_is_not_there_is_made_or_named(tmp_path):
    with pytest.raises(NotFound, match="does not exist"):
        open_log(tmp_path, create=False)
    with pytest.raises(NotFound, match="is not a headrace store"):
        Log.open_reader(tmp_path)
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "notes.txt").write_text("not ours")
    with pytest.raises(NotFound, match="plain is not a headrace store"):
        Log.open(tmp_path / "plain", create=False)
    assert [path.name for path in (tmp_path / "plain").iterdir()] == ["notes.txt"]
    open_log(tmp_path).close()
    open_log(tmp_path, create=False).close()
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "s" / "catalogue.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_directory_that_cannot_be_is_an_error_of_ours(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("x")
    for path in (file, file / "below"):
        with pytest.raises(StorageError, match=r"file.* could not be opened: .*Not a directory"):
            Log.open(path, background=False)
        with pytest.raises(NotFound, match="is not a headrace store"):
            Log.open_reader(path)
    open_log(tmp_path).close()

    def refused(*_arguments, **_options):
        raise PermissionError(errno.EACCES, "Permission denied")

    for call, use in ((fcntl, "flock"), (os, "ftruncate")):
        with monkeypatch.context() as patch:
            patch.setattr(call, use, refused)
            with pytest.raises(StorageError, match="could not be opened: Permission denied"):
                open_log(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(logs, "ControlFile", refused)
        with pytest.raises(StorageError, match="could not be opened: Permission denied"):
            Log.open_reader(tmp_path / "s")
    open_log(tmp_path).close()  # no lock was left


def test_options_that_no_store_could_have_are_refused(tmp_path):
    with pytest.raises(InvalidArgument, match="compression is 'gzip'; allowed are 'zstd', 'lz4', None"):
        open_log(tmp_path, codec="gzip")
    for size in (0, 65535, "1GiB"):
        with pytest.raises(InvalidArgument, match="max_bytes of a store is"):
            open_log(tmp_path, max_bytes=size)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "9p", "vfat"])
def test_a_file_system_that_keeps_no_promises_is_refused_by_name(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(logs, "file_system_of", lambda path: kind)
    with pytest.raises(Unsupported, match=f"is on a {kind} file system"):
        open_log(tmp_path)
    open_log(tmp_path, allow_network_fs=True).close()
    with pytest.raises(Unsupported, match=f"is on a {kind} file system"):
        Log.open_reader(tmp_path / "s")
    Log.open_reader(tmp_path / "s", allow_network_fs=True).close()


def test_only_an_unclean_end_in_another_boot_begins_an_epoch(tmp_path):
    def epoch(boot, *, clean):
        log = open_log(tmp_path, disk=Booting(boot))
        found = log.epoch
        if clean:
            log.close()
        else:
            drop(log)
        return found

    one, two = b"1" * 16, b"2" * 16
    assert epoch(one, clean=True) == 0
    assert epoch(two, clean=False) == 0  # it ended in order before
    assert epoch(two, clean=False) == 0  # killed, same boot
    assert epoch(one, clean=False) == 1
    assert epoch(bytes(16), clean=True) == 2  # a boot that cannot be told is another one
    assert epoch(bytes(16), clean=True) == 2


def test_a_killed_writer_s_records_are_there_and_its_store_is_called_unclean(tmp_path):
    log = open_log(tmp_path)
    lane = log.create_lane("process")
    put(lane, ROUTER, [(0, "k", b"kept")])
    drop(log)
    again = open_log(tmp_path)
    assert not again.was_clean and again.same_boot
    assert read_shard(again.lane(lane.id), 0) == [(0, "k", b"kept")]
    again.close()
    once_more = open_log(tmp_path)
    assert once_more.was_clean and once_more.reports == []
    once_more.close()


def test_the_limit_is_half_of_the_free_disk_at_creation_and_is_remembered(tmp_path):
    class Small(SystemDisk):
        free = 1 << 30

        def free_bytes(self, path):
            return self.free

    disk = Small()
    log = open_log(tmp_path, disk=disk)
    assert log.max_bytes == 1 << 29
    log.close()
    disk.free = 1 << 20
    log = open_log(tmp_path, disk=disk)
    assert log.max_bytes == 1 << 29
    log.close()
    log = open_log(tmp_path, disk=disk, max_bytes=1 << 40)
    log.close()
    reader = Log.open_reader(tmp_path / "s")
    assert reader.max_bytes == 1 << 40
    reader.close()


def test_a_full_store_refuses_records_until_something_is_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "segment_size_first", 64 << 10)
    monkeypatch.setattr(limits, "segment_size_max", 64 << 10)
    log = open_log(tmp_path, max_bytes=400 << 10)
    first, second = log.create_lane("process"), log.create_lane("process")
    put(second, ROUTER, [(0, "k", b"small")])
    with pytest.raises(Backpressure, match=f"its limit is {400 << 10}") as refusal:
        for _ in range(100):
            put(first, ROUTER, [(0, "k", bytes(20_000))])
    assert refusal.value.retry_after > 0 and "max_bytes" in refusal.value.hint
    assert log.size <= 400 << 10
    log.delete_lane(first.id)
    assert not first.directory.exists()
    with pytest.raises(Closed, match="was deleted"):
        put(first, ROUTER, [(0, "k", b"x")])
    with pytest.raises(NotFound, match=f"there is no lane {first.id}"):
        log.lane(first.id)
    third = log.create_lane("process")
    assert third.id > first.id
    put(third, ROUTER, [(0, "k", bytes(20_000))])
    log.close()


def test_a_lane_whose_row_was_lost_leaves_its_id_unused(tmp_path):
    log = open_log(tmp_path)
    (tmp_path / "s" / "lanes" / "00000001").mkdir()
    (tmp_path / "s" / "lanes" / "00000001" / "manifest").write_bytes(b"of another time")
    assert log.create_lane("process").id == 2
    assert log.reports == ["lane 1: files that no lane owns; the id is left out"]
    log.close()


def test_files_that_no_lane_owns_are_reported_at_each_opening_counted_and_left_alone(tmp_path, caplog):
    """The catalogue is changed for an older one, which knows two lanes less."""
    log = open_log(tmp_path, codec=None)
    put(log.create_lane("process"), ROUTER, [(0, "k", b"first")])
    log.close()
    older = (tmp_path / "s" / "catalogue.sqlite").read_bytes()
    log = open_log(tmp_path, codec=None)
    for text in (b"second", b"third"):
        put(log.create_lane("disk"), ROUTER, [(0, "k", text)])
    log.close()
    (tmp_path / "s" / "catalogue.sqlite").write_bytes(older)
    before = {path: path.read_bytes() for path in (tmp_path / "s" / "lanes").glob("*/*")}
    for times in (1, 2):
        log = open_log(tmp_path, codec=None)
        notes = [note for note in log.reports if "that no lane of the catalogue owns" in note]
        assert [note.split(":")[0] for note in notes] == ["lane 2", "lane 3"]
        assert caplog.text.count("lane 3: ") == times
        assert log.size == sum(len(data) for data in before.values())
        log.close()
    log = open_log(tmp_path, codec=None)
    lane = log.create_lane("disk")
    assert lane.id == 4 and lane.bounds(0) == (0, 0)
    put(lane, ROUTER, [(0, "k", b"fourth")])
    assert read_shard(lane, 0) == [(0, "k", b"fourth")]
    log.close()
    assert {path: path.read_bytes() for path in before} == before


def test_an_id_is_not_taken_over_with_what_was_published_under_it(tmp_path):
    log = open_log(tmp_path)
    log.control.reserve(1)
    log.control.publish(1, 4711)
    lane = log.create_lane("process")
    assert lane.id == 1 and log.control.visible(1) == 0
    log.close()


@pytest.mark.parametrize("how", ["missing", "empty", "another one"])
def test_a_store_whose_catalogue_is_gone_is_refused_and_not_shown_as_an_empty_one(tmp_path, how):
    log = open_log(tmp_path)
    put(log.create_lane("process"), ROUTER, [(0, "k", b"kept")])
    log.close()
    path = tmp_path / "s" / "catalogue.sqlite"
    whole = path.read_bytes()
    path.unlink()
    if how == "empty":
        path.touch()
    elif how == "another one":
        Catalogue(path, writer=True).close()
    words = "does not know this store" if how == "another one" else "is missing or empty"
    for _ in range(2):
        with pytest.raises(Corrupt, match=f"{path} {words}, but there are files of 1 lanes"):
            open_log(tmp_path)
        assert path.exists() == (how != "missing")
    for copy in path.parent.glob("catalogue.sqlite-*"):
        copy.unlink()
    path.write_bytes(whole)
    log = open_log(tmp_path)
    assert read_shard(log.lane(1), 0) == [(0, "k", b"kept")]
    log.close()


def test_a_store_that_holds_no_record_may_lose_its_catalogue(tmp_path):
    open_log(tmp_path).close()
    (tmp_path / "s" / "catalogue.sqlite").unlink()
    open_log(tmp_path).close()


def test_a_lane_s_row_goes_when_its_files_are_gone_from_the_device(tmp_path):
    """Whatever ends the process in between, or fails, the next opening finds the row and goes on."""
    steps = []

    class Failing(SystemDisk):
        fail = ""

        def remove_directory(self, path):
            self.step("remove", path)
            super().remove_directory(path)

        def sync_directory(self, path):
            self.step("sync", path)
            super().sync_directory(path)

        def step(self, what, path):
            steps.append((what, path.name))
            if what == self.fail:
                raise OSError(5, "told to fail")

    disk = Failing()
    log = open_log(tmp_path, disk=disk)
    lane = log.create_lane("process")
    put(lane, ROUTER, [(0, "k", b"a")])
    for disk.fail in ("remove", "sync"):
        with pytest.raises(StorageError, match="the files of lane 1 could not be removed: told to fail"):
            log.delete_lane(lane.id)
        assert log.catalogue.lanes() == {1: "process"}
    disk.fail = ""
    steps.clear()
    log.delete_lane(lane.id)
    assert not lane.directory.exists() and log.catalogue.lanes() == {}
    log.delete_lane(lane.id)  # once more, as after a death behind it
    other = log.create_lane("process")
    put(other, ROUTER, [(0, "k", b"a")])
    steps.clear()
    remove_lane = log.catalogue.remove_lane
    log.catalogue.remove_lane = lambda lane: (steps.append(("row", str(lane))), remove_lane(lane))
    log.delete_lane(other.id)
    assert steps == [("remove", "00000002"), ("sync", "lanes"), ("row", "2")]
    log.close()


def test_a_store_that_cannot_be_opened_lets_go_of_its_lock(tmp_path):
    class Failing(SystemDisk):
        def sync_directory(self, path):
            raise OSError(5, "told to fail")

    with pytest.raises(StorageError, match="could not be opened: told to fail"):
        open_log(tmp_path, disk=Failing())
    log = open_log(tmp_path)
    with pytest.raises(Unsupported, match="durability is 'ram'"):
        log.create_lane("ram")
    log.close()
    log.close()
    with pytest.raises(Closed, match="was closed"):
        log.create_lane("process")


def test_a_reader_without_a_writer_reads_what_is_there(tmp_path):
    log = open_log(tmp_path, clock=FrozenClock())
    lane = log.create_lane("disk")
    put(lane, ROUTER, [(0, "k", b"a")])
    log.close()
    reader = Log.open_reader(tmp_path / "s")
    assert read_shard(reader.lane(lane.id), 0) == [(0, "k", b"a")]
    reader.close()
