# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A store with deliveries; see firehose_support."""

import pytest
from firehose_support import Place
from running_support import Told

from headrace import limits
from headrace.clock import SystemClock


@pytest.fixture
def place(tmp_path):
    found = Place(tmp_path / "store")
    yield found
    found.log.close()


@pytest.fixture
def running(tmp_path, monkeypatch):
    """A store under the real clock whose every bucket is `told`, with short waits between attempts."""
    monkeypatch.setattr(limits, "firehose_backoff_ms_first", 10)
    monkeypatch.setattr(limits, "firehose_backoff_ms_max", 40)
    found = Place(tmp_path / "store")
    found.clock = SystemClock()
    found.reopen()
    found.told = Told()
    found.deliveries.buckets.find = lambda name: found.told
    yield found
    found.told.held.set()
    found.log.close()
