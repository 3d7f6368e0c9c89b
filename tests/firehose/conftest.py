# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A store with deliveries; see firehose_support."""

import pytest
from firehose_support import Place


@pytest.fixture
def place(tmp_path):
    found = Place(tmp_path / "store")
    yield found
    found.log.close()
