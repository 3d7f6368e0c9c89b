# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: the load measures and checks what it says. Method: our stub server, which spoils records on request."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.bench import requests
from headrace.bench._load import Ledger, Load, plain_disk
from headrace.bench.endpoint import Endpoint
from headrace.bench.report import Run
from headrace.bench.requests import PUT_SINGLE, Shape
from headrace.bench.target import Server
from headrace.bench.workloads import Options, Target, _check, end_to_end, put

SMALL = Shape("PutRecords", 50, 100)
ANNOUNCES = r"listening on port (\d+)"


@contextlib.contextmanager
def stub(*options: str) -> Iterator[Target]:
    with Server([sys.executable, "-m", "headrace.bench.stub", *options], announces=ANNOUNCES) as server:
        yield Target("stub", Endpoint(server.url), server)


def few(**changes: object) -> Options:
    return Options(
        **{"seconds": 10.0, "records": 2000, "connections": 1, "shards": 3, "allow_noise": True, **changes}
    )  # type: ignore[arg-type]


def test_a_healthy_server_passes_with_every_record_read_back() -> None:
    with stub() as target:
        run, ledger = put(target, SMALL, few(connections=4))
    assert run.verdict == "PASS", run.failures
    assert ledger.tally()["read"] == run.details["counts"]["records_done"] == 2000
    assert run.figures["records_per_s"] > 0
    assert run.details["target_cpu_seconds"] is not None


def test_single_puts_pass_too() -> None:
    with stub() as target:
        run, ledger = put(target, PUT_SINGLE, few(connections=16, records=500))
    assert run.verdict == "PASS", run.failures
    assert ledger.tally()["acknowledged"] == 500


@pytest.mark.parametrize(
    ("fault", "finding"),
    [
        ("lose", "1 records acknowledged and not there"),
        ("double", "1 records there twice"),
        ("change", "1 records not the bytes that were sent"),
        ("reorder", "1 records out of order within their shard"),
        ("rekey", "1 records with another partition key than they were sent with"),
        ("misplace", "1 records in another shard than their partition key says"),
        ("renumber", "1 records with another sequence number than was acknowledged"),
    ],
)
def test_each_fault_of_a_server_fails_the_run(fault: str, finding: str) -> None:
    with stub("--fault", fault) as target:
        run, _ = put(target, SMALL, few())
    assert run.verdict == "FAIL"
    assert finding in " | ".join(run.failures)


def test_a_refused_record_is_counted_and_not_missed() -> None:
    with stub("--fault", "refuse") as target:
        run, ledger = put(target, SMALL, few())
    assert run.verdict == "PASS", run.failures
    tally = ledger.tally()
    assert (tally["refused"], tally["acknowledged"], tally["lost"]) == (1, 1999, 0)
    assert "ProvisionedThroughputExceededException" in run.details["refused"]


def test_a_request_without_an_answer_makes_the_run_void_and_its_records_may_be_there() -> None:
    with stub("--fault", "hang-up") as target:
        run, ledger = put(target, SMALL, few())
    assert run.verdict == "VOID", run.failures
    assert "1 requests were never answered" in " | ".join(run.doubts)
    tally = ledger.tally()
    assert (tally["unknown"], tally["unknown_seen"], tally["lost"]) == (50, 50, 0)


def test_a_run_of_which_a_part_was_refused_is_void() -> None:
    run = Run({})
    plan = requests.http_plan(Endpoint("http://127.0.0.1:1"), "s", SMALL, writers=1, pool_bytes=5_000)
    ledger = Ledger(plan, 10)
    for request in range(2):
        ledger.begin(0)
        ledger.done(request)
    counts = {"requests_unanswered": 0, "requests_refused": 0, "records_refused": 1, "first_refusal": "x"}
    ledger.forget_reading()
    _check(run, ledger, counts)
    assert run.doubts == []
    _check(run, ledger, {**counts, "records_refused": 2})
    assert "2 of 100 records were refused" in run.doubts[0]


def test_a_reader_that_follows_sees_everything() -> None:
    with stub() as target:
        run = end_to_end(target, few(seconds=1.0, records=None, rate=200.0, connections=8))
    assert not run.failures
    assert run.details["check"]["read"] == run.details["check"]["acknowledged"] == 200
    assert run.details["travel_ms"]["count"] == 200


def test_open_loop_makes_as_many_requests_as_were_due() -> None:
    with stub() as target:
        run, _ = put(target, PUT_SINGLE, few(seconds=1.0, records=None, rate=300.0, connections=8))
    counts = run.details["counts"]
    assert counts["slots"] + counts["skipped"] == 300
    assert counts["skipped"] == 0


def test_a_target_that_dies_ends_the_run_with_an_error() -> None:
    with stub("--delay-ms", "20") as target:
        target.endpoint.create_stream("headrace-bench", 1)
        plan = requests.http_plan(target.endpoint, "headrace-bench", SMALL, writers=2, pool_bytes=50_000)
        ledger = Ledger(plan, 100_000)
        load = Load(target.endpoint.address, ledger, writers=2)
        assert target.server is not None
        timer = threading.Timer(0.3, target.server.process.kill)
        timer.start()
        with pytest.raises(OSError, match="connect"):
            load.run(30)
        timer.join()
        load.close()
        load.close()
    tally = ledger.tally()
    assert tally["acknowledged"] > 0
    assert tally["unknown"] > 0


def test_a_target_that_stands_still_is_given_up() -> None:
    with stub() as target:
        target.endpoint.create_stream("headrace-bench", 1)
        plan = requests.http_plan(target.endpoint, "headrace-bench", SMALL, writers=1, pool_bytes=50_000)
        load = Load(target.endpoint.address, Ledger(plan, 100_000), writers=1)
        assert target.server is not None
        target.server.process.send_signal(signal.SIGSTOP)
        with pytest.raises(OSError, match="does not answer"):
            load.run(30, grace=0.5)
        target.server.process.send_signal(signal.SIGCONT)
        load.close()


def answering(answer: bytes) -> tuple[threading.Thread, tuple[str, int]]:
    """A server that gives one connection one answer, whatever it asks."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(1 << 20)
            connection.sendall(answer)
            connection.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread, listener.getsockname()[:2]


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (b"SMTP ready\r\n\r\n", "not HTTP"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"Unknown": null}', "not what the service answers"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "not what the service answers"),
    ],
)
def test_an_answer_that_makes_no_sense_ends_the_run(answer: bytes, match: str) -> None:
    thread, address = answering(answer)
    plan = requests.http_plan(Endpoint("http://127.0.0.1:1"), "s", SMALL, writers=1, pool_bytes=5_000)
    load = Load(address, Ledger(plan, 10), writers=1)
    with pytest.raises(OSError, match=match):
        load.run(5)
    load.close()
    thread.join(5)


def test_nobody_listening_is_an_error_that_says_so() -> None:
    plan = requests.http_plan(Endpoint("http://127.0.0.1:1"), "s", SMALL, writers=1, pool_bytes=5_000)
    with pytest.raises(OSError, match="refused"):
        Load(("127.0.0.1", 1), Ledger(plan, 10), writers=1)


def test_requests_are_the_same_bytes_for_the_same_seed() -> None:
    endpoint = Endpoint("http://127.0.0.1:1")
    endpoint.head = lambda operation: b"POST / HTTP/1.1\r\n"  # type: ignore[method-assign]
    one, two = (requests.http_plan(endpoint, "s", SMALL, writers=2, pool_bytes=20_000) for _ in range(2))
    other = requests.http_plan(endpoint, "s", SMALL, writers=2, pool_bytes=20_000, seed=5)
    assert (one.requests == two.requests).all()
    assert one.requests.tobytes() != other.requests.tobytes()


def test_wrong_arguments_are_refused() -> None:
    plan = requests.http_plan(Endpoint("http://127.0.0.1:1"), "s", SMALL, writers=1, pool_bytes=5_000)
    with pytest.raises(ValueError, match="writers need"):
        Load(("127.0.0.1", 1), Ledger(plan, 10), writers=plan.count + 1)
    with pytest.raises(ValueError, match="too long"):
        Load(("127.0.0.1", 1), Ledger(plan, 10), iterators=[b"x" * 5000])


def test_plain_disk_writes_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_bytes(bytes(64 * 1024))
    durations = plain_disk(path, 4096, 16)
    assert durations.total == 16
    assert path.stat().st_size == 64 * 1024
    assert [int.from_bytes(path.read_bytes()[at : at + 8], "little") for at in range(0, 65536, 4096)] == list(
        range(16)
    )
    with pytest.raises(ValueError, match="shorter"):
        plain_disk(path, 4096, 17)
    with pytest.raises(ValueError, match="at least 8"):
        plain_disk(path, 4, 1)
    with pytest.raises(FileNotFoundError):
        plain_disk(tmp_path / "none", 4096, 1)
