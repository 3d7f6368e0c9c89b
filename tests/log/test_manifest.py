# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The manifest: its byte table, that any changed byte is noticed, and that it is replaced as a whole."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core._frames import crc32c
from headrace.disk import SystemDisk
from headrace.errors import Corrupt
from headrace.log.manifest import Manifest, read_manifest, write_manifest

DISK = SystemDisk()
manifests = st.builds(
    Manifest,
    st.integers(0, (1 << 32) - 1),
    st.binary(min_size=16, max_size=16),
    *[st.integers(0, (1 << 64) - 1)] * 3,
    st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(manifests)
def test_it_comes_back_and_its_bytes_stand_where_the_table_says(tmp_path_factory, manifest):
    directory = tmp_path_factory.mktemp("m")
    assert read_manifest(DISK, directory) is None
    write_manifest(DISK, directory, manifest)
    assert read_manifest(DISK, directory) == manifest
    data = (directory / "manifest").read_bytes()
    expected = b"HRMAN001" + struct.pack(
        "<II16sQQQI", 1, manifest.lane, manifest.store_id, manifest.floor, manifest.dropped_bytes,
        manifest.dropped_records, manifest.disk,
    )  # fmt: skip
    assert data == expected + struct.pack("<I", crc32c(expected))
    assert [path.name for path in directory.iterdir()] == ["manifest"]


def test_any_changed_or_missing_byte_is_named(tmp_path):
    write_manifest(DISK, tmp_path, Manifest(3, b"s" * 16, 1 << 40, 5, 6, True))
    data = (tmp_path / "manifest").read_bytes()
    damaged = [data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :] for at in range(len(data))]
    for content in [*damaged, b"", data[:-1], data + b"\0"]:
        (tmp_path / "manifest").write_bytes(content)
        with pytest.raises(Corrupt, match="manifest is damaged"):
            read_manifest(DISK, tmp_path)


@pytest.mark.parametrize(("at", "value"), [(0, b"X"), (8, b"\2")])
def test_another_version_is_refused_by_name(tmp_path, at, value):
    write_manifest(DISK, tmp_path, Manifest(3, b"s" * 16))
    data = bytearray((tmp_path / "manifest").read_bytes()[:60])
    data[at : at + 1] = value
    (tmp_path / "manifest").write_bytes(data + struct.pack("<I", crc32c(data)))
    with pytest.raises(Corrupt, match="this headrace reads"):
        read_manifest(DISK, tmp_path)


def test_a_write_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    write_manifest(DISK, tmp_path, Manifest(1, b"s" * 16, 10))

    class Failing(SystemDisk):
        def sync(self, file):
            raise OSError(5, "told to fail")

    with pytest.raises(OSError, match="told to fail"):
        write_manifest(Failing(), tmp_path, Manifest(1, b"s" * 16, 20))
    assert read_manifest(DISK, tmp_path).floor == 10
