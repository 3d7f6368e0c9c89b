# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: peers are measured by the same rules, and the ceiling answers like a service. Method: short real runs."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.bench import requests
from headrace.bench._load import Ledger, Load
from headrace.bench._sink import serve
from headrace.bench.embedded import embedded_put
from headrace.bench.endpoint import Endpoint, RefusedCall
from headrace.bench.measure import headrace_server
from headrace.bench.report import failures_of
from headrace.bench.target import Server
from headrace.bench.workloads import Options, Target, put, read_back

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))


@pytest.mark.usefixtures("peers")
@pytest.mark.parametrize("name", ["lmdb", "sqlite"])
def test_an_embedded_peer_keeps_and_returns_every_record(name: str, tmp_path: Path) -> None:
    from peers.stores import STORES

    run = embedded_put(tmp_path, Options(records=20_000), STORES[name])
    assert run.failures == []
    assert {
        run.details[kind]["check"]["read"] for kind in ("batches", "keyed_batches", "lists", "producer")
    } == {20_000}
    assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def ceiling(*options: str) -> Iterator[Target]:
    with Server(
        [sys.executable, "-m", "headrace.bench.ceiling", *options], announces=r"port (\d+)"
    ) as server:
        yield Target("ceiling", Endpoint(server.url), server)


@pytest.mark.parametrize(
    ("name", "shape"), [("put-1k", requests.PUT_1K), ("put-single", requests.PUT_SINGLE)]
)
def test_the_ceiling_answers_every_put(name: str, shape: requests.Shape) -> None:
    with ceiling("--shape", name) as target:
        plan = requests.http_plan(target.endpoint, "s", shape, writers=4, pool_bytes=4 << 20)
        load = Load(target.endpoint.address, Ledger(plan, 1000), writers=4)
        counts = load.run(20, requests_max=300)
        load.close()
    assert counts["requests_done"] == 300
    assert counts["records_done"] == 300 * shape.records


def test_the_ceiling_gives_readers_what_a_server_answered_and_the_load_checks_it(tmp_path: Path) -> None:
    with headrace_server(tmp_path, core=None)() as real:
        options = Options(max_bytes=20_000_000, allow_noise=True)
        run, ledger = put(real, requests.PUT_1K, options)
        assert run.failures == []
        with ceiling("--replay", real.endpoint.url, "--stream", real.stream) as target:
            ledger.forget_reading()
            read = read_back(target, ledger, options, options.connections)
            assert failures_of(ledger.tally()) == []
            with pytest.raises((RefusedCall, OSError)):
                target.endpoint.call("MergeShards")
            assert target.endpoint.shards("s")[-1]["ShardId"] == "shardId-000000000003"
    assert read["records"] == run.details["counts"]["records_done"] > 0


def test_a_sink_without_answers_is_refused() -> None:
    with pytest.raises(ValueError, match="no answer"):
        serve(0, {})
    with pytest.raises(OSError, match="Bad file"):
        serve(-1, {b"PutRecord": b"x"})


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "bench" / "run.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def test_the_whole_run_prints_its_targets_and_refuses_unknown_names(tmp_path: Path) -> None:
    done = run(
        "--quick", "--allow-noise", "--peers", "none", "--only", "embedded-put", "--directory", str(tmp_path)
    )
    assert done.returncode in (0, 3), done.stderr  # passed, or a target missed on this machine
    assert "put_many without keys, 100 B, records/s" in done.stdout
    assert "wrong:" not in done.stdout
    wrong = run("--only", "nothing")
    assert wrong.returncode == 2
    assert "unknown: nothing" in wrong.stderr


@pytest.mark.integration
def test_kinesalite_and_ministack_start_and_keep_and_return_every_record(tmp_path: Path) -> None:
    """As `bench/peers/install.py` has installed them. How fast they are, and whether it is quiet, is not judged."""
    report = tmp_path / "report.json"
    quick = ("--quick", "--allow-noise", "--only", "put-1k", "--directory", str(tmp_path))
    done = run(*quick, "--report", str(report))
    assert done.returncode in (0, 3), done.stderr  # passed, or a target missed on this machine
    reports = {each["target"]: each for each in json.loads(report.read_text())["reports"]}
    assert set(reports) == {"headrace", "kinesalite", "ministack", "ceiling"}
    for name, each in reports.items():
        assert each["verdict"] in ("PASS", "VOID"), (name, each["runs"])
        assert each["median"]["records_per_s"] > 0, name
