# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""EIO and ENOSPC at a disk call: a clear error, intake goes on, a retry leaves one copy.

Goal and method stand in disk_error_support.py. Here every fifth call fails, counted from another one each day;
tests/long has every call. The catalogue's statements fail in tests/log/test_catalogue.py.
"""

from __future__ import annotations

import errno
import random

import pytest
from disk_error_support import fail_each

from headrace import limits

STEP = 5


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(limits, "segment_size_first", 8 << 10)
    monkeypatch.setattr(limits, "segment_size_max", 8 << 10)
    monkeypatch.setattr(limits, "direct_write_least", 600)  # some groups by whole blocks, some not


@pytest.mark.parametrize("durability", ["process", "disk"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("half", [False, True])
def test_whichever_call_fails_nothing_is_lost_or_doubled(tmp_path, durability, code, half):
    start = random.randrange(STEP)
    print(f"every {STEP}th call from {start} on")
    assert fail_each(tmp_path, durability, code, half, start=start, step=STEP) > 5
