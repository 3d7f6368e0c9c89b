# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Show what this machine and directory offer, and what each thing costs or limits.

Nothing is changed but probe files of 256 KiB, which are written, synced and removed.

example:
  headrace doctor                     the default directory
  headrace doctor /data -o json
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from headrace import __version__
from headrace.cli.output import add_output_arguments, human_duration, human_size, show
from headrace.config import default_directory

PROBE_BYTES = 256 * 1024
PROBE_ROUNDS = 5
FILES_WANTED = 65_536
FREE_WANTED = 10 * 2**30

Finding = tuple[str, str, str, str]  # what, seen, "ok" | "note" | "bad", meaning


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be said to `headrace doctor`."""
    parser.add_argument("directory", nargs="?", metavar="DIR", help="the data directory to look at")
    add_output_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; exit code 3 if one of them is bad."""
    directory = Path(arguments.directory).expanduser() if arguments.directory else default_directory()
    found = [finding for check in CHECKS for finding in check(nearest(directory))]
    rows: list[dict[str, Any]] = [
        {"check": what, "seen": seen, "verdict": verdict, "meaning": meaning}
        for what, seen, verdict, meaning in found
    ]
    show(rows, arguments, columns=("check", "seen", "verdict", "meaning"))
    return 3 if any(row["verdict"] == "bad" for row in rows) else 0


def nearest(directory: Path) -> Path:
    """The directory, or the closest one above it that exists."""
    path = directory.absolute()
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def version(directory: Path) -> Iterator[Finding]:
    """Versions of headrace, Python and the system."""
    yield (
        "headrace",
        __version__,
        "ok",
        f"Python {platform.python_version()}, {platform.platform(terse=True)}",
    )
    tried = sys.platform == "linux" and platform.machine() == "x86_64"
    meaning = "the platform that is checked" if tried else "written for, not checked; Linux on x86-64 is"
    yield "platform", f"{sys.platform} {platform.machine()}", "ok" if tried else "note", meaning


def processor(directory: Path) -> Iterator[Finding]:
    """Which SIMD level the kernels take, and how many cores this process may use."""
    flags = set()
    for line in read_text("/proc/cpuinfo").splitlines():
        if line.startswith("flags"):
            flags = set(line.partition(":")[2].split())
            break
    wide = {"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= flags
    level = "AVX-512" if wide else "AVX2" if {"avx2", "bmi2"} <= flags else "none"
    lowered = os.environ.get("HEADRACE_SIMD")
    meaning = {
        "AVX-512": "hashing a key costs about 7 ns",
        "AVX2": "hashing a key costs about 20 ns",
        "none": "the plain C paths: the same bytes, several times slower",
    }[level]
    if lowered:
        meaning += f"; HEADRACE_SIMD={lowered} lowers it"
    yield "SIMD", level, "ok" if level != "none" else "note", meaning
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    verdict = "ok" if cores > 1 else "note"
    yield "cores", str(cores), verdict, "one serves, the others compress, deliver and compute windows"
    quota = read_text("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0] != "max":
        share = int(quota[0]) / int(quota[1])
        yield (
            "cgroup CPU",
            f"{share:.2f} cores",
            "note" if share < 2 else "ok",
            "the container's limit; bursts are throttled",
        )


def memory(directory: Path) -> Iterator[Finding]:
    """Memory, swap and overcommit."""
    facts = {}
    for line in read_text("/proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if value.split()[:1] and value.split()[0].isdigit():
            facts[name] = int(value.split()[0]) * 1024
    if "MemAvailable" in facts:
        available = facts["MemAvailable"]
        verdict = "ok" if available > 2**30 else "note"
        yield (
            "memory",
            f"{human_size(available)} available",
            verdict,
            "the page cache serves readers at the tip",
        )
    if facts.get("SwapTotal"):
        yield "swap", human_size(facts["SwapTotal"]), "note", "a server that is swapped out answers late"
    limit = read_text("/sys/fs/cgroup/memory.max").strip()
    if limit.isdigit():
        verdict = "ok" if int(limit) > 2**29 else "note"
        yield "cgroup memory", human_size(int(limit)), verdict, "the container's limit; page cache counts"
    mode = read_text("/proc/sys/vm/overcommit_memory").strip()
    if mode == "2":
        yield (
            "overcommit",
            "2 (never)",
            "note",
            "reserved address space counts in full; large bodies may be refused",
        )


def process_limits(directory: Path) -> Iterator[Finding]:
    """Open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reachable = FILES_WANTED if hard == resource.RLIM_INFINITY else hard
    verdict = "ok" if reachable >= 4096 else "bad" if reachable < 512 else "note"
    yield (
        "open files",
        f"{soft} (up to {reachable})",
        verdict,
        "serve raises it; connections, segments and readers need them",
    )


def clock(directory: Path) -> Iterator[Finding]:
    """What reading the time costs."""
    source = read_text("/sys/devices/system/clocksource/clocksource0/current_clocksource").strip()
    count = 20_000
    start = time.perf_counter_ns()
    for _ in range(count):
        time.time_ns()
    cost = (time.perf_counter_ns() - start) / count
    verdict = "ok" if cost < 500 else "note"
    yield (
        "clock",
        f"{source or 'unknown'}, {cost:.0f} ns a reading",
        verdict,
        "each batch reads it; a slow source costs system calls",
    )


def file_system(directory: Path) -> Iterator[Finding]:
    """The file system of the directory, its free space, and whether it is writable."""
    from headrace.disk import FILE_SYSTEMS_ALLOWED, file_system_of

    kind = file_system_of(directory)
    if not kind:
        yield "file system", "unknown", "note", f"of {directory}"
    elif kind in FILE_SYSTEMS_ALLOWED:
        meaning = (
            "in memory: lost when the machine stops" if kind in ("tmpfs", "ramfs") else f"of {directory}"
        )
        yield "file system", kind, "note" if kind in ("tmpfs", "ramfs") else "ok", meaning
    else:
        allowed = ", ".join(sorted(FILE_SYSTEMS_ALLOWED))
        yield "file system", kind, "bad", f"does not keep the log's promises; take one of {allowed}"
    free = shutil.disk_usage(directory).free
    verdict = "ok" if free > FREE_WANTED else "bad" if free < 2**28 else "note"
    yield "free space", human_size(free), verdict, f"a new store takes at most half: {human_size(free // 2)}"
    if not os.access(directory, os.W_OK | os.X_OK):
        yield "permission", f"{directory} is not writable", "bad", "choose another directory, or its owner"


def device(directory: Path) -> Iterator[Finding]:
    """What a write and a sync cost there: the price of each promise."""
    if not os.access(directory, os.W_OK | os.X_OK):
        return
    try:
        write, sync = probe_device(directory)
    except OSError as error:
        yield "write 256 KiB", os.strerror(error.errno or 0), "bad", "nothing can be stored here"
        return
    yield "write 256 KiB", human_duration(write), "ok", "what an answer waits for with durability 'process'"
    verdict = "ok" if sync < 0.01 else "note"
    yield (
        "sync 256 KiB",
        human_duration(sync),
        verdict,
        "what an answer waits for with durability 'disk'; many share one",
    )


def allocation(directory: Path) -> Iterator[Finding]:
    """Whether space can be reserved before it is written."""
    from headrace.disk import SystemDisk

    if not os.access(directory, os.W_OK | os.X_OK):
        return
    what = f"reserve {human_size(PROBE_BYTES)}"
    if not hasattr(os, "posix_fallocate"):
        yield what, "no fallocate here", "note", "zeros are written in its place: a full disk is met later"
        return
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".headrace-doctor-") as probe:
            start = time.perf_counter()
            SystemDisk().allocate(probe.fileno(), PROBE_BYTES)
            cost = time.perf_counter() - start
            held = os.fstat(probe.fileno()).st_blocks * 512
    except OSError as error:
        yield what, os.strerror(error.errno or 0), "bad", "a reserve for a full disk cannot be kept"
        return
    verdict = "ok" if held >= PROBE_BYTES else "note"
    meaning = "by fallocate: a reserve is kept, so that a full disk still ends in order"
    yield what, f"{human_duration(cost)}, {human_size(held)} held", verdict, meaning


def probe_device(directory: Path) -> tuple[float, float]:
    """Median seconds of a write and of a sync of 256 KiB in the directory."""
    block = os.urandom(PROBE_BYTES)
    writes, syncs = [], []
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".headrace-doctor-") as probe:
        os.pwrite(probe.fileno(), block, 0)
        os.fsync(probe.fileno())
        for _ in range(PROBE_ROUNDS):
            start = time.perf_counter()
            os.pwrite(probe.fileno(), block, 0)
            written = time.perf_counter()
            os.fdatasync(probe.fileno()) if hasattr(os, "fdatasync") else os.fsync(probe.fileno())
            writes.append(written - start)
            syncs.append(time.perf_counter() - written)
    return statistics.median(writes), statistics.median(syncs)


def read_text(path: str) -> str:
    """A file of the system's, or nothing where it does not exist."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


CHECKS: tuple[Callable[[Path], Iterator[Finding]], ...] = (
    version,
    processor,
    memory,
    process_limits,
    clock,
    file_system,
    allocation,
    device,
)
