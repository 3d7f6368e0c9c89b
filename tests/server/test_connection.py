# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A connection answers good requests in order and bad ones with the right error, and leaks nothing.

Method: raw sockets against a listener whose service belongs to the tests. After each test the fixture
checks that no connection, buffer or commit is left and that the loop saw no exception.
"""

import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MIB = 1 << 20


def error_of(answer) -> tuple[int, str]:
    status, headers, body = answer
    assert headers["x-amzn-requestid"] and headers["x-amz-id-2"]
    return status, json.loads(body)["__type"]


# --- good requests ---


def test_a_request_is_answered_with_ids_type_and_length(client):
    status, headers, body = client.post("Echo", b'{"a":1}').answer()
    assert (status, body) == (200, b'{"a":1}')
    assert headers["content-type"] == "application/x-amz-json-1.1" and headers["content-length"] == "7"
    assert len(headers["x-amzn-requestid"]) == 36 and len(headers["x-amz-id-2"]) == 76
    assert headers["date"].endswith("GMT") and "1970" not in headers["date"]


def test_the_answer_takes_the_content_type_of_the_request(client):
    _, headers, _ = client.post("Echo", b"{}", Content_Type="application/json; charset=utf-8").answer()
    assert headers["content-type"] == "application/json"
    assert client.post("Echo", b"x", Content_Type=None).answer()[0] == 200


def test_request_ids_do_not_repeat(client):
    client.send(b"".join([request_of("Echo")] * 200))
    assert len({client.answer()[1]["x-amzn-requestid"] for _ in range(200)}) == 200


def request_of(operation: str, body: bytes = b"") -> bytes:
    return (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: Echo_1.%s\r\nContent-Length: %d\r\n\r\n"
        % (operation.encode(), len(body))
    ) + body


def test_pipelined_requests_are_answered_in_order(client):
    count = 3000
    sender = threading.Thread(
        target=lambda: client.send(b"".join(request_of("Echo", b"%d" % i) for i in range(count)))
    )
    sender.start()
    assert [int(client.answer()[2]) for _ in range(count)] == list(range(count))
    sender.join()


def test_small_and_large_requests_mix_in_one_stream_of_bytes(client):
    bodies = [
        os.urandom(size) for size in (0, 1, 65_535, 65_536, 65_537, 10, 300_000, 0, 1_500_000, 7, 200_000)
    ]
    sender = threading.Thread(
        target=lambda: client.send(b"".join(request_of("Echo", body) for body in bodies))
    )
    sender.start()
    for body in bodies:
        assert client.answer()[2] == body
    sender.join()


def test_a_request_that_comes_byte_by_byte_is_understood(client):
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in request_of("Echo", b"slow") + request_of("Size", b"\x00\x01"):
        client.send(bytes([byte]))
    assert client.answer()[2] == b"slow"
    assert client.answer()[2] == b"2"


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.integers(0, 70_000), min_size=1, max_size=6), st.lists(st.integers(1, 90_000), max_size=8))
def test_any_cut_of_any_requests_gives_the_same_answers(client, sizes, cuts):
    data = b"".join(request_of("Size", b"\xff" * size) for size in sizes)
    at = 0
    for cut in cuts:
        client.send(data[at : at + cut])
        at += cut
    client.send(data[at:])
    assert [int(client.answer()[2]) for _ in sizes] == sizes


def test_a_body_of_the_largest_size_is_taken(served, client):
    assert client.post("Size", b"\x00" * (16 * MIB)).answer()[2] == b"16777216"
    served.until(lambda: served.context.pool.lent_count == 0)
    assert client.post("Size", b"a").answer()[2] == b"1"


def test_nul_bytes_in_a_body_reach_the_service(client):
    assert client.post("Echo", b"\x00\r\n\r\n\x00").answer()[2] == b"\x00\r\n\r\n\x00"


def test_a_large_answer_is_delivered_whole(client):
    assert len(client.post("Big", b"20000000").answer()[2]) == 20_000_000
    assert client.post("Echo", b"after").answer()[2] == b"after"


def test_http_1_0_closes_unless_told_to_keep_alive(served):
    head = b"POST / HTTP/1.0\r\nHost: localhost\r\nX-Amz-Target: Echo_1.Echo\r\nContent-Length: 1\r\n"
    first = served.connect().send(head + b"\r\na")
    assert first.answer()[1]["connection"] == "close" and first.closed()
    second = served.connect().send(head + b"Connection: keep-alive\r\n\r\na")
    assert second.answer()[1]["connection"] == "keep-alive"
    assert second.send(head + b"\r\nb").answer()[2] == b"b" and second.closed()


def test_connection_close_is_honoured_after_the_answer(client):
    client.send(request_of("Echo", b"1").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    _, headers, body = client.answer()
    assert headers["connection"] == "close" and body == b"1" and client.closed()


def test_a_half_closed_client_gets_its_answer(client):
    client.post("Echo", b"last").socket.shutdown(socket.SHUT_WR)
    assert client.answer()[2] == b"last" and client.closed()


def test_an_empty_line_before_a_request_is_forgiven(client):
    client.send(request_of("Echo", b"a") + b"\r\n" + request_of("Echo", b"b"))
    assert [client.answer()[2], client.answer()[2]] == [b"a", b"b"]


# --- pages ---


def test_health_is_a_page_for_get_and_head(client):
    client.send(b"GET /-/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.answer()[2] == b'{"status":"ok"}'
    client.send(b"HEAD /-/health?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    status, headers, _ = client.answer(head_only=True)
    assert status == 200 and headers["content-length"] == "15"
    assert client.post("Echo", b"x").answer()[2] == b"x"


@pytest.mark.parametrize(
    ("line", "status", "code", "allow"),
    [
        (b"GET /nothing", 404, "UnknownOperationException", None),
        (b"POST /nothing", 404, "UnknownOperationException", None),
        (b"GET /-/nothing", 404, "UnknownOperationException", None),
        (b"GET /", 405, "MethodNotAllowedException", "POST"),
        (b"DELETE /", 405, "MethodNotAllowedException", "POST"),
        (b"POST /-/health", 405, "MethodNotAllowedException", "GET, HEAD"),
        (b"OPTIONS *", 404, "UnknownOperationException", None),
    ],
)
def test_unknown_paths_and_methods_are_refused_and_the_connection_lives(client, line, status, code, allow):
    client.send(line + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc")
    answer = client.answer()
    assert error_of(answer) == (status, code) and answer[1].get("allow") == allow
    assert client.post("Echo", b"x").answer()[2] == b"x"


# --- refusals that leave the connection usable ---


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content_Type": "application/x-amz-cbor-1.1"}, 415, "UnsupportedMediaTypeException"),
        ({"Content_Type": "text/plain"}, 415, "UnsupportedMediaTypeException"),
        ({"X_Amz_Target": None}, 400, "UnknownOperationException"),
        ({"X_Amz_Target": "Echo_1"}, 400, "UnknownOperationException"),
        ({"X_Amz_Target": "Echo_2.Echo"}, 400, "UnknownOperationException"),
        ({"X_Amz_Target": "Echo_1." + "x" * 300}, 400, "UnknownOperationException"),
        ({"X_Amz_Target": "\xff.\xfe"}, 400, "UnknownOperationException"),
        ({"Host": "evil.test"}, 403, "AccessDeniedException"),
        ({"Host": "localhost.evil.test"}, 403, "AccessDeniedException"),
        ({"Host": "93.184.216.34"}, 403, "AccessDeniedException"),
        ({"Host": ""}, 403, "AccessDeniedException"),
        ({"Origin": "http://evil.test"}, 403, "AccessDeniedException"),
        ({"Origin": "null"}, 403, "AccessDeniedException"),
        ({"Origin": ""}, 403, "AccessDeniedException"),
    ],
)
@pytest.mark.parametrize("size", [0, 10, 200_000])
def test_a_refused_request_is_read_to_its_end(client, headers, status, code, size):
    client.post("Echo", b"z" * size, **headers)
    assert error_of(client.answer()) == (status, code)
    assert client.post("Echo", b"next").answer()[2] == b"next"


@pytest.mark.parametrize(
    "host",
    ["localhost:80", "LOCALHOST", "a.localhost", "127.0.0.1:1", "127.9.9.9", "[::1]:5", "kinesis.test"],
)
def test_hosts_that_lead_here_are_taken(client, host):
    assert client.post("Echo", b"x", Host=host).answer()[0] == 200


def test_our_own_origin_is_taken(client):
    assert client.post("Echo", b"x", Host="localhost:5", Origin="http://localhost:5").answer()[0] == 200


# --- malformed requests end the connection with the right status ---


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x00\x01\x02", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),
        (b"POST / HTTP/1.1\nHost: localhost\n\n", 400),
        (b"POST / HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nExpect: tea\r\n\r\n", 417),
        (b"POST / HTTP/3.0\r\nHost: localhost\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 20_000, 431),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
    ],
)
def test_malformed_heads_are_answered_and_the_connection_ends(served, data, status):
    client = served.connect().send(request_of("Echo", b"good") + data)
    assert client.answer()[2] == b"good"
    answer = client.answer()
    assert answer[0] == status and answer[1]["connection"] == "close" and b"Bad request: " in answer[2]
    assert client.closed()
    assert served.connect().post("Echo", b"x").answer()[2] == b"x"


def test_the_preface_of_http_2_closes_the_connection_without_a_word(served):
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    assert served.connect().send(preface).closed()
    client = served.connect().send(request_of("PutDisk", b"first") + preface)
    assert client.answer()[2] == b"first" and client.closed()


@pytest.mark.parametrize("length", [16 * MIB + 1, 10**12, 10**40])
def test_a_body_that_is_too_large_is_refused_before_it_is_read(served, length):
    client = served.connect()
    client.send(
        b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: Echo_1.Echo\r\nContent-Length: %d\r\n\r\n"
        % length
    )
    client.send(b"x" * 100_000)
    answer = client.answer()
    assert error_of(answer) == (413, "RequestEntityTooLargeException") and answer[1]["connection"] == "close"
    assert client.closed()


def test_a_large_refused_body_ends_the_connection_after_its_answer(served):
    client = served.connect().post("Echo", b"z" * (2 * MIB), Host="evil.test")
    assert error_of(client.answer()) == (403, "AccessDeniedException") and client.closed()


def test_a_connection_that_ends_inside_a_body_leaves_nothing_behind(served):
    for cut in (10, 200, 100_000):
        client = served.connect().send(request_of("Echo", b"x" * 300_000)[:cut])
        client.close()
    served.until(lambda: not served.context.connections)


def test_a_body_cut_short_by_a_half_close_is_said_so(client):
    client.send(request_of("Echo", b"x" * 100)[:-50])
    client.socket.shutdown(socket.SHUT_WR)
    assert error_of(client.answer()) == (400, "BadRequestException") and client.closed()


# --- chunked bodies ---


def chunked(
    parts: list[bytes], operation: str = "Echo", trailer: bytes = b"", extension: bytes = b""
) -> bytes:
    head = (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: Echo_1.%s\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    body = b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts if part)
    return head % operation.encode() + body + b"0\r\n" + trailer + b"\r\n"


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.integers(0, 90_000), max_size=8),
    st.sampled_from([b"", b";a=b"]),
    st.sampled_from([b"", b"X: y\r\n"]),
)
def test_chunked_bodies_are_put_together(client, sizes, extension, trailer):
    parts = [os.urandom(size) for size in sizes]
    client.send(chunked(parts, "Echo", trailer, extension))
    assert client.answer()[2] == b"".join(parts)


def test_a_chunked_request_may_come_byte_by_byte_and_be_followed(client):
    for byte in chunked([b"ab", b"c" * 17]) + chunked([b"d"]):
        client.send(bytes([byte]))
    assert client.answer()[2] == b"ab" + b"c" * 17
    assert client.answer()[2] == b"d"


@pytest.mark.parametrize(
    "body",
    [
        b"g\r\n",
        b"\r\n",
        b"1\n",
        b"1\r\nab\r\n",
        b"-1\r\n",
        b"1;\x00\r\n",
        b"1" + b";a" * 200,
        b"0\r\nX: \x00\r\n\r\n",
    ],
)
def test_malformed_chunks_end_the_connection(served, body):
    client = served.connect().send(chunked([b"x"])[: -len(b"0\r\n\r\n")] + body)
    assert client.answer()[0] == 400 and client.closed()


def test_chunks_beyond_the_largest_body_are_refused(served):
    client = served.connect()
    sender = threading.Thread(target=lambda: ignore_errors(lambda: client.send(chunked([b"x" * MIB] * 17))))
    sender.start()
    assert error_of(client.answer()) == (413, "RequestEntityTooLargeException")
    assert client.closed()
    sender.join()
    other = served.connect().send(chunked([])[: -len(b"0\r\n\r\n")] + b"ffffffffffffffffff\r\n")
    assert error_of(other.answer()) == (413, "RequestEntityTooLargeException")


def ignore_errors(function) -> None:
    try:
        function()
    except OSError:
        pass


def test_chunked_framing_has_a_bound_of_its_own(served):
    client = served.connect()
    data = chunked([b"x"] * 6000, extension=b";" + b"e" * 240)
    sender = threading.Thread(target=lambda: ignore_errors(lambda: client.send(data)))
    sender.start()
    assert client.answer()[0] == 400 and client.closed()
    sender.join()


def test_a_refused_chunked_body_is_thrown_away(client):
    client.send(chunked([b"x" * 1000, b"y"]).replace(b"Echo_1.", b"Echo_9."))
    assert error_of(client.answer()) == (400, "UnknownOperationException")
    assert client.post("Echo", b"next").answer()[2] == b"next"


# --- Expect: 100-continue ---


def test_a_client_that_waits_is_told_to_go_on(served):
    client = served.connect()
    head = request_of("Echo", b"").replace(b"Content-Length: 0", b"Content-Length: 4\r\nExpect: 100-continue")
    assert client.send(head).answer()[0] == 100
    assert client.send(b"body").answer()[2] == b"body"
    assert client.send(head + b"same").answer()[2] == b"same"  # it did not wait: no interim answer


def test_the_interim_answer_waits_for_the_answers_before_it(served):
    served.service.disk.gate.clear()
    head = request_of("Echo", b"").replace(b"Content-Length: 0", b"Content-Length: 4\r\nExpect: 100-continue")
    client = served.connect().send(request_of("PutDisk", b"first") + head)
    served.until(lambda: served.context.requests == 2)
    served.service.disk.gate.set()
    assert client.answer()[2] == b"first"
    assert client.answer()[0] == 100
    assert client.send(b"body").answer()[2] == b"body"


def test_a_client_that_waits_for_a_refused_request_is_told_at_once(served):
    client = served.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert client.answer()[0] == 403 and client.closed()


# --- results of services ---


@pytest.mark.parametrize(
    ("operation", "status", "code"),
    [
        ("Bug", 500, "InternalFailure"),
        ("Wrong", 500, "InternalFailure"),
        ("Unheard", 500, "InternalFailure"),
        ("Missing", 400, "ResourceNotFoundException"),
    ],
)
def test_failures_of_services_become_answers(client, caplog, operation, status, code):
    answer = client.post(operation).answer()
    assert error_of(answer) == (status, code)
    assert b"not for the wire" not in answer[2] and b"a bug of ours" not in answer[2]
    assert client.post("Echo", b"x").answer()[2] == b"x"
    assert (status == 500) == any("failed" in record.message for record in caplog.records)


def test_a_body_that_a_service_keeps_is_never_overwritten(served, client):
    for size in (100, 200_000):
        assert client.post("Keep", b"k" * size).answer()[2] == b"kept"
    for _ in range(50):
        client.post("Echo", b"x" * 100).answer()
        client.post("Echo", b"x" * 200_000).answer()
    assert [bytes(view) for view in served.service.kept] == [b"k" * 100, b"k" * 200_000]


def test_operations_that_wait_run_in_a_thread_with_their_own_bytes(served, client):
    client.send(request_of("Block", b"one") + request_of("Echo", b"two"))
    assert client.answer()[2] == b"one" and client.answer()[2] == b"two"
    assert served.service.thread.startswith("headrace-operation")


def test_awaited_results_keep_the_order_of_requests(served, client):
    client.send(request_of("Wait", b"slow") + request_of("Wait", b"pending") + request_of("Echo", b"fast"))
    served.until(lambda: served.context.requests == 3)
    served.do(served.service.gate.set)
    assert [client.answer()[2] for _ in range(3)] == [b"slow", b"pending", b"fast"]


# --- commits ---


def test_a_pending_answer_leaves_after_its_lane_was_written(served, client):
    assert client.post("Put", b"done").answer()[2] == b"done"
    assert served.service.lane.writes == 1
    assert client.post("PutNone", b"nothing to write").answer()[0] == 200
    assert served.service.lane.writes == 1


def test_what_comes_in_one_turn_shares_one_write(served, client):
    client.send(request_of("Put", b"x") * 50)
    assert [client.answer()[0] for _ in range(50)] == [200] * 50
    assert served.service.lane.writes <= 3


@pytest.mark.parametrize("may_wait", [False, True])
def test_a_write_that_may_wait_for_the_device_is_not_made_by_the_loop(served, may_wait):
    lane = served.service.disk
    lane.write_may_wait = may_wait
    client = served.connect()
    for body in (b"first", b"second"):
        assert client.post("PutDisk", body).answer()[2] == body
    assert (lane.writes, lane.syncs) == (2, 2)
    assert all(name.startswith("headrace-sync") == may_wait for name in lane.writers), lane.writers


def test_answers_of_a_disk_lane_wait_for_its_sync_and_hold_up_the_later_ones(served, client):
    lane = served.service.disk
    lane.gate.clear()
    client.send(request_of("PutDisk", b"1") + request_of("PutBoth", b"2") + request_of("Echo", b"3"))
    served.until(lambda: served.context.requests == 3)
    client.socket.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.answer()
    other = served.connect().post("Put", b"not held up")
    assert other.answer()[2] == b"not held up"
    late = served.connect().post("PutDisk", b"late")
    served.until(lambda: lane.appended == 3)
    client.socket.settimeout(10)
    lane.gate.set()
    assert [client.answer()[2] for _ in range(3)] == [b"1", b"2", b"3"]
    assert late.answer()[2] == b"late" and lane.syncs == 2


@pytest.mark.parametrize("operation", ["Put", "PutDisk", "PutBoth"])
def test_a_failed_write_fails_exactly_the_requests_it_carried(served, client, caplog, operation):
    lane = served.service.disk if operation == "PutDisk" else served.service.lane
    assert client.post(operation, b"before").answer()[0] == 200
    lane.fail_write = True
    client.send(request_of(operation, b"bad") + request_of("Echo", b"good"))
    assert error_of(client.answer()) == (500, "InternalFailure")
    assert client.answer()[2] == b"good"
    lane.fail_write = False
    assert client.post(operation, b"after").answer()[0] == 200
    assert served.context.committer.failures == 1


def test_a_failed_sync_fails_what_it_would_have_covered(served, client, caplog):
    lane = served.service.disk
    lane.fail_sync = True
    client.send(request_of("PutDisk", b"bad") + request_of("Echo", b"good"))
    assert error_of(client.answer()) == (500, "InternalFailure")
    assert client.answer()[2] == b"good"
    lane.fail_sync = False
    assert client.post("PutDisk", b"after").answer()[0] == 200


def test_a_client_that_leaves_while_its_commit_runs_harms_nobody(served):
    served.service.disk.gate.clear()
    served.connect().post("PutDisk", b"gone").close()
    served.connect().post("Wait", b"gone").close()
    served.until(lambda: served.context.requests == 2)
    served.service.disk.gate.set()
    assert served.connect().post("PutDisk", b"here").answer()[2] == b"here"


# --- slow clients and bounds ---


def test_a_slow_head_is_cut_off(start):
    served = start(head_timeout=0.1)
    client = served.connect().send(b"POST / HTTP/1.1\r\nHo")
    assert error_of(client.answer()) == (408, "RequestTimeoutException") and client.closed()
    assert served.context.timeouts == 1


def test_a_head_that_trickles_is_cut_off_all_the_same(start):
    served = start(head_timeout=0.2)
    client = served.connect().send(b"POST / HTTP/1.1\r\nX: ")
    end = time.monotonic() + 5
    with pytest.raises((ConnectionError, AssertionError)):
        while time.monotonic() < end:
            client.send(b"a")
            time.sleep(0.02)
            assert served.context.timeouts == 0
    assert time.monotonic() < end


def test_a_body_that_stalls_is_cut_off(start):
    served = start(body_timeout=0.1)
    client = served.connect().send(request_of("Echo", b"x" * 100)[:-1])
    assert error_of(client.answer()) == (408, "RequestTimeoutException") and client.closed()
    chunks = served.connect().send(chunked([b"abc"])[:-3])
    assert error_of(chunks.answer()) == (408, "RequestTimeoutException") and chunks.closed()


def test_a_body_that_trickles_is_cut_off_by_the_limit_of_the_whole_request(start):
    served = start(body_timeout=5.0, request_timeout=0.2)
    client = served.connect().send(request_of("Echo", b"x" * 10_000)[:-9_000])
    end = time.monotonic() + 5
    while served.context.timeouts == 0 and time.monotonic() < end:
        client.send(b"x")
        time.sleep(0.02)
    assert error_of(client.answer()) == (408, "RequestTimeoutException")


def test_an_idle_connection_is_closed_without_a_word(start):
    served = start(idle=0.1)
    client = served.connect().post("Echo", b"x")
    assert client.answer()[2] == b"x" and client.closed()
    assert served.connect().closed()


def test_a_slow_answer_is_not_an_idle_connection(start):
    served = start(idle=0.1, head_timeout=0.1)
    served.service.disk.gate.clear()
    client = served.connect().post("PutDisk", b"slow")
    time.sleep(0.4)
    served.service.disk.gate.set()
    assert client.answer()[2] == b"slow"


def test_a_client_that_does_not_read_its_answers_is_cut_off(start):
    served = start(idle=0.3)
    client = served.connect()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.send(request_of("Big", b"30000000"))
    served.until(lambda: served.context.timeouts == 1)
    served.until(lambda: not served.context.connections)


def test_a_client_that_pipelines_without_reading_is_held_not_buffered(start):
    served = start(idle=20.0)
    client = served.connect()
    data = request_of("Big", b"1000000") * 200
    sender = threading.Thread(target=lambda: ignore_errors(lambda: client.send(data)))
    sender.start()
    time.sleep(0.3)
    assert served.context.requests < 20
    for _ in range(200):
        assert len(client.answer()[2]) == 1_000_000
    sender.join()


def test_connections_beyond_the_bound_are_turned_away(start):
    served = start(connections_max=2)
    first, second = served.connect(), served.connect()
    assert first.post("Echo", b"1").answer()[0] == second.post("Echo", b"2").answer()[0] == 200
    third = served.connect()
    assert error_of(third.answer()) == (503, "ServiceUnavailableException") and third.closed()
    first.close()
    served.until(lambda: len(served.context.connections) == 1)
    assert served.connect().post("Echo", b"4").answer()[0] == 200
    assert served.context.turned_away == 1


def test_bodies_beyond_the_bound_wait_for_room(start, monkeypatch):
    monkeypatch.setattr("headrace.limits.http_bodies_size_max", 3 * MIB)
    served = start()
    clients = [served.connect() for _ in range(6)]
    senders = [threading.Thread(target=lambda c=c: c.post("Size", b"x" * (2 * MIB))) for c in clients]
    senders += [
        threading.Thread(target=lambda c=c: c.send(chunked([b"x" * MIB] * 2, "Size"))) for c in clients
    ]
    for sender in senders[:6]:
        sender.start()
    for client in clients:
        assert client.answer()[2] == b"%d" % (2 * MIB)
    for sender in senders[6:]:
        sender.start()
    for client in clients:
        assert client.answer()[2] == b"%d" % (2 * MIB)
    for sender in senders:
        sender.join()


def test_many_connections_leave_no_file_open(served):
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    for _ in range(5):
        clients = [served.connect() for _ in range(50)]
        for client in clients:
            client.post("Echo", b"x" * 1000)
        assert all(client.answer()[0] == 200 for client in clients)
        for client in clients:
            client.close()
    served.until(lambda: not served.context.connections)
    assert open_files() <= before


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.binary(max_size=200) | st.sampled_from([b"POST / HTTP/1.1\r\n", b"Host: a\r\n", b"\r\n"]),
        max_size=8,
    )
)
def test_random_bytes_never_hurt_the_server(served, parts):
    client = served.connect()
    ignore_errors(lambda: client.send(b"".join(parts)))
    client.close()
    assert served.connect().post("Echo", b"alive").answer()[2] == b"alive"


# --- the end ---


def test_a_stop_answers_what_is_under_way_and_closes_the_idle(served):
    served.service.disk.gate.clear()
    idle = served.connect().post("Echo", b"x")
    assert idle.answer()[0] == 200
    busy = served.connect().post("PutDisk", b"under way")
    half = served.connect().send(request_of("Echo", b"half a body")[:-4])
    served.until(lambda: served.context.requests == 3)
    result: list[int] = []
    stopper = threading.Thread(target=lambda: result.append(served.run(served.listener.stop(5.0))))
    stopper.start()
    assert idle.closed()
    half.send(b"body")
    assert half.answer()[2] == b"half a body" and half.closed()
    with pytest.raises(OSError):
        served.connect().post("Echo", b"late").answer()
    served.service.disk.gate.set()
    assert busy.answer()[2] == b"under way" and busy.closed()
    stopper.join()
    assert result == [0]


def test_a_stop_cuts_off_after_its_deadline(served, caplog):
    client = served.connect().post("Wait", b"never")
    served.until(lambda: served.context.requests == 1)
    assert served.run(served.listener.stop(0.1)) == 1
    assert client.closed()
