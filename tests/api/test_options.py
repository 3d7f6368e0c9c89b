# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What is asked of a store or a stream is done or refused, never ignored: here, where a process joins, reads or
unpickles."""

from __future__ import annotations

import os
import pickle

import pytest

import headrace
from headrace.log import log as logs


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"durability": "Disk"},
            r"durability is 'Disk'; allowed are 'process', 'disk' \(did you mean 'disk'",
        ),
        ({"durability": "wrong"}, "durability is 'wrong'"),
        ({"durability": None}, "durability is None"),
        ({"compression": "gzip"}, "compression is 'gzip'; allowed are 'zstd', 'lz4', None"),
        ({"mode": "wrong"}, "mode is 'wrong'; allowed are 'auto', 'write', 'read'"),
        ({"max_bytes": "lots"}, "'lots' is not a size"),
        ({"max_bytes": -5}, "-5 is a negative size"),
        ({"max_bytes": 0}, "max_bytes is 0; the least is 65536"),
    ],
)
def test_a_store_that_cannot_be_is_refused_before_anything_is_made(tmp_path, monkeypatch, asked, message):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for path in (tmp_path / "s", None):
        with pytest.raises(headrace.InvalidArgument, match=message) as caught:
            headrace.open(path, **asked)
        assert isinstance(caught.value, ValueError)
    assert list(tmp_path.iterdir()) == []


STREAMS = [
    ({"durability": "Disk"}, "durability is 'Disk'"),
    ({"on_full": "drop-oldest"}, "on_full is 'drop-oldest'.*did you mean 'drop_oldest'"),
    ({"shards": 0}, "shards is 0; the least is 1"),
    ({"shards": "3"}, "shards is '3'; expected a whole number"),
    ({"retention": "90m"}, "whole hours from 1 to 8760"),
    ({"retention": "9999d"}, "whole hours from 1 to 8760"),
    ({"retention": "soon"}, "'soon' is not a duration"),
    ({"max_bytes": "lots"}, "'lots' is not a size"),
    ({"max_bytes": 10}, "max_bytes of a stream is 10"),
    ({"record_size_max": 0}, "record_size_max is 0"),
]


@pytest.mark.parametrize(("asked", "message"), STREAMS)
def test_a_stream_that_cannot_be_is_refused(store, asked, message):
    with pytest.raises(headrace.InvalidArgument, match=message):
        store.stream("s", **asked)
    assert store.streams() == []


@pytest.mark.parametrize(("asked", "message"), [row for row in STREAMS if "max" not in str(row[0])])
def test_also_where_the_stream_exists(store, asked, message):
    store.stream("s")
    with pytest.raises(headrace.InvalidArgument, match=message):
        store.stream("s", **asked)


def test_a_name_is_a_text(store):
    for name in (b"s", 5, None):
        with pytest.raises(headrace.InvalidArgument, match="is not a stream name"):
            store.stream(name)


def test_also_by_the_local_socket(store):
    """A process of another version may not have looked."""
    with headrace.open(store.path) as joined:
        assert joined._client is not None
        for asked, message in STREAMS[:2]:
            with pytest.raises(headrace.InvalidArgument, match=message):
                joined.stream("s", **asked)
            with pytest.raises(headrace.InvalidArgument, match=message):
                joined._client.call("create", name="s", shards=1, **asked)
    assert store.streams() == []


def test_where_a_process_joins_what_it_asks_of_the_whole_store_must_be_so(tmp_path):
    path = tmp_path / "s"
    with headrace.open(path, max_bytes="1GiB", compression="lz4"):
        for mode in ("auto", "read"):
            with pytest.raises(
                headrace.InvalidArgument, match=r"max_bytes is 2147483648, .* it is 1073741824"
            ):
                headrace.open(path, max_bytes="2GiB", mode=mode)
            headrace.open(path, max_bytes="1GiB", mode=mode).close()
            headrace.open(path, mode=mode).close()
        for codec in ("zstd", None):
            with pytest.raises(headrace.InvalidArgument, match=rf"process {os.getpid()}.* it is 'lz4'"):
                headrace.open(path, compression=codec)
        headrace.open(path, compression="lz4").close()
        with pytest.raises(headrace.InvalidArgument, match="cannot be chosen with mode='read'"):
            headrace.open(path, compression="zstd", mode="read")
        with headrace.open(path, durability="disk") as joined:  # of streams made here: that can be
            assert joined.stream("s").durability == "disk"


def test_a_pickled_store_asks_for_the_same_where_it_is_opened_again(tmp_path, run_python):
    asked = {"max_bytes": "1GiB", "compression": None, "durability": "disk"}
    with headrace.open(tmp_path / "s", **asked) as store:
        store.stream("s")
        pickled = pickle.dumps(store)
        assert pickle.loads(pickled) is store
    code = """
import pickle, sys
store = pickle.loads(bytes.fromhex(sys.argv[1]))
print(store.writer, store._log.max_bytes, store._log.codec, store.stream("t").durability)
store.close()
"""
    done = run_python(code, pickled.hex())
    assert done.stdout == "True 1073741824 None disk\n", done.stderr


def test_a_reader_stays_a_reader_where_it_is_unpickled(tmp_path, run_python):
    with headrace.open(tmp_path / "s") as store, headrace.open(tmp_path / "s", mode="read") as reader:
        store.stream("s").put(b"x", "k")
        assert pickle.loads(pickle.dumps(reader)) is reader
        assert pickle.loads(pickle.dumps(store)) is store
        pickled = pickle.dumps(reader.stream("s"))
    code = """
import pickle, sys, headrace
stream = pickle.loads(bytes.fromhex(sys.argv[1]))
print(stream._store.writer, stream.read().data)
try:
    stream.put(b"y")
except headrace.LockedByOther as error:
    print(error)
stream._store.close()
"""
    done = run_python(code, pickled.hex())
    assert done.stdout.startswith("False [b'x']\n"), done.stderr
    assert "is open for reading only here" in done.stdout


def test_that_this_process_writes_is_not_asked_of_others(tmp_path, run_python):
    """A pickled stream of a store opened with mode="write" joins where it arrives."""
    with headrace.open(tmp_path / "s", mode="write") as store:
        code = """
import pickle, sys
stream = pickle.loads(bytes.fromhex(sys.argv[1]))
stream.put(b"y", "k")
stream._store.close()
"""
        done = run_python(code, pickle.dumps(store.stream("s")).hex())
        assert done.returncode == 0, done.stderr
        assert store.stream("s").read().data == [b"y"]


def test_reading_refuses_a_file_system_that_keeps_no_promises(tmp_path, monkeypatch):
    headrace.open(tmp_path / "s").close()
    monkeypatch.setattr(logs, "file_system_of", lambda path: "nfs4")
    for mode in ("auto", "read"):
        with pytest.raises(headrace.Unsupported, match="is on a nfs4 file system"):
            headrace.open(tmp_path / "s", mode=mode)
        headrace.open(tmp_path / "s", mode=mode, allow_network_fs=True).close()
