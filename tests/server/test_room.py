# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Room for bodies: who waits for it is served or told so, and who holds it without using it is ended.

Method: raw sockets against a listener with little room, which the pool lends to the test itself or to clients
that send a byte now and then. After each test the fixture checks that no connection or buffer is left and
that the loop saw no exception.
"""

import contextlib
import json
import threading
import time

import pytest

MIB = 1 << 20


@pytest.fixture
def cramped(start, monkeypatch):
    """Start a listener that has room for four bodies of a mebibyte."""
    monkeypatch.setattr("headrace.limits.http_bodies_size_max", 4 * MIB)
    return start


@pytest.fixture
def request_of(request_bytes):
    return lambda size, operation="Size": request_bytes(operation, b"x" * size)


def head_of(data: bytes) -> bytes:
    return data[: data.index(b"\r\n\r\n") + 4]


def chunked_head(data: bytes) -> bytes:
    lines = [line for line in head_of(data).split(b"\r\n") if not line.startswith(b"Content-Length")]
    return b"\r\n".join([*lines[:-2], b"Transfer-Encoding: chunked", b"", b""])


def code_of(answer) -> tuple[int, str]:
    return answer[0], json.loads(answer[2])["__type"]


@contextlib.contextmanager
def trickling(clients, again=None):
    """A byte of each client now and then; `again` makes another where the server has ended one."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(0.02):
            for at, client in enumerate(clients):
                try:
                    client.send(b"x")
                except OSError:
                    if again is not None:
                        clients[at] = again()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("form", ["length", "chunks"])
def test_a_body_that_waits_for_room_in_vain_is_told_that_it_was_our_fault(cramped, request_of, form):
    """What the client has sent meanwhile fills the connection's buffer: the answer must be read nevertheless."""
    served = cramped(body_timeout=0.3, request_timeout=60.0)
    lent: list = []
    served.do(lambda: lent.append(served.context.pool.lend(4 * MIB)))
    data = request_of(270_000)
    if form == "chunks":
        body = data[len(head_of(data)) :]
        data = chunked_head(data) + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    client = served.connect()
    sender = threading.Thread(target=lambda: client.send(data))
    sender.start()
    status, headers, body = client.answer()
    error = json.loads(body)
    assert (status, error["__type"]) == (503, "ServiceUnavailableException")
    assert error["message"].startswith("The request has failed due to a temporary failure of the server")
    assert headers["connection"] == "close" and client.closed()
    sender.join()
    served.do(lambda: served.context.pool.give_back(lent.pop()))
    assert served.connect().send(request_of(270_000)).answer()[2] == b"270000"


def test_waiting_for_room_does_not_count_as_time_of_the_client(cramped, request_of):
    served = cramped(body_timeout=20.0, request_timeout=0.3)
    lent: list = []
    served.do(lambda: lent.append(served.context.pool.lend(4 * MIB)))
    client = served.connect()
    sender = threading.Thread(target=lambda: client.send(request_of(270_000)))
    sender.start()
    served.until(lambda: served.context.pool.waits)
    time.sleep(0.6)  # beyond the limit of a request
    served.do(lambda: served.context.pool.give_back(lent.pop()))
    assert client.answer()[2] == b"270000"
    sender.join()


@pytest.mark.parametrize("form", ["length", "chunks"])
def test_clients_that_trickle_do_not_keep_the_others_out(cramped, request_of, form):
    """They come back at once when they are ended, and would have all the room for five minutes otherwise."""
    served = cramped(body_timeout=3.0)
    whole = request_of(MIB)
    begun = head_of(whole) + b"x"
    if form == "chunks":
        begun = chunked_head(whole) + b"%x\r\n" % MIB + b"x" * 70_000
    slow = [served.connect().send(begun) for _ in range(1 if form == "chunks" else 4)]
    served.until(lambda: served.context.pool.lent_large_bytes >= 4 * MIB)
    with trickling(slow, again=lambda: served.connect().send(begun)):
        good = [served.connect() for _ in range(6)]
        for client in good:
            client.send(request_of(270_000))
        for client in good:
            assert client.answer()[2] == b"270000"
    assert served.context.timeouts >= 1


def test_a_client_that_is_ended_for_others_is_told_why(cramped, request_of):
    served = cramped(body_timeout=3.0)
    slow = [served.connect().send(head_of(request_of(MIB)) + b"x") for _ in range(4)]
    served.until(lambda: served.context.pool.lent_large_bytes >= 4 * MIB)
    with trickling(slow):
        assert served.connect().send(request_of(MIB)).answer()[2] == b"%d" % MIB
    served.until(lambda: served.context.timeouts >= 1)
    told = []
    for client in slow:
        client.socket.settimeout(0.2)
        with contextlib.suppress(TimeoutError, AssertionError, ConnectionError):
            told.append(code_of(client.answer()))
    assert told and set(told) == {(408, "RequestTimeoutException")}


def test_a_body_that_comes_at_a_fair_rate_is_not_ended_for_others(cramped, request_of):
    served = cramped(body_timeout=6.0)
    fair = [served.connect().send(request_of(MIB)[:-100]) for _ in range(4)]
    served.until(lambda: served.context.pool.lent_large_bytes >= 4 * MIB)
    other = served.connect()
    sender = threading.Thread(target=lambda: other.send(request_of(MIB)))
    sender.start()
    served.until(lambda: served.context.pool.waits)
    time.sleep(1.5)  # somebody has waited for long
    for client in fair:
        assert client.send(b"x" * 100).answer()[2] == b"%d" % MIB
    assert other.answer()[2] == b"%d" % MIB
    sender.join()
    assert served.context.timeouts == 0


def test_small_bodies_enter_before_a_large_one_that_has_no_room_yet(cramped, request_of):
    served = cramped(body_timeout=20.0)
    lent: list = []
    served.do(lambda: lent.extend(served.context.pool.lend(2 * MIB) for _ in range(2)))
    large, small = served.connect(), served.connect()
    senders = [threading.Thread(target=lambda: large.send(request_of(4 * MIB)))]
    senders[0].start()
    served.until(lambda: served.context.pool.waits == 1)
    senders.append(threading.Thread(target=lambda: small.send(request_of(MIB))))
    senders[1].start()
    served.until(lambda: served.context.pool.waits == 2)
    served.do(lambda: served.context.pool.give_back(lent.pop()))
    assert small.answer()[2] == b"%d" % MIB
    served.do(lambda: served.context.pool.give_back(lent.pop()))
    assert large.answer()[2] == b"%d" % (4 * MIB)
    for sender in senders:
        sender.join()


def test_a_late_body_is_thrown_away_while_earlier_answers_are_owed(cramped, request_of):
    served = cramped(request_timeout=0.2)
    served.service.disk.gate.clear()
    data = request_of(MIB)
    client = served.connect().send(request_of(5, "PutDisk") + data[:-300_000])
    served.until(lambda: served.context.timeouts == 1)
    client.send(data[-300_000:]).send(request_of(100))
    served.service.disk.gate.set()
    assert client.answer()[2] == b"xxxxx"
    assert code_of(client.answer()) == (408, "RequestTimeoutException") and client.closed()
