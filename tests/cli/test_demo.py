# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""`headrace demo` as a process of its own, with its server; what it checks, and that it finds what is wrong."""

import gzip
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from headrace.cli.demo_check import Archive, Comparison, judge_delivery, judge_reading, number_of
from headrace.cli.demo_feed import Entry, Feeder, Ledger, digest
from headrace.cli.demo_screen import notes
from headrace.cli.demo_server import STREAM, write_config
from headrace.cli.demo_sources import FILE_SIZE_MAX, LINE_SIZE_MAX, SYNTHETIC_MAX, Files, Synthetic, Telemetry
from headrace.errors import AlreadyExists, NotFound

WAIT = 20.0


def wait_for(condition, process):
    end = time.monotonic() + WAIT
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def server_pid(directory):
    return json.loads((directory / ".demo-ready.json").read_text())["pid"]


def archived(directory):
    return [
        json.loads(line)
        for path in sorted(directory.rglob("*.gz"))
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]


# --- whole runs ---


def test_a_run_ends_with_every_record_read_back_delivered_and_counted(headrace):
    log = headrace.directory / "web.log"
    log.write_text("before\n")
    process = headrace.start(
        "demo", "data", "--seconds", "6", "--rate", "300", "--files", "web*.log", "-o", "json"
    )
    archive = headrace.directory / "data" / "archive"
    wait_for(lambda: list(archive.rglob("*.gz")), process)
    with log.open("ab") as file:
        file.write("grüße ☃\nzweite\n".encode() + b"\xff\n")
    out, err = process.communicate(timeout=WAIT)
    assert (process.returncode, err) == (0, "")
    summary = json.loads(out)
    assert summary["passed"] and all(check["holds"] for check in summary["checks"].values())
    put = summary["put"]
    assert put > 1500 and {
        summary[name] for name in ("read_back", "delivered", "counted_tumble", "counted_step")
    } == {put}
    assert sum(summary["shards"].values()) == sum(summary["metrics"].values()) == put
    records = archived(archive)
    assert sorted(record["id"] for record in records) == list(range(1, put + 1))
    lines = [record["line"] for record in records if record["metric"] == "line"]
    assert lines == ["before", "grüße ☃", "zweite", "�"]
    assert (summary["lines"], summary["files"], summary["files_bytes_skipped"]) == (4, 1, 0)
    made_up = [record for record in records if record.get("synthetic")]
    assert len(made_up) == summary["synthetic"] == summary["metrics"]["synthetic"]
    assert {record["metric"] for record in made_up} == {"synthetic"}
    assert {"cpu", "memory", "processes"} <= summary["metrics"].keys()
    assert len(list(archive.rglob("*.gz"))) == summary["objects"] >= 2
    assert len(summary["next"]) == 3 and all("data" in line for line in summary["next"])


def test_ctrl_c_ends_the_feeding_and_checks_and_the_server_is_gone(headrace):
    process = headrace.start("demo", "data")
    ready = headrace.directory / "data" / ".demo-ready.json"
    wait_for(ready.exists, process)
    pid = server_pid(ready.parent)
    time.sleep(2)
    code, out, err = headrace.stop(process, signal.SIGINT)
    assert (code, err) == (0, "")
    assert out.count("ok    ") == 4 and f"headrace tail {STREAM} -n 5 --store " in out
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_second_run_in_the_same_directory_checks_its_own_records_only(headrace):
    runs = []
    for _ in range(2):
        code, out, err = headrace.run("demo", "data", "--seconds", "1", "-o", "json")
        assert (code, err) == (0, "")
        runs.append(json.loads(out))
    first, second = runs
    assert first["archive"] != second["archive"]
    assert second["delivered"] == second["put"] < first["put"] + second["put"]


def test_a_server_that_dies_is_a_check_that_failed(headrace):
    process = headrace.start("demo", "data", "--seconds", "60", "-o", "json")
    ready = headrace.directory / "data" / ".demo-ready.json"
    wait_for(ready.exists, process)
    time.sleep(1.5)
    os.kill(server_pid(ready.parent), signal.SIGKILL)
    out, _ = process.communicate(timeout=WAIT)
    assert process.returncode == 3
    summary = json.loads(out)
    assert not summary["passed"] and summary["server_exit"] == -signal.SIGKILL
    assert "does not answer" in summary["failure"]
    assert summary["checks"]["read_back"]["says"].startswith(f"{summary['read_back']:,} records read back")


# --- what is refused ---


FAULTY = """
import sys
import msgspec
from headrace.cli import demo_run, main
from headrace.cli.demo_server import Api

demo_run.FLUSH_S = 1.0
post, requests = Api.post, []


def faulty(self, target, body):
    request = msgspec.json.decode(body)
    if not target.endswith("PutRecords"):
        return post(self, target, body)
    requests.append(len(request["Records"]))
    if len(requests) != 5:
        return post(self, target, body)
    if sys.argv[1] == "lost":
        taken = request["Records"].pop(0)
    else:
        request["Records"][0]["Data"] = "e30K"
    answer = msgspec.json.decode(post(self, target, msgspec.json.encode(request)))
    answer["Records"] = (answer["Records"] * 2)[: requests[-1]]
    return msgspec.json.encode(answer)


Api.post = faulty
sys.exit(main(["demo", "data", "--seconds", "2", "-o", "json"]))
"""


@pytest.mark.parametrize("fault", ["lost", "changed"])
def test_a_single_record_that_goes_wrong_on_its_way_fails_the_checks(headrace, fault):
    """Method: of one request, one record is left out or altered, and the answer looks whole."""
    process = subprocess.Popen(
        [sys.executable, "-c", FAULTY, fault], cwd=headrace.directory, env=headrace.environ,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    headrace.processes.append(process)
    out, err = process.communicate(timeout=3 * WAIT)
    assert process.returncode == 3, err
    summary = json.loads(out)
    failed = {name for name, check in summary["checks"].items() if not check["holds"]}
    assert {"read_back", "delivered"} <= failed
    assert f"1 {fault}" in summary["checks"]["read_back"]["says"]
    assert failed == set(summary["checks"]) or fault == "changed"
    assert not summary["passed"]


def test_at_a_terminal_it_shows_shards_windows_and_objects_and_fits(cli, tmp_path):
    columns = 80
    code, shown = cli.at_a_terminal(
        "demo", str(tmp_path / "d"), "--seconds", "4", "--rate", "100", columns=columns, seconds=60
    )
    assert code == 0, shown
    lines = [re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", line) for line in re.split(r"[\r\n]+", shown)]
    screen = [line for line in lines if not re.match(r"\d|ok|  \S*headrace|  .*python|The records", line)]
    assert max(map(len, screen)) <= columns
    for word in ("records/s", "MB/s", "put p50", "p99", "shardId-000000000000", "TUMBLE 5 s (flink)"):
        assert any(word in line for line in screen), word
    assert any("STEP 1 s (kinesis): " in line for line in screen)
    assert any(
        re.search(r"delivered [\d,]+ records in \d+ gzip objects?, .* times smaller", line) for line in screen
    )
    assert sum(line.startswith("ok ") for line in lines) == 4
    assert any(re.match(r"  .*headrace tail telemetry", line) for line in lines)


def test_what_it_says_to_type_next_works(headrace):
    process = headrace.start("demo", "data", "--seconds", "2", "-o", "json")
    out, _ = process.communicate(timeout=3 * WAIT)
    tail, sql, serve = json.loads(out)["next"]
    python = f"{shlex.quote(sys.executable)} -m headrace "
    for line, check in ((tail, '"data":'), (sql, '"records":')):
        command = line.replace("headrace ", python, 1) if line.startswith("headrace ") else line
        done = subprocess.run(
            command, shell=True, cwd=headrace.directory, env=headrace.environ, capture_output=True, text=True,
            timeout=60, check=True,
        )  # fmt: skip
        assert check in done.stdout
    assert " serve " in serve


@pytest.mark.parametrize("option", ["--seconds", "--rate"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_a_number_that_is_not_above_zero_is_refused(headrace, option, value):
    code, out, err = headrace.run("demo", "data", f"{option}={value}")
    assert (code, out) == (2, "") and f"{option} {value} is not a number above 0" in err
    assert not (headrace.directory / "data").exists()


def test_files_that_do_not_exist_are_named_and_the_server_is_ended(headrace):
    code, _, err = headrace.run("demo", "data", "--seconds", "1", "--files", "no*.log")
    assert code == 1 and "no file that can be read matches 'no*.log'" in err
    assert not (headrace.directory / "data" / ".demo-ready.json").exists()


def test_a_directory_that_another_process_holds_is_named(headrace):
    headrace.serve("data")
    code, _, err = headrace.run("demo", "data", "--seconds", "1")
    assert code == 4 and "the demo's server did not start" in err


def test_a_configuration_of_somebody_else_is_left_alone(tmp_path):
    config = tmp_path / "headrace.toml"
    config.write_text("[server]\n")
    with pytest.raises(AlreadyExists, match="is not the demo's"):
        write_config(config, tmp_path / "archive")
    assert config.read_text() == "[server]\n"


# --- the checks find what is wrong ---


def ledger_of(records):
    ledger = Ledger()
    for data, key in records:
        ledger.take(Entry(data, key), "shardId-000000000000")
    return ledger


def test_digests_that_are_missing_doubled_or_foreign_are_told_apart():
    assert Comparison([1, 2, 2, 3], [2, 3, 1, 2]).same
    assert Comparison([], []).same
    wrong = Comparison([1, 2, 3, 4], [1, 1, 1, 2, 9])
    assert (wrong.lost, wrong.doubled, wrong.unknown) == (2, 2, 1) and not wrong.same
    assert wrong.text == "2 lost, 2 doubled, 1 changed"
    assert Comparison([7, 7], [7]).text == "1 lost"
    assert Comparison([1], []).text == "1 lost"
    assert Comparison([], [1]).text == "1 changed"


def test_a_digest_tells_data_and_key_apart():
    assert len({digest(b"a"), digest(b"a", "k"), digest(b"a", "l"), digest(b"b", "k"), digest(b"")}) == 5


def test_reading_is_judged_by_data_key_and_order():
    ledger = ledger_of([(b'{"id":1,\n', "a"), (b'{"id":2,\n', "b")])

    class Read:
        digests, disordered = list(ledger.whole), 0

    assert judge_reading(ledger, Read) == (True, "2 records read back: each once, unchanged, in order")
    Read.disordered = 1
    assert judge_reading(ledger, Read) == (False, "2 records read back: 1 out of order")
    ledger.retried = 1
    assert judge_reading(ledger, Read)[0]
    Read.digests = [ledger.whole[0], digest(b'{"id":2,\n', "other key")]
    assert judge_reading(ledger, Read) == (False, "2 records read back: 1 lost, 1 changed")
    assert number_of(b'{"id":17,"ts":1}') == 17 and number_of(b"text") == 0


def test_delivery_is_judged_by_the_objects_on_disk(tmp_path):
    ledger = ledger_of([(b"one\n", "a"), (b"two\n", "b")])
    archive = Archive(tmp_path / "run")
    archive.look()
    assert judge_delivery(ledger, archive) == (False, "0 records delivered in 0 gzip objects: 2 lost")
    hour = tmp_path / "run" / "2026" / "11"
    hour.mkdir(parents=True)
    (hour / "a.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    (hour / ".b.gz").write_bytes(b"being written")
    archive.look()
    archive.look()
    assert judge_delivery(ledger, archive) == (True, "2 records delivered in 1 gzip object: each once")
    (hour / "c.gz").write_bytes(gzip.compress(b"one\n")[:-9])
    archive.look()
    assert judge_delivery(ledger, archive)[1].endswith("1 objects cannot be read")
    (hour / "d.gz").write_bytes(gzip.compress(b"two\n"))
    archive.look()
    assert "1 doubled" in judge_delivery(ledger, archive)[1]


# --- feeding ---


class StubApi:
    """Answers PutRecords with the error codes given, one list a request."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.put = []

    def post(self, target, body):
        records = json.loads(body)["Records"]
        codes = self.answers.pop(0) if self.answers else [None] * len(records)
        self.put.append(len(records))
        return json.dumps(
            {"Records": [{"ErrorCode": c} if c else {"ShardId": "shardId-000000000000"} for c in codes]}
        ).encode()


class Once:
    def __init__(self, *samples):
        self.samples = list(samples)

    def due(self, now):
        found, self.samples = self.samples, []
        return found


def feed(api, *samples):
    feeder = Feeder(api, [Once(*samples)])
    feeder.start()
    deadline = time.monotonic() + WAIT
    while len(api.put) < max(1, len(api.answers)) and feeder.running and time.monotonic() < deadline:
        time.sleep(0.01)
    feeder.stop()
    return feeder


def test_what_is_refused_once_is_put_again_and_counted_once():
    full = "ProvisionedThroughputExceededException"
    feeder = feed(StubApi([full, None]), ("m", "a", 1.0, {}), ("m", "b", 2.0, {}))
    ledger = feeder.ledger
    assert (ledger.records, ledger.refused, ledger.retried, len(ledger.whole)) == (2, 0, 1, 2)
    assert dict(ledger.by_metric) == {"m": 2} and feeder.failure is None


def test_an_answer_of_another_length_ends_the_feeding():
    feeder = feed(StubApi([None]), ("m", "a", 1.0, {}), ("m", "b", 2.0, {}))
    assert "answered 1 of 2 records" in str(feeder.failure) and feeder.ledger.records == 0


def test_batches_stay_within_what_a_request_may_carry():
    api = StubApi()
    feeder = feed(api, *(("m", "a", float(i), {}) for i in range(1201)))
    assert api.put[:3] == [500, 500, 201] and feeder.ledger.records >= 1201
    api = StubApi()
    feed(api, *(("line", "f", 1.0, {"line": "x" * 1_000_000}) for _ in range(12)))
    assert max(api.put) <= 6


# --- sources ---


def test_files_are_read_and_followed_through_rotation(tmp_path):
    one = tmp_path / "a.log"
    one.write_bytes(b"old\n")
    files = Files(str(tmp_path / "*.log"), 0.0)
    assert [sample[3]["line"] for sample in files.due(0.1)] == ["old"]
    with one.open("ab") as file:
        file.write(b"new\npart")
    assert [sample[3]["line"] for sample in files.due(0.2)] == ["new"]
    with one.open("ab") as file:
        file.write(b" whole\n\n")
    assert [sample[3]["line"] for sample in files.due(0.3)] == ["part whole"]
    one.rename(tmp_path / "a.log.1")
    one.write_bytes(b"rotated\n")
    (tmp_path / "b.log").write_bytes(b"came later\n")
    assert sorted(sample[3]["line"] for sample in files.due(2.0)) == ["came later", "rotated"]
    one.write_bytes(b"cut\n")
    assert [sample[3]["line"] for sample in files.due(4.0)] == ["cut"]
    one.write_bytes(b"cut\n" + b"y" * (LINE_SIZE_MAX + 100) + b"\n")
    long = [sample[3]["line"] for now in (6.0, 6.1, 6.2) for sample in files.due(now)]
    assert "".join(long) == "y" * (LINE_SIZE_MAX + 100)
    files.close()
    with pytest.raises(NotFound):
        Files(str(tmp_path / "*.nothing"), 0.0)


def test_of_a_large_file_whole_lines_of_its_last_part_are_read_and_the_rest_is_counted(tmp_path):
    lines = [b"%09d" % number for number in range(FILE_SIZE_MAX // 10 + 1000)]
    (tmp_path / "large.log").write_bytes(b"".join(line + b"\n" for line in lines))
    files = Files(str(tmp_path / "*.log"), 0.0)
    found = []
    while more := [sample[3]["line"].encode() for sample in files.due(0.1)]:
        found += more
    files.close()
    assert found == lines[-len(found) :]
    assert files.count == 1
    assert files.skipped + 10 * len(found) == 10 * len(lines) - 1  # all but the end of the line that was cut
    assert len(found) * 10 <= FILE_SIZE_MAX


def test_a_rate_that_was_not_reached_and_lines_of_files_are_told():
    summary = {
        "files": 2, "lines": 1234, "files_bytes_skipped": 0, "synthetic_per_second_asked": 1000.0,
        "synthetic_per_second": 400.0,
    }  # fmt: skip
    assert notes(summary) == [
        "1,234 of the records are lines of 2 files",
        "--rate asked for 1,000 records a second; 400 were made and put",
    ]
    reached = {"synthetic_per_second": 990.0, "files_bytes_skipped": 5 << 20}
    assert notes(summary | reached) == [
        "1,234 of the records are lines of 2 files (5.0 MiB at their beginning left out)"
    ]
    assert notes(summary | {"files": 0, "synthetic_per_second_asked": None}) == []


def test_a_rate_beyond_what_the_demo_makes_is_refused_with_the_most_there_is(headrace):
    code, _, err = headrace.run("demo", "data", "--rate", "200000", "--seconds", "1")
    assert code == 2
    assert "--rate 200000 is more than the demo makes, 40,000 records a second" in err
    assert not (headrace.directory / "data").exists()


def test_synthetic_records_are_marked_come_at_their_rate_and_do_not_pile_up():
    source = Synthetic(100, 10.0)
    samples = list(source.due(10.5))
    assert len(samples) == 50 and all(more == {"synthetic": True} for *_, more in samples)
    assert list(source.due(10.5)) == []
    assert len(list(Synthetic(1e8, 0.0).due(1.0))) == SYNTHETIC_MAX


def test_telemetry_is_of_this_machine_and_of_two_speeds():
    source = Telemetry(0.0)
    first = {metric for metric, *_ in source.due(0.0)}
    assert {"cpu", "memory", "processes"} <= first
    assert list(source.due(0.05)) == []
    fast = {metric for metric, *_ in source.due(0.1)}
    assert "cpu" in fast and "processes" not in fast
    assert len([1 for metric, *_ in source.due(0.2) if metric == "cpu"]) == os.cpu_count()
