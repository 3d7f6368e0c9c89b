# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Every byte of a small store, flipped and zeroed. Goal and method stand in tests/log/damage_support.py.

Takes about twenty minutes of processor time; `--basetemp` on a memory file system makes it faster.
"""

from __future__ import annotations

import pytest
from damage_support import digest_of, files_of, judge, make_small

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]
PARTS = 8


@pytest.mark.parametrize("part", range(PARTS), ids=lambda part: f"part{part}")
def test_every_changed_byte_gives_a_prefix_or_a_named_corruption(tmp_path, part, tell):
    directory = tmp_path / "store"
    rows = make_small(directory)
    digest = digest_of(directory)
    places = [(path, at) for path in files_of(directory) for at in range(path.stat().st_size)]
    mine, changed = places[part::PARTS], 0
    for path, at in mine:
        name, old = path.relative_to(directory), path.read_bytes()[at]
        for value in (old ^ 0xFF, 0):
            changed += judge(directory, tmp_path / "copy", rows, name, at, value)
    tell(f"{len(mine)} of {len(places)} bytes of store {digest}, {changed} changes judged")
    assert changed >= len(mine)
