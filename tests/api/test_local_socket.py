# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The two ends of the local socket (api/local_client.py, api/local_server.py): strangers, signals, crowds.

Method: a client of the same process talks to the store's socket, where nothing else comes in between.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading

import pytest

import headrace
from headrace import limits
from headrace.api import local_client, local_server
from headrace.api import local_protocol as protocol
from headrace.api.local_client import LocalClient
from headrace.core._entries import Entries
from headrace.errors import InvalidArgument, StorageError


@pytest.fixture
def client(store):
    found = LocalClient(store.path)
    yield found
    found.close()


def entries_of(*records: bytes) -> Entries:
    entries = Entries()
    for data in records:
        entries.add(data, "k")
    return entries


def test_a_put_says_where_its_records_stand(store, client):
    stream = store.stream("s")
    shards, ordinals, arrivals = client.put("s", entries_of(b"a", b"b"), 1.0)
    assert (shards.tolist(), ordinals.tolist()) == ([0, 0], [0, 1])
    assert stream.read().arrival.view("int64").tolist() == arrivals.tolist()


def test_after_an_interrupted_call_the_next_one_gets_its_own_answer(store, client, monkeypatch):
    """Ctrl-C between question and answer leaves an answer under way that belongs to nobody."""
    store.stream("s")
    receive = protocol.receive

    def interrupted(_connection):
        monkeypatch.setattr(protocol, "receive", receive)
        raise KeyboardInterrupt

    monkeypatch.setattr(protocol, "receive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.put("s", entries_of(b"a", b"b", b"c"), 1.0)
    _, ordinals, _ = client.put("s", entries_of(b"d"), 1.0)
    assert len(ordinals) == 1
    assert store.stream("s").read().data.count(b"d") == 1


def test_what_is_not_understood_is_named_and_harms_nobody(store, client):
    with pytest.raises(InvalidArgument, match="does not know 'call' 'explode'"):
        client.call("explode")
    with pytest.raises(InvalidArgument, match="split"):
        client.call("split", unheard_of=1)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(store.path / "socket"))
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(100) == b""
    assert client.call("hello") == {"pid": os.getpid(), "compression": "zstd"}


def test_a_fault_of_ours_is_told_and_the_connection_lives(store, client, monkeypatch, caplog):
    monkeypatch.setitem(local_server.METHODS, "hello", lambda store: 1 / 0)
    with pytest.raises(headrace.Error, match="ZeroDivisionError"):
        client.call("hello")
    monkeypatch.undo()
    assert client.call("hello") == {"pid": os.getpid(), "compression": "zstd"}


def test_only_this_user_may_connect(store):
    assert stat.S_IMODE((store.path / "socket").stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o700


def test_there_is_a_bound_on_connections(store, monkeypatch):
    monkeypatch.setattr(limits, "local_connections_max", 2)
    clients = [LocalClient(store.path) for _ in range(2)]
    with pytest.raises(StorageError, match="went away before it answered"):
        LocalClient(store.path)
    for found in clients:
        found.close()


def test_each_thread_has_a_connection_of_its_own(store, client):
    stream = store.stream("s")

    def work(number):
        for i in range(50):
            client.put("s", entries_of(b"%d.%d" % (number, i)), 5.0)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    data = stream.read().data
    assert len(set(data)) == 200
    for number in range(4):
        mine = [d for d in data if d.startswith(b"%d." % number)]
        assert mine == [b"%d.%d" % (number, i) for i in range(50)]


def test_a_path_longer_than_a_unix_address_is_no_obstacle(tmp_path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with headrace.open(deep / "store") as store:
        store.stream("s")
        found = LocalClient(store.path)
        found.put("s", entries_of(b"x"), 1.0)
        found.close()
        assert store.stream("s").read().data == [b"x"]
    assert local_client.NAME == "socket"
