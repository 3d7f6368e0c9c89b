# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Facts about the machine a figure was taken on, and how quiet it was meanwhile."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

SIMD_FLAGS = (
    "sse4_2",
    "pclmulqdq",
    "avx2",
    "bmi2",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512dq",
    "sha_ni",
    "vaes",
)


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip() or None
    except OSError:
        return None


def processor() -> dict[str, Any]:
    """Model, stepping, instruction sets, cores, governor: what /proc and /sys say; None where they do not."""
    fields: dict[str, str] = {}
    for line in (_read("/proc/cpuinfo") or "").split("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    flags = set(fields.get("flags", "").split())
    cpu = "/sys/devices/system/cpu"
    return {
        "model": fields.get("model name") or platform.processor() or platform.machine(),
        "family_model_stepping": "/".join(
            fields.get(name, "?") for name in ("cpu family", "model", "stepping")
        ),
        "architecture": platform.machine(),
        "simd": [flag for flag in SIMD_FLAGS if flag in flags],
        "simd_override": os.environ.get("HEADRACE_SIMD"),
        "logical": os.cpu_count(),
        "usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "governor": _read(f"{cpu}/cpu0/cpufreq/scaling_governor"),
        "boost": _read(f"{cpu}/cpufreq/boost"),
        "smt": _read(f"{cpu}/smt/active"),
        "hypervisor": "hypervisor" in flags,
        "mitigations": {
            path.name: path.read_text().strip() for path in sorted(Path(f"{cpu}/vulnerabilities").glob("*"))
        },
    }


def file_system(directory: Path) -> dict[str, Any]:
    """The file system that holds `directory`: type, device, mount options, space."""
    best: tuple[str, ...] = ("", "", "", "")
    for line in (_read("/proc/self/mounts") or "").splitlines():
        device, mount, kind, options = line.split()[:4]
        inside = str(directory.resolve()).startswith(mount.rstrip("/") + "/") or mount == "/"
        if inside and len(mount) >= len(best[1]):
            best = (device, mount, kind, options)
    space = os.statvfs(directory)
    return {
        "path": str(directory.resolve()),
        "device": best[0],
        "mount": best[1],
        "type": best[2],
        "options": best[3],
        "free_bytes": space.f_bavail * space.f_frsize,
        "size_bytes": space.f_blocks * space.f_frsize,
    }


def revision() -> dict[str, Any]:
    """The commit of the source tree this package is imported from and whether it was changed; None if none."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", here, *words], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    changes = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "changed": None if changes is None else bool(changes)}


def facts(directory: Path | None = None) -> dict[str, Any]:
    """Everything about this machine that may explain a figure. Costs some milliseconds."""
    import numpy

    from headrace import __version__

    memory = psutil.virtual_memory()
    return {
        "processor": processor(),
        "memory_bytes": memory.total,
        "memory_available_bytes": memory.available,
        "swap_bytes": psutil.swap_memory().total,
        "kernel": platform.release(),
        "system": platform.platform(),
        "clocksource": _read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "huge_pages": _read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "cgroup_cpu": _read("/sys/fs/cgroup/cpu.max"),
        "cgroup_memory": _read("/sys/fs/cgroup/memory.max"),
        "load_average": list(os.getloadavg()),
        "limits": {
            "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            "locked_memory": resource.getrlimit(resource.RLIMIT_MEMLOCK)[0],
            "file_size": resource.getrlimit(resource.RLIMIT_FSIZE)[0],
        },
        "python": sys.version.split()[0],
        "numpy": numpy.__version__,
        "headrace": __version__,
        "source": revision(),
        "file_system": file_system(directory) if directory is not None else None,
    }


def touch_memory(directory: Path, size: int) -> None:
    """Write a file of `size` bytes and remove it again, so that the memory a burst's pages need was used before.

    On a virtual machine the first use of a page waits for the host to find one, which may cost ten times what
    the write costs; whether a page was used before says nothing about the program that uses it now. At most
    half of the available memory is touched.
    """
    size = min(size, psutil.virtual_memory().available // 2)
    block = bytes(1 << 20)
    path = directory / f"touch-{os.getpid()}"
    try:
        with path.open("wb", buffering=0) as file:
            for _ in range(size >> 20):
                file.write(block)
    finally:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Cores:
    """Which processor the target and which the load is kept on; None: not kept anywhere."""

    target: int | None
    load: int | None


def split_cores() -> Cores:
    """One core for the target and another for the load, where there are two."""
    if not hasattr(os, "sched_getaffinity"):
        return Cores(None, None)
    usable = sorted(os.sched_getaffinity(0))
    return Cores(usable[0], usable[-1]) if len(usable) > 1 else Cores(None, None)


def processor_seconds(processes: list[psutil.Process]) -> float:
    """Processor time used so far by these processes and their living children."""
    total = 0.0
    for process in processes:
        try:
            family = [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
        for member in family:
            try:
                times = member.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
    return total


class Quiet:
    """Watches the used cores: how much of them others took, and how much the hypervisor kept.

    begin(), then end(own) with the processor seconds that target and load used in between.
    """

    def __init__(self, cores: Cores) -> None:
        self._cores = [core for core in (cores.target, cores.load) if core is not None]
        self._before = self._sample()

    def _sample(self) -> tuple[float, float, float]:
        busy = steal = 0.0
        times = psutil.cpu_times(percpu=True)
        chosen = [times[core] for core in self._cores] if self._cores else times
        for core in chosen:
            busy += sum(core) - core.idle - getattr(core, "iowait", 0.0) - getattr(core, "guest", 0.0)
            steal += getattr(core, "steal", 0.0)
        return time.monotonic(), busy, steal

    def end(self, own_seconds: float) -> dict[str, float]:
        """Shares of the watched cores' time: used by others, kept by the hypervisor."""
        now, busy, steal = self._sample()
        available = max((now - self._before[0]) * max(len(self._cores), 1), 1e-9)
        stolen = steal - self._before[2]
        others = busy - self._before[1] - stolen - own_seconds
        return {"others": max(0.0, others / available), "steal": max(0.0, stolen / available)}
