# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Words in shared memory against a dictionary, within their bounds, and sleeping on one across processes."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core._shared import SharedWords

SIZE = 64
words = st.lists(
    st.tuples(st.sampled_from(["store", "add", "publish"]), st.integers(0, 3), st.integers(0, (1 << 64) - 1)),
    max_size=20,
)


@given(words)
def test_words_hold_what_was_stored_and_added(steps):
    memory = mmap.mmap(-1, SIZE)
    shared = SharedWords(memory)
    model = bytearray(SIZE)
    for what, slot, value in steps:
        at = 16 * slot
        if what == "add":
            before = int.from_bytes(model[at + 8 : at + 12], "little")
            assert shared.add32(at + 8, value & 0xFFFFFFFF) == before
            model[at + 8 : at + 12] = (before + value & 0xFFFFFFFF).to_bytes(4, "little")
        else:
            (shared.store64 if what == "store" else shared.publish)(at, value)
            model[at : at + 8] = value.to_bytes(8, "little")
            if what == "publish":
                wakes = int.from_bytes(model[at + 8 : at + 12], "little") + 1
                model[at + 8 : at + 12] = (wakes & 0xFFFFFFFF).to_bytes(4, "little")
        assert memory[:] == bytes(model)
        assert shared.load64(at) == int.from_bytes(model[at : at + 8], "little")
        assert shared.load32(at + 8) == int.from_bytes(model[at + 8 : at + 12], "little")


@pytest.mark.parametrize("at", [-8, 1, 4, 12, 57, 60, 64, 1 << 40])
def test_words_outside_the_mapping_or_across_its_grain_are_refused(at):
    shared = SharedWords(mmap.mmap(-1, SIZE))
    for call in (
        lambda: shared.load64(at), lambda: shared.store64(at, 1), lambda: shared.publish(at, 1),
        lambda: shared.wait_beyond(at, 1, 0),
    ):  # fmt: skip
        with pytest.raises(IndexError, match="in a mapping of 64"):
            call()
    with pytest.raises(IndexError):
        shared.load32(at if at % 4 or not 0 <= at < 64 else 62)


def test_a_wait_ends_at_once_where_the_word_is_beyond_and_else_when_time_is_over():
    shared = SharedWords(mmap.mmap(-1, SIZE))
    shared.store64(0, 5)
    assert shared.wait_beyond(0, 4, 0)
    assert not shared.wait_beyond(0, 5, 0.02)
    assert shared.load32(12) == 0  # nobody sleeps any more


def test_many_sleepers_are_woken_by_one_publication():
    shared = SharedWords(mmap.mmap(-1, SIZE))
    found = []
    threads = [threading.Thread(target=lambda: found.append(shared.wait_beyond(0, 7, 30))) for _ in range(8)]
    for thread in threads:
        thread.start()
    while shared.load32(12) < 8:
        time.sleep(0.001)
    shared.publish(0, 8)
    for thread in threads:
        thread.join()
    assert found == [True] * 8
    assert shared.load32(12) == 0


SLEEPER = """
import mmap, os, sys
from headrace.core._shared import SharedWords
words = SharedWords(mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 64))
seen = 0
while seen < 100:
    assert words.wait_beyond(0, seen, 30)
    seen = words.load64(0)
    words.store64(32, seen)
"""


def test_another_process_sees_each_publication(tmp_path):
    path = tmp_path / "words"
    path.write_bytes(bytes(SIZE))
    file = os.open(path, os.O_RDWR)
    shared = SharedWords(mmap.mmap(file, SIZE))
    sleeper = subprocess.Popen([sys.executable, "-c", SLEEPER, path])
    try:
        for value in range(1, 101):
            shared.publish(0, value)
            while shared.load64(32) < value:
                assert sleeper.poll() is None
                time.sleep(0.0001)
        assert sleeper.wait(30) == 0
    finally:
        sleeper.kill()
        sleeper.wait()
        os.close(file)
