# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""The options of `headrace bench` and what they start."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from headrace.bench import machine
from headrace.bench.measure import existing, headrace_server, measure, measure_calls, other_server
from headrace.bench.report import PASS, Report
from headrace.bench.requests import SEED
from headrace.bench.workloads import WORKLOADS, Options, TargetMaker
from headrace.errors import ConfigurationError, RemoteError

DONE, CHECK_FAILED, UNREACHABLE = 0, 3, 4
CALLS = ("embedded-put", "disk", "windows")  # workloads in this process, without a server
CONNECTIONS = {"put-single": 16, "e2e": 16}
SUSTAINED_SECONDS = 60.0
SUSTAINED = {"HEADRACE__STREAMS__MAX_BYTES": "8GiB", "HEADRACE__STREAMS__ON_FULL": "drop_oldest"}

HELP = """workloads:
  put-1k        PutRecords, 500 records of 1 KiB        put-100    PutRecords, 500 records of 100 B
  put-single    PutRecord, 1 KiB, 16 connections        drain      GetRecords of everything, raw and compressed
  e2e           put at a rate, until a reader has it    disk       put_many on a disk stream beside plain fdatasync
  embedded-put  headrace.open: batches and producer()   windows    SQL over a stream: events a processor second
  selftest      is the measurement itself honest?

examples:
  headrace bench put-1k                              throughput: five bursts of 2 GB, each on a fresh store
  headrace bench put-single --rate 1000 --seconds 10 latency at 1,000 requests a second
  headrace bench put-1k --sustained                  60 s into 8 GiB, the oldest dropped, read while writing
  headrace bench put-1k --endpoint http://127.0.0.1:4567 --seconds 5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said to `headrace bench`."""
    parser.epilog = HELP
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("workload", choices=[*WORKLOADS, *CALLS, "selftest"], metavar="WORKLOAD")
    parser.add_argument("--seconds", type=float, help="longest time of a run (30; 60 with --sustained)")
    parser.add_argument("--max-bytes", type=int, metavar="N", help="most payload of a run (2,000,000,000)")
    parser.add_argument("--records", type=int, metavar="N", help="most records of a run")
    parser.add_argument("--repeat", type=int, metavar="N", help="runs, each on a fresh target (5)")
    parser.add_argument("--connections", type=int, metavar="N", help="writers (4; 16 for single records)")
    parser.add_argument("--shards", type=int, default=4, metavar="N", help="shards of the stream (4)")
    parser.add_argument(
        "--rate", type=float, metavar="R", help="requests a second: open loop, with latencies"
    )
    parser.add_argument(
        "--poll-ms", type=float, default=5.0, metavar="MS", help="e2e: pause of a reader at the tip (5)"
    )
    parser.add_argument(
        "--durability", choices=("process", "disk"), default="process", help="of the headrace server"
    )
    parser.add_argument(
        "--sustained", action="store_true", help="60 s into max_bytes 8 GiB, drop_oldest, followed"
    )
    parser.add_argument("--follow", action="store_true", help="read while writing instead of afterwards")
    parser.add_argument("--endpoint", metavar="URL", help="measure a server that runs already (plain HTTP)")
    parser.add_argument(
        "--server-command",
        metavar="TEXT",
        help="measure the server this starts; {port} or {port_file} in it is filled in",
    )
    parser.add_argument(
        "--directory", type=Path, metavar="DIR", help="where stores are made (the temporary directory)"
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the corpus ({SEED})")
    parser.add_argument("--no-pin", action="store_true", help="do not keep server and load on a core each")
    parser.add_argument(
        "--allow-noise", action="store_true", help="report although other processes use the cores"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument("-o", "--output", choices=("table", "json"), help="what is printed (table)")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and return 0 only if everything holds."""
    cores = machine.Cores(None, None) if arguments.no_pin else machine.split_cores()
    if arguments.workload == "selftest":
        return run_selftest(cores, arguments.output == "json")
    check(arguments)
    options = options_of(arguments, cores)
    if arguments.directory:
        arguments.directory.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="headrace-bench-", dir=arguments.directory))
    try:
        report = report_of(arguments, options, directory)
    except RemoteError as error:
        print(f"headrace bench: {error.message}", file=sys.stderr)
        return UNREACHABLE
    except ConnectionError as error:
        print(f"headrace bench: the target is not reachable: {error}", file=sys.stderr)
        return UNREACHABLE
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(directory)
    if arguments.report:
        report.save(arguments.report)
    print(json.dumps(report.to_dict(), ensure_ascii=False) if arguments.output == "json" else report.text())
    return DONE if report.verdict == PASS else CHECK_FAILED


def check(arguments: argparse.Namespace) -> None:
    """Refuse what would be ignored."""
    other = arguments.endpoint or arguments.server_command
    if arguments.endpoint and arguments.server_command:
        raise ConfigurationError("--endpoint and --server-command exclude each other")
    if other and arguments.workload in CALLS:
        raise ConfigurationError(f"{arguments.workload} runs in this process and takes no server")
    if other and (arguments.durability != "process" or arguments.sustained):
        raise ConfigurationError("--durability and --sustained start a headrace server of their own")
    if arguments.sustained and arguments.workload not in ("put-1k", "put-100", "put-single"):
        raise ConfigurationError("--sustained is for the put workloads")
    if arguments.rate is not None and arguments.workload in (*CALLS, "drain"):
        raise ConfigurationError(f"{arguments.workload} has no rate")
    for name in ("seconds", "max_bytes", "records", "repeat", "connections", "shards", "rate"):
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            raise ConfigurationError(f"--{name.replace('_', '-')} {value} must be more than 0")


def options_of(arguments: argparse.Namespace, cores: machine.Cores) -> Options:
    """The options with the workload's own defaults."""
    bounded = arguments.max_bytes or (None if arguments.sustained or arguments.rate else 2_000_000_000)
    seconds = arguments.seconds or (SUSTAINED_SECONDS if arguments.sustained else 30.0)
    return Options(
        seconds=seconds,
        max_bytes=bounded,
        records=arguments.records,
        connections=arguments.connections or CONNECTIONS.get(arguments.workload, 4),
        shards=arguments.shards,
        rate=arguments.rate,
        seed=arguments.seed,
        poll_interval=arguments.poll_ms / 1000,
        follow=arguments.follow or arguments.sustained,
        allow_noise=arguments.allow_noise,
        cores=cores,
    )


def report_of(arguments: argparse.Namespace, options: Options, directory: Path) -> Report:
    """Run the workload on the target that was asked for."""
    note: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    repeat = arguments.repeat or (1 if arguments.sustained or arguments.endpoint or arguments.rate else 5)
    if arguments.workload in CALLS:
        return measure_calls(
            arguments.workload,
            options,
            repeat=repeat,
            directory=directory,
            durability=arguments.durability,
            note=note,
        )
    maker = maker_of(arguments, options, directory)
    return measure(arguments.workload, maker, options, repeat=repeat, directory=directory, note=note)


def maker_of(arguments: argparse.Namespace, options: Options, directory: Path) -> TargetMaker:
    """How the target comes to be."""
    if arguments.endpoint:
        return existing(arguments.endpoint)
    if arguments.server_command:
        words = shlex.split(arguments.server_command)
        return other_server(words, core=options.cores.target, name=Path(words[0]).name)
    return headrace_server(
        directory,
        core=options.cores.target,
        durability=arguments.durability,
        settings=SUSTAINED if arguments.sustained else None,
    )


def run_selftest(cores: machine.Cores, as_json: bool) -> int:
    """Print each finding as it comes."""
    from dataclasses import asdict

    from headrace.bench.selftest import selftest

    failed = False
    for finding in selftest(cores):
        failed |= not finding.holds
        if as_json:
            print(json.dumps(asdict(finding), ensure_ascii=False), flush=True)
        else:
            word = "ok    " if finding.holds else "FAILED"
            print(f"{word} {finding.name}: expected {finding.expected}; seen {finding.seen}", flush=True)
    return CHECK_FAILED if failed else DONE
