# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Goal: `headrace bench` refuses what it would ignore, and its exit code is the verdict. Method: the stub server."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest

from headrace.bench import command, report, workloads
from headrace.bench.machine import Cores, Quiet, facts, split_cores, touch_memory
from headrace.bench.target import Server, TargetFailed
from headrace.errors import ConfigurationError, InvalidArgument, Unsupported

STUB = f"{sys.executable} -m headrace.bench.stub --port {{port}}"


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(list(words))


def bench(*words: str) -> int:
    return command.run(parse(*words))


def test_a_run_on_any_server_prints_and_saves_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "report.json"
    words = (
        "put-100",
        "--server-command",
        STUB,
        "--records",
        "5000",
        "--repeat",
        "2",
        "--allow-noise",
        "--no-pin",
    )
    assert bench(*words, "--report", str(saved), "-o", "json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(saved.read_text())
    assert printed["schema"] == report.SCHEMA
    assert printed["verdict"] == "PASS"
    assert len(printed["runs"]) == 2
    assert printed["median"]["records_per_s"] > 0
    assert printed["machine"]["processor"]["model"]
    assert printed["runs"][0]["details"]["check"]["acknowledged"] == 5000


def test_damage_gives_exit_code_3_and_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("put-100", "--server-command", STUB + " --fault lose", "--records", "5000", "--repeat", "1")
    assert bench(*words, "--allow-noise", "--no-pin") == 3
    shown = capsys.readouterr().out
    assert shown.startswith("FAIL  put-100 on")
    assert "wrong: 1 records acknowledged and not there (the first is number 800)" in shown


def test_a_running_server_is_measured_by_its_url_and_left_as_it_was(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Server([sys.executable, "-m", "headrace.bench.stub"], announces=r"port (\d+)") as server:
        for workload in ("drain", "put-single"):
            words = (workload, "--endpoint", server.url, "--records", "2000", "--allow-noise", "--no-pin")
            assert bench(*words) == 0
    assert "closed loop: throughput only" in capsys.readouterr().out


def test_a_server_that_is_not_there_gives_exit_code_4(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("put-1k", "--endpoint", "http://127.0.0.1:1") == 4
    assert "not reachable" in capsys.readouterr().err
    assert bench("put-1k", "--server-command", "/no/such/program") == 4
    assert bench("put-1k", "--server-command", f"{sys.executable} -c 'raise SystemExit(7)'") == 4
    assert "ended with 7" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("disk", "--endpoint", "http://127.0.0.1:1"),
        ("put-1k", "--endpoint", "http://127.0.0.1:1", "--server-command", "x"),
        ("put-1k", "--endpoint", "http://127.0.0.1:1", "--durability", "disk"),
        ("put-1k", "--endpoint", "http://127.0.0.1:1", "--sustained"),
        ("drain", "--sustained"),
        ("drain", "--rate", "5"),
        ("put-1k", "--seconds", "0"),
        ("put-1k", "--connections", "-1"),
    ],
)
def test_options_that_would_be_ignored_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError):
        bench(*words)


def test_endpoints_that_cannot_be_measured_are_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="plain HTTP"):
        bench("put-1k", "--endpoint", "https://kinesis.us-east-1.amazonaws.com")
    with pytest.raises(InvalidArgument, match="http://host:port"):
        bench("put-1k", "--endpoint", "localhost:4567")


def test_verdicts_put_wrong_results_before_noise() -> None:
    clean, noisy, wrong = (
        report.Run({"x": 1.0}),
        report.Run({"x": 2.0}, doubts=["noise"]),
        report.Run({"x": 3.0}, failures=["lost"], doubts=["noise"]),
    )
    assert (clean.verdict, noisy.verdict, wrong.verdict) == ("PASS", "VOID", "FAIL")
    whole = report.Report("w", "t", "calls", "process", ["x"], {}, facts(), [clean, noisy])
    assert (whole.verdict, whole.median()["x"], whole.spread()["x"]) == ("VOID", 1.5, (1.0, 2.0))
    whole.runs.append(wrong)
    assert whole.verdict == "FAIL"
    assert "wrong: lost" in whole.text()
    assert "void: noise" in whole.text()
    assert report.Report("w", "t", "calls", "process", ["x"], {}, facts()).verdict == "FAIL"


def test_a_disturbed_run_is_made_again_a_bounded_number_of_times_and_stays_in_the_report() -> None:
    whole = report.Report("w", "t", "calls", "process", ["x"], {}, facts())
    assert not whole.take(report.Run({"x": 9.0}, doubts=["a neighbour"]), again=1)
    assert whole.runs == []
    assert whole.take(report.Run({"x": 1.0}), again=1)
    assert (whole.verdict, whole.median()) == ("PASS", {"x": 1.0})
    assert "made again: a run was void (a neighbour)" in whole.text()
    assert whole.to_dict()["set_aside"][0]["verdict"] == "VOID"
    assert whole.take(report.Run({"x": 2.0}, doubts=["again"]), again=1)
    assert whole.verdict == "VOID"
    assert whole.take(report.Run({"x": 2.0}, failures=["lost"], doubts=["again"]), again=9)
    assert whole.verdict == "FAIL"


def test_a_generator_that_was_late_itself_voids_the_run() -> None:
    latency = {"count": 10, "p50": 10.0}
    assert workloads.slip_doubts({"count": 10, "p99": 0.4}, latency) == []
    assert workloads.slip_doubts({"count": 10, "p99": 0.6}, latency)
    assert workloads.slip_doubts({"count": 10, "p99": 1.1}, {"count": 10, "p50": 1000.0})
    assert workloads.slip_doubts({"count": 10, "p99": 0.04}, {"count": 10, "p50": 0.01}) == []
    assert workloads.slip_doubts({"count": 0}, {"count": 0})
    assert len(workloads.noise_doubts({"others": 0.5, "steal": 0.5})) == 2
    assert workloads.noise_doubts({"others": 0.01, "steal": 0.0}) == []


def test_machine_facts_name_the_processor_and_the_file_system(tmp_path: Path) -> None:
    found = facts(tmp_path)
    assert found["processor"]["usable"] >= 1
    assert found["file_system"]["type"]
    assert found["memory_bytes"] > 0
    json.dumps(found)
    assert split_cores().target is None or split_cores().target != split_cores().load
    noise = Quiet(Cores(None, None)).end(0.0)
    assert noise["others"] >= 0


def test_a_server_that_never_gets_ready_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.bench.target.READY_SECONDS", 0.3)
    with pytest.raises(TargetFailed, match="not ready"):
        Server([sys.executable, "-c", "import time; time.sleep(60)"])


def test_a_headrace_server_is_started_measured_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "put-1k",
        "--records",
        "20000",
        "--repeat",
        "1",
        "--allow-noise",
        "--no-pin",
        "--directory",
        str(tmp_path),
    )
    assert bench(*words, "--durability", "disk", "-o", "json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["durability"] == "disk"
    assert printed["runs"][0]["details"]["check"]["read"] == 20000
    assert list(tmp_path.iterdir()) == []


def test_a_sustained_run_has_its_limits_and_reads_while_it_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "put-100",
        "--sustained",
        "--seconds",
        "1",
        "--allow-noise",
        "--no-pin",
        "--directory",
        str(tmp_path),
    )
    assert bench(*words, "-o", "json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["parameters"]["target"]["environment"]["HEADRACE__STREAMS__ON_FULL"] == "drop_oldest"
    check = printed["runs"][0]["details"]["check"]
    assert check["read"] == check["acknowledged"] > 0


def test_the_embedded_workloads_check_what_they_put(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "embedded-put",
        "--records",
        "30000",
        "--repeat",
        "1",
        "--allow-noise",
        "--directory",
        str(tmp_path),
        "-o",
        "json",
    )
    assert bench(*words) == 0
    printed = json.loads(capsys.readouterr().out)
    for name in ("batches", "keyed_batches", "lists", "producer"):
        assert printed["runs"][0]["details"][name]["check"]["read"] == 30000
        assert printed["median"][f"{name}_records_per_s"] > 0


def test_the_disk_promise_is_held_against_plain_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.bench.disk.BATCHES", (64,))
    monkeypatch.setattr("headrace.bench.disk.BYTES_A_TURN", 1 << 20)
    monkeypatch.setattr("headrace.bench.disk.FILL_BYTES", 1 << 20)
    words = ("disk", "--repeat", "1", "--allow-noise", "--directory", str(tmp_path), "-o", "json")
    assert bench(*words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["durability"] == "disk"
    assert printed["median"]["put_64_of_plain"] > 0
    check = printed["runs"][0]["details"]["put_64"]["check"]
    assert check["read"] == check["acknowledged"] == (1 + 2 * 4) * 1024


def test_a_directory_that_is_missing_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "put-100",
        "--server-command",
        STUB,
        "--records",
        "500",
        "--repeat",
        "1",
        "--allow-noise",
        "--no-pin",
    )
    assert bench(*words, "--directory", str(tmp_path / "new" / "place")) == 0
    assert list((tmp_path / "new" / "place").iterdir()) == []


def test_touching_memory_leaves_nothing_behind(tmp_path: Path) -> None:
    touch_memory(tmp_path, 3 << 20)
    assert list(tmp_path.iterdir()) == []
