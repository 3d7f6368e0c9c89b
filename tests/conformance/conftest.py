# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""A real server in a process of its own for real clients, one for each module of tests."""

import pytest
from server_process import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for a module."""
    server = Server(tmp_path_factory.mktemp("server") / "store")
    yield server
    assert server.stop() == 0, server.output()


@pytest.fixture
def endpoint(server):
    """The URL of the module's server, as it is now."""
    return server.url
