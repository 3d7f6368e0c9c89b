# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""EIO and ENOSPC at every disk call, writes also half done. Goal and method stand in
tests/crash/disk_error_support.py."""

from __future__ import annotations

import errno

import pytest
from disk_error_support import fail_each, fail_each_again, make_segments_small

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("durability", ["process", "disk"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
@pytest.mark.parametrize("half", [False, True], ids=["not done", "half done"])
@pytest.mark.parametrize("fail", [fail_each, fail_each_again], ids=["a new store", "a store that is there"])
def test_whichever_call_fails_nothing_is_lost_or_doubled(
    tmp_path, monkeypatch, durability, code, half, fail, tell
):
    make_segments_small(monkeypatch)
    count = fail(tmp_path, durability, code, half)
    tell(f"{count} calls failed in turn")
    assert count > 20
