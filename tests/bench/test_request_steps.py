# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""bench/request_steps.py: which step a sample of the profiler belongs to."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

KERNEL = "([kernel.kallsyms])"


@pytest.fixture(scope="module")
def request_steps():
    path = Path(__file__).parents[2] / "bench" / "request_steps.py"
    specification = importlib.util.spec_from_file_location("request_steps", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def sample(process, *frames):
    return [str(process), *(f"\tffffffff81b9764c {frame}" for frame in frames), ""]


BODY = ("hr_scan_put (/x/core/_wire.cpython-311.so)", "[unknown] ([unknown])")
RECEIVED = (f"copy_to_iter {KERNEL}", f"__x64_sys_recvfrom {KERNEL}", "__libc_recv (/lib/libc.so.6)")


def test_samples_of_the_load_are_counted_by_step(request_steps):
    lines = [
        *sample(7, "_PyEval_EvalFrameDefault (/x/libpython3.11.so.1.0)"),  # before the load: the start
        *sample(7, *BODY),
        *sample(9, f"copy_to_iter {KERNEL}", f"__x64_sys_recvfrom {KERNEL}"),  # another process
        *sample(7, *RECEIVED),
        *sample(
            7,
            f"clear_page {KERNEL}",
            f"asm_exc_page_fault {KERNEL}",
            "hr_frame_write_records (/x/_frames.so)",
        ),
        *sample(7, "__memmove_avx512_unaligned_erms (/lib/libc.so.6)"),
        *sample(7, "crc_avx512 (/x/core/_frames.cpython-311.so)"),
        *sample(7, "_PyEval_EvalFrameDefault (/x/libpython3.11.so.1.0)"),
        *sample(7, *BODY),
        *sample(7, *RECEIVED),  # after it: the reading back
    ]
    found = request_steps.steps_of(lines)
    assert found == {
        "finding the entries in the body": 2,
        "kernel: receiving the body": 1,
        "kernel: first touch of memory": 1,
        "copies by libc: records into the ring, and small ones": 1,
        "CRC-32C of the frames": 1,
        "Python's interpreter": 1,
    }


def test_a_profile_without_the_load_is_refused(request_steps):
    with pytest.raises(ValueError, match="was the load refused"):
        request_steps.steps_of(sample(7, *RECEIVED))
