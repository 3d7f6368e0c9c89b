# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Lines of files and pipes, told with the time: who batches them learns when a slow source lets its batch wait.

A pipe is read as it is filled, so that a line is there as soon as its writer has written it. Nothing that was
read is thrown away when the user interrupts: the first Ctrl-C ends the reading, and what came before it is
still given out.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from headrace import limits

CHUNK_SIZE = 64 * limits.KIB  # read at once: what a pipe holds
LINE_SIZE_MAX = limits.record_size_max + 2  # kept of a longer line, to say that it is too long
DRAIN_S = 10.0  # after the first Ctrl-C; then it ends as by a second one

Line = tuple[str, int, bytes]  # file, number from 1, contents without the line's end


class Interruption:
    """The first Ctrl-C or SIGTERM is told to who waits; a second, or ten seconds, raises KeyboardInterrupt.

    Attributes:
        asked: whether the user wants it to end.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: list[tuple[int, Any]] = []

    def __enter__(self) -> Interruption:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        if threading.current_thread() is threading.main_thread():
            for number, handler in (
                (signal.SIGINT, self._ask), (signal.SIGTERM, self._ask), (signal.SIGALRM, self._end),
            ):  # fmt: skip
                self._before.append((number, signal.signal(number, handler)))
        return self

    def __exit__(self, *_: object) -> None:
        if self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before:
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def _ask(self, _number: int, _frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        os.write(self._write, b"\0")
        signal.setitimer(signal.ITIMER_REAL, DRAIN_S)

    def _end(self, _number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    def wait(self, descriptor: int | None, seconds: float | None) -> bool:
        """Whether there is something to read within this time (None: ever), and nobody asked to end."""
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        if descriptor is not None:
            poll.register(descriptor, select.POLLIN)
        ready = poll.poll(None if seconds is None else max(seconds, 0.0) * 1000)
        return not self.asked and any(found == descriptor for found, _ in ready)


class Source:
    """The lines of some files, one after another; - is standard input.

    Attributes:
        deadline: when (time.monotonic) None is given instead of a line, if none came; None: wait for ever.
        unfinished: bytes of a line whose end had not come when it was interrupted.
    """

    def __init__(self, files: list[str], interruption: Interruption, advance: Callable[[int], None]) -> None:
        self.deadline: float | None = None
        self.unfinished = 0
        self._files = files
        self._interruption = interruption
        self._advance = advance

    def __iter__(self) -> Iterator[Line | None]:
        for name in self._files:
            if self._interruption.asked:
                return
            descriptor = sys.stdin.fileno() if name == "-" else os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                yield from self._lines("standard input" if name == "-" else name, descriptor)
            except OSError as problem:
                problem.filename = problem.filename or name
                raise
            finally:
                if name != "-":
                    os.close(descriptor)

    def _lines(self, name: str, descriptor: int) -> Iterator[Line | None]:
        held = bytearray()
        number = 0
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        while True:
            if self.deadline is not None and time.monotonic() >= self.deadline:
                yield None
            if self._interruption.asked:
                self.unfinished = len(held)
                return
            if not regular and not self._ready(descriptor):
                continue
            chunk = os.read(descriptor, CHUNK_SIZE)
            if not chunk:
                break
            self._advance(len(chunk))
            head, end, rest = chunk.rpartition(b"\n")
            if end:
                held += head
                for line in bytes(held).split(b"\n"):
                    number += 1
                    yield name, number, line.removesuffix(b"\r")
                held = bytearray()
            held += rest
            del held[LINE_SIZE_MAX:]
        if held:
            yield name, number + 1, bytes(held)

    def _ready(self, descriptor: int) -> bool:
        left = None if self.deadline is None else self.deadline - time.monotonic()
        return self._interruption.wait(descriptor, left)
