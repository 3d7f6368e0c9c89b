# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The control file: the byte table above it, and what one process sees of what another one does."""

from __future__ import annotations

import struct
import threading

import pytest

from headrace.errors import Corrupt
from headrace.log import control
from headrace.log.control import CLEAN, DIRTY, HEADER_SIZE, SLOT_SIZE, ControlFile

BOOT, OTHER = b"b" * 16, b"o" * 16


@pytest.fixture
def path(tmp_path):
    return tmp_path / "control"


def test_the_bytes_stand_where_the_table_says(path):
    found = ControlFile(path, writer=True, boot_id=BOOT)
    found.mark(DIRTY, pid=4711, max_bytes=1 << 40, store_id=b"s" * 16)
    found.publish(2, 12345)
    found.layout_changed(2, 99)
    data = path.read_bytes()
    assert data[:12] == b"HRCTL001" + struct.pack("<I", 1)
    assert data[12:72] == struct.pack("<I16sIIQ16sQ", 64, BOOT, 4711, 2, 1, b"s" * 16, 1 << 40)
    at = HEADER_SIZE + 2 * SLOT_SIZE
    assert data[at : at + 28] == struct.pack("<QIIQI", 12345, 1, 0, 99, 1)
    assert not any(data[at + 28 : at + 64])
    found.close()


def test_who_ended_in_order_and_in_which_boot_is_known(path):
    found = ControlFile(path, writer=True, boot_id=BOOT)
    assert found.created and not found.clean and not found.same_boot
    found.mark(DIRTY, pid=1)
    found.close()
    killed = ControlFile(path, writer=True, boot_id=BOOT)
    assert (killed.created, killed.clean, killed.same_boot, killed.generation) == (False, False, True, 1)
    killed.mark(DIRTY, pid=1)
    killed.mark(CLEAN, pid=0)
    killed.close()
    later = ControlFile(path, writer=True, boot_id=OTHER)
    assert (later.clean, later.same_boot, later.generation, later.writer_pid) == (True, False, 2, 0)
    later.close()


def test_a_boot_that_cannot_be_told_is_another_one(path):
    found = ControlFile(path, writer=True, boot_id=bytes(16))
    found.mark(DIRTY, pid=1)
    assert not found.same_boot
    found.close()


@pytest.mark.parametrize("content", [None, b"", bytes(100_000)])
def test_a_file_that_never_reached_the_device_is_made_anew(path, content):
    if content is not None:
        path.write_bytes(content)
    found = ControlFile(path, writer=True, boot_id=BOOT)
    assert found.created and not found.clean
    assert len(found.store_id) == 16
    found.close()


@pytest.mark.parametrize("at", [0, 8, 12])
def test_another_format_is_refused_by_name(path, at):
    ControlFile(path, writer=True).close()
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)
    for writer in (True, False):
        with pytest.raises(Corrupt, match=r"this headrace reads b'HRCTL001', version 1"):
            ControlFile(path, writer=writer)
    path.write_bytes(data[:100])
    with pytest.raises(Corrupt, match="cut short"):
        ControlFile(path, writer=False)


def test_lanes_beyond_the_first_slots_get_room_and_readers_see_it(path, monkeypatch):
    monkeypatch.setattr(control, "SLOTS_STEP", 4)
    writer = ControlFile(path, writer=True)
    reader = ControlFile(path, writer=False)
    words = writer.words
    writer.publish(3, 33)
    writer.reserve(9)
    writer.publish(9, 99)
    assert (reader.visible(3), reader.visible(9), reader.visible(500)) == (33, 99, 0)
    assert not reader.remap(500)
    words.store64(control.ControlFile.slot(3), 34)  # an earlier map stays good
    assert reader.visible(3) == 34
    writer.close()
    reader.close()


def test_a_publication_wakes_a_reader_with_a_map_of_its_own(path):
    writer, reader = ControlFile(path, writer=True), ControlFile(path, writer=False)
    woken = []
    sleeper = threading.Thread(target=lambda: woken.append(reader.words.wait_beyond(reader.slot(1), 5, 30)))
    sleeper.start()
    writer.publish(1, 5)
    writer.publish(1, 6)
    sleeper.join()
    assert woken == [True]
    writer.close()
    reader.close()


def test_a_forgotten_lane_and_one_that_is_not_trusted(path):
    found = ControlFile(path, writer=True)
    found.publish(1, 100)
    found.layout_changed(1, 50)
    found.distrust(1)
    assert found.visible(1) == 0
    found.publish(1, 100)
    layout = found.layout(1)
    found.forget(1)
    assert found.visible(1) == 0 and found.layout(1) == layout + 1
    found.distrust(10_000_000)  # a lane that never had a slot
    found.close()
