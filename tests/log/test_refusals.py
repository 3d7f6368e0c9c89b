# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The system's refusals in our words: file, text, code, and what to do; and every place where one leaves the log."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

import pytest

from headrace.disk import SystemDisk
from headrace.errors import Backpressure, StorageError
from headrace.log import Log
from headrace.log.refusals import unreadable, unwritable, words


def refusal(code: int, path: str | None = None) -> OSError:
    return OSError(code, os.strerror(code), path)


def test_the_file_is_named_by_the_system_or_by_us_and_the_code_is_given():
    assert words(refusal(errno.EIO, "/a/0.raw"), Path("/b")) == "/a/0.raw: Input/output error (EIO)"
    assert words(refusal(errno.EACCES), Path("/b")) == "/b: Permission denied (EACCES)"
    assert words(refusal(errno.EIO)) == "Input/output error (EIO)"
    assert words(OSError("no more to say")) == "no more to say"


def test_what_to_do_stands_in_the_hint():
    error = unreadable(refusal(errno.EIO, "/a/0.raw"), "lane 7")
    assert error.message == "lane 7 could not be read: /a/0.raw: Input/output error (EIO)"
    assert "look at the device, then ask again" in error.hint


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_is_backpressure_and_all_else_a_storage_error(code):
    full = unwritable(refusal(code), "records of lane 7")
    assert (
        isinstance(full, Backpressure) and "no space left on the device for records of lane 7" in full.message
    )
    other = unwritable(refusal(errno.EIO), "records of lane 7")
    assert isinstance(other, StorageError) and other.message.endswith("Input/output error (EIO)")


def test_a_control_file_that_cannot_be_mapped_is_named(tmp_path, monkeypatch):
    Log.open(tmp_path / "s", background=False).close()

    class Refused(mmap.mmap):
        def __new__(cls, *arguments, **options):
            raise refusal(errno.ENOMEM)

    monkeypatch.setattr(mmap, "mmap", Refused)
    for door in (Log.open, Log.open_reader):
        with pytest.raises(
            StorageError, match=r"could not be mapped: .*control: Cannot allocate memory \(ENOMEM\)"
        ):
            door(tmp_path / "s")


def test_a_close_whose_sync_failed_says_so(tmp_path):
    class Failing(SystemDisk):
        native, failing = False, False

        def names(self, path):
            if self.failing:
                raise refusal(errno.EIO)
            return super().names(path)

    log = Log.open(tmp_path / "s", background=False)
    log.create_lane("process")
    os.close(log._lock_file)  # as if the process had ended here
    disk = Failing()
    log = Log.open(tmp_path / "s", disk=disk, background=False)
    disk.failing = True
    with pytest.raises(StorageError, match=r"the store was closed, .*\(EIO\)"):
        log.close()
