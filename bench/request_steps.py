# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Where each microsecond of a PutRecords request goes, on the server's core.

    python bench/request_steps.py [--workload put-1k] [--seconds N]

Method: `headrace bench` loads a server that has a core of its own; `perf record` looks at that core some thousand
times a second, with the kernel's stack. What is found in the kernel is counted to the system call or fault that it
serves, what is found in the server to the kernel of ours or the library that it is in. Shares are those of the samples
in the server's process; microseconds are shares of the processor time a request, which the load's report has.
Limits: Linux, `perf`, and the right to look into the kernel (root, or kernel.perf_event_paranoid of 1 or less); copies by
libc stand in one row, whoever asked for them; looking costs some per cent itself.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from headrace.bench import machine

PUTTING = re.compile("hr_scan_put|hr_frame_write_records|hr_write_put")  # what no other request has done
IN_KERNEL = (  # the first that is found anywhere in the stack
    (r"sys_(recv|read)", "kernel: receiving the body"),
    (r"sys_pwrite|do_pwritev", "kernel: writing to the segment's file"),
    (r"sys_(send|write)|do_writev", "kernel: sending the answer"),
    (r"sys_munmap|sys_mmap|sys_brk|vm_mmap", "kernel: taking memory and giving it back"),
    (r"sys_epoll", "kernel: waiting for sockets"),
    (r"(exc_page_fault|asm_exc_page)", "kernel: first touch of memory"),
    (r".", "kernel: other (files, timers, interrupts)"),
)
IN_SERVER = (  # symbol and object; the libraries first, whose symbols may be called anything
    (r"libpython", "Python's interpreter"),
    (r"uvloop|loop\.cpython", "uvloop"),
    (r"zstandard", "compression, at idle priority"),
    (r"mem(move|cpy).*libc", "copies by libc: records into the ring, and small ones"),
    (r"(base64|decode|encode).* \(.*_wire\.", "base64"),
    (r"(write|sequence|answer).* \(.*_wire\.", "writing the answer"),
    (r"_wire\.", "finding the entries in the body"),
    (r"(md5|^group_).*_entries\.", "MD5 of the keys"),
    (r"_entries\.", "routing to shards"),
    (r"crc.* \(.*_frames\.", "CRC-32C of the frames"),
    (r"_frames\.", "framing: rows and headers"),
    (r"_http\.", "reading the head of the request"),
    (r".", "other (server's modules, libc, time)"),
)


def step_of(stack: list[str]) -> str:
    """The step that a sample belongs to. stack: "symbol (object)", the innermost first."""
    if "[kernel" in stack[0]:
        text, table = "\n".join(frame for frame in stack if "[kernel" in frame), IN_KERNEL
    else:
        text, table = stack[0], IN_SERVER
    return next(step for pattern, step in table if re.search(pattern, text))


def steps_of(lines: Iterable[str]) -> Counter[str]:
    """Samples by step, of what `perf script -F pid,ip,sym,dso` prints: a line with the process, then a line a frame,
    then an empty one. The server is the process that was met most; what is before the first and after the last record
    that it takes is not of the load.
    """
    found: dict[str, list[list[str]]] = defaultdict(list)
    process, stack = "", []
    for line in (*lines, ""):
        if not line.strip():
            if stack:
                found[process].append(stack)
            process, stack = "", []
        elif not line[0].isspace() or not process:
            process = line.strip()
        else:
            stack.append(line.split(None, 1)[1].strip())
    stacks = max(found.values(), key=len, default=[])
    putting = [place for place, stack in enumerate(stacks) if PUTTING.search(stack[0])]
    if not putting:
        raise ValueError("no sample in a server that takes records: was the load refused?")
    return Counter(step_of(stack) for stack in stacks[putting[0] : putting[-1] + 1])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workload", default="put-1k", choices=("put-1k", "put-100", "put-single"))
    parser.add_argument("--seconds", type=float, default=5, help="longest time of the load")
    arguments = parser.parse_args()
    perf = shutil.which("perf")
    core = machine.split_cores().target
    if perf is None or core is None:
        print("perf and two cores are needed: install linux-perf, or take a larger machine", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="headrace-steps-") as directory:
        data, report = Path(directory) / "perf.data", Path(directory) / "report.json"
        load = ["-m", "headrace", "bench", arguments.workload, "--repeat", "1", "--report", str(report)]
        load += ["--seconds", str(arguments.seconds), "--allow-noise"]
        watch = [perf, "record", "-q", "-g", "-F", "5000", "-C", str(core), "-o", str(data), sys.executable]
        script = [perf, "script", "-i", str(data), "-F", "pid,ip,sym,dso"]
        status = subprocess.run([*watch, *load], check=False).returncode
        if not report.exists():
            print(f"the load gave no report (status {status}); may you look into the kernel? see kernel.perf_event_paranoid",
                  file=sys.stderr)  # fmt: skip
            return 4
        run = json.loads(report.read_text())
        if run["verdict"] == "FAIL":
            print("the load failed; what it says stands above", file=sys.stderr)
            return 3
        done = subprocess.run(script, check=False, capture_output=True, text=True, errors="replace")
        if done.returncode:
            print(f"perf cannot read what it has recorded: {done.stderr.strip()}", file=sys.stderr)
            return 4
    run = run["median"]
    steps = steps_of(done.stdout.splitlines())
    whole, request = sum(steps.values()), run["target_cpu_us_per_request"]
    records = run["records_per_s"] / run["requests_per_s"]
    print(f"\n{'step':<54}{'share':>8}{'µs a request':>14}")
    for step, count in steps.most_common():
        print(f"{step:<54}{count / whole:>8.1%}{count / whole * request:>14.1f}")
    print(f"{'all':<54}{1:>8.0%}{request:>14.1f}   ({whole} samples, {records:.0f} records a request)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
