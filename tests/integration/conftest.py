# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""Servers that someone else wrote, started for a test."""

import pytest
from versitygw import Gateway


@pytest.fixture
def gateway(tmp_path):
    found = Gateway(tmp_path).start()
    yield found
    if found.process.poll() is None:
        found.kill()
