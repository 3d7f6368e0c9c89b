# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Build and run the fuzz targets of the native kernels: clang's libFuzzer with address and UB sanitizers.

    python tests/fuzz/run.py --seconds 60              # every target, 60 seconds each
    python tests/fuzz/run.py --runs 100000 crc32c      # one target, a number of executions
    python tests/fuzz/run.py --build                   # build only
    python tests/fuzz/run.py --reproduce FILE crc32c   # run one input, the one a failure printed

A target is tests/fuzz/<name>.c with a row in TARGETS. What is beside it is used if it is there:
<name>.dict (a libFuzzer dictionary) and seeds/<name>/ (inputs to start from). Programs, corpora and
failing inputs are kept under build/fuzz. Exit status 1: a target failed; its input is printed.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NATIVE = ROOT / "native"
BUILD = ROOT / "build" / "fuzz"

# target: kernels in native/ that are linked into it
TARGETS: dict[str, list[str]] = {
    "arrow_values": ["arrow_values"],
    "crc32c": ["crc32c"],
    "md5": ["md5"],
    "route": ["route"],
    "base64": ["base64"],
    "wire_scan": ["wire_scan", "base64", "wire_write", "sequence"],
    "wire_write": ["wire_write", "sequence", "base64", "wire_scan"],
    "load": ["answer", "corpus"],
    "histogram": ["histogram"],
    "ledger": ["ledger", "corpus", "histogram"],
    "sink": ["sink"],
    "http_head": ["http_head"],
    "json_columns": ["json_columns", "json_values"],
    "frame": ["frame", "crc32c"],
    "frame_table": ["frame_table"],
    "ring": ["ring"],
    "shared": ["shared"],
    "double_text": ["double_text"],
    "sequence": ["sequence"],
    "string_table": [],  # string_table.h and utf8.h are headers only
    "plain_disk": ["plain_disk", "histogram"],
    "json_rows": ["json_rows", "double_text", "json_columns", "json_values"],
}

SANITIZERS = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
FLAGS = [
    "-std=gnu11",
    "-g",
    "-O1",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unused-parameter",
    "-D_GNU_SOURCE",
    "-DHR_FUZZ",
]
FLAGS += ["-fno-omit-frame-pointer"]
FAILING_BYTES_SHOWN = 256


def compiler() -> str:
    """The clang to use: $HEADRACE_CLANG, clang-14 or clang. RuntimeError where there is none."""
    for name in (os.environ.get("HEADRACE_CLANG"), "clang-14", "clang"):
        if name and (path := shutil.which(name)):
            return path
    raise RuntimeError("no clang found: install clang-14 and libclang-rt-14-dev, or set HEADRACE_CLANG")


def sources(target: str) -> list[Path]:
    """The C files of one target."""
    return [HERE / f"{target}.c", *(NATIVE / f"{kernel}.c" for kernel in TARGETS[target])]


def build(target: str) -> Path:
    """Compile one target, unless its program is newer than everything it is made of."""
    program = BUILD / target
    inputs = [*sources(target), *NATIVE.glob("*.h"), *HERE.glob("*.h"), Path(__file__)]
    if program.exists() and program.stat().st_mtime > max(path.stat().st_mtime for path in inputs):
        return program
    BUILD.mkdir(parents=True, exist_ok=True)
    command = [compiler(), *FLAGS, *SANITIZERS, f"-I{NATIVE}", f"-I{HERE}"]
    partial = program.with_suffix(f".{os.getpid()}")
    command += [*map(str, sources(target)), "-o", str(partial), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{target} does not build:\n{done.stderr}")
    partial.replace(program)
    return program


def fuzz(target: str, *, seconds: int, runs: int, seed: int, max_bytes: int, timeout: int) -> bool:
    """Run one target; report executions done, or the failing input. True: nothing was found."""
    program = build(target)
    corpus = BUILD / "corpus" / target
    failures = BUILD / "failures" / target
    corpus.mkdir(parents=True, exist_ok=True)
    failures.mkdir(parents=True, exist_ok=True)
    command = [str(program), str(corpus)]
    if (HERE / "seeds" / target).is_dir():
        command.append(str(HERE / "seeds" / target))
    if (HERE / f"{target}.dict").exists():
        command.append(f"-dict={HERE / f'{target}.dict'}")
    command += [
        f"-seed={seed}",
        f"-artifact_prefix={failures}/",
        "-print_final_stats=1",
        f"-timeout={timeout}",
    ]
    command += [f"-max_len={max_bytes}", "-rss_limit_mb=2048", "-verbosity=1", "-use_value_profile=1"]
    if seconds:
        command.append(f"-max_total_time={seconds}")
    if runs:
        command.append(f"-runs={runs}")
    before = set(failures.iterdir())
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    executed = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    count = int(executed.group(1)) if executed else 0
    if done.returncode == 0 and count > 0:
        print(f"{target}: {count} executions, corpus {len(list(corpus.iterdir()))}, seed {seed}", flush=True)
        return True
    print(f"{target}: FAILED after {count} executions, seed {seed}\n{done.stderr[-6000:]}")
    for path in sorted(set(failures.iterdir()) - before):
        print(f"input: {path}\nbytes: {path.read_bytes()[:FAILING_BYTES_SHOWN]!r}")
        print(f"again: python tests/fuzz/run.py --reproduce {path} {target}", flush=True)
    return False


def reproduce(target: str, path: Path) -> bool:
    """Run one input through one target with its output shown."""
    return subprocess.run([str(build(target)), str(path)], check=False).returncode == 0


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit status is the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: all of them")
    parser.add_argument("--seconds", type=int, default=0, help="seconds for each target")
    parser.add_argument("--runs", type=int, default=0, help="executions of each target")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: chosen and printed)")
    parser.add_argument("--max-bytes", type=int, default=16384, help="longest input")
    parser.add_argument("--timeout", type=int, default=20, help="seconds that one input may take")
    parser.add_argument("--build", action="store_true", help="build only")
    parser.add_argument("--reproduce", type=Path, metavar="FILE", help="run one input through one target")
    arguments = parser.parse_args(argv)
    chosen = arguments.targets or list(TARGETS)
    unknown = [name for name in chosen if name not in TARGETS]
    if unknown:
        parser.error(f"unknown target {unknown[0]}; there are {', '.join(TARGETS)}")
    if arguments.reproduce and len(chosen) != 1:
        parser.error("--reproduce takes exactly one target")
    if not (arguments.seconds or arguments.runs or arguments.build or arguments.reproduce):
        parser.error("give --seconds or --runs")
    seed = arguments.seed or random.SystemRandom().randrange(1, 2**31)
    good = True
    for target in chosen:
        if arguments.reproduce:
            good = reproduce(target, arguments.reproduce)
        elif arguments.build:
            print(build(target))
        else:
            good = (
                fuzz(
                    target,
                    seconds=arguments.seconds,
                    runs=arguments.runs,
                    seed=seed,
                    max_bytes=arguments.max_bytes,
                    timeout=arguments.timeout,
                )
                and good
            )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
