# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A store's directory: who may open it, what it remembers of its last writer, its bounds, and its end."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from log_support import put, read_shard, router_of

from headrace import limits
from headrace.clock import FrozenClock
from headrace.disk import SystemDisk
from headrace.errors import Backpressure, Closed, NotFound, StorageError, Unsupported
from headrace.log import Log
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
    open_log(tmp_path).close()
    open_log(tmp_path, create=False).close()
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "s" / "catalogue.sqlite").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "9p", "vfat"])
def test_a_file_system_that_keeps_no_promises_is_refused_by_name(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(logs, "file_system_of", lambda path: kind)
    with pytest.raises(Unsupported, match=f"is on a {kind} file system"):
        open_log(tmp_path)
    open_log(tmp_path, allow_network_fs=True).close()


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
