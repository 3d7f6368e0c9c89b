# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: a file is there whole or not at all, and never outside its root. Method: puts that fail half-way,
names that climb, directories that cannot be written."""

import errno
import os
import threading

import pytest

from headrace.errors import DeliveryError
from headrace.firehose.destinations.directory import DirectoryDestination
from headrace.log import failpoints


@pytest.fixture
def destination(tmp_path):
    yield DirectoryDestination(tmp_path / "root")
    failpoints.disarm()


def files(destination):
    return sorted(
        str(path.relative_to(destination.root)) for path in destination.root.rglob("*") if path.is_file()
    )


def test_an_object_becomes_a_file_with_its_bytes(destination):
    assert destination.put("a/b/c.gz", iter([b"one", b"two"])) == 6
    assert (destination.root / "a/b/c.gz").read_bytes() == b"onetwo"
    assert destination.exists("a/b/c.gz")
    assert files(destination) == ["a/b/c.gz"]


def test_a_put_that_fails_half_way_leaves_no_object_and_the_next_one_mends_it(destination):
    def chunks():
        yield b"half"
        raise DeliveryError("told to")

    with pytest.raises(DeliveryError):
        destination.put("a/x", chunks())
    assert not destination.exists("a/x")
    assert files(destination) == []
    destination.put("a/x", iter([b"whole"]))
    assert files(destination) == ["a/x"]


@pytest.mark.parametrize("point", ["firehose.file_before_sync", "firehose.file_before_rename"])
def test_a_crash_before_the_rename_leaves_no_object(destination, point):
    def crash():
        raise KeyboardInterrupt

    failpoints.arm(point, crash)
    with pytest.raises(KeyboardInterrupt):
        destination.put("a/x", iter([b"bytes"]))
    assert not destination.exists("a/x")
    failpoints.disarm()
    destination.put("a/x", iter([b"bytes"]))
    assert files(destination) == ["a/x"]


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/x", "a//b", "./x", "a/\0", ""])
def test_names_that_leave_the_root_are_refused(destination, key):
    with pytest.raises(DeliveryError, match="is not a name for a file"):
        destination.put(key, iter([b"x"]))


def test_a_check_leaves_nothing_but_the_root(destination):
    destination.check("2024/01/01/x")
    assert destination.root.is_dir()
    assert list(destination.root.iterdir()) == []


def test_a_check_makes_no_directory_and_removes_none(destination):
    destination.put("2024/01/x", iter([b"x"]))
    (destination.root / "2024/01/x").unlink()
    destination.check("2024/01/01/x")
    assert (destination.root / "2024/01").is_dir()
    assert not (destination.root / "2024/01/01").exists()


def test_a_check_fails_where_a_file_stands_in_the_way(destination):
    destination.put("2024/01", iter([b"x"]))
    with pytest.raises(DeliveryError, match="Not a directory"):
        destination.check("2024/01/01/x")
    assert files(destination) == ["2024/01"]


def test_checks_and_puts_at_once_do_not_disturb_each_other(destination):
    failures = []

    def work(number):
        try:
            for turn in range(30):
                destination.check(f"2024/{turn}/x")
                if number % 2:
                    destination.put(f"2024/{turn}/{number}", iter([b"x"]))
        except DeliveryError as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(files(destination)) == 90


def test_a_full_device_is_told_and_half_an_object_does_not_stay_on_it(destination):
    def chunks():
        yield b"half"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DeliveryError, match="root/a/x: No space left on device"):
        destination.put("a/x", chunks())
    assert files(destination) == []


def test_no_link_leads_out_of_the_root(destination, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"kept")
    (destination.root / "a").mkdir(parents=True)
    (destination.root / "a" / ".x.part").symlink_to(outside)
    with pytest.raises(DeliveryError):
        destination.put("a/x", iter([b"bytes"]))
    assert outside.read_bytes() == b"kept"
    destination.put("a/x", iter([b"bytes"]))  # the link is gone with the attempt
    assert files(destination) == ["a/x"]


def test_files_and_directories_are_for_their_owner_only(destination):
    old = os.umask(0o022)
    try:
        destination.put("a/x", iter([b"x"]))
    finally:
        os.umask(old)
    assert (destination.root / "a").stat().st_mode & 0o077 == 0
    assert (destination.root / "a/x").stat().st_mode & 0o077 == 0


def test_what_the_system_refuses_is_told_with_the_place(tmp_path):
    (tmp_path / "file").write_text("x")
    destination = DirectoryDestination(tmp_path / "file" / "root")
    for call in (
        lambda: destination.check("a/x"),
        lambda: destination.put("a/x", iter([b"x"])),
    ):
        with pytest.raises(DeliveryError, match=r"file/root/a/x: "):
            call()
