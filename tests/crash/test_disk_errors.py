# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""EIO and ENOSPC at a disk call: a clear error, intake goes on, a retry leaves one copy.

Goal and method stand in disk_error_support.py. Here every fifth call that changes something fails and, with EIO, every
fifteenth of all, counted from another one each day; tests/long has every call. The catalogue's statements fail in
tests/log/test_catalogue.py.
"""

from __future__ import annotations

import errno
import random

import pytest
from disk_error_support import fail_each, fail_each_again, make_segments_small

STEP = 5


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    make_segments_small(monkeypatch)


@pytest.mark.parametrize("durability", ["process", "disk"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("half", [False, True])
def test_whichever_call_fails_nothing_is_lost_or_doubled(tmp_path, durability, code, half):
    step = STEP if half or code == errno.ENOSPC else 3 * STEP
    start = random.randrange(step)
    print(f"every {step}th call from {start} on")
    assert fail_each(tmp_path, durability, code, half, start=start, step=step) > 5


@pytest.mark.parametrize("durability", ["process", "disk"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_whichever_call_fails_what_is_there_is_read_and_goes_on(tmp_path, durability, code):
    step = STEP if code == errno.ENOSPC else 3 * STEP
    start = random.randrange(step)
    print(f"every {step}th call from {start} on")
    assert fail_each_again(tmp_path, durability, code, False, start=start, step=step) > 5
