# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Repair makes a damaged store one that opens, and keeps what is whole.

Method: the store of conftest.py is damaged in one place of each kind, mended in both ways, and read: what is read
was written there, in order; a dry run changes nothing; the next record gets an index that nobody may hold.
"""

from __future__ import annotations

import pytest
from log_support import damage, put, read_shard, router_of

from headrace.errors import Corrupt, Error
from headrace.log import Log
from headrace.log.repair import repair
from headrace.log.verify import verify

ROUTER = router_of(2)


def read_lenient(directory, expected):
    """(what every shard gives, whether anything was called corrupt). Anything but Corrupt is an error."""
    found, corrupt = {}, False
    log = Log.open(directory, background=False)
    try:
        for lane_id, shard in expected:
            try:
                found[lane_id, shard] = read_shard(log.lane(lane_id), shard)
            except Corrupt:
                corrupt = True
        corrupt = corrupt or any("damage" in r or "although" in r or "follows" in r for r in log.reports)
    finally:
        log.close()
    return found, corrupt


@pytest.mark.parametrize("how", ["cut", "skip"])
@pytest.mark.parametrize(
    "what", ["raw middle", "raw head", "cold block", "cold footer", "missing", "manifest"]
)
def test_repair_makes_a_store_that_opens_and_keeps_what_is_whole(store, how, what):
    directory, expected = store
    lane = sorted((directory / "lanes").iterdir())[0]
    raw, cold = sorted(lane.glob("*.raw")), sorted(lane.glob("*.cold"))
    if what == "raw middle":
        damage(raw[0], 6000)
    elif what == "raw head":
        damage(raw[1], 0, 4096)
    elif what == "cold block":
        damage(cold[1], 4200)
    elif what == "cold footer":
        damage(cold[1], cold[1].stat().st_size - 50, 40)
    elif what == "missing":
        raw[1].unlink()
    else:
        damage(lane / "manifest", 20, 8)
    before = verify(directory)
    assert before.findings
    assert repair(directory, how, dry_run=True)[1]
    assert len(verify(directory).findings) == len(before.findings)
    _, changes = repair(directory, how)
    assert changes
    assert verify(directory).findings == []
    found, corrupt = read_lenient(directory, expected)
    assert not corrupt
    other = sorted({lane_id for lane_id, _ in expected})[1]
    for key, rows in found.items():
        by_index = {index: (name, data) for index, name, data in expected[key]}
        assert all(by_index[index] == (name, data) for index, name, data in rows)
        assert [index for index, _, _ in rows] == sorted(index for index, _, _ in rows)
        if key[0] == other or what == "manifest":
            assert rows == expected[key]
        elif how == "skip":
            assert len(rows) >= len(expected[key]) // 2
            assert rows[-1] == expected[key][-1]
    log = Log.open(directory, background=False)
    try:
        first = int(lane.name)
        index, _ = put(log.lane(first), ROUTER, [(0, "k", b"after")])[0]
        assert index >= 1 << 32
        assert read_shard(log.lane(first), 0)[-1] == (index, "k", b"after")
    except Error as error:  # pragma: no cover - shown where it fails
        pytest.fail(str(error))
    finally:
        log.close()
