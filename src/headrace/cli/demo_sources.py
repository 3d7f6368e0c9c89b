# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What the demo puts: this machine's own telemetry, lines of files and what is added to them, synthetic records.

A source has `due(now)`, which gives the samples that are due at a moment of the monotonic clock, each as
(metric, item, value, further members). Nothing is invented but by Synthetic, which marks what it makes.

Cost here: 0.3 ms for the samples taken ten times a second, 5 ms for those of processes, once a second.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import psutil

from headrace.errors import NotFound

Sample = tuple[str, str, float, dict[str, Any]]

FAST_S = 0.1
SLOW_S = 1.0
LOOK_S = 1.0  # how often files that came since are looked for
PROCESSES = 10  # busiest ones
LINES_MAX = 2_000  # of one file in a turn
LINE_SIZE_MAX = 64 * 1024  # a longer line goes in parts
FILES_MAX = 64
FILE_SIZE_MAX = 4 * 1024 * 1024  # of what a file has at the start, its last part
SYNTHETIC_MAX = 2_000  # in a turn, so that a rate beyond this machine's does not grow without bound
_PRESSURE = ("cpu", "memory", "io")
_NO_DISKS = ("loop", "ram")
_FAILURES = (psutil.Error, OSError, NotImplementedError)  # a container or a platform without this


class Telemetry:
    """CPU, memory, disks and network ten times a second; processes, sockets and pressure once."""

    def __init__(self, now: float) -> None:
        self._fast = self._slow = now
        self._last: dict[str, float] = {}
        self._processes: dict[int, psutil.Process] = {}
        psutil.cpu_percent(percpu=True)  # the first call only begins to count

    def due(self, now: float) -> Iterator[Sample]:
        if now >= self._fast:
            self._fast = _next(self._fast, now, FAST_S)
            yield from self._machine()
        if now >= self._slow:
            self._slow = _next(self._slow, now, SLOW_S)
            yield from self._busiest()
            yield from self._sockets()
            yield from _pressure()

    def _machine(self) -> Iterator[Sample]:
        for number, percent in enumerate(psutil.cpu_percent(percpu=True)):
            yield "cpu", f"cpu{number}", percent, {"unit": "%"}
        memory = psutil.virtual_memory()
        yield "memory", "ram", memory.percent, {"unit": "%", "used": memory.used, "total": memory.total}
        try:
            disks = psutil.disk_io_counters(perdisk=True) or {}
            for name, disk in disks.items():
                if name.startswith(_NO_DISKS):
                    continue
                yield from self._rate("disk.read", name, disk.read_bytes)
                yield from self._rate("disk.write", name, disk.write_bytes)
        except _FAILURES:
            pass
        try:
            for name, card in psutil.net_io_counters(pernic=True).items():
                yield from self._rate("net.in", name, card.bytes_recv)
                yield from self._rate("net.out", name, card.bytes_sent)
        except _FAILURES:
            pass

    def _rate(self, metric: str, item: str, total: int) -> Iterator[Sample]:
        """What was added since the last sample; the first one only begins to count."""
        key = f"{metric} {item}"
        before = self._last.get(key)
        self._last[key] = total
        if before is not None:
            yield metric, item, float(total - before), {"unit": "B", "total": total}

    def _busiest(self) -> Iterator[Sample]:
        """The busiest processes. Kept between samples, because psutil counts from the last look at each."""
        found: list[tuple[float, str, int, int]] = []
        known, self._processes = self._processes, {}
        for process in psutil.process_iter():
            process = self._processes[process.pid] = known.get(process.pid, process)
            try:
                with process.oneshot():
                    found.append(
                        (process.cpu_percent(), process.name(), process.pid, process.memory_info().rss)
                    )
            except _FAILURES:
                del self._processes[process.pid]
        yield "processes", "all", float(len(found)), {}
        for percent, name, pid, size in sorted(found, reverse=True)[:PROCESSES]:
            yield "process", name, percent, {"unit": "%", "pid": pid, "rss": size}

    def _sockets(self) -> Iterator[Sample]:
        try:
            count = len(psutil.net_connections(kind="inet"))
        except _FAILURES:
            return
        yield "sockets", "inet", float(count), {}


def _pressure() -> Iterator[Sample]:
    """Linux's pressure stall information: the share of the last 10 s in which tasks waited."""
    for name in _PRESSURE:
        try:
            text = Path("/proc/pressure", name).read_text(encoding="ascii")
        except OSError:
            continue
        for line in text.splitlines():
            kind, *pairs = line.split()
            values = dict(pair.split("=") for pair in pairs)
            yield "pressure", f"{name}.{kind}", float(values["avg10"]), {"unit": "%"}


class Files:
    """The lines of files, and then what is added to them; a file that was cut or replaced is read anew.

    Attributes:
        count: files that were read.
        skipped: bytes at the beginning of large files that were not.
    """

    def __init__(self, pattern: str, now: float) -> None:
        self._pattern = str(Path(pattern).expanduser())
        self._open: dict[str, tuple[IO[bytes], int]] = {}
        self._part: dict[str, bytes] = {}
        self.count = 0
        self.skipped = 0
        self._look = now + LOOK_S
        self._find()
        if not self._open:
            raise NotFound(f"no file that can be read matches {pattern!r}", hint="quote the pattern")

    def due(self, now: float) -> Iterator[Sample]:
        if now >= self._look:
            self._look = now + LOOK_S
            self._find()
        for name in list(self._open):
            for line in self._lines(name):
                text = line.decode("utf-8", "replace")
                yield "line", name, float(len(line)), {"unit": "B", "line": text}

    def close(self) -> None:
        for file, _ in self._open.values():
            file.close()

    def _find(self) -> None:
        found = glob.glob(self._pattern, recursive=True)  # noqa: PTH207 — Path's needs a base directory
        for name in sorted(found)[:FILES_MAX]:
            path = Path(name)
            try:
                status = path.stat()
                known = self._open.get(name)
                if known is not None and known[1] == status.st_ino and known[0].tell() <= status.st_size:
                    continue
                if not path.is_file():
                    continue
                file = path.open("rb", buffering=0)
            except OSError:
                continue
            if known is not None:
                known[0].close()
            else:
                self.count += 1
            self._open[name] = (file, status.st_ino)
            self._part[name] = self._begin(file, status.st_size)

    def _begin(self, file: IO[bytes], size: int) -> bytes:
        """Skip what is too much of a file, up to the end of a line; what was read beyond that."""
        if size <= FILE_SIZE_MAX:
            return b""
        file.seek(size - FILE_SIZE_MAX)
        part, _, rest = (file.read(LINE_SIZE_MAX) or b"").partition(b"\n")
        self.skipped += size - FILE_SIZE_MAX + len(part)
        return rest

    def _lines(self, name: str) -> list[bytes]:
        """Whole lines that came; a line without its end waits for it, up to a size."""
        data = self._part[name]
        if b"\n" not in data:
            data += self._open[name][0].read(LINE_SIZE_MAX) or b""
        *lines, rest = data.split(b"\n", LINES_MAX)
        if len(rest) >= LINE_SIZE_MAX and b"\n" not in rest:
            lines.append(rest)
            rest = b""
        self._part[name] = rest
        return [line for line in lines if line]


class Synthetic:
    """`rate` made-up records a second, each marked so."""

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._since = now
        self._made = 0

    def due(self, now: float) -> Iterator[Sample]:
        behind = int((now - self._since) * self._rate) - self._made
        for _ in range(min(behind, SYNTHETIC_MAX)):
            number = self._made
            self._made += 1
            yield "synthetic", f"item{number % 64}", float(number % 1000), {"synthetic": True}


def _next(planned: float, now: float, period: float) -> float:
    """The next time of a sample, without making up for those that were missed."""
    return max(planned + period, now)
